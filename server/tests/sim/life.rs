//! One life of a node: one process from its start to its crash, with the faults at its calls.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use taskcenter_server::adapters::fault::Plan;
use taskcenter_server::core::Moment;
use taskcenter_server::core::task::stable_hash;
use taskcenter_server::ports::{PortError, Result};
use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use super::profile::{Profile, Rates};
use super::time::{OffClock, Time, sleep_ms};

/// A longer delay, in milliseconds, can make a lease expire, and justifies a duplicate message.
const LONG_DELAY_MS: u64 = 500;

/// Returns whether the failure of this call can cause a duplicate message.
fn hands_over(call: &str) -> bool {
    matches!(call, "publish" | "update_runs")
}

/// State that all lives share.
pub struct Environment {
    pub gate: Arc<Gate>,
    pub time: Time,
    pub profile: Profile,
    /// End of the faults, in milliseconds.
    pub until_ms: AtomicI64,
    /// Whether the broker is unreachable.
    pub bus_down: std::sync::atomic::AtomicBool,
    /// Numbers of crashes and freezes.
    pub crashes: AtomicUsize,
    pub freezes: AtomicUsize,
}

impl Environment {
    /// Returns whether faults still happen.
    pub fn has_faults(&self) -> bool {
        self.time.now().ms() < self.until_ms.load(Ordering::Relaxed)
    }
}

/// One life of a node.
pub struct Life {
    pub name: String,
    pub clock: OffClock,
    pub dead: CancellationToken,
    environment: Arc<Environment>,
    rng: Mutex<fastrand::Rng>,
    frozen_until: AtomicI64,
    troubles: Mutex<Vec<Moment>>,
}

impl Life {
    pub fn new(name: String, clock: OffClock, environment: Arc<Environment>, seed: u64) -> Self {
        Self {
            name,
            clock,
            dead: CancellationToken::new(),
            environment,
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
            frozen_until: AtomicI64::new(0),
            troubles: Mutex::default(),
        }
    }

    fn rng(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws whether a fault happens; `chance` is in 1/100,000.
    fn draws_fault(&self, chance: u32) -> bool {
        self.environment.has_faults() && self.rng().u32(..100_000) < chance
    }

    /// Records a fault of this life, which may cause a duplicate message.
    pub fn record_trouble(&self) {
        let now = self.environment.time.now();
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).push(now);
    }

    /// Returns whether this life had a fault since `then`.
    pub fn had_trouble_since(&self, then: Moment) -> bool {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.last().is_some_and(|last| *last >= then)
    }

    /// Ends the process of this life.
    pub fn crash(&self) {
        self.record_trouble();
        self.environment.crashes.fetch_add(1, Ordering::Relaxed);
        self.dead.cancel();
    }

    fn freeze(&self) {
        self.record_trouble();
        self.environment.freezes.fetch_add(1, Ordering::Relaxed);
        let ms = self.rng().i64(500..self.environment.profile.max_freeze_ms);
        self.frozen_until.store(self.environment.time.now().plus_ms(ms).ms(), Ordering::Relaxed);
    }

    /// Waits for its turn and for the end of a freeze; blocks forever after a crash.
    async fn wait_for_turn(&self, what: u64) {
        loop {
            self.environment.gate.pass(what).await;
            let left = self.frozen_until.load(Ordering::Relaxed) - self.environment.time.now().ms();
            if left > 0 {
                sleep_ms(left as u64).await;
                self.record_trouble();
                continue;
            }
            if self.dead.is_cancelled() {
                std::future::pending::<()>().await;
            }
            return;
        }
    }

    /// Crashes or freezes the process with the rates of the profile.
    async fn maybe_stop(&self, what: u64) {
        if self.draws_fault(self.environment.profile.crashes) {
            self.crash();
            std::future::pending::<()>().await;
        }
        if self.draws_fault(self.environment.profile.freezes) {
            self.freeze();
            self.wait_for_turn(what).await;
        }
    }

    async fn maybe_delay(&self, rates: &Rates, call: &'static str, what: u64) {
        if self.draws_fault(rates.delays) {
            let ms = self.rng().u64(1..rates.max_delay_ms);
            let is_trouble = ms > LONG_DELAY_MS && hands_over(call);
            // The lease may expire during the delay, or after it.
            if is_trouble {
                self.record_trouble();
            }
            sleep_ms(ms).await;
            if is_trouble {
                self.record_trouble();
            }
            self.wait_for_turn(what).await;
        }
    }
}

/// Fault plan for one port of one life.
pub struct LifePlan {
    pub life: Arc<Life>,
    pub port: &'static str,
    pub rates: Rates,
}

impl LifePlan {
    fn label(&self, call: &'static str, half: u64) -> u64 {
        stable_hash(call.as_bytes()) ^ stable_hash(self.life.name.as_bytes()) ^ half
    }

    fn unavailable(&self, call: &'static str, what: &'static str) -> PortError {
        if hands_over(call) {
            self.life.record_trouble();
        }
        PortError::Unavailable(self.port, what.into())
    }

    fn bus_is_down(&self) -> bool {
        self.port == "bus" && self.life.environment.bus_down.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Plan for LifePlan {
    async fn request(&self, call: &'static str) -> Result<()> {
        let label = self.label(call, 1);
        self.life.wait_for_turn(label).await;
        self.life.maybe_stop(label).await;
        self.life.maybe_delay(&self.rates, call, label).await;
        if self.bus_is_down() || self.life.draws_fault(self.rates.lost_requests) {
            return Err(self.unavailable(call, "the request was lost"));
        }
        if call == "publish" && self.life.draws_fault(self.rates.refusals) {
            return Err(PortError::Refused(self.port, "the broker refuses the message".into()));
        }
        Ok(())
    }

    async fn answer(&self, call: &'static str) -> Result<()> {
        let label = self.label(call, 2);
        self.life.wait_for_turn(label).await;
        self.life.maybe_stop(label).await;
        self.life.maybe_delay(&self.rates, call, label).await;
        if self.life.draws_fault(self.rates.lost_answers) {
            return Err(self.unavailable(call, "the answer was lost"));
        }
        Ok(())
    }

    fn portion(&self, rows: usize) -> usize {
        let is_partial = self.life.environment.has_faults() && self.life.rng().bool();
        if is_partial { self.life.rng().usize(1..=rows.max(1)) } else { rows }
    }
}

//! One life of a node: from its start to its crash, with the faults that happen at its calls.

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

/// A delay of this many milliseconds is a fault worth remembering: leases may run out by it.
const LONG_DELAY_MS: u64 = 500;

/// The calls whose failure makes somebody send a message again.
fn hands_over(call: &str) -> bool {
    matches!(call, "publish" | "update_runs")
}

/// What all lives share.
pub struct Weather {
    pub gate: Arc<Gate>,
    pub time: Time,
    pub profile: Profile,
    /// Faults happen until this moment, in milliseconds.
    pub until_ms: AtomicI64,
    /// The broker is out of reach.
    pub bus_down: std::sync::atomic::AtomicBool,
    /// How many lives have ended by a crash, and how many were frozen.
    pub crashes: AtomicUsize,
    pub freezes: AtomicUsize,
}

impl Weather {
    /// Whether faults may happen still.
    pub fn is_rough(&self) -> bool {
        self.time.now().ms() < self.until_ms.load(Ordering::Relaxed)
    }
}

/// A life of a node.
pub struct Life {
    pub name: String,
    pub clock: OffClock,
    pub dead: CancellationToken,
    weather: Arc<Weather>,
    lots: Mutex<fastrand::Rng>,
    frozen_until: AtomicI64,
    troubles: Mutex<Vec<Moment>>,
}

impl Life {
    pub fn new(name: String, clock: OffClock, weather: Arc<Weather>, seed: u64) -> Self {
        Self {
            name,
            clock,
            dead: CancellationToken::new(),
            weather,
            lots: Mutex::new(fastrand::Rng::with_seed(seed)),
            frozen_until: AtomicI64::new(0),
            troubles: Mutex::default(),
        }
    }

    fn lots(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.lots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something happens whose chance is so many in a hundred thousand.
    fn falls(&self, chance: u32) -> bool {
        self.weather.is_rough() && self.lots().u32(..100_000) < chance
    }

    /// Something went wrong with it now, that others may have to make up for.
    pub fn trouble(&self) {
        let now = self.weather.time.now();
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).push(now);
    }

    /// Whether something went wrong with it since then.
    pub fn was_troubled_since(&self, then: Moment) -> bool {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.last().is_some_and(|last| *last >= then)
    }

    /// Its process ends here.
    pub fn crash(&self) {
        self.trouble();
        self.weather.crashes.fetch_add(1, Ordering::Relaxed);
        self.dead.cancel();
    }

    fn freeze(&self) {
        self.trouble();
        self.weather.freezes.fetch_add(1, Ordering::Relaxed);
        let ms = self.lots().i64(500..self.weather.profile.longest_freeze_ms);
        self.frozen_until.store(self.weather.time.now().plus_ms(ms).ms(), Ordering::Relaxed);
    }

    /// Waits for its turn; for ever where the process has ended, and for as long as it is frozen.
    async fn turn(&self, what: u64) {
        loop {
            self.weather.gate.pass(what).await;
            let left = self.frozen_until.load(Ordering::Relaxed) - self.weather.time.now().ms();
            if left > 0 {
                sleep_ms(left as u64).await;
                self.trouble();
                continue;
            }
            if self.dead.is_cancelled() {
                std::future::pending::<()>().await;
            }
            return;
        }
    }

    /// The process may end or freeze wherever it calls a port.
    async fn may_stop(&self, what: u64) {
        if self.falls(self.weather.profile.crashes) {
            self.crash();
            std::future::pending::<()>().await;
        }
        if self.falls(self.weather.profile.freezes) {
            self.freeze();
            self.turn(what).await;
        }
    }

    async fn may_be_late(&self, rates: &Rates, call: &'static str, what: u64) {
        if self.falls(rates.delays) {
            let ms = self.lots().u64(1..rates.longest_delay_ms);
            let is_felt = ms > LONG_DELAY_MS && hands_over(call);
            // Its lease may run out during the delay as well as after it.
            if is_felt {
                self.trouble();
            }
            sleep_ms(ms).await;
            if is_felt {
                self.trouble();
            }
            self.turn(what).await;
        }
    }
}

/// The plan for one port of one life.
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
            self.life.trouble();
        }
        PortError::Unavailable(self.port, what.into())
    }

    fn bus_is_down(&self) -> bool {
        self.port == "bus" && self.life.weather.bus_down.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Plan for LifePlan {
    async fn request(&self, call: &'static str) -> Result<()> {
        let label = self.label(call, 1);
        self.life.turn(label).await;
        self.life.may_stop(label).await;
        self.life.may_be_late(&self.rates, call, label).await;
        if self.bus_is_down() || self.life.falls(self.rates.lost_requests) {
            return Err(self.unavailable(call, "the request was lost"));
        }
        if call == "publish" && self.life.falls(self.rates.refusals) {
            return Err(PortError::Refused(self.port, "it is in a mood".into()));
        }
        Ok(())
    }

    async fn answer(&self, call: &'static str) -> Result<()> {
        let label = self.label(call, 2);
        self.life.turn(label).await;
        self.life.may_stop(label).await;
        self.life.may_be_late(&self.rates, call, label).await;
        if self.life.falls(self.rates.lost_answers) {
            return Err(self.unavailable(call, "the answer was lost"));
        }
        Ok(())
    }

    fn portion(&self, rows: usize) -> usize {
        let parts = self.life.weather.is_rough() && self.life.lots().bool();
        if parts { self.life.lots().usize(1..=rows.max(1)) } else { rows }
    }
}

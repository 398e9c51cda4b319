//! Simulated time, and clocks that deviate from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use taskcenter_server::core::Moment;
use taskcenter_server::ports::Clock;
use tokio::time::Instant;

/// Start of every history.
const BEGIN: Moment = Moment::from_sec(1_800_000_000);
/// Maximum time of a sleep before it reads its clock again, in milliseconds.
const MAX_NAP_MS: i64 = 500;

/// True time: tokio's paused clock, counted from a fixed moment.
#[derive(Clone, Copy)]
pub struct Time(Instant);

impl Time {
    /// Starts the time of a history.
    #[allow(clippy::disallowed_methods, reason = "here the paused clock is the injected clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(self) -> Moment {
        BEGIN.plus_ms(self.0.elapsed().as_millis() as i64)
    }
}

/// Clock that deviates from true time, and can be set while it runs.
#[derive(Clone)]
pub struct OffClock {
    time: Time,
    ahead_ms: Arc<AtomicI64>,
}

impl OffClock {
    /// Creates a clock that is `ahead_ms` ahead of true time.
    pub fn new(time: Time, ahead_ms: i64) -> Self {
        Self { time, ahead_ms: Arc::new(AtomicI64::new(ahead_ms)) }
    }

    /// Sets the deviation.
    pub fn set_ahead(&self, ms: i64) {
        self.ahead_ms.store(ms, Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for OffClock {
    fn now(&self) -> Moment {
        self.time.now().plus_ms(self.ahead_ms.load(Ordering::Relaxed))
    }

    fn steady_ms(&self) -> i64 {
        self.time.now().ms()
    }

    async fn sleep_until(&self, at: Moment) {
        loop {
            let left = at.since(self.now());
            if left <= 0 {
                return;
            }
            sleep_ms(left.min(MAX_NAP_MS) as u64).await;
        }
    }
}

/// Waits for simulated time.
pub async fn sleep_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

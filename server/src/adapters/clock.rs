//! The system clock, and a manual clock for tests.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::core::Moment;
use crate::ports::Clock;

/// The system clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// Longest sleep between two reads of the wall clock. A sleeper wakes at most this much too late
/// after the wall clock was set forward, or the machine was suspended.
const MAX_SLEEP: Duration = Duration::from_millis(500);

#[allow(clippy::disallowed_methods, reason = "this is the injected clock that all other code reads")]
fn since_epoch() -> Duration {
    // A clock before 1970 reads as 1970; nothing is due then.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[allow(clippy::disallowed_methods, reason = "this is the injected clock that all other code reads")]
fn since_start() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// Returns the time left until `at`; `None` if `at` has come.
fn remaining(at: Moment, since_epoch: Duration) -> Option<Duration> {
    let at = Duration::from_millis(u64::try_from(at.ms()).ok()?);
    at.checked_sub(since_epoch).filter(|left| !left.is_zero())
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment::from_ms(i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX))
    }

    fn steady_ms(&self) -> i64 {
        i64::try_from(since_start().as_millis()).unwrap_or(i64::MAX)
    }

    async fn sleep_until(&self, at: Moment) {
        while let Some(left) = remaining(at, since_epoch()) {
            tokio::time::sleep(left.min(MAX_SLEEP)).await;
        }
    }
}

/// A clock that only moves when a test sets it.
#[derive(Debug)]
pub struct ManualClock(watch::Sender<Moment>);

impl ManualClock {
    /// Creates a clock that shows `now`.
    pub fn new(now: Moment) -> Self {
        Self(watch::Sender::new(now))
    }

    /// Sets the clock, forwards or back, and wakes the sleepers whose moment has come.
    pub fn set(&self, now: Moment) {
        self.0.send_replace(now);
    }

    /// Moves the clock forward, and wakes the sleepers whose moment has come.
    pub fn advance_ms(&self, ms: i64) {
        self.0.send_modify(|now| *now = now.plus_ms(ms));
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Moment {
        *self.0.borrow()
    }

    /// Follows the wall clock: setting the manual clock counts as passing time.
    fn steady_ms(&self) -> i64 {
        self.now().ms()
    }

    async fn sleep_until(&self, at: Moment) {
        // The sender outlives the borrow of `self`, so the wait cannot fail.
        let _ = self.0.subscribe().wait_for(|now| *now >= at).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn no_time_is_left_until_a_past_or_negative_moment() {
        let now = Duration::from_micros(5_000_400);
        assert_eq!(remaining(Moment::from_ms(5_001), now), Some(Duration::from_micros(600)));
        assert_eq!(remaining(Moment::from_ms(5_000), now), None);
        assert_eq!(remaining(Moment::from_ms(-1), now), None);
    }

    #[tokio::test]
    async fn a_sleep_never_ends_early() {
        for ms in [0, 1, 3, 20] {
            let at = SystemClock.now().plus_ms(ms);
            SystemClock.sleep_until(at).await;
            assert!(SystemClock.now() >= at);
        }
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_its_sleepers_when_their_moment_comes() {
        let clock = Arc::new(ManualClock::new(Moment::from_ms(10)));
        clock.sleep_until(Moment::from_ms(10)).await;
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(Moment::from_ms(30)).await }
        });
        clock.advance_ms(10);
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.set(Moment::from_ms(30));
        sleeper.await.unwrap();
        assert_eq!(clock.now(), Moment::from_ms(30));
    }
}

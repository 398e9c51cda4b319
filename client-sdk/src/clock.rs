//! Clocks. All wall-clock time of the SDK comes from here, so that a test can control lateness.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Source of the wall-clock time.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time in milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
}

/// Clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the only read of the wall clock in the SDK")]
    fn now_ms(&self) -> i64 {
        // Before 1970 the clock is unset; lateness is then zero.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }
}

/// Returns the current time of the monotonic clock. It stops while tokio's time is paused.
#[allow(clippy::disallowed_methods, reason = "the only read of the monotonic clock in the SDK")]
pub(crate) fn monotonic() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Clock for tests. Its time changes only with [`set`](Self::set).
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Creates a clock that shows `now_ms`, in milliseconds since the Unix epoch.
    pub const fn new(now_ms: i64) -> Self {
        Self(AtomicI64::new(now_ms))
    }

    /// Sets the time, in milliseconds since the Unix epoch.
    pub fn set(&self, now_ms: i64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_counts_milliseconds_since_1970() {
        const YEAR_2024_MS: i64 = 1_704_067_200_000;
        const YEAR_2100_MS: i64 = 4_102_444_800_000;
        assert!((YEAR_2024_MS..YEAR_2100_MS).contains(&SystemClock.now_ms()));
    }
}

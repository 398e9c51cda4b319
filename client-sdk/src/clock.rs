//! The wall clock, in one place, so that lateness can be tested.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time of day.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "lateness is measured against the wall clock; this is the one place"
    )]
    fn now_ms(&self) -> i64 {
        // A clock set before 1970 is a machine without a time; lateness then reads as zero.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }
}

/// The clock that time-outs are measured on; it stands still where tokio's does.
#[allow(clippy::disallowed_methods, reason = "how long a lease has left; this is the one place")]
pub(crate) fn monotonic() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// A clock that stands still until it is told.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now_ms`, in milliseconds since the Unix epoch.
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

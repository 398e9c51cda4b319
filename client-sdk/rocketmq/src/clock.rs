//! Clocks. Every read of the time is here, so that the rest of the crate depends on its arguments.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the current time in milliseconds since the Unix epoch; 0 before 1970.
#[allow(clippy::disallowed_methods, reason = "the only read of the wall clock in the crate")]
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Returns the current time of the monotonic clock.
#[allow(clippy::disallowed_methods, reason = "the only read of the monotonic clock in the crate")]
pub(crate) fn monotonic() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

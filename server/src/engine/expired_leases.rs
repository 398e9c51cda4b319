//! Counts the runs whose workers neither settled nor renewed them in time. Each node counts those that
//! it rescues.

use std::sync::{Mutex, PoisonError};

use crate::core::alert::recent::RecentCounts;
use crate::core::{Moment, Run};

/// Longest window, in milliseconds.
pub const KEEP_MS: i64 = 3_600_000;

/// Expired leases of the last hour, by tag.
pub struct ExpiredLeases(Mutex<RecentCounts>);

impl Default for ExpiredLeases {
    fn default() -> Self {
        Self(Mutex::new(RecentCounts::new(KEEP_MS)))
    }
}

impl ExpiredLeases {
    /// Counts runs whose leases had expired at `now`.
    pub fn count<'a>(&self, runs: impl Iterator<Item = &'a Run>, now: Moment) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.for_each(|run| counts.add(&run.tag, 1, now));
    }

    /// Returns the number of expired leases of each tag in the last `window_ms` milliseconds.
    pub fn within(&self, window_ms: i64, now: Moment) -> Vec<(String, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).within(window_ms, now)
    }
}

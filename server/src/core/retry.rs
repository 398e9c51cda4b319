//! When a failed attempt is tried again, and when it is given up.

use serde::{Deserialize, Serialize};

/// How often and how far apart attempts are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Attempts in all, the first included, before a run is dead.
    pub max_attempts: u32,
    /// Pause after the first failure, in milliseconds; each further one doubles it.
    pub backoff_ms: u64,
    /// Longest pause, in milliseconds.
    pub max_backoff_ms: u64,
}

impl Default for RetryPolicy {
    /// The broker's own habit: 16 redeliveries after the first try, 10 s to 2 h apart.
    fn default() -> Self {
        Self { max_attempts: 17, backoff_ms: 10_000, max_backoff_ms: 7_200_000 }
    }
}

impl RetryPolicy {
    /// Whether it has attempts, and an end to them and to their pauses.
    pub fn is_sane(&self) -> bool {
        const YEAR_MS: u64 = 366 * 86_400_000;
        (1..=super::submission::MAX_ATTEMPTS).contains(&self.max_attempts)
            && self.backoff_ms <= YEAR_MS
            && self.max_backoff_ms <= YEAR_MS
    }

    /// Pause in milliseconds after attempt number `attempt` failed; `None` when there is no further attempt.
    pub fn pause_after(&self, attempt: u32) -> Option<u64> {
        if attempt >= self.max_attempts {
            return None;
        }
        let doublings = attempt.saturating_sub(1).min(32);
        Some(self.backoff_ms.saturating_mul(1 << doublings).min(self.max_backoff_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_cap_and_ends() {
        let policy = RetryPolicy { max_attempts: 4, backoff_ms: 100, max_backoff_ms: 250 };
        let pauses: Vec<_> = (1..=4).map(|attempt| policy.pause_after(attempt)).collect();
        assert_eq!(pauses, [Some(100), Some(200), Some(250), None]);
    }

    #[test]
    fn a_huge_attempt_number_does_not_overflow() {
        let policy = RetryPolicy { max_attempts: u32::MAX, ..RetryPolicy::default() };
        assert_eq!(policy.pause_after(4_000_000_000), Some(7_200_000));
    }
}

//! Retry policy: when a failed attempt is repeated, and after how many attempts a run is dead.

use serde::{Deserialize, Serialize};

/// Largest `max_attempts` of a policy.
pub const MAX_ATTEMPTS: u32 = 1_000;
/// Longest pause of a policy: a year.
const MAX_PAUSE_MS: u64 = 366 * 86_400_000;

/// Number of attempts, and the pauses between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Number of attempts, including the first.
    pub max_attempts: u32,
    /// Pause after the first failure, in milliseconds. Every further failure doubles the pause.
    pub backoff_ms: u64,
    /// Longest pause, in milliseconds.
    pub max_backoff_ms: u64,
}

impl Default for RetryPolicy {
    /// Same as RocketMQ's redelivery: 16 repetitions after the first attempt, 10 s to 2 h apart.
    fn default() -> Self {
        Self { max_attempts: 17, backoff_ms: 10_000, max_backoff_ms: 7_200_000 }
    }
}

/// A field of a retry policy that is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}: use a value between {least} and {most}")]
pub struct InvalidRetry {
    /// Name of the field, such as `retry.backoff_ms`.
    pub field: &'static str,
    /// Its value.
    pub value: u64,
    /// Smallest valid value.
    pub least: u64,
    /// Largest valid value.
    pub most: u64,
}

impl RetryPolicy {
    /// Checks that every field is within its bounds: 1 to [`MAX_ATTEMPTS`] attempts, pauses up to a
    /// year.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn validate(&self) -> Result<(), InvalidRetry> {
        let fields = [
            ("retry.max_attempts", u64::from(self.max_attempts), 1, u64::from(MAX_ATTEMPTS)),
            ("retry.backoff_ms", self.backoff_ms, 0, MAX_PAUSE_MS),
            ("retry.max_backoff_ms", self.max_backoff_ms, 0, MAX_PAUSE_MS),
        ];
        let invalid = fields.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value));
        match invalid {
            Some((field, value, least, most)) => Err(InvalidRetry { field, value, least, most }),
            None => Ok(()),
        }
    }

    /// Returns the pause in milliseconds after a failure of attempt number `attempt`. `None`: no
    /// attempt remains.
    pub fn pause_after(&self, attempt: u32) -> Option<u64> {
        if attempt >= self.max_attempts {
            return None;
        }
        let doublings = attempt.saturating_sub(1).min(63);
        Some(self.backoff_ms.saturating_mul(1 << doublings).min(self.max_backoff_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_its_maximum_until_no_attempt_remains() {
        let policy = RetryPolicy { max_attempts: 4, backoff_ms: 100, max_backoff_ms: 250 };
        let pauses: Vec<_> = (1..=4).map(|attempt| policy.pause_after(attempt)).collect();
        assert_eq!(pauses, [Some(100), Some(200), Some(250), None]);
    }

    #[test]
    fn a_pause_reaches_the_largest_maximum() {
        let policy = RetryPolicy { max_attempts: 1_000, backoff_ms: 1, max_backoff_ms: MAX_PAUSE_MS };
        assert_eq!(policy.validate(), Ok(()));
        assert_eq!(policy.pause_after(36), Some(MAX_PAUSE_MS));
    }

    #[test]
    fn a_large_attempt_number_does_not_overflow() {
        let policy = RetryPolicy { max_attempts: u32::MAX, ..RetryPolicy::default() };
        assert_eq!(policy.pause_after(4_000_000_000), Some(7_200_000));
    }
}

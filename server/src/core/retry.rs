//! Retry policy: when a failed attempt is repeated, and after how many attempts a run is dead.

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

/// Largest `max_attempts` of a policy.
pub const MAX_ATTEMPTS: u32 = 1_000;
/// Maximum number of pauses in `intervals_ms`.
pub const MAX_INTERVALS: usize = 100;
/// Longest pause of a policy: a year.
const MAX_PAUSE_MS: u64 = 366 * 86_400_000;
/// Each pause is twice as long as the one before.
const DOUBLE_PERCENT: u32 = 200;
/// Smallest and largest `factor_percent`: equal pauses, and pauses that grow tenfold.
const FACTOR_PERCENT: (u64, u64) = (100, 1_000);

/// Number of attempts, and the pauses between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Number of attempts, including the first. Without effect if the policy has `intervals_ms`.
    pub max_attempts: u32,
    /// Pause after the first failure, in milliseconds.
    pub backoff_ms: u64,
    /// Longest pause, in milliseconds.
    pub max_backoff_ms: u64,
    /// Length of each further pause, in percent of the pause before: 100 to 1,000. Default: 200.
    #[serde(skip_serializing_if = "is_double")]
    pub factor_percent: u32,
    /// Largest part of a pause that is left out at random, in percent: 0 to 100. Default: 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub jitter_percent: u32,
    /// Pauses after the first, the second and each further failure, in milliseconds. After the last pause
    /// follows the last attempt. Empty: `backoff_ms`, `factor_percent` and `max_backoff_ms` decide.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub intervals_ms: Vec<u64>,
}

/// Serializes every field, also those that have their defaults: a configuration names all its keys.
///
/// # Errors
/// Those of the serializer.
pub fn serialize_in_full<S: Serializer>(policy: &RetryPolicy, serializer: S) -> Result<S::Ok, S::Error> {
    let RetryPolicy {
        max_attempts,
        backoff_ms,
        max_backoff_ms,
        factor_percent,
        jitter_percent,
        intervals_ms,
    } = policy;
    let mut fields = serializer.serialize_struct("RetryPolicy", 6)?;
    fields.serialize_field("max_attempts", max_attempts)?;
    fields.serialize_field("backoff_ms", backoff_ms)?;
    fields.serialize_field("max_backoff_ms", max_backoff_ms)?;
    fields.serialize_field("factor_percent", factor_percent)?;
    fields.serialize_field("jitter_percent", jitter_percent)?;
    fields.serialize_field("intervals_ms", intervals_ms)?;
    fields.end()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_double(percent: &u32) -> bool {
    *percent == DOUBLE_PERCENT
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(percent: &u32) -> bool {
    *percent == 0
}

impl Default for RetryPolicy {
    /// Same as RocketMQ's redelivery: 16 repetitions after the first attempt, 10 s to 2 h apart.
    fn default() -> Self {
        Self {
            max_attempts: 17,
            backoff_ms: 10_000,
            max_backoff_ms: 7_200_000,
            factor_percent: DOUBLE_PERCENT,
            jitter_percent: 0,
            intervals_ms: Vec::new(),
        }
    }
}

/// A field of a retry policy that is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRetry {
    /// A number that is too small or too large.
    #[error("{field} is {value}: use a value between {least} and {most}")]
    Bounds {
        /// Name of the field, such as `retry.backoff_ms`.
        field: &'static str,
        /// Its value.
        value: u64,
        /// Smallest valid value.
        least: u64,
        /// Largest valid value.
        most: u64,
    },
    /// Too many pauses; their number.
    #[error("retry.intervals_ms has {0} pauses: use at most {MAX_INTERVALS}")]
    Intervals(usize),
}

impl InvalidRetry {
    /// Returns the name of the field, such as `retry.backoff_ms`.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Bounds { field, .. } => field,
            Self::Intervals(_) => "retry.intervals_ms",
        }
    }
}

impl RetryPolicy {
    /// Creates a policy of equal or doubling pauses.
    pub fn doubling(max_attempts: u32, backoff_ms: u64, max_backoff_ms: u64) -> Self {
        Self { max_attempts, backoff_ms, max_backoff_ms, ..Self::default() }
    }

    /// Creates a policy with one pause after each attempt but the last.
    pub fn intervals(intervals_ms: Vec<u64>) -> Self {
        let max_attempts = u32::try_from(intervals_ms.len() + 1).unwrap_or(u32::MAX);
        Self { intervals_ms, ..Self::doubling(max_attempts, 0, 0) }
    }

    /// Returns the number of attempts, including the first.
    pub fn attempts(&self) -> u32 {
        match self.intervals_ms.len() {
            0 => self.max_attempts,
            pauses => u32::try_from(pauses + 1).unwrap_or(u32::MAX),
        }
    }

    /// Checks that every field is within its bounds: 1 to [`MAX_ATTEMPTS`] attempts, pauses up to a
    /// year, and at most [`MAX_INTERVALS`] intervals.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn validate(&self) -> Result<(), InvalidRetry> {
        if self.intervals_ms.len() > MAX_INTERVALS {
            return Err(InvalidRetry::Intervals(self.intervals_ms.len()));
        }
        let longest = self.intervals_ms.iter().copied().max().unwrap_or(0);
        let (factor, jitter) = (u64::from(self.factor_percent), u64::from(self.jitter_percent));
        let fields = [
            ("retry.max_attempts", u64::from(self.max_attempts), 1, u64::from(MAX_ATTEMPTS)),
            ("retry.backoff_ms", self.backoff_ms, 0, MAX_PAUSE_MS),
            ("retry.max_backoff_ms", self.max_backoff_ms, 0, MAX_PAUSE_MS),
            ("retry.factor_percent", factor, FACTOR_PERCENT.0, FACTOR_PERCENT.1),
            ("retry.jitter_percent", jitter, 0, 100),
            ("retry.intervals_ms", longest, 0, MAX_PAUSE_MS),
        ];
        let invalid = fields.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value));
        match invalid {
            Some((field, value, least, most)) => Err(InvalidRetry::Bounds { field, value, least, most }),
            None => Ok(()),
        }
    }

    /// Returns the pause in milliseconds after a failure of attempt number `attempt`. `None`: no
    /// attempt remains. `draw` decides the jitter; any value is valid.
    pub fn pause_after(&self, attempt: u32, draw: u64) -> Option<u64> {
        if attempt >= self.attempts() {
            return None;
        }
        let failures = attempt.saturating_sub(1);
        let pause_ms = match self.intervals_ms.get(failures as usize) {
            Some(interval_ms) => *interval_ms,
            None => self.grown(failures),
        };
        Some(self.without_jitter(pause_ms, draw))
    }

    /// Returns the pause after it has grown a number of times.
    fn grown(&self, times: u32) -> u64 {
        let mut pause_ms = self.backoff_ms;
        // Rounded up, so that a pause of 1 ms grows too.
        for _ in 0..times {
            let next = u128::from(pause_ms) * u128::from(self.factor_percent);
            let next = u64::try_from(next.div_ceil(100)).unwrap_or(u64::MAX);
            if next == pause_ms || next >= self.max_backoff_ms {
                return next.min(self.max_backoff_ms);
            }
            pause_ms = next;
        }
        pause_ms.min(self.max_backoff_ms)
    }

    /// Leaves out a part of a pause: none for the smallest draw, `jitter_percent` for the largest.
    fn without_jitter(&self, pause_ms: u64, draw: u64) -> u64 {
        let most = u128::from(pause_ms) * u128::from(self.jitter_percent) / 100;
        let left_out = (most * u128::from(draw)) >> 64;
        pause_ms - u64::try_from(left_out).unwrap_or(pause_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(policy: &RetryPolicy, attempts: u32) -> Vec<Option<u64>> {
        (1..=attempts).map(|attempt| policy.pause_after(attempt, 0)).collect()
    }

    #[test]
    fn a_pause_doubles_up_to_its_maximum_until_no_attempt_remains() {
        let policy = RetryPolicy::doubling(4, 100, 250);
        assert_eq!(pauses(&policy, 4), [Some(100), Some(200), Some(250), None]);
    }

    #[test]
    fn a_factor_of_100_percent_makes_equal_pauses() {
        let equal = RetryPolicy { factor_percent: 100, ..RetryPolicy::doubling(4, 100, 250) };
        assert_eq!(pauses(&equal, 4), [Some(100), Some(100), Some(100), None]);
        let half_more = RetryPolicy { factor_percent: 150, ..RetryPolicy::doubling(5, 100, 250) };
        assert_eq!(pauses(&half_more, 5), [Some(100), Some(150), Some(225), Some(250), None]);
        let short = RetryPolicy { factor_percent: 150, ..RetryPolicy::doubling(5, 1, 250) };
        assert_eq!(pauses(&short, 5), [Some(1), Some(2), Some(3), Some(5), None]);
    }

    #[test]
    fn intervals_are_the_pauses_and_decide_the_number_of_attempts() {
        let policy = RetryPolicy::intervals(vec![1, 60_000, 5]);
        assert_eq!(pauses(&policy, 4), [Some(1), Some(60_000), Some(5), None]);
        assert_eq!((policy.attempts(), policy.max_attempts), (4, 4));
        let of_config = RetryPolicy { intervals_ms: vec![7], ..RetryPolicy::default() };
        assert_eq!(pauses(&of_config, 2), [Some(7), None]);
    }

    #[test]
    fn jitter_leaves_out_a_part_of_a_pause() {
        let policy = RetryPolicy { jitter_percent: 40, ..RetryPolicy::doubling(9, 1_000, 1_000) };
        let pause = |draw| policy.pause_after(1, draw).unwrap();
        assert_eq!((pause(0), pause(1 << 63), pause(u64::MAX)), (1_000, 800, 601));
        let all = RetryPolicy { jitter_percent: 100, ..policy };
        assert_eq!(all.pause_after(1, u64::MAX), Some(1));
    }

    #[test]
    fn a_pause_reaches_the_largest_maximum() {
        let policy = RetryPolicy::doubling(1_000, 1, MAX_PAUSE_MS);
        assert_eq!(policy.validate(), Ok(()));
        assert_eq!(policy.pause_after(36, 0), Some(MAX_PAUSE_MS));
    }

    #[test]
    fn a_large_attempt_number_does_not_overflow() {
        let policy = RetryPolicy { max_attempts: u32::MAX, ..RetryPolicy::default() };
        assert_eq!(policy.pause_after(4_000_000_000, u64::MAX), Some(7_200_000));
        let never = RetryPolicy::doubling(u32::MAX, 0, u64::MAX);
        assert_eq!(never.pause_after(4_000_000_000, 0), Some(0));
    }

    #[test]
    fn a_field_out_of_bounds_is_named() {
        let valid = RetryPolicy::default();
        for (policy, field) in [
            (RetryPolicy { factor_percent: 99, ..valid.clone() }, "retry.factor_percent"),
            (RetryPolicy { jitter_percent: 101, ..valid.clone() }, "retry.jitter_percent"),
            (RetryPolicy::intervals(vec![MAX_PAUSE_MS + 1]), "retry.intervals_ms"),
            (RetryPolicy::intervals(vec![1; MAX_INTERVALS + 1]), "retry.intervals_ms"),
        ] {
            assert_eq!(policy.validate().unwrap_err().field(), field);
        }
    }

    #[test]
    fn a_stored_policy_has_only_fields_that_are_set() {
        let doubling = RetryPolicy::doubling(3, 1, 2);
        let row = r#"{"max_attempts":3,"backoff_ms":1,"max_backoff_ms":2}"#;
        assert_eq!(serde_json::to_string(&doubling).unwrap(), row);
        assert_eq!(serde_json::from_str::<RetryPolicy>(row).unwrap(), doubling);
    }
}

//! The misfire policy of one task.

use serde::{Deserialize, Serialize};

use super::{Misfire, MisfirePolicy};
use crate::core::invalid_timing::InvalidTiming;

/// Longest grace period, in milliseconds: a year.
pub const MAX_GRACE_MS: i64 = 366 * 86_400_000;
/// Largest number of late moments that `fire_all` can be limited to.
pub const MAX_LATE: u32 = 1_000;

/// Misfire policy of one task. What is `None` has the value of the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MisfireRule {
    /// Policy for moments later than the grace period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<MisfirePolicy>,
    /// Grace period, in milliseconds, up to [`MAX_GRACE_MS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<i64>,
    /// Under `fire_all`, the number of late moments that fire, from 1 to [`MAX_LATE`]: the last ones. Earlier
    /// ones are skipped. `None`: all fire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

impl MisfireRule {
    /// Returns whether the server's setting applies as it is.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the policy that applies, given the server's.
    #[must_use]
    pub fn over(&self, server: Misfire) -> Misfire {
        Misfire {
            policy: self.policy.unwrap_or(server.policy),
            grace_ms: self.grace_ms.unwrap_or(server.grace_ms),
            max: self.max.or(server.max),
        }
    }

    /// Checks the bounds of each field.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn validate(&self) -> Result<(), InvalidTiming> {
        InvalidTiming::check("misfire.grace_ms", self.grace_ms, 0, MAX_GRACE_MS)?;
        InvalidTiming::check("misfire.max", self.max.map(i64::from), 1, i64::from(MAX_LATE))
    }
}

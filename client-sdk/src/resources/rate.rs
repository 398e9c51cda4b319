//! Rate limit of a task.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConcurrencyScope;

/// Rate limit: how many runs may start in a period. Only runs with a rate limit of the same scope and key count. Each
/// attempt is a start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Maximum number of starts in a period. Bounds: 1 to 1,000,000.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1_000_000))]
    pub limit: u32,
    /// Length of the period in milliseconds. Bounds: 1 to 2,678,400,000 (31 days).
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 2_678_400_000_i64))]
    pub period_ms: u64,
    /// Maximum number of runs that start at once, after a time without starts. Bounds: 1 to 1,000,000. Default: the starts of
    /// 50 ms at this rate, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1_000_000))]
    pub burst: Option<u32>,
    /// Which runs count. Default: `task`.
    #[serde(default)]
    pub scope: ConcurrencyScope,
    /// Key of the limit, 1 to 128 bytes, such as the name of a customer. Runs with other keys do not count. Default:
    /// no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub key: Option<String>,
    /// What happens to a run that exceeds the limit. Default: `wait`.
    #[serde(default)]
    pub on_excess: OnExcess,
}

impl Rate {
    /// Returns a limit of the starts in a period, which has a precision of one millisecond. The other runs wait.
    pub fn new(limit: u32, period: Duration, scope: ConcurrencyScope) -> Self {
        let period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        Self { limit, period_ms, burst: None, scope, key: None, on_excess: OnExcess::Wait }
    }

    /// Sets the maximum number of runs that start at once.
    #[must_use]
    pub fn with_burst(self, burst: u32) -> Self {
        Self { burst: Some(burst), ..self }
    }

    /// Sets the key.
    #[must_use]
    pub fn with_key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Ends a run that exceeds the limit as skipped.
    #[must_use]
    pub fn dropping(self) -> Self {
        Self { on_excess: OnExcess::Drop, ..self }
    }
}

/// What happens to a run that exceeds a rate limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnExcess {
    /// The run waits in `held`.
    #[default]
    Wait,
    /// The run ends as `skipped`. A later attempt of a run waits.
    Drop,
}

impl OnExcess {
    /// Returns the value as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Drop => "drop",
        }
    }
}

//! Concurrency limits of a task.

use serde::{Deserialize, Serialize};

/// Concurrency limit: how many runs may have started and not ended at the same time. Only runs with a limit of the same
/// scope and key count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Concurrency {
    /// Maximum number of runs. Bounds: 1 to 1,000.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000))]
    pub max: u32,
    /// Which runs count. Default: `task`.
    #[serde(default)]
    pub scope: ConcurrencyScope,
    /// Key of the limit, 1 to 128 bytes, such as the name of a customer. Runs with other keys do not count. Default:
    /// no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub key: Option<String>,
}

impl Concurrency {
    /// Returns a limit without a key.
    pub const fn new(max: u32, scope: ConcurrencyScope) -> Self {
        Self { max, scope, key: None }
    }

    /// Sets the key.
    #[must_use]
    pub fn with_key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }
}

/// Which runs count towards a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ConcurrencyScope {
    /// Runs of the task.
    #[default]
    Task,
    /// Runs with the name of the task as their tag.
    Tag,
    /// Runs in the queue of the task.
    Queue,
    /// All runs.
    All,
}

impl ConcurrencyScope {
    /// Returns the scope as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Tag => "tag",
            Self::Queue => "queue",
            Self::All => "all",
        }
    }
}

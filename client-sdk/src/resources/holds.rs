//! Holds: pauses of a queue or a tag.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a hold pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum HoldScope {
    /// A queue: no worker gets a run of the queue.
    Queue,
    /// A tag: no run of tasks with this name is handed over.
    Tag,
}

impl HoldScope {
    /// Returns the scope as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Tag => "tag",
        }
    }
}

/// Body of `POST /v1/holds`: pauses a queue or a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewHold {
    /// `queue` or `tag`.
    pub scope: HoldScope,
    /// Name of the queue, or the tag: the name of tasks. 1 to 128 bytes, without `|`, `*`, control characters, and white
    /// space at the ends.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128, pattern = "^[^|*]+$"))]
    pub name: String,
    /// Reason, for people; at most 500 bytes. Default: empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_length = 500))]
    pub reason: String,
    /// When the hold ends: in the future, and at most 366 days from now. Default: when a person removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl NewHold {
    /// Returns a hold of a queue, without end.
    pub fn of_queue(queue: impl Into<String>) -> Self {
        Self { scope: HoldScope::Queue, name: queue.into(), reason: String::new(), until: None }
    }

    /// Returns a hold of a tag, without end.
    pub fn of_tag(tag: impl Into<String>) -> Self {
        Self { scope: HoldScope::Tag, ..Self::of_queue(tag) }
    }

    /// Sets the reason.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..self }
    }

    /// Sets the end.
    #[must_use]
    pub fn until(self, end: Timestamp) -> Self {
        Self { until: Some(end), ..self }
    }
}

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HoldResource {
    /// `queue` or `tag`.
    pub scope: HoldScope,
    /// Name of the queue, or the tag.
    pub name: String,
    /// Reason.
    pub reason: String,
    /// Name of the token or user that created the hold. Empty: a caller without a token.
    pub created_by: String,
    /// When the hold was created, or last changed.
    pub created_at: Timestamp,
    /// When the hold ends. Absent: when a person removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Answer of `GET /v1/holds`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HoldList {
    /// Holds that have not ended, by scope and name; at most about 1,000.
    pub holds: Vec<HoldResource>,
}

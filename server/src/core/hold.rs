//! Holds: a person pauses a queue or a tag for some time.

use serde::{Deserialize, Serialize};

use super::{Moment, tag};

/// Longest hold with an end: 366 days.
const MAX_HOLD_MS: i64 = 366 * 86_400_000;
/// Longest reason, in bytes.
pub const MAX_REASON_BYTES: usize = 500;

/// What a hold pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldScope {
    /// A queue: no worker gets a run of the queue.
    Queue,
    /// A tag: no run of tasks with this name is handed over.
    Tag,
}

impl HoldScope {
    pub const ALL: [Self; 2] = [Self::Queue, Self::Tag];

    /// Returns the scope as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Tag => "tag",
        }
    }

    /// Returns the scope that [`as_str`](Self::as_str) spells as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// Pauses a queue or a tag. At most one hold exists per scope and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub scope: HoldScope,
    /// Name of the queue or of the tag.
    pub name: String,
    /// Why, for people. May be empty.
    pub reason: String,
    /// Name of the caller that created the hold. Empty: a caller without a token.
    pub created_by: String,
    pub created_at: Moment,
    /// When the hold ends. `None`: when a person removes it.
    pub until: Option<Moment>,
}

impl Hold {
    /// Returns the key of the record: scope and name.
    pub fn key(&self) -> String {
        key(self.scope, &self.name)
    }

    /// Returns whether the hold pauses a queue or a tag at `now`.
    pub fn covers(&self, scope: HoldScope, name: &str, now: Moment) -> bool {
        self.scope == scope && self.name == name && !self.has_ended(now)
    }

    /// Returns whether the hold has ended.
    pub fn has_ended(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// Returns the key of the record of a hold.
pub fn key(scope: HoldScope, name: &str) -> String {
    format!("{}:{name}", scope.as_str())
}

/// A hold to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHold {
    pub scope: HoldScope,
    pub name: String,
    pub reason: String,
    pub until: Option<Moment>,
}

/// Why a hold cannot be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidHold {
    pub field: &'static str,
    pub message: String,
}

impl NewHold {
    /// Checks the rules.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn check(&self, now: Moment) -> Result<(), InvalidHold> {
        let invalid = |field, message: String| Err(InvalidHold { field, message });
        if let Err(why) = tag::check(&self.name) {
            return invalid("name", why.to_string());
        }
        if self.reason.len() > MAX_REASON_BYTES {
            let bytes = self.reason.len();
            return invalid(
                "reason",
                format!("the reason has {bytes} bytes: use at most {MAX_REASON_BYTES}"),
            );
        }
        if self.until.is_some_and(|until| until <= now || until.since(now) > MAX_HOLD_MS) {
            let why = "until should be later than now, and at most 366 days from now: leave it out for a hold without end";
            return invalid("until", why.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_sec(1_000);

    fn new(name: &str) -> NewHold {
        NewHold { scope: HoldScope::Queue, name: name.to_owned(), reason: String::new(), until: None }
    }

    #[test]
    fn an_invalid_hold_names_its_field() {
        let until = |ms| NewHold { until: Some(NOW.plus_ms(ms)), ..new("q") };
        for (hold, field) in [
            (new(""), Some("name")),
            (new(" q"), Some("name")),
            (new(&"q".repeat(129)), Some("name")),
            (NewHold { reason: "r".repeat(501), ..new("q") }, Some("reason")),
            (until(0), Some("until")),
            (until(MAX_HOLD_MS + 1), Some("until")),
            (until(1), None),
            (until(MAX_HOLD_MS), None),
            (NewHold { reason: "r".repeat(500), ..new("q") }, None),
        ] {
            assert_eq!(hold.check(NOW).err().map(|invalid| invalid.field), field, "{hold:?}");
        }
    }

    #[test]
    fn a_hold_covers_its_name_until_its_end() {
        let NewHold { scope, name, reason, .. } = new("q");
        let hold = Hold {
            scope,
            name,
            reason,
            created_by: String::new(),
            created_at: NOW,
            until: Some(NOW.plus_ms(10)),
        };
        for (scope, name, after_ms, is_covered) in [
            (HoldScope::Queue, "q", 0, true),
            (HoldScope::Queue, "q", 9, true),
            (HoldScope::Queue, "q", 10, false),
            (HoldScope::Tag, "q", 0, false),
            (HoldScope::Queue, "p", 0, false),
        ] {
            assert_eq!(hold.covers(scope, name, NOW.plus_ms(after_ms)), is_covered, "{name} {after_ms}");
        }
        assert!(Hold { until: None, ..hold }.covers(HoldScope::Queue, "q", Moment::NEVER));
    }
}

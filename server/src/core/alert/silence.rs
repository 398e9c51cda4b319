//! Silences: alerts that send no notifications for some time.

use serde::{Deserialize, Serialize};

use super::{AlertKey, Measure, pattern};
use crate::core::Moment;

/// Longest silence: 366 days.
const MAX_SILENCE_MS: i64 = 366 * 86_400_000;
/// Longest comment, in bytes.
pub const MAX_COMMENT_BYTES: usize = 500;

/// Suppresses the notifications of matching alerts until a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    pub id: String,
    /// Rule to silence, such as `dead_runs`. `None`: every rule.
    pub rule: Option<String>,
    /// Pattern of the tags, queues, groups, back ends or nodes to silence. `None`: every subject, and
    /// the totals.
    pub subject: Option<String>,
    /// When the silence ends.
    pub until: Moment,
    /// Why, for people. May be empty.
    pub comment: String,
    /// Name of the token that created it. Empty: a caller without a token.
    pub created_by: String,
    pub created_at: Moment,
}

impl Silence {
    /// Returns whether the silence has ended.
    pub fn has_ended(&self, now: Moment) -> bool {
        self.until <= now
    }

    /// Returns whether an alert is silent at `now`.
    pub fn covers(&self, key: &AlertKey, now: Moment) -> bool {
        is_covered(self.rule.as_deref(), self.subject.as_deref(), key) && !self.has_ended(now)
    }
}

/// Returns whether a silence of a rule and of a pattern of subjects covers an alert.
fn is_covered(rule: Option<&str>, subject: Option<&str>, key: &AlertKey) -> bool {
    let is_subject = match (subject, &key.subject) {
        (None, _) => true,
        (Some(pattern), Some(subject)) => pattern::matches(pattern, subject),
        (Some(_), None) => false,
    };
    rule.is_none_or(|rule| rule == key.measure.rule()) && is_subject
}

/// A silence to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSilence {
    pub rule: Option<Measure>,
    pub subject: Option<String>,
    pub until: Moment,
    pub comment: String,
}

/// What a silence covers: a rule and a pattern of subjects. `None`: all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    pub rule: Option<Measure>,
    pub subject: Option<String>,
}

impl Coverage {
    /// Returns whether a silence with this coverage covers an alert.
    pub fn covers(&self, key: &AlertKey) -> bool {
        is_covered(self.rule.map(Measure::rule), self.subject.as_deref(), key)
    }
}

/// Why a silence cannot be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidSilence {
    pub field: &'static str,
    pub message: String,
}

impl NewSilence {
    /// Checks the rules.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn check(&self, now: Moment) -> Result<(), InvalidSilence> {
        let invalid = |field, message: String| Err(InvalidSilence { field, message });
        let is_pattern = |text: &String| (1..=pattern::MAX_BYTES).contains(&text.len());
        if self.subject.as_ref().is_some_and(|subject| !is_pattern(subject)) {
            return invalid(
                "subject",
                format!("subject should have between 1 and {} bytes", pattern::MAX_BYTES),
            );
        }
        if self.rule.is_none() && self.subject.is_none() {
            let why = "name a rule or a subject; the subject \"*\" stands for all";
            return invalid("rule", why.to_owned());
        }
        if self.until <= now || self.until.since(now) > MAX_SILENCE_MS {
            let why = "until should be later than now, and at most 366 days from now";
            return invalid("until", why.to_owned());
        }
        if self.comment.len() > MAX_COMMENT_BYTES {
            return invalid("comment", format!("comment should have at most {MAX_COMMENT_BYTES} bytes"));
        }
        Ok(())
    }
}

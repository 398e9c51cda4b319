//! Silences: alerts that send no notifications for some time.

use serde::{Deserialize, Serialize};

use super::{AlertKey, pattern};
use crate::core::Moment;

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
        let is_rule = self.rule.as_deref().is_none_or(|rule| rule == key.measure.rule());
        let is_subject = match (&self.subject, &key.subject) {
            (None, _) => true,
            (Some(pattern), Some(subject)) => pattern::matches(pattern, subject),
            (Some(_), None) => false,
        };
        is_rule && is_subject && !self.has_ended(now)
    }
}

//! Channels: which alerts each of them gets.

use super::message::Language;
use super::{AlertEvent, Severity, pattern};

/// A channel without its address and its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    pub name: String,
    /// Kind of the channel, such as `dingtalk`.
    pub kind: &'static str,
    pub language: Language,
    /// Lowest severity that the channel gets.
    pub min_severity: Severity,
    /// Rules that the channel gets. Empty: every rule.
    pub rules: Vec<String>,
    /// Patterns of the tags, queues and groups that the channel gets. Empty: every alert. A channel with
    /// patterns gets no totals, and no alerts about nodes and back ends.
    pub tags: Vec<String>,
}

impl Channel {
    /// Returns whether the channel gets an event.
    pub fn wants(&self, event: &AlertEvent) -> bool {
        let measure = event.key.measure;
        let is_subject = self.tags.is_empty()
            || event.key.subject.as_deref().is_some_and(|subject| {
                measure.has_tags() && self.tags.iter().any(|tag| pattern::matches(tag, subject))
            });
        let is_rule = self.rules.is_empty() || self.rules.iter().any(|rule| rule == measure.rule());
        event.severity >= self.min_severity && is_rule && is_subject
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Moment;
    use crate::core::alert::{AlertKey, AlertTransition, Measure};

    fn channel(min_severity: Severity, rules: &[&str], tags: &[&str]) -> Channel {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let (rules, tags) = (words(rules), words(tags));
        Channel { name: "ops".into(), kind: "slack", language: Language::En, min_severity, rules, tags }
    }

    #[test]
    fn a_channel_gets_alerts_by_severity_rule_and_tag() {
        use Measure::{BackEndDown, DeadRuns, Lag};
        let all = channel(Severity::Info, &[], &[]);
        let severe = channel(Severity::Critical, &[], &[]);
        let dead = channel(Severity::Info, &["dead_runs"], &[]);
        let pay = channel(Severity::Info, &[], &["pay.*", "refund"]);
        for (measure, subject, severity, expected) in [
            (DeadRuns, Some("pay.card"), Severity::Warning, [true, false, true, true]),
            (DeadRuns, Some("order"), Severity::Critical, [true, true, true, false]),
            (Lag, None, Severity::Warning, [true, false, false, false]),
            (Lag, Some("refund"), Severity::Warning, [true, false, false, true]),
            (BackEndDown, Some("pay.store"), Severity::Critical, [true, true, false, false]),
        ] {
            let at = Moment::from_sec(0);
            let event = AlertEvent {
                key: AlertKey { measure, subject: subject.map(str::to_owned) },
                change: AlertTransition::Raised,
                severity,
                value: 1,
                threshold: 0,
                since: at,
                at,
            };
            let wanted = [&all, &severe, &dead, &pay].map(|channel| channel.wants(&event));
            assert_eq!(wanted, expected, "{measure:?} {subject:?}");
        }
    }
}

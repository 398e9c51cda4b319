//! Messages for people: short texts in English and Chinese.

mod chinese;
mod english;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{AlertEvent, AlertTransition, Measure, Severity};
use crate::core::Moment;

/// Subjects in one group. Further subjects are counted.
const MAX_SUBJECTS: usize = 10;
/// Characters of one subject.
const MAX_SUBJECT_CHARS: usize = 128;

/// Language of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    #[default]
    En,
    Zh,
}

/// A message about one or several alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// One line without names that users choose.
    pub title: String,
    /// Several lines: for each rule what, where, since when, how many and what to do.
    pub body: String,
}

impl Message {
    /// Returns title and body as one text of at most `max_bytes`.
    pub fn text(&self, max_bytes: usize) -> String {
        let mut text = format!("{}\n{}", self.title, self.body);
        if text.len() > max_bytes {
            let end = (0..=max_bytes.saturating_sub(4)).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            text.push_str("\n…");
        }
        text
    }
}

/// The words of a language.
struct Words {
    severity: fn(Severity) -> &'static str,
    change: fn(AlertTransition) -> &'static str,
    /// Title of a rule.
    title: fn(Measure) -> &'static str,
    /// Text of a value with its threshold.
    value: fn(Measure, u64, i64) -> String,
    /// What to do while the alert is raised.
    advice: fn(Measure) -> &'static str,
    /// Name of the total of all subjects.
    all: &'static str,
    since: &'static str,
    more: fn(usize) -> String,
    alerts: fn(usize) -> String,
    test: (&'static str, &'static str),
}

fn words(language: Language) -> &'static Words {
    match language {
        Language::En => &english::WORDS,
        Language::Zh => &chinese::WORDS,
    }
}

/// Returns the title of a rule, such as `dead runs`.
pub fn rule_title(measure: Measure, language: Language) -> &'static str {
    (words(language).title)(measure)
}

/// Returns a value with its threshold and its unit.
pub fn value_text(measure: Measure, value: u64, threshold: i64, language: Language) -> String {
    (words(language).value)(measure, value, threshold)
}

/// Returns what to do while an alert of a rule is raised.
pub fn advice(measure: Measure, language: Language) -> &'static str {
    (words(language).advice)(measure)
}

/// Returns the word of a severity.
pub fn severity_word(severity: Severity, language: Language) -> &'static str {
    (words(language).severity)(severity)
}

/// Returns the message about some events: one group for each rule and change, raised ones first, severe
/// ones first. `link` is the address of the console; empty: no link.
pub fn render(events: &[AlertEvent], language: Language, link: &str) -> Message {
    let words = words(language);
    let mut groups: Vec<Vec<&AlertEvent>> = Vec::new();
    for event in events {
        let is_alike = |group: &&mut Vec<&AlertEvent>| {
            (group[0].key.measure, group[0].change) == (event.key.measure, event.change)
        };
        match groups.iter_mut().find(is_alike) {
            Some(group) => group.push(event),
            None => groups.push(vec![event]),
        }
    }
    groups.sort_by_key(|group| {
        let severity = group.iter().map(|event| event.severity).max();
        (group[0].change, std::cmp::Reverse(severity))
    });
    let mut body = groups.iter().map(|group| describe(group, words)).collect::<Vec<_>>().join("\n\n");
    if !link.is_empty() {
        let _ = write!(body, "\n\n{link}");
    }
    Message { title: title(events, &groups, words), body }
}

/// Returns the message that tests a channel.
pub fn render_test(channel: &str, at: Moment, language: Language, link: &str) -> Message {
    let words = words(language);
    let link = if link.is_empty() { String::new() } else { format!("\n{link}") };
    Message {
        title: format!("[taskcenter] {}", words.test.0),
        body: format!("{} {channel}, {at}{link}", words.test.1),
    }
}

fn title(events: &[AlertEvent], groups: &[Vec<&AlertEvent>], words: &Words) -> String {
    let (severity, change) = summary(events);
    let what = match groups {
        [group] => (words.title)(group[0].key.measure).to_owned(),
        _ => (words.alerts)(events.len()),
    };
    format!("[taskcenter] {} · {} · {what}", (words.severity)(severity), (words.change)(change))
}

/// Returns the highest severity, and the most urgent change.
fn summary(events: &[AlertEvent]) -> (Severity, AlertTransition) {
    let severity = events.iter().map(|event| event.severity).max().unwrap_or(Severity::Info);
    let has = |change| events.iter().any(|event| event.change == change);
    let order = [AlertTransition::Raised, AlertTransition::Reminder];
    (severity, order.into_iter().find(|change| has(*change)).unwrap_or(AlertTransition::Cleared))
}

fn describe(group: &[&AlertEvent], words: &Words) -> String {
    let (measure, change) = (group[0].key.measure, group[0].change);
    let severity = group.iter().map(|event| event.severity).max().unwrap_or(Severity::Info);
    let mut text =
        format!("{} ({}, {})", (words.title)(measure), (words.severity)(severity), (words.change)(change));
    for event in group.iter().take(MAX_SUBJECTS) {
        let subject = event.key.subject.as_deref().map_or_else(|| words.all.to_owned(), shown);
        let value = (words.value)(measure, event.value, event.threshold);
        let _ = write!(text, "\n- {subject}: {value}, {} {}", words.since, minute(event.since));
    }
    if group.len() > MAX_SUBJECTS {
        let _ = write!(text, "\n- {}", (words.more)(group.len() - MAX_SUBJECTS));
    }
    if change != AlertTransition::Cleared {
        let _ = write!(text, "\n{}", (words.advice)(measure));
    }
    text
}

/// Returns a name that users choose on one line.
fn shown(subject: &str) -> String {
    subject.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SUBJECT_CHARS).collect()
}

/// Returns the moment without its fraction of a second.
fn minute(at: Moment) -> String {
    let text = at.to_string();
    text.split_once('.').map_or(text.clone(), |(whole, _)| format!("{}Z", whole.trim_end_matches('Z')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::alert::AlertKey;

    fn event(measure: Measure, subject: &str, change: AlertTransition) -> AlertEvent {
        AlertEvent {
            key: AlertKey { measure, subject: Some(subject.to_owned()) },
            change,
            severity: Severity::Warning,
            value: 14,
            threshold: 10,
            since: Moment::from_sec(60),
            at: Moment::from_sec(120),
        }
    }

    #[test]
    fn a_message_says_what_where_since_when_how_many_and_what_to_do() {
        let events = [event(Measure::DeadRuns, "order.close", AlertTransition::Raised)];
        let message = render(&events, Language::En, "https://tc.example");
        assert_eq!(message.title, "[taskcenter] warning · raised · dead runs");
        assert_eq!(
            message.body,
            "dead runs (warning, raised)\n\
             - order.close: 14 (threshold 10), since 1970-01-01T00:01:00Z\n\
             Read the errors: taskcenter run list --state dead. Fix the cause, then retry the runs.\n\n\
             https://tc.example"
        );
        let message = render(&events, Language::Zh, "");
        assert_eq!(message.title, "[taskcenter] 警告 · 触发 · 任务执行失败（dead）");
        assert!(
            message.body.contains("- order.close: 14（阈值 10）, 开始于 1970-01-01T00:01:00Z"),
            "{}",
            message.body
        );
    }

    #[test]
    fn alerts_of_a_rule_are_one_group_with_a_bounded_list() {
        let mut events: Vec<_> =
            (0..12).map(|n| event(Measure::DeadRuns, &format!("tag-{n}"), AlertTransition::Raised)).collect();
        events.push(event(Measure::Clock, "node\nx", AlertTransition::Cleared));
        let message = render(&events, Language::En, "");
        assert_eq!(message.title, "[taskcenter] warning · raised · 13 alerts");
        assert_eq!(message.body.matches("dead runs").count(), 1);
        assert_eq!(message.body.matches("\n- tag-").count(), MAX_SUBJECTS);
        assert!(message.body.contains("\n- and 2 more"), "{}", message.body);
        assert!(message.body.contains("\n- node x: "), "a name cannot add lines: {}", message.body);
        assert!(message.text(100).len() <= 100);
    }

    #[test]
    fn every_rule_has_words_in_both_languages() {
        let mut seen = std::collections::BTreeSet::new();
        for measure in Measure::ALL {
            for language in [Language::En, Language::Zh] {
                let words = words(language);
                assert!(seen.insert((words.title)(measure)), "{measure:?} has a title of its own");
                assert!(!(words.advice)(measure).is_empty());
                assert_ne!((words.value)(measure, 7, 3), (words.value)(measure, 0, 3), "{measure:?}");
            }
        }
    }
}

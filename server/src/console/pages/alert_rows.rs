//! Rows and words of alerts, silences, rules and channels.

use std::collections::BTreeMap;

use super::super::html::{self, Markup};
use super::super::time::duration;
use super::super::words::{Lang, Words, fill};
use crate::core::Moment;
use crate::core::alert::message::{self, Language};
use crate::core::alert::{Measure, Rule, Severity, Silence};
use crate::engine::service::{Alert, ChannelStatus, EndedAlert};

/// Returns the language of the messages of alerts.
fn language(lang: Lang) -> Language {
    match lang {
        Lang::En => Language::En,
        Lang::Zh => Language::Zh,
    }
}

/// Returns the words of a rule. A rule of a newer release has its name only.
pub fn rule_title(rule: &str, lang: Lang) -> String {
    let title = Measure::of_rule(rule).map(|measure| message::rule_title(measure, language(lang)));
    title.unwrap_or(rule).to_owned()
}

/// Returns the pill of a severity.
pub fn severity_pill(severity: Severity, lang: Lang) -> Markup {
    let (class, icon) = match severity {
        Severity::Info => ("run", "info"),
        Severity::Warning => ("retry", "warn"),
        Severity::Critical => ("dead", "warn"),
    };
    html::pill(class, icon, message::severity_word(severity, language(lang)))
}

/// Returns the path of the form for a silence.
pub fn silence_href(rule: &str, subject: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("rule", rule);
    query.extend_pairs(subject.map(|subject| ("subject", subject)));
    format!("/console/alerts/silences/new?{}", query.finish())
}

/// A raised alert.
pub struct AlertLine {
    pub key: String,
    pub severity: Severity,
    pub pill: Markup,
    pub title: String,
    pub subject: String,
    pub value: String,
    pub advice: String,
    pub since: Moment,
    pub is_silenced: bool,
    pub silence_href: String,
}

impl AlertLine {
    pub fn new(alert: Alert, lang: Lang) -> Self {
        let (t, measure) = (lang.words(), Measure::of_rule(&alert.rule));
        let value = |measure| message::value_text(measure, alert.value, alert.threshold, language(lang));
        Self {
            key: format!("{} {}", alert.rule, alert.subject.as_deref().unwrap_or_default()),
            severity: alert.severity,
            pill: severity_pill(alert.severity, lang),
            title: rule_title(&alert.rule, lang),
            value: measure.map_or_else(|| alert.value.to_string(), value),
            advice: measure.map_or("", |measure| message::advice(measure, language(lang))).to_owned(),
            since: alert.since,
            is_silenced: alert.silenced_by.is_some(),
            silence_href: silence_href(&alert.rule, alert.subject.as_deref()),
            subject: subject_text(alert.subject, t),
        }
    }
}

fn subject_text(subject: Option<String>, t: &Words) -> String {
    subject.unwrap_or_else(|| t.alert_total.clone())
}

/// An alert that has ended.
pub struct EndedLine {
    pub key: String,
    pub pill: Markup,
    pub title: String,
    pub subject: String,
    pub lasted: String,
    pub resolved_at: Moment,
}

impl EndedLine {
    pub fn new(alert: EndedAlert, lang: Lang) -> Self {
        let t = lang.words();
        let subject = alert.subject.as_deref().unwrap_or_default();
        Self {
            key: format!("{} {} {}", alert.rule, alert.resolved_at.ms(), subject),
            pill: severity_pill(alert.severity, lang),
            title: rule_title(&alert.rule, lang),
            lasted: duration(alert.resolved_at.since(alert.since), t),
            resolved_at: alert.resolved_at,
            subject: subject_text(alert.subject, t),
        }
    }
}

/// Returns the titles of all rules, if a silence has no rule of its own.
pub fn covered_rules(rule: Option<&str>, lang: Lang) -> Vec<String> {
    let all = Measure::ALL.into_iter().filter(|_| rule.is_none());
    all.map(|measure| rule_title(measure.rule(), lang)).collect()
}

/// A silence.
pub struct SilenceLine {
    pub id: String,
    pub rule: String,
    pub subject: String,
    /// Titles of all rules, if the silence has no rule of its own.
    pub rules: Vec<String>,
    /// Raised alerts that the silence hides now.
    pub hides: Vec<AlertLine>,
    pub until: Moment,
    pub comment: String,
    pub creator: String,
    pub end_href: String,
}

impl SilenceLine {
    /// `alerts` are the raised alerts.
    pub fn new(silence: Silence, alerts: &[Alert], lang: Lang) -> Self {
        let t = lang.words();
        let hidden = alerts.iter().filter(|alert| alert.silenced_by.as_ref() == Some(&silence.id));
        Self {
            hides: hidden.map(|alert| AlertLine::new(alert.clone(), lang)).collect(),
            rules: covered_rules(silence.rule.as_deref(), lang),
            end_href: format!("/console/alerts/silences/{}/end", silence.id),
            id: silence.id,
            rule: silence.rule.map_or_else(|| t.silence_every_rule.clone(), |rule| rule_title(&rule, lang)),
            subject: silence.subject.unwrap_or_else(|| t.silence_every_subject.clone()),
            until: silence.until,
            comment: silence.comment,
            creator: silence.created_by,
        }
    }
}

/// A rule with its state.
pub struct RuleLine {
    pub rule: &'static str,
    pub title: String,
    pub severity: Markup,
    pub threshold: String,
    pub lasting: String,
    pub reminder: String,
    pub state: Markup,
}

impl RuleLine {
    /// `raised` has the number of raised alerts by rule.
    pub fn new(measure: Measure, rule: &Rule, raised: &BTreeMap<String, u64>, lang: Lang) -> Self {
        let t = lang.words();
        let number = raised.get(measure.rule()).copied().unwrap_or_default();
        let state = match number {
            0 => html::pill("ok", "check", &t.alert_quiet),
            number => html::pill("dead", "bell", &fill(&t.alert_number, &[&html::count(number)])),
        };
        let none = || t.not_set.clone();
        Self {
            rule: measure.rule(),
            title: message::rule_title(measure, language(lang)).to_owned(),
            severity: severity_pill(rule.severity, lang),
            threshold: threshold_text(rule, t),
            lasting: if rule.for_ms > 0 { duration(rule.for_ms, t) } else { "–".to_owned() },
            reminder: rule.remind_ms.map_or_else(none, |ms| fill(&t.every, &[&duration(ms, t)])),
            state,
        }
    }
}

/// Returns the thresholds of one subject and of the total.
fn threshold_text(rule: &Rule, t: &Words) -> String {
    let one = rule.one.map(|one| fill(&t.alert_above, &[&html::count(one)]));
    let total = rule.total.map(|total| fill(&t.alert_above_total, &[&html::count(total)]));
    one.into_iter().chain(total).collect::<Vec<_>>().join(" · ")
}

/// A channel with what happened to its last messages.
pub struct ChannelLine {
    pub name: String,
    pub kind: &'static str,
    pub severity: Markup,
    pub rules: String,
    pub tags: String,
    pub last_delivered_at: Option<Moment>,
    pub last_error: String,
}

impl ChannelLine {
    pub fn new(status: ChannelStatus, lang: Lang) -> Self {
        let ChannelStatus { channel, last_error, last_delivered_at } = status;
        let all = |items: Vec<String>| {
            if items.is_empty() { lang.words().tags_all.clone() } else { items.join(", ") }
        };
        Self {
            name: channel.name,
            kind: channel.kind,
            severity: severity_pill(channel.min_severity, lang),
            rules: all(channel.rules),
            tags: all(channel.tags),
            last_delivered_at,
            last_error: last_error.unwrap_or_default(),
        }
    }
}

//! Section `alerts`: thresholds, rules and channels.

mod rules;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::rules::{RuleSections, RuleSeverity};
use super::{Config, Secret};
use crate::core::alert::message::Language;
use crate::core::alert::{Limits, Rules, Severity};
use crate::engine::settings::AlertWindows;

/// Backlog alerts. The thresholds for fires a minute are in `task_center`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// Due moments of one tag that have not fired. 0 or less: off.
    pub due_per_tag: i64,
    /// Due moments of all tags that have not fired. 0 or less: off.
    pub due_total: i64,
    /// Fired runs of one tag without an outcome. 0 or less: off.
    pub unreported_per_tag: i64,
    /// Fired runs of all tags without an outcome. 0 or less: off.
    pub unreported_total: i64,
    /// Messages that wait for one consumer group, or ready runs of one queue. 0 or less: off.
    pub lag_per_group: i64,
    /// Waiting messages and ready runs in total. 0 or less: off.
    pub lag_total: i64,
    /// An alert ends when the value falls below this fraction of the threshold.
    pub clear_ratio: f64,
    /// Minutes after which an active alert is sent again. 0: never.
    pub remind_min: u64,
    /// URL that receives alerts as JSON. Empty: none. Secret, because such URLs often contain a
    /// token.
    pub webhook_url: Secret,
    /// Longest time for one request to the webhook.
    pub webhook_timeout_ms: u64,
    /// Maximum number of requests for one alert.
    pub webhook_attempts: u32,
    /// Seconds that a backlog must be above its threshold before it raises an alert.
    pub for_sec: u64,
    /// Address of the server as people reach it, for links in messages. Empty: no links.
    pub public_url: String,
    /// Rules beside the backlog.
    pub rules: RuleSections,
    /// Channels by name.
    pub channels: BTreeMap<String, ChannelSection>,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            due_per_tag: 1_000,
            due_total: 10_000,
            unreported_per_tag: 1_000,
            unreported_total: 10_000,
            lag_per_group: 10_000,
            lag_total: 100_000,
            clear_ratio: 0.8,
            remind_min: 10,
            webhook_url: Secret::default(),
            webhook_timeout_ms: 5_000,
            webhook_attempts: 3,
            for_sec: 0,
            public_url: String::new(),
            rules: RuleSections::default(),
            channels: BTreeMap::new(),
        }
    }
}

/// Kind of a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    #[default]
    Webhook,
    Dingtalk,
    Feishu,
    Wecom,
    Slack,
    Email,
}

/// Encryption of the connection to a mail server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// Plain text first, then TLS. Refuses a server without TLS.
    #[default]
    Starttls,
    /// TLS from the start.
    Tls,
    /// No encryption.
    None,
}

/// A channel, such as `[alerts.channels.ops]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChannelSection {
    pub kind: ChannelKind,
    /// Address of the webhook or robot. Secret, because it contains a token.
    pub url: Secret,
    /// Secret of the signature. Empty: messages are not signed.
    pub secret: Secret,
    pub language: Language,
    /// Lowest severity that the channel gets.
    pub min_severity: Severity,
    /// Rules that the channel gets. Empty: every rule.
    pub rules: Vec<String>,
    /// Patterns of the tags, queues and groups that the channel gets. Empty: everything.
    pub tags: Vec<String>,
    /// Maximum time for one attempt.
    pub timeout_ms: u64,
    /// Maximum number of attempts for one message.
    pub attempts: u32,
    /// Mail server.
    pub smtp_host: String,
    pub smtp_port: u16,
    pub smtp_tls: MailTls,
    /// User of the mail server. Empty: no login.
    pub smtp_user: String,
    pub smtp_password: Secret,
    /// Sender of the mails.
    pub from: String,
    /// Recipients of the mails.
    pub to: Vec<String>,
}

impl Default for ChannelSection {
    fn default() -> Self {
        Self {
            kind: ChannelKind::default(),
            url: Secret::default(),
            secret: Secret::default(),
            language: Language::default(),
            min_severity: Severity::Info,
            rules: Vec::new(),
            tags: Vec::new(),
            timeout_ms: 5_000,
            attempts: 5,
            smtp_host: String::new(),
            smtp_port: 587,
            smtp_tls: MailTls::default(),
            smtp_user: String::new(),
            smtp_password: Secret::default(),
            from: String::new(),
            to: Vec::new(),
        }
    }
}

impl Config {
    /// The thresholds of the backlog.
    pub fn alert_limits(&self) -> Limits {
        let (old, new) = (&self.task_center, &self.alerts);
        Limits {
            fires: (old.name_alert_count, old.total_alert_count),
            due: (new.due_per_tag, new.due_total),
            unreported: (new.unreported_per_tag, new.unreported_total),
            lag: (new.lag_per_group, new.lag_total),
            clear_ratio: new.clear_ratio,
            remind_ms: (new.remind_min > 0)
                .then(|| i64::try_from(new.remind_min.saturating_mul(60_000)).unwrap_or(i64::MAX)),
        }
    }

    /// The rules of all alerts.
    pub fn alert_rules(&self) -> Rules {
        let limits = self.alert_limits();
        let mut rules = Rules::from(limits);
        for rule in rules.0.values_mut() {
            rule.for_ms = rules::ms(self.alerts.for_sec);
        }
        let own = self.alerts.rules.all().into_iter();
        rules.0.extend(own.map(|(measure, rule)| {
            let (clear_ratio, remind_ms) = (limits.clear_ratio, limits.remind_ms);
            (measure, crate::core::alert::Rule { clear_ratio, remind_ms, ..rule })
        }));
        rules
    }

    /// The windows of the alert checks.
    pub fn alert_windows(&self) -> AlertWindows {
        self.alerts.rules.windows()
    }
}

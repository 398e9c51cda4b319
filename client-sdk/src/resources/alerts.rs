//! Alerts, silences and channels.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A raised alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertResource {
    /// Name of the rule, such as `dead_runs`.
    pub rule: String,
    /// Tag, queue, consumer group, back end or node. Absent: the total of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// Last value.
    pub value: u64,
    /// The alert was raised because the value was above this threshold.
    pub threshold: i64,
    /// When the value exceeded the threshold.
    pub since: Timestamp,
    /// Id of the silence that suppresses the notifications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silenced_by: Option<String>,
}

/// An alert that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResolvedAlert {
    /// Name of the rule, such as `dead_runs`.
    pub rule: String,
    /// Tag, queue, consumer group, back end or node. Absent: the total of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// When the value exceeded the threshold.
    pub since: Timestamp,
    /// When the value was low again.
    pub resolved_at: Timestamp,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertRule {
    /// Name of the rule, such as `dead_runs`.
    pub rule: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// Threshold of one subject. Absent: no such alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u64>,
    /// Threshold of the total of all subjects. Absent: no such alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold_total: Option<u64>,
    /// Seconds that the value must be above the threshold.
    pub for_sec: u64,
    /// Seconds between reminders. Absent: no reminders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_sec: Option<u64>,
}

/// A channel, without its address and its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertChannel {
    /// Name of the channel.
    pub name: String,
    /// `webhook`, `dingtalk`, `feishu`, `wecom`, `slack` or `email`.
    pub kind: String,
    /// `en` or `zh`.
    pub language: String,
    /// Lowest severity that the channel gets.
    pub min_severity: String,
    /// Rules that the channel gets. Empty: every rule.
    pub rules: Vec<String>,
    /// Patterns of the tags, queues and groups that the channel gets. Empty: every alert.
    pub tags: Vec<String>,
    /// Why the node did not deliver its last message. Absent: it did, or there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When the receiver last accepted a message of the node. Absent: not since the start of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_delivered_at: Option<Timestamp>,
}

/// Body of `POST /v1/alerts/silences`: alerts that send no notifications for some time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewSilence {
    /// Name of the rule, such as `dead_runs`. Default: every rule. `rule` or `subject` is required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[a-z_]+$", max_length = 32))]
    pub rule: Option<String>,
    /// Pattern of tags, queues, groups, back ends or nodes, such as `pay.*`; 1 to 255 bytes. Default:
    /// every subject, and the totals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub subject: Option<String>,
    /// When the silence ends: in the future, and at most 366 days from now.
    pub until: Timestamp,
    /// Reason, for people; at most 500 bytes. Default: empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_length = 500))]
    pub comment: String,
}

/// A silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SilenceResource {
    /// Id of the silence.
    pub id: String,
    /// Name of the rule. Absent: every rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Pattern of the subjects. Absent: every subject, and the totals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When the silence ends.
    pub until: Timestamp,
    /// Reason.
    pub comment: String,
    /// Name of the token that created the silence. Empty: a caller without a token.
    pub created_by: String,
    /// When the silence was created.
    pub created_at: Timestamp,
}

/// Answer of `GET /v1/alerts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertList {
    /// Raised alerts of all nodes, most severe first, then oldest first; at most 500.
    pub alerts: Vec<AlertResource>,
    /// Number of raised alerts.
    pub total: u64,
    /// Alerts that ended within the last 24 hours, latest first; at most 50. A node that stops forgets its ended
    /// alerts.
    #[serde(default)]
    pub resolved: Vec<ResolvedAlert>,
    /// Silences that have not ended, by id.
    pub silences: Vec<SilenceResource>,
    /// Rules of this node.
    pub rules: Vec<AlertRule>,
    /// Channels of this node.
    pub channels: Vec<AlertChannel>,
}

/// Answer of `POST /v1/alerts/channels/{name}/test`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChannelTest {
    /// Name of the channel.
    pub channel: String,
    /// Whether the receiver accepted the message.
    pub delivered: bool,
    /// Why the message was not delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

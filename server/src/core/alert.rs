//! Alerts: what is measured, the rules, and the decision which notifications to send.

pub mod channel;
mod decision;
pub mod message;
pub mod pattern;
pub mod recent;
mod resolved;
mod rules;
mod silence;

pub use decision::{ActiveAlert, Alerts};
pub use resolved::ResolvedAlert;
pub use rules::{Limits, Rule, Rules, Severity};
pub use silence::{Coverage, InvalidSilence, NewSilence, Silence};

use super::Moment;

/// A quantity with a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Runs fired per minute, by tag.
    Fires,
    /// Moments that are due but not fired, by tag.
    Due,
    /// Runs that were fired and have no outcome yet, by tag.
    Unreported,
    /// Messages that wait in the broker, by consumer group.
    Lag,
    /// Runs that became dead within a window, by tag.
    DeadRuns,
    /// Runs that became dead within the quiet time, by tag: more than 0 is the first one after a
    /// quiet time.
    FirstDead,
    /// Ready runs of a queue from which no worker takes runs, by queue.
    NoWorker,
    /// Runs whose workers neither settled nor renewed them in time, within a window, by tag. Each
    /// node counts those that it rescues.
    ExpiredLeases,
    /// Seconds by which the longest overdue moment is late, by tag.
    Undecided,
    /// 1 for a back end that does not answer, by back end.
    BackEndDown,
    /// Milliseconds by which the clock of the node is wrong or was set, by node.
    Clock,
    /// Nodes that are missing, compared with the last hour.
    NodesMissing,
    /// Runs that wait for a concurrency limit without a free slot, by limit.
    LimitSaturated,
    /// Milliseconds by which the slowest percent of the runs was handed over late within a window, by node. Each
    /// node measures its own runs.
    Lateness,
}

impl Measure {
    /// All measures.
    pub const ALL: [Self; 14] = [
        Self::Fires,
        Self::Due,
        Self::Unreported,
        Self::Lag,
        Self::DeadRuns,
        Self::FirstDead,
        Self::NoWorker,
        Self::ExpiredLeases,
        Self::Undecided,
        Self::BackEndDown,
        Self::Clock,
        Self::NodesMissing,
        Self::LimitSaturated,
        Self::Lateness,
    ];

    /// Returns the name of the rule, as in the API and in silences.
    pub const fn rule(self) -> &'static str {
        use Measure as M;
        match self {
            M::Fires => "fires",
            M::Due => "due",
            M::Unreported => "unreported",
            M::Lag => "lag",
            M::DeadRuns => "dead_runs",
            M::FirstDead => "first_dead",
            M::NoWorker => "no_worker",
            M::ExpiredLeases => "expired_leases",
            M::Undecided => "undecided",
            M::BackEndDown => "back_end_down",
            M::Clock => "clock",
            M::NodesMissing => "nodes_missing",
            M::LimitSaturated => "limit_saturated",
            M::Lateness => "lateness",
        }
    }

    /// Returns the measure with the name of a rule.
    pub fn of_rule(rule: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|measure| measure.rule() == rule)
    }

    /// Returns whether the subjects are tags, queues or consumer groups, which channels select by
    /// patterns.
    pub fn has_tags(self) -> bool {
        use Measure as M;
        !matches!(self, M::BackEndDown | M::Clock | M::NodesMissing | M::LimitSaturated | M::Lateness)
    }
}

/// Identifies an alert: a measure of one tag or group, or of all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlertKey {
    pub measure: Measure,
    /// Tag or consumer group. `None`: the total of all.
    pub subject: Option<String>,
}

impl AlertKey {
    /// Returns the first word of the log line. The first two codes are part of the v1 contract.
    pub fn code(&self) -> &'static str {
        match (self.measure, &self.subject) {
            (Measure::Fires, Some(_)) => "#NAME_TO_MANY_TASK",
            (Measure::Fires, None) => "#TOTAL_TO_MANY_TASK",
            (Measure::Due, Some(_)) => "#BACKLOG_DUE",
            (Measure::Due, None) => "#BACKLOG_DUE_TOTAL",
            (Measure::Unreported, Some(_)) => "#BACKLOG_UNREPORTED",
            (Measure::Unreported, None) => "#BACKLOG_UNREPORTED_TOTAL",
            (Measure::Lag, Some(_)) => "#CONSUMER_LAG",
            (Measure::Lag, None) => "#CONSUMER_LAG_TOTAL",
            (Measure::DeadRuns, _) => "#DEAD_RUNS",
            (Measure::FirstDead, _) => "#FIRST_DEAD",
            (Measure::NoWorker, _) => "#NO_WORKER",
            (Measure::ExpiredLeases, _) => "#EXPIRED_LEASES",
            (Measure::Undecided, _) => "#UNDECIDED",
            (Measure::BackEndDown, _) => "#BACK_END_DOWN",
            (Measure::Clock, _) => "#CLOCK",
            (Measure::NodesMissing, _) => "#NODES_MISSING",
            (Measure::LimitSaturated, _) => "#LIMIT_SATURATED",
            (Measure::Lateness, _) => "#LATENESS",
        }
    }

    /// Returns the name of the alert in metrics and webhooks.
    pub fn kind(&self) -> &'static str {
        match (self.measure, &self.subject) {
            (Measure::Fires, Some(_)) => "fires_per_tag",
            (Measure::Fires, None) => "fires_total",
            (Measure::Due, Some(_)) => "due_per_tag",
            (Measure::Due, None) => "due_total",
            (Measure::Unreported, Some(_)) => "unreported_per_tag",
            (Measure::Unreported, None) => "unreported_total",
            (Measure::Lag, Some(_)) => "lag_per_group",
            (Measure::Lag, None) => "lag_total",
            (measure, _) => measure.rule(),
        }
    }
}

/// The current values of a measure. A missing tag or group has the value 0. A measure without a
/// reading keeps its alerts unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub measure: Measure,
    /// Value of each tag or group.
    pub rows: Vec<(String, u64)>,
}

/// A change of an alert, most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertTransition {
    /// The value has exceeded the threshold.
    Raised,
    /// The alert is still raised, and the reminder interval has passed.
    Reminder,
    /// The value is below the threshold again.
    Cleared,
}

/// A notification about an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertEvent {
    pub key: AlertKey,
    pub change: AlertTransition,
    pub severity: Severity,
    pub value: u64,
    pub threshold: i64,
    /// When the alert was raised.
    pub since: Moment,
    /// When the value was read.
    pub at: Moment,
}

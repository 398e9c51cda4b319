//! Rules: when a measure raises and clears its alerts, and how severe they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AlertKey, Measure};

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    /// Returns the word in messages, in the API and in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// The rule of one measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Threshold of one subject. An alert is raised above it. `None`: no such alert.
    pub one: Option<u64>,
    /// Threshold of the total of all subjects. `None`: no such alert.
    pub total: Option<u64>,
    /// An alert is cleared below threshold times `clear_ratio`, and at 0.
    pub clear_ratio: f64,
    /// How long the value must be above the threshold, in milliseconds.
    pub for_ms: i64,
    /// Interval of reminders, in milliseconds. `None`: no reminders.
    pub remind_ms: Option<i64>,
    pub severity: Severity,
}

impl Rule {
    /// Returns a rule for single subjects that is raised above `threshold`, without a total.
    pub fn above(threshold: u64, severity: Severity) -> Self {
        Self { one: Some(threshold), total: None, clear_ratio: 0.8, for_ms: 0, remind_ms: None, severity }
    }

    pub(super) fn threshold(&self, key: &AlertKey) -> Option<u64> {
        if key.subject.is_some() { self.one } else { self.total }
    }

    pub(super) fn is_below(&self, value: u64, threshold: u64) -> bool {
        value == 0 || (value as f64) < threshold as f64 * self.clear_ratio
    }
}

/// The rule of each measure. A measure without a rule raises no alerts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules(pub BTreeMap<Measure, Rule>);

/// Thresholds of the backlog: for one tag or group, and for the total. 0 or less disables a threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Fires per minute.
    pub fires: (i64, i64),
    /// Moments that are due but not fired.
    pub due: (i64, i64),
    /// Runs that were fired and have no outcome yet.
    pub unreported: (i64, i64),
    /// Messages that wait in the broker.
    pub lag: (i64, i64),
    /// An alert is cleared below threshold times `clear_ratio`.
    pub clear_ratio: f64,
    /// Interval of reminders, in milliseconds. `None`: no reminders.
    pub remind_ms: Option<i64>,
}

impl From<Limits> for Rules {
    fn from(limits: Limits) -> Self {
        let rule = |(one, total): (i64, i64)| {
            let threshold = |limit: i64| u64::try_from(limit).ok().filter(|limit| *limit > 0);
            let (one, total, severity) = (threshold(one), threshold(total), Severity::Warning);
            let (clear_ratio, remind_ms) = (limits.clear_ratio, limits.remind_ms);
            Rule { one, total, clear_ratio, for_ms: 0, remind_ms, severity }
        };
        let Limits { fires, due, unreported, lag, .. } = limits;
        let rules = [
            (Measure::Fires, fires),
            (Measure::Due, due),
            (Measure::Unreported, unreported),
            (Measure::Lag, lag),
        ];
        Self(rules.map(|(measure, limit)| (measure, rule(limit))).into_iter().collect())
    }
}

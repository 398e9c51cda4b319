//! Alerts: thresholds with hysteresis, and reminders.

use std::collections::{BTreeMap, BTreeSet};

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
        }
    }
}

/// Thresholds: for one tag or group, and for the total. 0 or less disables a threshold.
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

impl Limits {
    fn of(&self, key: &AlertKey) -> i64 {
        let (one, all) = match key.measure {
            Measure::Fires => self.fires,
            Measure::Due => self.due,
            Measure::Unreported => self.unreported,
            Measure::Lag => self.lag,
        };
        if key.subject.is_some() { one } else { all }
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

/// A change of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    pub value: u64,
    pub threshold: i64,
    /// When the alert was raised.
    pub since: Moment,
    /// When the value was read.
    pub at: Moment,
}

#[derive(Debug, Clone, Copy)]
struct Raised {
    since: Moment,
    notified_at: Moment,
}

/// The raised alerts, and the rules that raise and clear them.
#[derive(Debug)]
pub struct Alerts {
    limits: Limits,
    raised: BTreeMap<AlertKey, Raised>,
}

impl Alerts {
    /// Starts without raised alerts.
    pub fn new(limits: Limits) -> Self {
        Self { limits, raised: BTreeMap::new() }
    }

    /// Returns the raised alerts.
    pub fn raised(&self) -> impl Iterator<Item = &AlertKey> {
        self.raised.keys()
    }

    /// Drops every alert without a notification: another node now watches the backlog.
    pub fn clear(&mut self) {
        self.raised.clear();
    }

    /// Applies the values read at `now`, and returns the notifications to send.
    pub fn evaluate(&mut self, readings: &[Reading], now: Moment) -> Vec<AlertEvent> {
        let values = readings.iter().flat_map(|reading| self.values(reading));
        let values: BTreeMap<_, _> = values.collect();
        values.into_iter().filter_map(|(key, value)| self.judge(key, value, now)).collect()
    }

    /// Returns the value of each subject, of the total, and 0 for raised alerts whose subject is
    /// missing.
    fn values(&self, reading: &Reading) -> BTreeMap<AlertKey, u64> {
        let key = |subject| AlertKey { measure: reading.measure, subject };
        let missing: BTreeSet<_> =
            self.raised.keys().filter(|raised| raised.measure == reading.measure).cloned().collect();
        let mut values: BTreeMap<_, _> = missing.into_iter().map(|key| (key, 0)).collect();
        values.extend(reading.rows.iter().map(|(subject, value)| (key(Some(subject.clone())), *value)));
        values.insert(key(None), reading.rows.iter().map(|(_, value)| value).sum());
        values
    }

    fn judge(&mut self, key: AlertKey, value: u64, now: Moment) -> Option<AlertEvent> {
        let threshold = self.limits.of(&key);
        let exceeds = threshold > 0 && value > threshold as u64;
        let is_below = (value as f64) < threshold as f64 * self.limits.clear_ratio;
        let raised = self.raised.get(&key).copied();
        let (change, since) = match raised {
            None if exceeds => (AlertTransition::Raised, now),
            Some(raised) if is_below => (AlertTransition::Cleared, raised.since),
            Some(raised) if self.remind_due(raised, now) => (AlertTransition::Reminder, raised.since),
            None | Some(_) => return None,
        };
        match change {
            AlertTransition::Cleared => self.raised.remove(&key),
            AlertTransition::Raised | AlertTransition::Reminder => {
                self.raised.insert(key.clone(), Raised { since, notified_at: now })
            }
        };
        Some(AlertEvent { key, change, value, threshold, since, at: now })
    }

    fn remind_due(&self, raised: Raised, now: Moment) -> bool {
        self.limits.remind_ms.is_some_and(|remind_ms| now.since(raised.notified_at) >= remind_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        fires: (0, 0),
        due: (10, 15),
        unreported: (-1, 5),
        lag: (0, 0),
        clear_ratio: 0.8,
        remind_ms: Some(60_000),
    };

    fn due(rows: &[(&str, u64)]) -> Reading {
        let rows = rows.iter().map(|(tag, value)| ((*tag).to_owned(), *value)).collect();
        Reading { measure: Measure::Due, rows }
    }

    fn summary(events: &[AlertEvent]) -> Vec<(&'static str, Option<&str>, AlertTransition, u64)> {
        let row = |event: &'_ AlertEvent| (event.key.code(), event.change, event.value);
        let mut rows = Vec::new();
        for event in events {
            let (code, change, value) = row(event);
            rows.push((code, event.key.subject.as_deref(), change, value));
        }
        rows
    }

    fn at(sec: i64) -> Moment {
        Moment::from_sec(sec)
    }

    #[test]
    fn an_alert_is_raised_above_the_threshold() {
        let mut alerts = Alerts::new(LIMITS);
        assert_eq!(alerts.evaluate(&[due(&[("a", 10)])], at(0)), []);
        let events = alerts.evaluate(&[due(&[("a", 11)])], at(1));
        assert_eq!(summary(&events), [("#BACKLOG_DUE", Some("a"), AlertTransition::Raised, 11)]);
        assert_eq!((events[0].threshold, events[0].since), (10, at(1)));
    }

    #[test]
    fn between_the_two_bounds_an_alert_does_not_change() {
        let mut alerts = Alerts::new(LIMITS);
        alerts.evaluate(&[due(&[("a", 11)])], at(0));
        for value in [9, 10, 11, 8] {
            assert_eq!(alerts.evaluate(&[due(&[("a", value)])], at(1)), [], "{value}");
        }
        let events = alerts.evaluate(&[due(&[("a", 7)])], at(2));
        assert_eq!(summary(&events), [("#BACKLOG_DUE", Some("a"), AlertTransition::Cleared, 7)]);
        assert_eq!(events[0].since, at(0));
        assert_eq!(alerts.raised().count(), 0);
    }

    #[test]
    fn the_total_has_its_own_threshold() {
        let mut alerts = Alerts::new(LIMITS);
        let events = alerts.evaluate(&[due(&[("a", 8), ("b", 8)])], at(0));
        assert_eq!(summary(&events), [("#BACKLOG_DUE_TOTAL", None, AlertTransition::Raised, 16)]);
    }

    #[test]
    fn a_missing_subject_is_cleared() {
        let mut alerts = Alerts::new(LIMITS);
        alerts.evaluate(&[due(&[("a", 11)])], at(0));
        let events = alerts.evaluate(&[due(&[])], at(1));
        assert_eq!(summary(&events), [("#BACKLOG_DUE", Some("a"), AlertTransition::Cleared, 0)]);
    }

    #[test]
    fn a_measure_without_a_reading_keeps_its_alerts() {
        let mut alerts = Alerts::new(LIMITS);
        alerts.evaluate(&[due(&[("a", 11)])], at(0));
        assert_eq!(alerts.evaluate(&[Reading { measure: Measure::Lag, rows: vec![] }], at(1)), []);
        assert_eq!(alerts.raised().count(), 1);
    }

    #[test]
    fn a_threshold_of_zero_or_less_is_disabled() {
        let mut alerts = Alerts::new(LIMITS);
        let rows = vec![("a".to_owned(), 5)];
        let readings = [
            Reading { measure: Measure::Fires, rows: vec![("a".to_owned(), u64::MAX)] },
            Reading { measure: Measure::Unreported, rows },
        ];
        assert_eq!(alerts.evaluate(&readings, at(0)), []);
    }

    #[test]
    fn reminders_respect_their_interval() {
        let mut alerts = Alerts::new(LIMITS);
        alerts.evaluate(&[due(&[("a", 11)])], at(0));
        assert_eq!(alerts.evaluate(&[due(&[("a", 12)])], at(59)), []);
        let events = alerts.evaluate(&[due(&[("a", 12)])], at(60));
        assert_eq!(summary(&events), [("#BACKLOG_DUE", Some("a"), AlertTransition::Reminder, 12)]);
        assert_eq!(alerts.evaluate(&[due(&[("a", 12)])], at(61)), []);
    }

    #[test]
    fn a_tag_named_total_is_not_the_total() {
        let one = AlertKey { measure: Measure::Fires, subject: Some("total".into()) };
        let all = AlertKey { measure: Measure::Fires, subject: None };
        assert_ne!((one.code(), one.kind()), (all.code(), all.kind()));
    }
}

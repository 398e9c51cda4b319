//! When a backlog is worth a person's attention: thresholds with hysteresis, and reminders.

use std::collections::{BTreeMap, BTreeSet};

use super::Moment;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Runs fired in a minute, by tag.
    Fires,
    /// Moments due but not fired, by tag.
    Due,
    /// Runs fired but unreported, by tag.
    Unreported,
    /// Messages that wait in the broker, by consumer group.
    Lag,
}

/// What an alert speaks of: one tag or group, or all of them together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlertKey {
    /// What is counted.
    pub measure: Measure,
    /// The tag or group; `None`: all of them.
    pub subject: Option<String>,
}

impl AlertKey {
    /// The word that log lines begin with; the first two are the v1 contract's.
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

    /// The same for metrics and webhooks.
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

/// Thresholds, each for one subject and for all of them; 0 or less is off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Of fires in a minute.
    pub fires: (i64, i64),
    /// Of moments due but not fired.
    pub due: (i64, i64),
    /// Of runs fired but unreported.
    pub unreported: (i64, i64),
    /// Of messages that wait in the broker.
    pub lag: (i64, i64),
    /// An alert ends below this part of its threshold.
    pub clear_ratio: f64,
    /// An alert that lasts is repeated after this many milliseconds.
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

/// What was counted. Subjects that are not named count 0; a measure without a reading keeps its alerts as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What was counted.
    pub measure: Measure,
    /// By subject.
    pub rows: Vec<(String, u64)>,
}

/// What has become of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertTransition {
    /// It begins.
    Raised,
    /// It lasts.
    Reminder,
    /// It is over.
    Cleared,
}

/// A word to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertEvent {
    /// What it speaks of.
    pub key: AlertKey,
    /// What has become of it.
    pub change: AlertTransition,
    /// What was counted.
    pub value: u64,
    /// What it was measured against.
    pub threshold: i64,
    /// Since when it is raised.
    pub since: Moment,
    /// When it was counted.
    pub at: Moment,
}

#[derive(Debug, Clone, Copy)]
struct Raised {
    since: Moment,
    told_at: Moment,
}

/// The alerts that are raised, and the rule that raises and clears them.
#[derive(Debug)]
pub struct Alerts {
    limits: Limits,
    raised: BTreeMap<AlertKey, Raised>,
}

impl Alerts {
    /// None is raised.
    pub fn new(limits: Limits) -> Self {
        Self { limits, raised: BTreeMap::new() }
    }

    /// The alerts that are raised now.
    pub fn raised(&self) -> impl Iterator<Item = &AlertKey> {
        self.raised.keys()
    }

    /// Forgets every alert: somebody else watches now.
    pub fn clear(&mut self) {
        self.raised.clear();
    }

    /// Takes in what was counted at `now`; what is to be told.
    pub fn evaluate(&mut self, readings: &[Reading], now: Moment) -> Vec<AlertEvent> {
        let values = readings.iter().flat_map(|reading| self.values(reading));
        let values: BTreeMap<_, _> = values.collect();
        values.into_iter().filter_map(|(key, value)| self.judge(key, value, now)).collect()
    }

    /// The value of each subject of a reading, of their total, and of the raised ones that it does not name.
    fn values(&self, reading: &Reading) -> BTreeMap<AlertKey, u64> {
        let key = |subject| AlertKey { measure: reading.measure, subject };
        let gone: BTreeSet<_> =
            self.raised.keys().filter(|raised| raised.measure == reading.measure).cloned().collect();
        let mut values: BTreeMap<_, _> = gone.into_iter().map(|key| (key, 0)).collect();
        values.extend(reading.rows.iter().map(|(subject, value)| (key(Some(subject.clone())), *value)));
        values.insert(key(None), reading.rows.iter().map(|(_, value)| value).sum());
        values
    }

    fn judge(&mut self, key: AlertKey, value: u64, now: Moment) -> Option<AlertEvent> {
        let threshold = self.limits.of(&key);
        let exceeds = threshold > 0 && value > threshold as u64;
        let calm = (value as f64) < threshold as f64 * self.limits.clear_ratio;
        let raised = self.raised.get(&key).copied();
        let (change, since) = match raised {
            None if exceeds => (AlertTransition::Raised, now),
            Some(raised) if calm => (AlertTransition::Cleared, raised.since),
            Some(raised) if self.remind_due(raised, now) => (AlertTransition::Reminder, raised.since),
            None | Some(_) => return None,
        };
        match change {
            AlertTransition::Cleared => self.raised.remove(&key),
            AlertTransition::Raised | AlertTransition::Reminder => {
                self.raised.insert(key.clone(), Raised { since, told_at: now })
            }
        };
        Some(AlertEvent { key, change, value, threshold, since, at: now })
    }

    fn remind_due(&self, raised: Raised, now: Moment) -> bool {
        self.limits.remind_ms.is_some_and(|remind_ms| now.since(raised.told_at) >= remind_ms)
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

    fn told(events: &[AlertEvent]) -> Vec<(&'static str, Option<&str>, AlertTransition, u64)> {
        let one = |event: &'_ AlertEvent| (event.key.code(), event.change, event.value);
        let mut told = Vec::new();
        for event in events {
            let (code, change, value) = one(event);
            told.push((code, event.key.subject.as_deref(), change, value));
        }
        told
    }

    fn at(sec: i64) -> Moment {
        Moment::from_sec(sec)
    }

    #[test]
    fn raises_above_the_threshold_and_not_at_it() {
        let mut alerts = Alerts::new(LIMITS);
        assert_eq!(alerts.evaluate(&[due(&[("a", 10)])], at(0)), []);
        let events = alerts.evaluate(&[due(&[("a", 11)])], at(1));
        assert_eq!(told(&events), [("#BACKLOG_DUE", Some("a"), AlertTransition::Raised, 11)]);
        assert_eq!((events[0].threshold, events[0].since), (10, at(1)));
    }

    #[test]
    fn between_the_two_bounds_nothing_is_said() {
        let mut alerts = Alerts::new(LIMITS);
        alerts.evaluate(&[due(&[("a", 11)])], at(0));
        for value in [9, 10, 11, 8] {
            assert_eq!(alerts.evaluate(&[due(&[("a", value)])], at(1)), [], "{value}");
        }
        let events = alerts.evaluate(&[due(&[("a", 7)])], at(2));
        assert_eq!(told(&events), [("#BACKLOG_DUE", Some("a"), AlertTransition::Cleared, 7)]);
        assert_eq!(events[0].since, at(0));
        assert_eq!(alerts.raised().count(), 0);
    }

    #[test]
    fn the_total_has_a_threshold_of_its_own() {
        let mut alerts = Alerts::new(LIMITS);
        let events = alerts.evaluate(&[due(&[("a", 8), ("b", 8)])], at(0));
        assert_eq!(told(&events), [("#BACKLOG_DUE_TOTAL", None, AlertTransition::Raised, 16)]);
    }

    #[test]
    fn a_subject_that_is_gone_is_cleared() {
        let mut alerts = Alerts::new(LIMITS);
        alerts.evaluate(&[due(&[("a", 11)])], at(0));
        let events = alerts.evaluate(&[due(&[])], at(1));
        assert_eq!(told(&events), [("#BACKLOG_DUE", Some("a"), AlertTransition::Cleared, 0)]);
    }

    #[test]
    fn a_measure_that_could_not_be_read_keeps_its_alerts() {
        let mut alerts = Alerts::new(LIMITS);
        alerts.evaluate(&[due(&[("a", 11)])], at(0));
        assert_eq!(alerts.evaluate(&[Reading { measure: Measure::Lag, rows: vec![] }], at(1)), []);
        assert_eq!(alerts.raised().count(), 1);
    }

    #[test]
    fn a_threshold_of_nothing_is_off() {
        let mut alerts = Alerts::new(LIMITS);
        let rows = vec![("a".to_owned(), 5)];
        let readings = [
            Reading { measure: Measure::Fires, rows: vec![("a".to_owned(), u64::MAX)] },
            Reading { measure: Measure::Unreported, rows },
        ];
        assert_eq!(alerts.evaluate(&readings, at(0)), []);
    }

    #[test]
    fn a_lasting_alert_is_repeated_at_most_so_often() {
        let mut alerts = Alerts::new(LIMITS);
        alerts.evaluate(&[due(&[("a", 11)])], at(0));
        assert_eq!(alerts.evaluate(&[due(&[("a", 12)])], at(59)), []);
        let events = alerts.evaluate(&[due(&[("a", 12)])], at(60));
        assert_eq!(told(&events), [("#BACKLOG_DUE", Some("a"), AlertTransition::Reminder, 12)]);
        assert_eq!(alerts.evaluate(&[due(&[("a", 12)])], at(61)), []);
    }

    #[test]
    fn a_tag_named_total_is_not_the_total() {
        let one = AlertKey { measure: Measure::Fires, subject: Some("total".into()) };
        let all = AlertKey { measure: Measure::Fires, subject: None };
        assert_ne!((one.code(), one.kind()), (all.code(), all.kind()));
    }
}

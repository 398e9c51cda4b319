//! The decision: from the values at a moment to the notifications to send.

use std::collections::{BTreeMap, BTreeSet};

use super::resolved::{ResolvedAlert, ResolvedAlerts};
use super::{AlertEvent, AlertKey, AlertTransition, Measure, Reading, Rule, Rules, Severity, Silence};
use crate::core::Moment;

/// An alert that is raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveAlert {
    pub key: AlertKey,
    pub severity: Severity,
    pub value: u64,
    pub threshold: i64,
    /// When the value exceeded the threshold.
    pub since: Moment,
}

/// A value above its threshold.
#[derive(Debug, Clone, Copy)]
struct Exceeded {
    since: Moment,
    value: u64,
    /// Whether the value has been above the threshold for long enough.
    is_raised: bool,
    /// When the last notification was sent. `None`: none yet, because of a silence.
    notified_at: Option<Moment>,
}

/// The raised alerts, and the rules that raise and clear them.
#[derive(Debug)]
pub struct Alerts {
    rules: Rules,
    exceeded: BTreeMap<AlertKey, Exceeded>,
    resolved: ResolvedAlerts,
}

impl Alerts {
    /// Starts without raised alerts.
    pub fn new(rules: impl Into<Rules>) -> Self {
        Self { rules: rules.into(), exceeded: BTreeMap::new(), resolved: ResolvedAlerts::default() }
    }

    /// Returns the raised alerts.
    pub fn raised(&self) -> impl Iterator<Item = &AlertKey> {
        self.exceeded.iter().filter(|(_, exceeded)| exceeded.is_raised).map(|(key, _)| key)
    }

    /// Returns the raised alerts with their values.
    pub fn active(&self) -> Vec<ActiveAlert> {
        let raised = self.exceeded.iter().filter(|(_, exceeded)| exceeded.is_raised);
        let active = raised.filter_map(|(key, exceeded)| {
            let rule = self.rules.0.get(&key.measure)?;
            let threshold = i64::try_from(rule.threshold(key)?).unwrap_or(i64::MAX);
            let (value, since) = (exceeded.value, exceeded.since);
            Some(ActiveAlert { key: key.clone(), severity: rule.severity, value, threshold, since })
        });
        active.collect()
    }

    /// Returns the alerts that ended within a day before `now`, latest first, silenced ones included.
    pub fn resolved(&self, now: Moment) -> Vec<ResolvedAlert> {
        self.resolved.recent(now)
    }

    /// Returns the rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Drops the alerts of some measures without a notification: another node now watches them.
    pub fn forget(&mut self, measures: &[Measure]) {
        self.exceeded.retain(|key, _| !measures.contains(&key.measure));
    }

    /// Applies the values read at `now`, and returns the notifications to send.
    pub fn evaluate(&mut self, readings: &[Reading], now: Moment) -> Vec<AlertEvent> {
        self.evaluate_with(readings, &[], now)
    }

    /// Applies the values read at `now`, and returns the notifications that no silence suppresses. An
    /// alert that is still raised when its silence ends is notified then.
    pub fn evaluate_with(
        &mut self,
        readings: &[Reading],
        silences: &[Silence],
        now: Moment,
    ) -> Vec<AlertEvent> {
        let values = readings.iter().flat_map(|reading| self.values(reading));
        let values: BTreeMap<_, _> = values.collect();
        let judged = values.into_iter().filter_map(|(key, value)| {
            let is_silent = silences.iter().any(|silence| silence.covers(&key, now));
            self.judge(key, value, is_silent, now)
        });
        judged.collect()
    }

    /// Returns the value of each subject, of the total, and 0 for known alerts whose subject is
    /// missing.
    fn values(&self, reading: &Reading) -> BTreeMap<AlertKey, u64> {
        let key = |subject| AlertKey { measure: reading.measure, subject };
        let missing: BTreeSet<_> =
            self.exceeded.keys().filter(|known| known.measure == reading.measure).cloned().collect();
        let mut values: BTreeMap<_, _> = missing.into_iter().map(|key| (key, 0)).collect();
        values.extend(reading.rows.iter().map(|(subject, value)| (key(Some(subject.clone())), *value)));
        values.insert(key(None), reading.rows.iter().map(|(_, value)| value).sum());
        values
    }

    fn judge(&mut self, key: AlertKey, value: u64, is_silent: bool, now: Moment) -> Option<AlertEvent> {
        let rule = *self.rules.0.get(&key.measure)?;
        let threshold = rule.threshold(&key)?;
        let known = self.exceeded.get(&key).copied();
        let (next, change) = decide(&rule, threshold, known, value, is_silent, now);
        match next {
            Some(next) => self.exceeded.insert(key.clone(), next),
            None => self.exceeded.remove(&key),
        };
        if let Some(Exceeded { since, .. }) = known.filter(|known| known.is_raised && next.is_none()) {
            let (key, severity) = (key.clone(), rule.severity);
            self.resolved.push(ResolvedAlert { key, severity, since, resolved_at: now });
        }
        let since = next.or(known).map_or(now, |exceeded| exceeded.since);
        let threshold = i64::try_from(threshold).unwrap_or(i64::MAX);
        Some(AlertEvent { key, change: change?, severity: rule.severity, value, threshold, since, at: now })
    }
}

/// Returns the next state of an alert, and the notification, if one is due.
fn decide(
    rule: &Rule,
    threshold: u64,
    known: Option<Exceeded>,
    value: u64,
    is_silent: bool,
    now: Moment,
) -> (Option<Exceeded>, Option<AlertTransition>) {
    let first = Exceeded { since: now, value, is_raised: false, notified_at: None };
    let exceeded = match known {
        None | Some(Exceeded { is_raised: false, .. }) if value <= threshold => return (None, None),
        Some(raised) if raised.is_raised && rule.is_below(value, threshold) => {
            // The raise of an alert that was always silent was not sent, so its end is not sent either.
            let is_told = raised.notified_at.is_some() && !is_silent;
            return (None, is_told.then_some(AlertTransition::Cleared));
        }
        known => Exceeded { value, ..known.unwrap_or(first) },
    };
    let is_raised = exceeded.is_raised || now.since(exceeded.since) >= rule.for_ms;
    let change = match exceeded.notified_at {
        _ if !is_raised || is_silent => None,
        None => Some(AlertTransition::Raised),
        Some(last) => {
            let is_due = rule.remind_ms.is_some_and(|remind_ms| now.since(last) >= remind_ms);
            is_due.then_some(AlertTransition::Reminder)
        }
    };
    let notified_at = if change.is_some() { Some(now) } else { exceeded.notified_at };
    (Some(Exceeded { is_raised, notified_at, ..exceeded }), change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::alert::Limits;

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

    const RULE: Rule = Rule {
        one: Some(10),
        total: None,
        clear_ratio: 0.5,
        for_ms: 60_000,
        remind_ms: Some(600_000),
        severity: Severity::Critical,
    };

    fn silence(from_sec: i64, until_sec: i64) -> Silence {
        Silence {
            id: "s".into(),
            rule: Some("due".into()),
            subject: Some("pay.*".into()),
            until: at(until_sec),
            comment: String::new(),
            created_by: String::new(),
            created_at: at(from_sec),
        }
    }

    /// One alert of a rule with `for`, hysteresis and reminders, in seconds: value and expected
    /// notification at each time.
    #[test]
    fn the_table_of_decisions() {
        use AlertTransition::{Cleared, Raised, Reminder};
        type Step = (i64, u64, Option<AlertTransition>);
        let cases: [(&str, Option<Silence>, &[Step]); 8] = [
            ("long enough", None, &[(0, 11, None), (59, 99, None), (60, 11, Some(Raised)), (70, 11, None)]),
            ("too short", None, &[(0, 11, None), (30, 10, None), (60, 11, None), (119, 11, None)]),
            ("within", None, &[(0, 11, None), (60, 11, Some(Raised)), (70, 5, None), (80, 10, None)]),
            (
                "resolved",
                None,
                &[(0, 11, None), (60, 11, Some(Raised)), (70, 4, Some(Cleared)), (80, 4, None)],
            ),
            (
                "reminder",
                None,
                &[(0, 11, None), (60, 11, Some(Raised)), (659, 11, None), (660, 9, Some(Reminder))],
            ),
            (
                "silent",
                Some(silence(0, 300)),
                &[(0, 11, None), (60, 11, None), (299, 11, None), (300, 9, Some(Raised))],
            ),
            (
                "silent to the end",
                Some(silence(0, 300)),
                &[(0, 11, None), (60, 11, None), (90, 0, None), (310, 0, None)],
            ),
            (
                "silence of another time",
                Some(silence(0, 50)),
                &[(0, 11, None), (60, 11, Some(Raised)), (70, 0, Some(Cleared))],
            ),
        ];
        for (name, silence, steps) in cases {
            let mut alerts = Alerts::new(Rules([(Measure::Due, RULE)].into()));
            let silences: Vec<_> = silence.into_iter().collect();
            for (sec, value, expected) in steps {
                let events = alerts.evaluate_with(&[due(&[("pay.card", *value)])], &silences, at(*sec));
                let change = events.first().map(|event| event.change);
                assert_eq!(change, *expected, "{name}, second {sec}");
                assert!(
                    events.iter().all(|event| event.since == at(0) && event.severity == Severity::Critical)
                );
            }
        }
    }

    #[test]
    fn a_silence_covers_its_rule_its_subjects_and_its_time() {
        let key = |measure, subject: Option<&str>| AlertKey { measure, subject: subject.map(str::to_owned) };
        let silence = silence(0, 10);
        let all = Silence { rule: None, subject: None, ..silence.clone() };
        let card = key(Measure::Due, Some("pay.card"));
        assert!(silence.covers(&card, at(9)) && !silence.covers(&card, at(10)));
        for other in
            [key(Measure::Due, None), key(Measure::Due, Some("order")), key(Measure::Lag, Some("pay.card"))]
        {
            assert!(!silence.covers(&other, at(0)) && all.covers(&other, at(0)), "{other:?}");
        }
    }

    #[test]
    fn a_threshold_of_zero_is_raised_at_one_and_cleared_at_zero() {
        let mut alerts = Alerts::new(Rules([(Measure::Due, Rule::above(0, Severity::Info))].into()));
        assert_eq!(alerts.evaluate(&[due(&[("a", 0)])], at(0)), []);
        assert_eq!(summary(&alerts.evaluate(&[due(&[("a", 1)])], at(1)))[0].2, AlertTransition::Raised);
        assert_eq!(alerts.active()[0].value, 1);
        assert_eq!(summary(&alerts.evaluate(&[due(&[])], at(2)))[0].2, AlertTransition::Cleared);
    }

    #[test]
    fn forgotten_measures_lose_their_alerts_and_others_keep_them() {
        let rule = Rule::above(0, Severity::Info);
        let mut alerts = Alerts::new(Rules([(Measure::Due, rule), (Measure::Lag, rule)].into()));
        let lag = Reading { measure: Measure::Lag, rows: vec![("q".into(), 1)] };
        alerts.evaluate(&[due(&[("a", 1)]), lag], at(0));
        alerts.forget(&[Measure::Due]);
        assert_eq!(alerts.raised().map(|key| key.measure).collect::<Vec<_>>(), [Measure::Lag]);
    }
}

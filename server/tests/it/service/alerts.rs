//! Alerts: silences, the list of raised alerts, and the measures that need the store.

use std::sync::{Arc, Mutex};

use taskcenter_server::core::access::{Grant, Scope};
use taskcenter_server::core::alert::recent::RecentPeak;
use taskcenter_server::core::alert::{
    AlertEvent, AlertKey, AlertTransition, Measure, Reading, Rule, Rules, Severity,
};
use taskcenter_server::core::{Moment, RunState};
use taskcenter_server::engine::alerting::Alerting;
use taskcenter_server::engine::alerts;
use taskcenter_server::engine::backlog::Backlog;
use taskcenter_server::engine::dead_runs::DeadRuns;
use taskcenter_server::engine::service::{
    Caller, LastShared, LeaseTerms, NewSilence, RecordKind, Service, ServiceError,
};
use taskcenter_server::engine::stuck;
use taskcenter_server::ports::{AlertSink, Clock as _, OutcomeCount};

use super::{NOW, Stage};
use crate::store::Fixture as _;
use crate::store::memory::MemoryFixture;

use AlertTransition::{Cleared, Raised};

const RAISED: RecordKind = RecordKind::internal("alert_raised");

/// Sink that records rule, subject and change.
#[derive(Default)]
struct Sink(Mutex<Vec<(Measure, Option<String>, AlertTransition)>>);

impl AlertSink for Sink {
    fn send(&self, events: &[AlertEvent]) {
        let events = events.iter().map(|event| (event.key.measure, event.key.subject.clone(), event.change));
        self.0.lock().unwrap().extend(events);
    }
}

impl Sink {
    fn take(&self) -> Vec<(Measure, Option<String>, AlertTransition)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Alerts of every measure above 0, without waiting.
fn alerting(sink: &Arc<Sink>) -> Arc<Alerting> {
    let rules = Measure::ALL.map(|measure| (measure, Rule::above(0, Severity::Warning)));
    Arc::new(Alerting::new(Arc::default(), Rules(rules.into_iter().collect()), vec![sink.clone()]))
}

/// A further node on the same store.
fn node(on: &Stage) -> (Arc<Alerting>, Service, Arc<Sink>) {
    let sink = Arc::new(Sink::default());
    let alerting = alerting(&sink);
    (Arc::clone(&alerting), on.service.clone().with_alerting(alerting), sink)
}

fn reading(measure: Measure, subject: &str, value: u64) -> Vec<Reading> {
    vec![Reading { measure, rows: vec![(subject.to_owned(), value)] }]
}

fn silence(rule: Option<Measure>, subject: &str, until: Moment) -> NewSilence {
    NewSilence { rule, subject: Some(subject.to_owned()), until, comment: "deployment".to_owned() }
}

pub async fn a_silence_counts_on_every_node_until_it_ends(on: &Stage) {
    let (_, one, _) = node(on);
    let (alerts, two, sink) = node(on);
    let end = NOW.plus_ms(60_000);
    let made = one.silence_alert(silence(Some(Measure::DeadRuns), "pay.*", end)).await.unwrap();
    two.refresh_silences().await.unwrap();
    alerts.apply(&reading(Measure::DeadRuns, "pay.card", 5), NOW);
    assert_eq!(sink.take(), [], "the alert is silent on the other node");
    assert_eq!(two.silences().await.unwrap(), std::slice::from_ref(&made));

    on.clock.advance_ms(60_000);
    two.refresh_silences().await.unwrap();
    alerts.apply(&reading(Measure::DeadRuns, "pay.card", 5), on.clock.now());
    assert_eq!(sink.take(), [(Measure::DeadRuns, Some("pay.card".into()), Raised)]);
    assert_eq!(one.silences().await.unwrap(), []);
    assert!(matches!(one.unsilence_alert(&made.id).await, Err(ServiceError::NotFound)));
    let kind = RecordKind::internal("alert_silence");
    assert_eq!(on.service.list_records::<serde_json::Value>(kind, None, None, 10).await.unwrap(), []);

    let again = silence(None, "*", on.clock.now().plus_ms(60_000));
    let again = one.silence_alert(again).await.unwrap();
    assert_eq!(one.unsilence_alert(&again.id).await.unwrap(), again);
    assert_eq!(two.silences().await.unwrap(), []);
}

pub async fn raised_alerts_are_listed_on_every_node(on: &Stage) {
    let ((alerts, one, _), (_, two, _)) = (node(on), node(on));
    let mut last = LastShared::default();
    let mut readings = reading(Measure::DeadRuns, "pay.card", 5);
    readings.extend(reading(Measure::BackEndDown, "pay.card", 1));
    alerts.apply(&readings, NOW);
    one.share_alerts("one", &mut last, false).await.unwrap();
    let made = two.silence_alert(silence(None, "pay.card", NOW.plus_ms(600_000))).await.unwrap();
    for service in [&one, &two] {
        let raised = service.alerts().await.unwrap();
        let rows: Vec<_> = raised.alerts.iter().map(|alert| (alert.rule.as_str(), alert.value)).collect();
        assert_eq!((rows, raised.total), (vec![("back_end_down", 1), ("dead_runs", 5)], 2));
        assert!(raised.alerts.iter().all(|alert| alert.silenced_by.as_ref() == Some(&made.id)));
        assert!(raised.alerts.iter().all(|alert| alert.since == NOW));
    }
    for (tag, expected) in [("pay.card", vec!["dead_runs"]), ("order", vec![])] {
        let grant = Grant { scopes: vec![Scope::TaskRead], tags: vec![tag.to_owned()], expires_at: None };
        let limited = two.for_caller(Caller { grant, ..Caller::anonymous() });
        let raised = limited.alerts().await.unwrap();
        let silences = limited.silences().await.unwrap();
        assert_eq!((silences.len(), limited.alert_channels().await.unwrap()), (expected.len(), vec![]));
        let rules: Vec<_> = raised.alerts.iter().map(|alert| alert.rule.as_str()).collect();
        assert_eq!((raised.total, rules), (expected.len(), expected), "{tag}");
    }
    // The node is killed.
    on.clock.advance_ms(180_000);
    assert_eq!(two.alerts().await.unwrap().total, 0);
    two.share_alerts("two", &mut LastShared::default(), true).await.unwrap();
    let stored = on.service.list_records::<serde_json::Value>(RAISED, None, None, 10).await.unwrap();
    assert_eq!(stored, [], "the leader removes what stopped nodes have shared");
    // The node continues and its alerts end.
    one.share_alerts("one", &mut last, true).await.unwrap();
    assert_eq!(two.alerts().await.unwrap().total, 2);
    alerts.apply(&reading(Measure::DeadRuns, "pay.card", 0), on.clock.now());
    alerts.apply(&reading(Measure::BackEndDown, "pay.card", 0), on.clock.now());
    one.share_alerts("one", &mut last, true).await.unwrap();
    assert_eq!(two.alerts().await.unwrap().total, 0);
    let ended_at = on.clock.now();
    for service in [&one, &two] {
        let resolved = service.alerts().await.unwrap().resolved;
        let mut rules: Vec<_> = resolved.iter().map(|alert| alert.rule.as_str()).collect();
        rules.sort_unstable();
        assert_eq!(rules, ["back_end_down", "dead_runs"], "each once, silenced ones too");
        assert!(resolved.iter().all(|alert| (alert.since, alert.resolved_at) == (NOW, ended_at)));
    }
    let grant = Grant { scopes: vec![Scope::TaskRead], tags: vec!["pay.card".into()], expires_at: None };
    let limited = two.for_caller(Caller { grant, ..Caller::anonymous() });
    let resolved = limited.alerts().await.unwrap().resolved;
    assert_eq!(resolved.iter().map(|alert| alert.rule.as_str()).collect::<Vec<_>>(), ["dead_runs"]);
    on.clock.advance_ms(86_400_000);
    one.share_alerts("one", &mut last, true).await.unwrap();
    assert_eq!(two.alerts().await.unwrap().resolved, []);
    let stored = on.service.list_records::<serde_json::Value>(RAISED, None, None, 10).await.unwrap();
    assert_eq!(stored, [], "nothing is left to share");
}

pub async fn dead_runs_are_counted_from_the_first_reading_across_midnight(on: &Stage) {
    let midnight = Moment::from_sec(1_000_080_000);
    assert_eq!(midnight.ms() % 86_400_000, 0);
    let (store, yesterday) = (on.store.as_ref(), midnight.plus_ms(-86_400_000));
    let count = async |day, state, runs| {
        let row = OutcomeCount { tag: "mail".to_owned(), state, runs };
        store.count_outcomes(day, &[row]).await.unwrap();
    };
    let mut dead = DeadRuns::new("UTC", 3_600_000);
    count(yesterday, RunState::Dead, 100).await;
    dead.read(store, midnight.plus_ms(-20_000)).await.unwrap();
    assert_eq!(dead.within(60_000, midnight), [], "older runs do not count");
    count(yesterday, RunState::Dead, 2).await;
    count(yesterday, RunState::Succeeded, 50).await;
    dead.read(store, midnight.plus_ms(-10_000)).await.unwrap();
    count(yesterday, RunState::Dead, 1).await;
    count(midnight, RunState::Dead, 4).await;
    let now = midnight.plus_ms(1_000);
    dead.read(store, now).await.unwrap();
    assert_eq!(dead.within(60_000, now), [("mail".to_owned(), 7)]);
    dead.read(store, now.plus_ms(1_000)).await.unwrap();
    assert_eq!(dead.within(60_000, now.plus_ms(1_000)), [("mail".to_owned(), 7)]);
}

pub async fn a_queue_without_a_worker_is_reported_until_a_worker_takes_a_run(on: &Stage) {
    let sink = Arc::new(Sink::default());
    let backlog = Backlog::of(&on.node, alerting(&sink));
    let run = on.ready("mail").await;
    let no_worker = |change| (Measure::NoWorker, Some("mail".to_owned()), change);
    let turn = async || {
        backlog.run_once(on.clock.now(), true).await.unwrap();
        let mut events = sink.take();
        events.retain(|(measure, ..)| *measure == Measure::NoWorker);
        events
    };
    on.clock.advance_ms(run.scheduled_at.since(on.clock.now()) + 59_000);
    assert_eq!(turn().await, []);
    on.clock.advance_ms(1_000);
    assert_eq!(turn().await, [no_worker(Raised)]);
    let queues = vec!["mail".to_owned()];
    let terms = LeaseTerms {
        worker: "w".to_owned(),
        queues,
        limit: 1,
        lease_ms: 60_000,
        wait: std::time::Duration::ZERO,
        request_id: None,
    };
    assert_eq!(on.service.lease(&terms).await.unwrap().len(), 1);
    assert_eq!(turn().await, [no_worker(Cleared)]);
    backlog.run_once(on.clock.now(), false).await.unwrap();
    assert_eq!(sink.take(), [], "a node that does not lead sends nothing");
}

pub async fn a_full_limit_is_reported_while_runs_wait(on: &Stage) {
    use taskcenter_server::core::submission::Submission;
    use taskcenter_server::core::timing::Timing;
    let sink = Arc::new(Sink::default());
    let backlog = Backlog::of(&on.node, alerting(&sink));
    let turn = async || {
        backlog.run_once(on.clock.now(), true).await.unwrap();
        let mut events = sink.take();
        events.retain(|(measure, ..)| *measure == Measure::LimitSaturated);
        events
    };
    let limited = |name: &str| Submission {
        timing: Timing { concurrency: vec!["1:queue:k".parse().unwrap()], ..Timing::default() },
        queue: Some("q".to_owned()),
        ..Submission::named(name, "data")
    };
    let first = on.submit(limited("one")).await;
    on.fire(&first).await;
    assert_eq!(turn().await, [], "no run waits");
    let second = on.submit(limited("two")).await;
    on.fire(&second).await;
    let full = |change| (Measure::LimitSaturated, Some("queue:q:k".to_owned()), change);
    assert_eq!(turn().await, [full(Raised)]);
    on.service.delete(&[second]).await.unwrap();
    assert_eq!(turn().await, [full(Cleared)]);
}

pub async fn an_overdue_moment_is_reported_with_its_lateness(on: &Stage) {
    use taskcenter_server::core::submission::Submission;
    let id = on.submit(Submission::named("late", "data")).await;
    let due_at = on.store.task(&id).await.unwrap().unwrap().next_due_at.unwrap();
    let overdue = async |sec: i64| stuck::overdue(&*on.store, 60_000, due_at.plus_ms(sec * 1_000)).await;
    assert_eq!(overdue(59).await.unwrap(), []);
    assert_eq!(overdue(60).await.unwrap(), [("late".to_owned(), 60)]);
    assert_eq!(overdue(75).await.unwrap(), [("late".to_owned(), 75)]);
    on.fire(&id).await;
    assert_eq!(overdue(75).await.unwrap(), []);
}

pub async fn an_expired_lease_is_counted_by_the_node_that_rescues_the_run(on: &Stage) {
    on.ready("mail").await;
    let terms = LeaseTerms {
        worker: "w".to_owned(),
        queues: vec!["mail".to_owned()],
        limit: 1,
        lease_ms: 60_000,
        wait: std::time::Duration::ZERO,
        request_id: None,
    };
    assert_eq!(on.service.lease(&terms).await.unwrap().len(), 1);
    on.rescue().await;
    assert_eq!(on.node.expired_leases.within(300_000, on.clock.now()), []);
    on.clock.advance_ms(60_001);
    on.rescue().await;
    on.clock.advance_ms(60_000);
    // A further attempt after a failure has no lease.
    on.rescue().await;
    assert_eq!(on.node.expired_leases.within(300_000, on.clock.now()), [("mail".to_owned(), 1)]);
}

#[tokio::test]
async fn the_leader_reports_back_ends_and_nodes_and_every_node_its_clock() {
    let fixture = MemoryFixture::open().await;
    let on = Stage::on(fixture.one(), fixture.records());
    let sink = Arc::new(Sink::default());
    let (alerting, mut nodes) = (alerting(&sink), RecentPeak::new(3_600_000));
    let mut check = |sec: i64, leads| {
        alerts::check(&on.node, &alerting, &mut nodes, NOW.plus_ms(sec * 1_000), leads);
        sink.take()
    };
    let event = |measure, subject: &str, change| (measure, Some(subject.to_owned()), change);
    on.node.members.set(vec!["a".into(), "b".into(), "c".into()], 0, 0);
    assert_eq!(check(0, true), []);
    on.node.health.bus.down("no route");
    on.node.members.set(vec!["a".into(), "b".into()], 0, 0);
    let expected =
        [event(Measure::BackEndDown, "bus", Raised), event(Measure::NodesMissing, "nodes", Raised)];
    assert_eq!(check(10, true), expected);
    on.node.members.set(vec!["a".into(), "b".into(), "d".into()], 0, 0);
    assert_eq!(check(20, true), [event(Measure::NodesMissing, "nodes", Cleared)]);
    assert_eq!(check(30, false), [], "another node leads now");
    assert_eq!(alerting.active(), []);
    assert_eq!(check(40, true), [event(Measure::BackEndDown, "bus", Raised)]);
    on.node.health.lock.down("gone");
    on.node.members.set(vec!["a".into()], 0, 0);
    let expected = [event(Measure::BackEndDown, "lock", Raised)];
    assert_eq!(check(50, true), expected, "without the lock service the announcements say nothing");
    on.node.metrics.behind_ledger_ms(11_000);
    assert_eq!(check(60, false), [event(Measure::Clock, "node", Raised)]);
    let key = AlertKey { measure: Measure::Clock, subject: Some("node".into()) };
    assert_eq!(alerting.active()[0].key, key);
}

#[tokio::test]
async fn a_node_reports_that_its_runs_are_late() {
    let fixture = MemoryFixture::open().await;
    let on = Stage::on(fixture.one(), fixture.records());
    let sink = Arc::new(Sink::default());
    let rule = Rule::above(1_000, Severity::Warning);
    let rules = Rules([(Measure::Lateness, rule)].into_iter().collect());
    let (alerting, mut nodes) =
        (Alerting::new(Arc::default(), rules, vec![sink.clone()]), RecentPeak::new(3_600_000));
    let fire = |runs: usize, late_ms: i64| {
        (0..runs).for_each(|_| on.node.metrics.fired("a", NOW.plus_ms(-late_ms), NOW));
    };
    let mut check = |sec: i64| {
        alerts::check(&on.node, &alerting, &mut nodes, NOW.plus_ms(sec * 1_000), false);
        sink.take()
    };
    assert_eq!(check(0), [], "without runs, nothing is late");
    fire(199, 1_000);
    fire(1, 4_000);
    assert_eq!(check(0), [], "half a percent is late");
    fire(2, 4_000);
    let event = |change| (Measure::Lateness, Some(on.node.name.clone()), change);
    assert_eq!(check(0), [event(Raised)]);
    assert_eq!(check(239), []);
    assert_eq!(check(300), [event(Cleared)], "the minutes of the window have passed");
}

//! Holds of queues and tags.

use std::time::Duration;

use taskcenter_server::core::concurrency::Limit;
use taskcenter_server::core::hold::HoldScope;
use taskcenter_server::core::overlap::Overlap;
use taskcenter_server::core::run::{Outcome, PayloadChange};
use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::timing::Timing;
use taskcenter_server::core::{Moment, Run, RunState, Schedule};
use taskcenter_server::engine::admission;
use taskcenter_server::engine::service::{LeaseTerms, NewHold, Record, ServiceError};
use taskcenter_server::ports::Clock as _;

use RunState::{Cancelled, Held, Leased, Ready, Retrying, Skipped, Succeeded};

use super::leases::report;
use super::{NOW, Stage};

fn new(scope: HoldScope, name: &str) -> NewHold {
    NewHold { scope, name: name.to_owned(), reason: "deploy 2.1".to_owned(), until: None }
}

async fn hold(on: &Stage, scope: HoldScope, name: &str) {
    on.service.hold(new(scope, name)).await.unwrap();
}

async fn release(on: &Stage, scope: HoldScope, name: &str) {
    on.service.release_hold(scope, name).await.unwrap();
    look(on).await;
}

async fn look(on: &Stage) {
    admission::run_once(&on.node, on.clock.now()).await.unwrap();
}

fn submission(name: &str, queue: &str) -> Submission {
    Submission {
        schedule: Schedule::Every { period_ms: 1_000 },
        queue: Some(queue.to_owned()),
        dedup: Dedup::Nothing,
        ..Submission::named(name, "holds")
    }
}

async fn lease_from(on: &Stage, queues: &[&str], limit: u32) -> Vec<Run> {
    let queues = queues.iter().map(|queue| (*queue).to_owned()).collect();
    let (worker, wait, lease_ms) = ("w".to_owned(), Duration::ZERO, 30_000);
    let terms = LeaseTerms { worker, queues, limit, lease_ms, wait, request_id: None };
    on.service.lease(&terms).await.unwrap()
}

async fn settle(on: &Stage, leased: &Run, outcome: Outcome) {
    on.service.report(&leased.id, &report(leased, outcome)).await.unwrap();
}

fn failed() -> Outcome {
    Outcome::Failed { retry_after_ms: Some(0) }
}

pub async fn no_worker_gets_a_run_of_a_held_queue(on: &Stage) {
    let id = on.submit(submission("a", "q")).await;
    let other = on.submit(submission("b", "other")).await;
    let first = on.fire(&id).await;
    let leased = lease_from(on, &["q"], 1).await;
    hold(on, HoldScope::Queue, "q").await;
    let (second, third) = (on.fire(&id).await, on.fire(&other).await);
    assert_eq!(lease_from(on, &["q"], 9).await, []);
    let found = lease_from(on, &["q", "other"], 9).await;
    assert_eq!(found.iter().map(|run| &run.id).collect::<Vec<_>>(), [&third.id], "other queues are served");
    settle(on, &leased[0], failed()).await;
    on.rescue().await;
    assert_eq!(
        on.states_of(&[first.clone(), second.clone()]).await,
        [Ready, Ready],
        "they keep their places"
    );
    let triggered = on.service.trigger(&id, None).await.unwrap();
    on.rescue().await;
    assert_eq!(lease_from(on, &["q"], 9).await, [], "retries and triggers wait, too");
    let why = on.service.hold_of_run(&on.run(&first).await).await.unwrap().unwrap();
    assert_eq!((why.name.as_str(), why.reason.as_str()), ("q", "deploy 2.1"));
    release(on, HoldScope::Queue, "q").await;
    let found = lease_from(on, &["q"], 9).await;
    let ids: Vec<_> = found.iter().map(|run| run.id.clone()).collect();
    let mut expected = [first, second, triggered];
    expected.sort_by(|one, other| (one.scheduled_at, &one.id).cmp(&(other.scheduled_at, &other.id)));
    assert_eq!(ids, expected.map(|run| run.id), "in the order of their moments");
}

pub async fn a_worker_of_every_queue_gets_no_run_of_a_held_one(on: &Stage) {
    let [held, open] = [on.ready("held").await, on.ready("open").await];
    hold(on, HoldScope::Queue, "held").await;
    let found = lease_from(on, &[], 1).await;
    assert_eq!(found.iter().map(|run| &run.id).collect::<Vec<_>>(), [&open.id]);
    assert_eq!(on.run(&held).await.state, Held, "the run does not hide the others");
    release(on, HoldScope::Queue, "held").await;
    assert_eq!(lease_from(on, &[], 9).await[0].id, held.id);
}

pub async fn a_waiting_worker_is_woken_by_the_end_of_a_hold(on: &Stage) {
    let run = on.ready("q").await;
    hold(on, HoldScope::Queue, "q").await;
    let terms = LeaseTerms {
        worker: "w".to_owned(),
        queues: vec!["q".to_owned()],
        limit: 1,
        lease_ms: 30_000,
        wait: Duration::from_mins(1),
        request_id: None,
    };
    let leased = async { on.service.lease(&terms).await.unwrap() };
    let ends = async { on.service.release_hold(HoldScope::Queue, "q").await.unwrap() };
    let (leased, _) = tokio::join!(leased, ends);
    assert_eq!(leased[0].id, run.id);
}

pub async fn runs_of_a_held_tag_wait_and_go_on_in_order(on: &Stage) {
    let id = on.submit(submission("a", "q")).await;
    let other = on.submit(submission("b", "q")).await;
    let before = on.fire(&id).await;
    hold(on, HoldScope::Tag, "a").await;
    let during = [on.fire(&id).await, on.fire(&id).await];
    let free = on.fire(&other).await;
    assert_eq!(on.states_of(&during).await, [Held, Held]);
    let found = lease_from(on, &["q"], 1).await;
    assert_eq!(found[0].id, free.id, "a run of another tag is served");
    assert_eq!(on.run(&before).await.state, Held, "a lease keeps back a run that was ready before the hold");
    look(on).await;
    assert_eq!(on.states_of(&during).await, [Held, Held], "a look does not end a hold");
    release(on, HoldScope::Tag, "a").await;
    let found = lease_from(on, &["q"], 9).await;
    let ids: Vec<_> = found.iter().map(|run| run.id.clone()).collect();
    assert_eq!(ids, [before.id, during[0].id.clone(), during[1].id.clone()]);
    let run = on.run(&during[0]).await;
    assert_eq!((run.attempt, run.state), (1, Leased));
}

pub async fn a_later_run_goes_on_after_those_that_waited(on: &Stage) {
    let skip = Timing { overlap: Some(Overlap::Skip), ..Timing::default() };
    let [id, single] = [
        on.submit(submission("a", "q")).await,
        on.submit(Submission { timing: skip, ..submission("a", "p") }).await,
    ];
    hold(on, HoldScope::Tag, "a").await;
    let waited = [on.fire(&id).await, on.fire(&single).await];
    on.service.release_hold(HoldScope::Tag, "a").await.unwrap();
    let later = [on.fire(&id).await, on.fire(&single).await];
    let all = [waited, later].concat();
    assert_eq!(on.states_of(&all).await, [Held, Held, Held, Held], "no look was since the end");
    look(on).await;
    assert_eq!(on.states_of(&all).await, [Ready, Ready, Ready, Skipped]);
    assert_eq!(lease_from(on, &["q"], 1).await[0].id, all[0].id);
    assert_eq!(on.fire(&id).await.state, Ready, "nothing waits any more");
}

pub async fn a_run_that_waited_for_a_slot_goes_on_before_those_of_a_hold(on: &Stage) {
    let limits = vec!["1:tag".parse::<Limit>().unwrap()];
    let timing = Timing { concurrency: limits, ..Timing::default() };
    let id = on.submit(Submission { timing, ..submission("a", "q") }).await;
    let (first, second) = (on.fire(&id).await, on.fire(&id).await);
    assert_eq!(
        on.states_of(&[first, second.clone()]).await,
        [Ready, Held],
        "the second run waits for the slot"
    );
    let leased = lease_from(on, &["q"], 1).await;
    hold(on, HoldScope::Tag, "a").await;
    let third = on.fire(&id).await;
    on.service.release_hold(HoldScope::Tag, "a").await.unwrap();
    settle(on, &leased[0], Outcome::Succeeded { result: None }).await;
    look(on).await;
    assert_eq!(on.states_of(&[second, third]).await, [Ready, Held]);
}

pub async fn a_hold_ends_at_its_end_on_every_node(on: &Stage) {
    let id = on.submit(submission("a", "q")).await;
    let until = Some(NOW.plus_ms(60_000));
    on.service.hold(NewHold { until, ..new(HoldScope::Tag, "a") }).await.unwrap();
    on.service.hold(NewHold { until, ..new(HoldScope::Queue, "p") }).await.unwrap();
    let run = on.fire(&id).await;
    assert_eq!(run.state, Held);
    on.clock.advance_ms(59_999);
    look(on).await;
    assert_eq!((on.run(&run).await.state, on.service.holds().await.unwrap().len()), (Held, 2));
    on.clock.advance_ms(1);
    look(on).await;
    assert_eq!(on.run(&run).await.state, Ready);
    assert_eq!(on.service.holds().await.unwrap(), []);
    let refused = on.service.release_hold(HoldScope::Tag, "a").await;
    assert!(matches!(refused, Err(ServiceError::NotFound)), "{refused:?}");
}

pub async fn a_held_run_frees_its_slots_and_asks_again_after_the_hold(on: &Stage) {
    let limits = vec!["1:all:k".parse::<Limit>().unwrap()];
    let limited = |name: &str| Submission {
        timing: Timing { concurrency: limits.clone(), ..Timing::default() },
        ..submission(name, "q")
    };
    let (a, b) = (on.submit(limited("a")).await, on.submit(limited("b")).await);
    let first = on.fire(&a).await;
    let second = on.fire(&b).await;
    assert_eq!(on.states_of(&[first.clone(), second.clone()]).await, [Ready, Held]);
    hold(on, HoldScope::Tag, "a").await;
    assert_eq!(lease_from(on, &["q"], 9).await, []);
    assert_eq!(on.run(&first).await.slots, [""; 0]);
    look(on).await;
    let leased = lease_from(on, &["q"], 9).await;
    assert_eq!(leased.iter().map(|run| &run.id).collect::<Vec<_>>(), [&second.id], "the slot is free");
    release(on, HoldScope::Tag, "a").await;
    let waits = on.run(&first).await;
    assert_eq!((waits.state, on.service.hold_of_run(&waits).await.unwrap()), (Held, None));
    settle(on, &leased[0], Outcome::Succeeded { result: None }).await;
    look(on).await;
    assert_eq!(on.states_of(&[first, second]).await, [Ready, Succeeded]);
}

pub async fn the_overlap_policy_decides_when_the_hold_ends(on: &Stage) {
    let policy = Timing { overlap: Some(Overlap::Skip), ..Timing::default() };
    let id = on.submit(Submission { timing: policy, ..submission("a", "q") }).await;
    hold(on, HoldScope::Tag, "a").await;
    let runs = [on.fire(&id).await, on.fire(&id).await];
    assert_eq!(on.states_of(&runs).await, [Held, Held], "nothing is missed");
    release(on, HoldScope::Tag, "a").await;
    assert_eq!(on.states_of(&runs).await, [Ready, Skipped]);
}

pub async fn a_held_run_expires_and_is_cancelled_with_its_task(on: &Stage) {
    let late = Submission { start_within_ms: Some(1_000), ..submission("a", "q") };
    let (late, deleted) = (on.submit(late).await, on.submit(submission("a", "q")).await);
    hold(on, HoldScope::Tag, "a").await;
    let runs = [on.fire(&late).await, on.fire(&deleted).await];
    on.clock.advance_ms(60_000);
    on.rescue().await;
    on.service.delete(&[deleted]).await.unwrap();
    assert_eq!(on.states_of(&runs).await, [Skipped, Cancelled]);
    release(on, HoldScope::Tag, "a").await;
    assert_eq!(on.states_of(&runs).await, [Skipped, Cancelled]);
}

pub async fn a_run_is_handed_over_after_its_hold_although_its_task_was_edited(on: &Stage) {
    let id = on.submit(submission("a", "q")).await;
    hold(on, HoldScope::Tag, "a").await;
    let run = on.fire(&id).await;
    let changed = on.edit(&id, "new data").await;
    assert_eq!(changed.open_runs, std::slice::from_ref(&run.id));
    // As if the node had died after the write that ends the wait.
    let mut stored = on.run(&run).await;
    stored.end_hold("gone", on.clock.now()).unwrap();
    assert_eq!(on.store.update_runs(&[stored]).await.unwrap(), [true]);
    on.service.release_hold(HoldScope::Tag, "a").await.unwrap();
    on.clock.advance_ms(1);
    on.rescue().await;
    let run = on.run(&run).await;
    assert_eq!((run.state, run.data.as_str()), (Ready, "holds"));
}

pub async fn a_retried_run_of_a_held_tag_waits(on: &Stage) {
    let id = on.submit(submission("a", "q")).await;
    let run = on.fire(&id).await;
    let leased = lease_from(on, &["q"], 1).await;
    hold(on, HoldScope::Tag, "a").await;
    settle(on, &leased[0], failed()).await;
    assert_eq!(on.run(&run).await.state, Retrying);
    on.service.retry_run_with(&run.id, &PayloadChange::default()).await.unwrap();
    on.rescue().await;
    assert_eq!(lease_from(on, &["q"], 1).await, []);
    let waiting = on.run(&run).await;
    assert_eq!((waiting.state, waiting.attempt), (Held, 2));
    release(on, HoldScope::Tag, "a").await;
    let leased = lease_from(on, &["q"], 1).await;
    assert_eq!((&leased[0].id, leased[0].attempt), (&run.id, 2), "the same attempt");
}

pub async fn a_second_hold_of_a_name_changes_the_first(on: &Stage) {
    hold(on, HoldScope::Queue, "q").await;
    let until = Some(NOW.plus_ms(1_000));
    let changed = NewHold { until, reason: "later".to_owned(), ..new(HoldScope::Queue, "q") };
    on.service.hold(changed).await.unwrap();
    let holds = on.service.holds().await.unwrap();
    let shown: Vec<_> = holds.iter().map(|hold| (hold.reason.as_str(), hold.until)).collect();
    assert_eq!(shown, [("later", until)]);
    let invalid = NewHold { until: Some(Moment::from_ms(0)), ..new(HoldScope::Queue, "q") };
    let refused = on.service.hold(invalid).await;
    assert!(matches!(&refused, Err(ServiceError::Hold(why)) if why.field == "until"), "{refused:?}");
}

#[tokio::test]
async fn an_unreadable_hold_is_ignored() {
    use crate::store::Fixture as _;
    let fixture = crate::store::memory::MemoryFixture::open().await;
    let records = fixture.records();
    let (kind, key, doc) = ("hold".to_owned(), "queue:p".to_owned(), "{}".to_owned());
    assert!(records.put_record(&Record { kind, key, index: None, doc, version: 0 }).await.unwrap());
    let on = Stage::on(fixture.one(), records);
    let run = on.ready("p").await;
    hold(&on, HoldScope::Queue, "q").await;
    assert_eq!(lease_from(&on, &["p", "q"], 1).await[0].id, run.id);
}

#[tokio::test]
async fn another_node_obeys_a_hold_within_a_second() {
    use crate::store::Fixture as _;
    let fixture = crate::store::memory::MemoryFixture::open().await;
    let [one, other] = [0, 1].map(|_| Stage::on(fixture.one(), fixture.records()));
    let run = one.ready("q").await;
    assert_eq!(lease_from(&other, &["nothing"], 1).await, [], "the other node reads the holds");
    hold(&one, HoldScope::Queue, "q").await;
    other.clock.advance_ms(1_000);
    assert_eq!(lease_from(&other, &["q"], 1).await, []);
    one.service.release_hold(HoldScope::Queue, "q").await.unwrap();
    other.clock.advance_ms(1_000);
    assert_eq!(lease_from(&other, &["q"], 1).await[0].id, run.id);
}

//! Runs of tasks with rate limits. The store's clock is the real one: only its time gives permits. The node's clock says when
//! the node asks for them.

use std::time::Duration;

use futures_util::future::join_all;
use taskcenter_server::core::hold::HoldScope;
use taskcenter_server::core::rate::{OnExcess, Rate};
use taskcenter_server::core::run::{Outcome, Permit};
use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::timing::Timing;
use taskcenter_server::core::{Run, RunState, Schedule, TaskId};
use taskcenter_server::engine::service::{LeaseTerms, NewHold, definition};
use taskcenter_server::engine::{admission, publish};
use taskcenter_server::ports::Clock as _;

use RunState::{Firing, Held, Ready, Retrying, Skipped, Succeeded};

use super::Stage;
use super::concurrency::{look, settle, succeed};

fn rate(text: &str, burst: u32) -> Rate {
    Rate { burst: Some(burst), ..text.parse().unwrap() }
}

fn submission(name: &str, rate: Rate, limits: &str) -> Submission {
    let concurrency = limits.split_whitespace().map(|text| text.parse().unwrap()).collect();
    Submission {
        schedule: Schedule::Every { period_ms: 1_000 },
        timing: Timing { rate: Some(rate), concurrency, ..Timing::default() },
        queue: Some("q".to_owned()),
        dedup: Dedup::Nothing,
        ..Submission::named(name, "rates")
    }
}

async fn tasks<const N: usize>(on: &Stage, submissions: [Submission; N]) -> [TaskId; N] {
    let mut ids = Vec::new();
    for submission in submissions {
        ids.push(on.submit(submission).await);
    }
    ids.try_into().unwrap()
}

/// Fires moments of the tasks, one after the other. Returns the runs as they are after the last one.
async fn fire<const N: usize>(on: &Stage, tasks: [&TaskId; N]) -> [Run; N] {
    let mut runs = Vec::new();
    for id in tasks {
        runs.push(on.fire(id).await);
    }
    on.runs(&runs).await.try_into().unwrap()
}

async fn pass(on: &Stage, ms: i64) {
    on.clock.set(on.clock.now().plus_ms(ms));
    on.rescue().await;
    look(on).await;
}

pub async fn runs_over_the_rate_wait_with_the_moment_of_the_next_start(on: &Stage) {
    let [id] = tasks(on, [submission("a", rate("2/2h", 2), "")]).await;
    let runs: [Run; 4] = fire(on, [&id; 4]).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Ready, Held, Held]);
    pass(on, 5).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Ready, Held, Held]);
    assert_eq!(runs[0].permit, Some(Permit::Valid));
    let (of_run, next_at) = on.service.next_permit(&runs[2]).await.unwrap().unwrap();
    let waits_ms = next_at.since(on.store.now().await.unwrap());
    assert!((3_500_000..=3_600_000).contains(&waits_ms), "{waits_ms}");
    assert_eq!(of_run, rate("2/2h", 2));
    assert_eq!(on.service.blocker(&runs[2]).await.unwrap(), None, "no run blocks it");
    assert_eq!(on.service.next_permit(&runs[0]).await.unwrap(), None, "the run does not wait");
    succeed(on, &runs[0]).await;
    assert_eq!(on.run(&runs[2]).await.state, Held, "the end of a run is no permit");
}

pub async fn waiting_runs_start_in_order_at_the_interval_of_the_rate(on: &Stage) {
    let [id] = tasks(on, [submission("a", rate("1/200ms", 1), "")]).await;
    let begun = on.store.now().await.unwrap();
    let runs: [Run; 4] = fire(on, [&id; 4]).await;
    let mut states = on.states_of(&runs).await;
    while states != [Ready; 4] {
        pass(on, 5).await;
        states = on.states_of(&runs).await;
        assert!(states.is_sorted_by_key(|state| *state == Held), "in order: {states:?}");
    }
    let ms = on.store.now().await.unwrap().since(begun);
    assert!(ms >= 3 * 200, "{ms}");
}

pub async fn excess_is_dropped_with_a_reason_and_a_later_attempt_waits(on: &Stage) {
    let rate = Rate { on_excess: OnExcess::Drop, ..rate("1/1h:queue:k", 1) };
    let [id] = tasks(on, [submission("a", rate, "")]).await;
    let runs: [Run; 2] = fire(on, [&id; 2]).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Skipped]);
    assert_eq!(runs[1].reason.as_deref(), Some("rate: dropped, the limit of 1 per 1h is used"));
    assert!(runs[1].has_ended() && runs[1].blocked_by.is_none() && runs[1].permit.is_none());
    let failed = settle(on, &runs[0], Outcome::Failed { retry_after_ms: Some(1_000) }).await;
    assert_eq!((failed.state, failed.permit), (Retrying, Some(Permit::Used)));
    pass(on, 1_000).await;
    let waiting = on.run(&runs[0]).await;
    assert_eq!((waiting.state, waiting.attempt), (Held, 2), "each attempt is a start");
    let postponed: [Run; 1] = fire(on, [&id]).await;
    assert_eq!(on.states_of(&postponed).await, [Skipped]);
}

pub async fn a_run_without_a_slot_uses_no_permit_and_without_a_permit_no_slot(on: &Stage) {
    let [limited, other] = tasks(
        on,
        [submission("a", rate("1/1h:task", 2), "1:queue"), submission("b", rate("9/1s:task", 9), "1:queue")],
    )
    .await;
    let runs: [Run; 4] = fire(on, [&limited, &limited, &limited, &other]).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Held, Held, Held]);
    assert!(on.service.blocker(&runs[1]).await.unwrap().is_some(), "the slot is in use");
    succeed(on, &runs[0]).await;
    let mut started = 0;
    for _ in 0..2 {
        pass(on, 5).await;
        let states = on.states_of(&runs).await;
        let ready = states.iter().position(|state| *state == Ready).expect("the slot is used");
        started += usize::from(ready < 3);
        succeed(on, &runs[ready]).await;
    }
    assert_eq!((started, on.run(&runs[3]).await.state), (1, Succeeded), "one permit was left");
    let waiting = on.run(&runs[2]).await;
    assert_eq!((waiting.state, waiting.slots.len()), (Held, 0));
    assert_eq!(on.store.slots_in_use(&waiting.slot_keys()).await.unwrap(), [], "no run keeps a slot");
    assert!(on.service.next_permit(&waiting).await.unwrap().is_some());
}

pub async fn a_full_rate_does_not_block_the_runs_of_another_key(on: &Stage) {
    let [one, other, third] = tasks(
        on,
        [
            submission("a", rate("1/1h:all:one", 1), "9:queue"),
            submission("b", rate("1/1h:all:other", 1), "9:queue"),
            submission("c", rate("1/1h:all:one", 1), "9:queue"),
        ],
    )
    .await;
    let runs: [Run; 5] = fire(on, [&one, &one, &third, &other, &other]).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Held, Held, Ready, Held]);
}

pub async fn a_run_that_is_rescued_before_its_hand_over_needs_another_permit(on: &Stage) {
    let drop = Rate { on_excess: OnExcess::Drop, ..rate("1/1h", 2) };
    let [id] = tasks(on, [submission("a", drop, "2:task")]).await;
    let run = on.service.trigger(&id, None).await.unwrap();
    let now = on.clock.now();
    let admitted = admission::gate(&on.node, vec![run.clone()], now).await;
    assert_eq!((admitted[0].state, admitted[0].permit), (Firing, Some(Permit::Valid)));
    on.clock.set(now.plus_ms(60_000));
    publish::publish(&on.node, admitted).await;
    assert_eq!(on.run(&run).await.state, Firing, "the permit is too old");
    // A change of the task does not stop a run that was admitted.
    let task = on.store.task(&id).await.unwrap().unwrap();
    on.service
        .edit(&id, task.rev, Submission { data: "other".to_owned(), ..definition(&task) })
        .await
        .unwrap();
    on.rescue().await;
    let held = on.run(&run).await;
    assert_eq!((held.state, held.permit, held.slots.len()), (Held, Some(Permit::Used), 0));
    pass(on, 5).await;
    assert_eq!(on.run(&run).await.state, Ready, "the second permit of the burst");
    let [later] = fire(on, [&id]).await;
    assert_eq!(later.state, Skipped, "both permits are used");
}

pub async fn the_end_of_a_hold_gives_no_permit(on: &Stage) {
    let [id] = tasks(on, [submission("a", rate("1/1h", 2), "3:task")]).await;
    let [before] = fire(on, [&id]).await;
    let (scope, name, reason) = (HoldScope::Tag, "a".to_owned(), String::new());
    on.service.hold(NewHold { scope, name, reason, until: None }).await.unwrap();
    let during: [Run; 2] = fire(on, [&id; 2]).await;
    pass(on, 5).await;
    let during = on.runs(&during).await;
    let waits = |run: &Run| (run.state, run.permit, run.slots.len(), run.held_scope());
    assert_eq!(during.iter().map(waits).collect::<Vec<_>>(), [(Held, None, 0, Some(scope)); 2]);
    let terms = LeaseTerms {
        worker: "w".to_owned(),
        queues: vec!["q".to_owned()],
        limit: 9,
        lease_ms: 30_000,
        wait: Duration::ZERO,
        request_id: None,
    };
    assert_eq!(on.service.lease(&terms).await.unwrap(), []);
    assert_eq!(waits(&on.run(&before).await), (Held, Some(Permit::Used), 0, Some(scope)));
    on.service.release_hold(scope, "a").await.unwrap();
    pass(on, 5).await;
    let runs = [before, during[0].clone(), during[1].clone()];
    assert_eq!(on.states_of(&runs).await, [Ready, Held, Held], "the second permit of the burst");
    assert_eq!(on.run(&runs[1]).await.permit, None);
}

pub async fn many_nodes_never_exceed_a_rate(on: &Stage) {
    let [id] = tasks(on, [submission("a", rate("1/1h", 5), "")]).await;
    let runs = join_all((0..30).map(|_| on.service.trigger(&id, None))).await;
    let runs: Vec<Run> = runs.into_iter().map(Result::unwrap).collect();
    let gates = runs.iter().map(|run| admission::gate(&on.node, vec![run.clone()], on.clock.now()));
    let admitted = join_all(gates).await.concat();
    publish::publish(&on.node, admitted).await;
    for _ in 0..3 {
        pass(on, 5).await;
    }
    let states = on.states_of(&runs).await;
    let ready = states.iter().filter(|state| **state == Ready).count();
    assert!((1..=5).contains(&ready), "a permit may be lost, and none is given twice: {states:?}");
    assert_eq!(states.iter().filter(|state| **state == Held).count(), 30 - ready);
}

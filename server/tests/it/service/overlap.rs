//! Runs of tasks with an overlap policy.

use futures_util::future::join_all;
use taskcenter_server::core::overlap::{Keep, Overlap};
use taskcenter_server::core::run::{Outcome, key_of_task, slot_of_task};
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::timing::Timing;
use taskcenter_server::core::{Run, RunState, Schedule, TaskId};
use taskcenter_server::engine::admission;
use taskcenter_server::ports::Clock as _;

use super::leases::{lease, report};
use super::{NOW, Stage};

async fn task(on: &Stage, overlap: Overlap) -> TaskId {
    on.submit(submission(overlap)).await
}

fn submission(overlap: Overlap) -> Submission {
    Submission {
        schedule: Schedule::Every { period_ms: 1_000 },
        timing: Timing { overlap: Some(overlap), ..Timing::default() },
        queue: Some("a".to_owned()),
        ..Submission::named("a", "overlap")
    }
}

/// Fires the next `N` moments of a task. Returns the runs as they are after the last one.
async fn fire<const N: usize>(on: &Stage, id: &TaskId) -> [Run; N] {
    let mut runs = Vec::new();
    for _ in 0..N {
        runs.push(on.fire(id).await);
    }
    on.runs(&runs).await.try_into().unwrap()
}

async fn settle(on: &Stage, outcome: Outcome) -> Run {
    let leased = lease(on, "w", 1).await.remove(0);
    on.service.report(&leased.id, &report(&leased, outcome)).await.unwrap();
    on.run(&leased).await
}

async fn succeed(on: &Stage) {
    settle(on, Outcome::Succeeded { result: None }).await;
}

async fn look(on: &Stage) {
    admission::run_once(&on.node, on.clock.now()).await.unwrap();
}

pub async fn a_second_run_is_suppressed_under_skip(on: &Stage) {
    let id = task(on, Overlap::Skip).await;
    let [first, second] = fire(on, &id).await;
    assert_eq!((first.state, first.slots.len()), (RunState::Ready, 1));
    assert_eq!((second.state, second.blocked_by.as_ref()), (RunState::Skipped, Some(&first.id)));
    assert_eq!(second.reason, Some(format!("overlap: suppressed by run {}", first.id)));
    succeed(on).await;
    assert_eq!(on.run(&first).await.slots, [""; 0], "an ended run has no slot");
    let [third] = fire(on, &id).await;
    assert_eq!(third.state, RunState::Ready);
    let triggered = on.service.trigger(&id, None).await.unwrap();
    on.rescue().await;
    assert_eq!(on.run(&triggered).await.blocked_by, Some(third.id), "a trigger obeys the policy");
}

pub async fn one_run_waits_and_the_first_or_the_latest_is_kept(on: &Stage) {
    use RunState::{Held, Ready, Skipped};
    for (keep, expected) in [(Keep::First, [Ready, Held, Skipped]), (Keep::Latest, [Ready, Skipped, Held])] {
        let id = task(on, Overlap::QueueOne { keep }).await;
        let runs: [Run; 3] = fire(on, &id).await;
        assert_eq!(on.states_of(&runs).await, expected, "{keep:?}");
        let (waiting, suppressed) =
            if keep == Keep::First { (&runs[1], &runs[2]) } else { (&runs[2], &runs[1]) };
        assert_eq!(suppressed.blocked_by.as_ref(), Some(&waiting.id));
        assert_eq!(on.service.first_held(&id).await.unwrap().map(|run| run.id).as_ref(), Some(&waiting.id));
        let blocker = on.service.blocker(waiting).await.unwrap().unwrap();
        assert_eq!((blocker.limit, blocker.used, blocker.run.as_ref()), (None, 1, Some(&runs[0].id)));
        on.service.delete(&[id]).await.unwrap();
    }
}

pub async fn a_later_run_replaces_the_run_before(on: &Stage) {
    use RunState::{Cancelled, Held, Leased, Ready, Skipped};
    let id = task(on, Overlap::CancelPrevious).await;
    let [first, second] = fire(on, &id).await;
    assert_eq!((first.state, first.blocked_by), (Cancelled, Some(second.id.clone())), "no worker had it");
    assert_eq!(first.reason, Some(format!("overlap: replaced by run {}", second.id)));
    look(on).await;
    assert_eq!(on.run(&second).await.state, Ready);
    let leased = lease(on, "w", 1).await.remove(0);
    let [third, fourth] = fire(on, &id).await;
    assert_eq!(on.states_of(&[second.clone(), third.clone(), fourth.clone()]).await, [Leased, Skipped, Held]);
    assert_eq!(on.run(&second).await.blocked_by, Some(third.id), "the first request counts");
    let stopped = Outcome::Failed { retry_after_ms: None };
    on.service.report(&leased.id, &report(&leased, stopped)).await.unwrap();
    let second = on.run(&second).await;
    assert_eq!((second.state, second.slots.len()), (Cancelled, 0));
    look(on).await;
    assert_eq!(on.run(&fourth).await.state, Ready);
}

/// As if a node had died between the two writes.
pub async fn a_look_asks_the_run_before_to_stop(on: &Stage) {
    let id = task(on, Overlap::CancelPrevious).await;
    let [first] = fire(on, &id).await;
    let leased = lease(on, "w", 1).await.remove(0);
    let stored = on.store.task(&id).await.unwrap().unwrap();
    let mut later = Run::triggered(&stored, "later", "t".to_owned(), first.scheduled_at.plus_ms(1));
    later.hold().unwrap();
    on.store.insert_runs(std::slice::from_ref(&later)).await.unwrap();
    look(on).await;
    let asked = on.run(&first).await;
    assert!(asked.cancel_request.is_some(), "{asked:?}");
    look(on).await;
    assert_eq!(on.run(&first).await.version, asked.version, "one request is enough");
    on.service.report(&leased.id, &report(&leased, Outcome::Succeeded { result: None })).await.unwrap();
    look(on).await;
    assert_eq!(on.states_of(&[first, later]).await, [RunState::Succeeded, RunState::Ready]);
}

/// As if two nodes had decided at the same time, each without the run of the other.
pub async fn a_run_that_waits_beside_another_one_is_suppressed_by_the_next_look(on: &Stage) {
    use RunState::{Held, Ready, Skipped};
    let id = task(on, Overlap::QueueOne { keep: Keep::First }).await;
    let [running, waiting] = fire(on, &id).await;
    let stored = on.store.task(&id).await.unwrap().unwrap();
    let mut other = Run::triggered(&stored, "other", "t".to_owned(), waiting.scheduled_at.plus_ms(1));
    other.hold().unwrap();
    on.store.insert_runs(std::slice::from_ref(&other)).await.unwrap();
    look(on).await;
    assert_eq!(on.states_of(&[running, waiting.clone(), other.clone()]).await, [Ready, Held, Skipped]);
    assert_eq!(on.run(&other).await.blocked_by, Some(waiting.id));
}

pub async fn waiting_runs_start_in_order_when_the_run_before_ends(on: &Stage) {
    use RunState::{Held, Ready, Skipped, Succeeded};
    let id = task(on, Overlap::QueueAll { max: 2 }).await;
    let runs: [Run; 4] = fire(on, &id).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Held, Held, Skipped]);
    look(on).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Held, Held, Skipped], "the slot is in use");
    succeed(on).await;
    assert_eq!(
        on.node.hints.take_freed().into_iter().collect::<Vec<_>>(),
        [key_of_task(&id)],
        "the end is a hint"
    );
    look(on).await;
    assert_eq!(on.states_of(&runs).await, [Succeeded, Ready, Held, Skipped]);
    succeed(on).await;
    look(on).await;
    assert_eq!(on.states_of(&runs).await, [Succeeded, Succeeded, Ready, Skipped]);
}

pub async fn a_slot_is_kept_during_a_retry_pause(on: &Stage) {
    let id = task(on, Overlap::Skip).await;
    let [first] = fire(on, &id).await;
    let failed = settle(on, Outcome::Failed { retry_after_ms: Some(5_000) }).await;
    assert_eq!((failed.state, &failed.slots), (RunState::Retrying, &first.slots));
    let [second] = fire(on, &id).await;
    assert_eq!(second.blocked_by, Some(first.id.clone()));
    on.clock.set(NOW.plus_ms(5_000));
    on.rescue().await;
    assert_eq!((on.run(&first).await.state, on.run(&first).await.attempt), (RunState::Ready, 2));
}

pub async fn a_redriven_run_waits_and_is_not_suppressed(on: &Stage) {
    let id = task(on, Overlap::Skip).await;
    let [first] = fire(on, &id).await;
    settle(on, Outcome::Dead).await;
    let [second] = fire(on, &id).await;
    on.service.retry_run(&first.id).await.unwrap();
    on.rescue().await;
    assert_eq!((on.run(&first).await.state, on.run(&first).await.attempt), (RunState::Held, 2));
    succeed(on).await;
    look(on).await;
    assert_eq!(on.states_of(&[first, second]).await, [RunState::Ready, RunState::Succeeded]);
}

pub async fn a_waiting_run_expires_and_is_cancelled_with_its_task(on: &Stage) {
    let limited = Submission { start_within_ms: Some(5_000), ..submission(Overlap::QueueAll { max: 5 }) };
    let id = on.submit(limited).await;
    let [_, waiting, later] = fire(on, &id).await;
    assert_eq!(waiting.attention_at, waiting.expires_at);
    on.clock.set(waiting.expires_at.unwrap());
    on.rescue().await;
    let expired = on.run(&waiting).await;
    assert!(expired.state == RunState::Skipped && expired.reason.unwrap().starts_with("expired"));
    on.service.delete(&[id]).await.unwrap();
    assert_eq!(on.run(&later).await.state, RunState::Cancelled);
}

pub async fn an_interrupted_admission_is_continued_by_the_rescue(on: &Stage) {
    let id = task(on, Overlap::Skip).await;
    let [first] = fire(on, &id).await;
    succeed(on).await;
    // A node has died after it had admitted the run, and the task was edited since.
    let triggered = on.service.trigger(&id, None).await.unwrap();
    let mut admitted = triggered.clone();
    admitted.admit(vec![slot_of_task(&first.task_id)], "gone", NOW).unwrap();
    assert_eq!(on.store.update_runs(&[admitted]).await.unwrap(), [true]);
    on.edit(&id, "new").await;
    on.rescue().await;
    assert_eq!(on.run(&triggered).await.state, RunState::Ready);
}

pub async fn many_nodes_admit_one_run_of_a_task(on: &Stage) {
    let id = task(on, Overlap::QueueAll { max: 100 }).await;
    let triggers = (0..20).map(|_| on.service.trigger(&id, None));
    let runs: Vec<Run> = join_all(triggers).await.into_iter().map(Result::unwrap).collect();
    let gates = runs.iter().map(|run| admission::gate(&on.node, vec![run.clone()], NOW));
    let admitted: usize = join_all(gates).await.into_iter().map(|runs| runs.len()).sum();
    assert_eq!(admitted, 1);
    let with_slot = on.runs(&runs).await.into_iter().filter(|run| !run.slots.is_empty()).count();
    assert_eq!(with_slot, 1);
}

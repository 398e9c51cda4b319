//! Runs of tasks with concurrency limits.

use std::time::Duration;

use futures_util::future::join_all;
use taskcenter_server::core::concurrency::{Limit, Scope};
use taskcenter_server::core::overlap::{Keep, Overlap};
use taskcenter_server::core::run::{Outcome, slot_of_task};
use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::timing::Timing;
use taskcenter_server::core::{Run, RunState, Schedule, TaskId};
use taskcenter_server::engine::service::{LeaseTerms, definition};
use taskcenter_server::engine::{admission, publish};
use taskcenter_server::ports::Clock as _;

use RunState::{Cancelled, Held, Leased, Ready, Retrying, Skipped, Succeeded};

use super::leases::report;
use super::{NOW, Stage};

fn limits(texts: &str) -> Vec<Limit> {
    texts.split_whitespace().map(|text| text.parse().unwrap()).collect()
}

fn submission(name: &str, texts: &str) -> Submission {
    Submission {
        schedule: Schedule::Every { period_ms: 1_000 },
        timing: Timing { concurrency: limits(texts), ..Timing::default() },
        queue: Some("q".to_owned()),
        dedup: Dedup::Nothing,
        ..Submission::named(name, "limits")
    }
}

async fn task(on: &Stage, name: &str, texts: &str) -> TaskId {
    on.submit(submission(name, texts)).await
}

/// Fires moments of the tasks, one after the other. Returns the runs as they are after the last one.
async fn fire<const N: usize>(on: &Stage, tasks: [&TaskId; N]) -> [Run; N] {
    let mut runs = Vec::new();
    for id in tasks {
        runs.push(on.fire(id).await);
    }
    on.runs(&runs).await.try_into().unwrap()
}

async fn lease(on: &Stage, worker: &str, limit: u32) -> Vec<Run> {
    let (worker, queues) = (worker.to_owned(), vec!["q".to_owned()]);
    let terms =
        LeaseTerms { worker, queues, limit, lease_ms: 30_000, wait: Duration::ZERO, request_id: None };
    on.service.lease(&terms).await.unwrap()
}

/// Leases the ready run, and reports an outcome.
pub(super) async fn settle(on: &Stage, run: &Run, outcome: Outcome) -> Run {
    let leased = lease(on, "w", 99).await;
    let others = leased.iter().filter(|leased| leased.id != run.id);
    for other in others {
        on.service.report(&other.id, &report(other, Outcome::Released { after_ms: None })).await.unwrap();
    }
    let leased = leased.iter().find(|leased| leased.id == run.id).expect("the run is ready");
    on.service.report(&run.id, &report(leased, outcome)).await.unwrap();
    on.run(run).await
}

pub(super) async fn succeed(on: &Stage, run: &Run) {
    let settled = settle(on, run, Outcome::Succeeded { result: None }).await;
    assert_eq!((settled.state, settled.slots.len()), (Succeeded, 0), "an ended run has no slot");
    look(on).await;
}

pub(super) async fn look(on: &Stage) {
    admission::run_once(&on.node, on.clock.now()).await.unwrap();
}

pub async fn runs_over_the_limit_of_a_task_wait_and_start_in_order(on: &Stage) {
    let id = task(on, "a", "2").await;
    let runs: [Run; 4] = fire(on, [&id; 4]).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Ready, Held, Held]);
    look(on).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Ready, Held, Held], "the slots are in use");
    succeed(on, &runs[1]).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Succeeded, Ready, Held]);
    let slots = on.runs(&runs).await.into_iter().flat_map(|run| run.slots).collect::<Vec<_>>();
    assert_eq!(slots, [format!("limit:task:{id}#0"), format!("limit:task:{id}#1")]);
    succeed(on, &runs[0]).await;
    assert_eq!(on.run(&runs[3]).await.state, Ready);
}

pub async fn tasks_share_the_slots_of_their_scope_and_key(on: &Stage) {
    let shared = [task(on, "a", "1:queue").await, task(on, "b", "1:queue").await];
    let others = [task(on, "a", "1:tag").await, task(on, "b", "1:queue:eu").await];
    let runs: [Run; 4] = fire(on, [&shared[0], &shared[1], &others[0], &others[1]]).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Held, Ready, Ready]);
    let same_key =
        [task(on, "c", "1:all:k").await, task(on, "d", "1:all:k").await, task(on, "e", "1:all").await];
    let of_key: [Run; 3] = fire(on, [&same_key[0], &same_key[1], &same_key[2]]).await;
    assert_eq!(on.states_of(&of_key).await, [Ready, Held, Ready]);
    let blocker = on.service.blocker(&of_key[1]).await.unwrap().unwrap();
    let limit = Limit { max: 1, scope: Scope::All, key: Some("k".to_owned()) };
    assert_eq!((blocker.limit, blocker.used), (Some(limit), 1));
    assert_eq!(blocker.run.as_ref(), Some(&of_key[0].id));
    assert_eq!(on.service.blocker(&of_key[0]).await.unwrap(), None, "the run does not wait");
    assert_eq!(
        on.service.first_held(&same_key[1]).await.unwrap().map(|run| run.id),
        Some(of_key[1].id.clone())
    );
    assert_eq!(on.service.first_held(&same_key[0]).await.unwrap(), None);
}

pub async fn a_full_key_does_not_block_the_runs_of_another_key(on: &Stage) {
    let [one, other] = [task(on, "a", "3:queue 1:all:one").await, task(on, "b", "3:queue 1:all:other").await];
    let runs: [Run; 5] = fire(on, [&one, &one, &one, &other, &other]).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Held, Held, Ready, Held]);
    let blocker = on.service.blocker(&runs[4]).await.unwrap().unwrap();
    assert_eq!(
        (blocker.limit.unwrap().to_string(), blocker.run.as_ref()),
        ("1:all:other".to_owned(), Some(&runs[3].id))
    );
    succeed(on, &runs[3]).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Held, Held, Succeeded, Ready]);
}

pub async fn the_groups_of_a_key_have_their_turns(on: &Stage) {
    let [first, second, third] = [
        task(on, "a", "1:queue 9:all:a").await,
        task(on, "b", "1:queue 9:all:b").await,
        task(on, "c", "1:queue").await,
    ];
    let runs: [Run; 8] = fire(on, [&first, &first, &first, &first, &second, &second, &third, &third]).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Held, Held, Held, Held, Held, Held, Held]);
    let mut order = Vec::new();
    for _ in 0..8 {
        let states = on.states_of(&runs).await;
        let ready: Vec<usize> = (0..8).filter(|at| states[*at] == Ready).collect();
        let [at] = ready[..] else { panic!("one run has the slot: {states:?}") };
        order.push(at);
        succeed(on, &runs[at]).await;
    }
    let tasks: Vec<&str> = order.iter().map(|at| ["a", "a", "a", "a", "b", "b", "c", "c"][*at]).collect();
    for turn in tasks[1..7].chunks(3) {
        let mut turn = turn.to_vec();
        turn.sort_unstable();
        assert_eq!(turn, ["a", "b", "c"], "each group has a turn: {tasks:?}");
    }
    let of_first: Vec<&usize> = order.iter().filter(|at| **at < 4).collect();
    assert_eq!(of_first, [&0, &1, &2, &3], "oldest first");
}

pub async fn a_failed_or_postponed_attempt_frees_its_slot(on: &Stage) {
    let id = task(on, "a", "1").await;
    let runs: [Run; 3] = fire(on, [&id; 3]).await;
    let failed = settle(on, &runs[0], Outcome::Failed { retry_after_ms: Some(5_000) }).await;
    assert_eq!((failed.state, failed.slots.len()), (Retrying, 0));
    look(on).await;
    assert_eq!(on.states_of(&runs).await, [Retrying, Ready, Held]);
    on.clock.set(NOW.plus_ms(5_000));
    on.rescue().await;
    assert_eq!((on.run(&runs[0]).await.state, on.run(&runs[0]).await.attempt), (Held, 2));
    let postponed = settle(on, &runs[1], Outcome::Released { after_ms: Some(2_000) }).await;
    assert_eq!((postponed.state, postponed.slots.len()), (Retrying, 0));
    look(on).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Retrying, Held], "the earliest run is first");
    on.clock.set(NOW.plus_ms(7_000));
    on.rescue().await;
    let postponed = on.run(&runs[1]).await;
    assert_eq!((postponed.state, postponed.attempt, postponed.postponed), (Held, 1, false));
    succeed(on, &runs[0]).await;
    assert_eq!(on.states_of(&runs).await, [Succeeded, Ready, Held]);
    assert_eq!(on.run(&runs[1]).await.attempt, 1);
}

pub async fn a_lost_worker_frees_the_slot_of_its_run(on: &Stage) {
    let id = task(on, "a", "1").await;
    let runs: [Run; 2] = fire(on, [&id; 2]).await;
    lease(on, "gone", 1).await;
    on.clock.set(NOW.plus_ms(60_000));
    on.rescue().await;
    assert_eq!(on.states_of(&runs).await, [Held, Held]);
    look(on).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Held]);
}

pub async fn a_run_keeps_the_slot_of_its_task_while_it_waits_for_a_limit(on: &Stage) {
    let other = task(on, "b", "1:queue").await;
    let timing = Timing {
        overlap: Some(Overlap::QueueOne { keep: Keep::First }),
        concurrency: limits("1:queue"),
        ..Timing::default()
    };
    let id = on.submit(Submission { timing, ..submission("a", "") }).await;
    let runs: [Run; 4] = fire(on, [&other, &id, &id, &id]).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Held, Held, Skipped]);
    assert_eq!(on.run(&runs[1]).await.slots, [slot_of_task(&id)]);
    assert_eq!(runs[3].blocked_by.as_ref(), Some(&runs[2].id));
    let blockers = [&runs[1], &runs[2]].map(|run| on.service.blocker(run));
    let by: Vec<_> =
        join_all(blockers).await.into_iter().map(|blocker| blocker.unwrap().unwrap().run.unwrap()).collect();
    assert_eq!(by, [runs[0].id.clone(), runs[1].id.clone()], "the limit, and the run of the task");
    succeed(on, &runs[0]).await;
    assert_eq!(on.states_of(&runs[1..3]).await, [Ready, Held]);
    assert_eq!(on.run(&runs[1]).await.slots.len(), 2);
    let failed = settle(on, &runs[1], Outcome::Failed { retry_after_ms: Some(5_000) }).await;
    assert_eq!(failed.slots, [slot_of_task(&id)], "a retry pause keeps the slot of the task only");
    look(on).await;
    assert_eq!(on.run(&runs[2]).await.state, Held);
    on.clock.set(NOW.plus_ms(5_000));
    on.rescue().await;
    look(on).await;
    succeed(on, &runs[1]).await;
    assert_eq!(on.states_of(&runs[1..3]).await, [Succeeded, Ready]);
}

pub async fn a_later_run_replaces_a_run_that_waits_for_a_limit(on: &Stage) {
    let other = task(on, "b", "1:queue").await;
    let timing = Timing {
        overlap: Some(Overlap::CancelPrevious),
        concurrency: limits("1:queue"),
        ..Timing::default()
    };
    let id = on.submit(Submission { timing, ..submission("a", "") }).await;
    let runs: [Run; 3] = fire(on, [&other, &id, &id]).await;
    look(on).await;
    assert_eq!(on.states_of(&runs).await, [Ready, Cancelled, Held]);
    assert_eq!(on.run(&runs[2]).await.slots, [slot_of_task(&id)]);
    succeed(on, &runs[0]).await;
    assert_eq!(on.run(&runs[2]).await.state, Ready);
}

pub async fn slots_above_a_lowered_maximum_count(on: &Stage) {
    let id = task(on, "a", "3").await;
    let runs: [Run; 3] = fire(on, [&id; 3]).await;
    assert_eq!(on.states_of(&runs).await, [Ready; 3]);
    let stored_task = on.store.task(&id).await.unwrap().unwrap();
    let timing = Timing { concurrency: limits("1"), ..Timing::default() };
    on.service.edit(&id, stored_task.rev, Submission { timing, ..definition(&stored_task) }).await.unwrap();
    let [later] = fire(on, [&id]).await;
    for run in &runs {
        look(on).await;
        assert_eq!(on.run(&later).await.state, Held);
        succeed(on, run).await;
    }
    assert_eq!(on.run(&later).await.state, Ready);
}

pub async fn a_waiting_run_expires_and_is_cancelled_with_its_task_of_a_limit(on: &Stage) {
    let limited = Submission { start_within_ms: Some(5_000), ..submission("a", "1") };
    let id = on.submit(limited).await;
    let [running, waiting, later] = fire(on, [&id; 3]).await;
    on.clock.set(waiting.expires_at.unwrap());
    let leased = lease(on, "w", 1).await;
    on.rescue().await;
    assert_eq!(on.run(&waiting).await.state, Skipped);
    on.service.delete(&[id]).await.unwrap();
    assert_eq!(
        on.states_of(&[running, later]).await,
        [if leased.is_empty() { Skipped } else { Leased }, Cancelled]
    );
    look(on).await;
    assert_eq!(on.store.held_groups(None, "", 9).await.unwrap(), [], "no run waits");
}

pub async fn many_nodes_never_exceed_a_limit(on: &Stage) {
    let tasks = join_all((0..4).map(|n| task(on, if n % 2 == 0 { "a" } else { "b" }, "3:all:k 2:tag"))).await;
    let triggers = tasks.iter().cycle().take(40).map(|id| on.service.trigger(id, None));
    let runs: Vec<Run> = join_all(triggers).await.into_iter().map(Result::unwrap).collect();
    let gates = runs.iter().map(|run| admission::gate(&on.node, vec![run.clone()], NOW));
    let admitted = join_all(gates).await.concat();
    publish::publish(&on.node, admitted).await;
    let mut ended = 0;
    for _ in 0..200 {
        look(on).await;
        on.rescue().await;
        let open: Vec<Run> = on.runs(&runs).await.into_iter().filter(|run| !run.has_ended()).collect();
        let with_slots: Vec<&Run> = open.iter().filter(|run| !run.slots.is_empty()).collect();
        assert!(with_slots.len() <= 3 && with_slots.iter().all(|run| run.slots.len() == 2), "{with_slots:?}");
        let of_tag = |tag: &str| with_slots.iter().filter(|run| run.tag == tag).count();
        assert!(of_tag("a") <= 2 && of_tag("b") <= 2, "{with_slots:?}");
        let Some(ready) = open.iter().find(|run| run.state == Ready) else {
            assert!(open.iter().all(|run| run.state != Held || !with_slots.is_empty()), "{open:?}");
            if open.is_empty() {
                break;
            }
            continue;
        };
        succeed(on, ready).await;
        ended += 1;
    }
    assert_eq!(ended, 40, "every run starts");
    assert_eq!(on.store.slots_in_use(&runs[0].slot_keys()).await.unwrap(), []);
}

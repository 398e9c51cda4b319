//! Backfills: one run for each moment of a range, whatever happens in between.

use taskcenter_server::core::access::{Grant, Scope};
use taskcenter_server::core::operation::{Count, Operation, OperationState};
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Run, RunState, Schedule, TaskId};
use taskcenter_server::engine::operations;
use taskcenter_server::engine::service::{Caller, NewBackfill, ServiceError, definition};
use taskcenter_server::ports::{Clock, RunFilter, RunPage};

use super::operations::{counts, finish};
use super::{NOW, Stage};

const MINUTE_MS: i64 = 60_000;

/// Stores a task that fires every minute, and whose first moment is now.
async fn every_minute(on: &Stage) -> TaskId {
    let schedule = Schedule::Every { period_ms: MINUTE_MS };
    on.submit(Submission { schedule, queue: Some("q".into()), ..Submission::named("report", "data") }).await
}

/// Returns the backfill of the last minutes before now.
fn minutes(number: i64) -> NewBackfill {
    NewBackfill { from: NOW.plus_ms(-number * MINUTE_MS), to: NOW, rate_per_sec: None, reason: None }
}

async fn runs(on: &Stage, id: &TaskId) -> Vec<Run> {
    let filter = RunFilter { task_id: Some(id.clone()), ..RunFilter::default() };
    let mut runs = on.store.list_runs(&filter, &RunPage { limit: 1_000, before: None }).await.unwrap();
    runs.reverse();
    runs
}

async fn create(on: &Stage, id: &TaskId, new: NewBackfill) -> Operation {
    on.service.backfill(id, new, None).await.unwrap()
}

pub async fn each_moment_of_the_range_gets_one_run(on: &Stage) {
    let id = every_minute(on).await;
    let before = on.store.task(&id).await.unwrap().unwrap();
    let count = on.service.preview_backfill(&id, minutes(250)).await.unwrap();
    assert_eq!(count, Count { rows: 250, more: false });
    assert!(runs(on, &id).await.is_empty(), "a dry run creates nothing");
    let operation = create(on, &id, minutes(250)).await;
    on.clock.advance_ms(1_234);
    let ended = finish(on, &operation).await;
    assert_eq!((ended.state, counts(&ended)), (OperationState::Completed, (250, 250, 0, 0)));
    on.rescue().await;
    let runs = runs(on, &id).await;
    let moments: Vec<i64> = runs.iter().map(|run| NOW.since(run.scheduled_at) / MINUTE_MS).collect();
    assert_eq!(moments, (1..=250).rev().collect::<Vec<_>>());
    for run in &runs {
        assert_eq!((run.state, run.triggered, run.number), (RunState::Ready, true, 0));
        let of = run.id.backfill().unwrap();
        assert_eq!((of.operation, of.at), (operation.id.as_str(), run.scheduled_at));
        assert_eq!(run.due_at, Some(on.clock.now()), "it is late only since the operation has reached it");
    }
    let task = on.store.task(&id).await.unwrap().unwrap();
    assert_eq!(task, before, "the task keeps its place in its schedule");
}

pub async fn a_batch_that_is_repeated_backfills_each_moment_once(on: &Stage) {
    let id = every_minute(on).await;
    create(on, &id, minutes(3)).await;
    operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap();
    let planned = on.service.running_operations().await.unwrap().pop().unwrap().operation.unwrap();
    assert_eq!(planned.batch.len(), 3);
    let now = on.clock.now();
    let (one, two) =
        tokio::join!(on.service.step_operation(&planned, now), on.service.step_operation(&planned, now));
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    on.rescue().await;
    on.service.step_operation(&planned, now).await.unwrap();
    assert_eq!(on.states(&id).await, [RunState::Ready; 3]);
}

pub async fn an_edit_changes_the_payload_and_not_the_moments(on: &Stage) {
    let id = every_minute(on).await;
    let operation = create(on, &id, NewBackfill { rate_per_sec: Some(4), ..minutes(4) }).await;
    for _ in 0..3 {
        on.rescue().await;
        operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap();
        on.clock.advance_ms(250);
    }
    let task = on.service.shown_task(&id).await.unwrap();
    let schedule = Schedule::Every { period_ms: 1_000 };
    let edited = Submission { data: "edited".to_owned(), schedule, ..definition(&task) };
    on.service.edit(&id, task.rev, edited).await.unwrap();
    let ended = finish(on, &operation).await;
    assert_eq!((ended.state, counts(&ended)), (OperationState::Completed, (4, 4, 0, 0)));
    // The first call replaces the run that the edit has overtaken, and the second one hands the new run over.
    on.rescue().await;
    on.rescue().await;
    let runs = runs(on, &id).await;
    let of_backfill: Vec<&Run> = runs.iter().filter(|run| run.id.backfill().is_some()).collect();
    let live: Vec<&&Run> = of_backfill.iter().filter(|run| run.state == RunState::Ready).collect();
    assert_eq!(live.len(), 4, "{runs:?}");
    assert_eq!(of_backfill.len(), 5, "the edit has overtaken one run: {runs:?}");
    let edited = live.iter().filter(|run| run.data == "edited").count();
    assert!((1..4).contains(&edited), "{edited}");
}

pub async fn a_cancelled_task_gets_no_further_run(on: &Stage) {
    let id = every_minute(on).await;
    let operation = create(on, &id, minutes(3)).await;
    operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap();
    on.service.cancel(&id, None).await.unwrap();
    let ended = finish(on, &operation).await;
    assert_eq!((ended.state, counts(&ended)), (OperationState::Completed, (3, 0, 0, 3)));
    let refused = on.service.backfill(&id, minutes(3), None).await;
    assert!(matches!(refused, Err(ServiceError::Over(_))), "{refused:?}");
}

pub async fn a_backfill_that_cannot_be_is_refused(on: &Stage) {
    let id = every_minute(on).await;
    let once = on.submit(Submission::named("once", "data")).await;
    let late = NewBackfill { to: NOW.plus_ms(1), ..minutes(1) };
    let empty = NewBackfill { from: NOW, ..minutes(1) };
    let fast = NewBackfill { rate_per_sec: Some(0), ..minutes(1) };
    for (id, new, field) in
        [(&id, late, "to"), (&id, empty, "to"), (&id, fast, "rate_per_sec"), (&once, minutes(1), "schedule")]
    {
        let refused = on.service.preview_backfill(id, new).await;
        let Err(ServiceError::Operation(invalid)) = refused else { panic!("{refused:?}") };
        assert_eq!(invalid.field, field);
    }
    let grant = Grant { scopes: vec![Scope::TaskWrite], tags: vec!["mail".to_owned()], expires_at: None };
    let other = on.service.for_caller(Caller { grant, ..Caller::anonymous() });
    let refused = other.backfill(&id, minutes(1), None).await;
    assert!(matches!(refused, Err(ServiceError::NotFound)), "{refused:?}");
}

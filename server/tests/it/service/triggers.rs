//! Triggered and redriven runs, and changes of their tasks.

use taskcenter_server::core::headers::Headers;
use taskcenter_server::core::retry::RetryPolicy;
use taskcenter_server::core::run::{Outcome, PayloadChange};
use taskcenter_server::core::submission::{MAX_DATA_BYTES, Submission};
use taskcenter_server::core::task_change::CannotChange;
use taskcenter_server::core::{Run, RunId, RunState, Schedule, TaskId, TaskState};
use taskcenter_server::engine::service::{IdempotencyKey, Service, ServiceError};

use super::interleaving::Pause;
use super::{NOW, Stage};

fn every_second() -> Submission {
    Submission { schedule: Schedule::Every { period_ms: 1_000 }, ..Submission::named("loop", "data") }
}

fn key(id: &TaskId) -> IdempotencyKey {
    IdempotencyKey { key: "k".to_owned(), fingerprint: id.to_string() }
}

async fn edit(on: &Stage, id: &TaskId, data: &str) -> Vec<RunId> {
    on.edit(id, data).await.open_runs
}

pub async fn a_triggered_run_fires_outside_the_schedule(on: &Stage) {
    let later = Submission { start_at: Some(NOW.plus_ms(86_400_000)), ..Submission::named("later", "data") };
    let id = on.submit(later).await;
    on.service.pause(&id, None).await.unwrap();
    let run = on.service.trigger(&id, None).await.unwrap();
    on.rescue().await;
    let run = on.run(&run).await;
    assert_eq!((run.state, run.triggered, run.scheduled_at), (RunState::Ready, true, NOW));
    let task = on.store.task(&id).await.unwrap().unwrap();
    assert_eq!(
        (task.fired_count, task.next_due_at),
        (0, Some(NOW.plus_ms(86_400_000))),
        "a trigger does not change the schedule"
    );
}

pub async fn a_triggered_run_does_not_fire_after_a_delete(on: &Stage) {
    let id = on.submit(every_second()).await;
    let run = on.service.trigger(&id, None).await.unwrap();
    on.service.delete(std::slice::from_ref(&id)).await.unwrap();
    on.rescue().await;
    assert_eq!(on.run(&run).await.state, RunState::Cancelled);
    let refused = on.service.trigger(&id, None).await;
    assert!(matches!(refused, Err(ServiceError::NotFound)), "{refused:?}");
    let over = on.submit(Submission { data: "other".to_owned(), ..every_second() }).await;
    on.service.cancel(&over, None).await.unwrap();
    assert!(matches!(on.service.trigger(&over, None).await, Err(ServiceError::Over(_))));
    assert_eq!(CannotChange::Over(TaskState::Cancelled).to_string(), "the task is cancelled");
}

pub async fn a_repeated_trigger_fires_once(on: &Stage) {
    let id = on.submit(every_second()).await;
    let first = on.service.trigger(&id, Some(key(&id))).await.unwrap();
    on.rescue().await;
    let again = on.service.trigger(&id, Some(key(&id))).await.unwrap();
    assert_eq!((&again.id, again.state), (&first.id, RunState::Ready));
    assert_eq!(on.states(&id).await, [RunState::Ready]);
    on.service.trigger(&id, None).await.unwrap();
    assert_eq!(on.states(&id).await.len(), 2, "without a key each call is another fire");
}

fn payload(data: &str) -> PayloadChange {
    let headers = Headers::from([("tenant".to_owned(), data.to_owned())]);
    PayloadChange { data: Some(data.to_owned()), headers: Some(headers) }
}

pub async fn a_trigger_may_have_another_payload(on: &Stage) {
    let id = on.submit(every_second()).await;
    let other = payload("other");
    let first = on.service.trigger_with(&id, &other, Some(key(&id))).await.unwrap();
    assert_eq!((first.data.as_str(), Some(&first.headers)), ("other", other.headers.as_ref()));
    assert_eq!(on.run(&first).await.data, "other");
    let again = on.service.trigger_with(&id, &other, Some(key(&id))).await.unwrap();
    assert_eq!((&again.id, again.data.as_str()), (&first.id, "other"), "one run for a key");
    assert_eq!(on.service.trigger(&id, None).await.unwrap().data, "data", "the task keeps its payload");
    assert_eq!(on.store.task(&id).await.unwrap().unwrap().data, "data");
}

pub async fn a_trigger_with_an_invalid_payload_leaves_no_trace(on: &Stage) {
    let id = on.submit(every_second()).await;
    let too_long = PayloadChange { data: Some("x".repeat(MAX_DATA_BYTES + 1)), headers: None };
    let reserved = PayloadChange { headers: Some([("host".to_owned(), "x".to_owned())].into()), data: None };
    for invalid in [too_long, reserved] {
        let refused = on.service.trigger_with(&id, &invalid, Some(key(&id))).await;
        assert!(matches!(refused, Err(ServiceError::Invalid(_))), "{refused:?}");
    }
    let other = IdempotencyKey { fingerprint: "another request".to_owned(), ..key(&id) };
    on.service.trigger_with(&id, &payload("y"), Some(other)).await.unwrap();
    assert_eq!(on.states(&id).await.len(), 1);
}

pub async fn every_later_change_lists_an_open_triggered_run(on: &Stage) {
    let later = Submission { start_at: Some(NOW.plus_ms(86_400_000)), ..Submission::named("later", "data") };
    let id = on.submit(later).await;
    let mut run = on.service.trigger(&id, None).await.unwrap();
    let listed = [run.id.clone()];
    assert_eq!(edit(on, &id, "new").await, listed, "a node may have read the task before the edit");
    // A node has read the task, and sends the message.
    run.claim("another node", NOW.plus_ms(10_000));
    assert_eq!(on.store.update_runs(&[run]).await.unwrap(), [true]);
    assert_eq!(on.service.pause(&id, None).await.unwrap().open_runs, listed);
    assert_eq!(
        on.service.pause(&id, None).await.unwrap().open_runs,
        listed,
        "a second pause lists the run too"
    );
    assert_eq!(on.service.resume(&id, None).await.unwrap().open_runs, listed);
    assert_eq!(on.service.cancel(&id, None).await.unwrap().open_runs, listed);
}

/// Inserts a run whose first attempt the broker refused.
async fn refused(on: &Stage, id: &TaskId, retry: RetryPolicy) -> Run {
    let task = on.store.task(id).await.unwrap().unwrap();
    let due = task.next_due_at.unwrap();
    let mut run = Run::firing(&task, due, "node", "token".to_owned(), NOW);
    run.queue = None;
    run.report(&Outcome::Failed { retry_after_ms: Some(0) }, None, &retry, NOW).unwrap();
    on.store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
    let advance = taskcenter_server::ports::Advance {
        task_id: id.clone(),
        rev: task.rev,
        due,
        last_due_at: due,
        next_due_at: task.due_after(due, 1),
        nominal_at: None,
        fires: true,
        waits: false,
    };
    assert_eq!(on.store.advance_tasks(&[advance]).await.unwrap(), [true]);
    run
}

pub async fn a_later_change_lists_a_run_in_a_further_attempt(on: &Stage) {
    let id = on.submit(every_second()).await;
    let often = RetryPolicy::doubling(9, 1, 1);
    let run = refused(on, &id, often).await;
    edit(on, &id, "new").await;
    // A node has read the task, and sends the second attempt or waits for the broker.
    let mut again = on.run(&run).await;
    again.start_next_attempt("another token".to_owned()).unwrap();
    again.claim("another node", NOW.plus_ms(10_000));
    assert_eq!((again.state, again.fired_at), (RunState::Firing, None));
    assert_eq!(on.store.update_runs(&[again]).await.unwrap(), [true]);
    assert_eq!(on.service.pause(&id, None).await.unwrap().open_runs, [run.id]);
}

pub async fn a_run_that_the_broker_refused_can_be_redriven_after_an_edit(on: &Stage) {
    let id = on.submit(every_second()).await;
    let once = RetryPolicy::doubling(1, 1, 1);
    let run = refused(on, &id, once).await;
    assert_eq!((run.state, run.fired_at), (RunState::Dead, None));
    edit(on, &id, "new").await;
    edit(on, &id, "newer").await;
    assert_eq!(on.service.retry_run(&run.id).await.unwrap().state, RunState::Retrying);
    on.rescue().await;
    let again = on.run(&run).await;
    let why = again.reason.unwrap_or_default();
    assert_eq!((again.state, again.attempt), (RunState::Retrying, 2), "{why}");
    assert!(why.starts_with("bus refused"), "the run was sent once more: {why}");
}

pub async fn a_repeated_trigger_after_a_change_fires_once(on: &Stage) {
    let id = on.submit(every_second()).await;
    let first = on.service.trigger(&id, Some(key(&id))).await.unwrap();
    on.rescue().await;
    edit(on, &id, "new").await;
    on.service.pause(&id, None).await.unwrap();
    assert_eq!(on.service.trigger(&id, Some(key(&id))).await.unwrap().id, first.id);
    assert_eq!(on.states(&id).await, [RunState::Ready]);
    on.service.cancel(&id, None).await.unwrap();
    assert_eq!(
        on.service.trigger(&id, Some(key(&id))).await.unwrap().id,
        first.id,
        "the cancel does not change the answer"
    );
    assert!(
        matches!(on.service.trigger(&id, None).await, Err(ServiceError::Over(_))),
        "a new trigger needs a live task"
    );
}

/// Triggers a task, and executes `meanwhile` between the two reads of the task.
async fn trigger_around(on: &Stage, id: &TaskId, meanwhile: impl Future<Output = ()>) -> Run {
    let trigger = async |service: &Service| service.trigger(id, Some(key(id))).await.unwrap();
    Box::pin(on.with_interleaved(Pause::After("insert_runs"), trigger, meanwhile)).await
}

pub async fn a_trigger_during_an_edit_fires_the_new_definition(on: &Stage) {
    let id = on.submit(every_second()).await;
    let run = trigger_around(on, &id, async { drop(edit(on, &id, "new").await) }).await;
    assert_eq!((run.rev, run.data.as_str()), (2, "new"));
    assert_eq!(
        on.service.trigger(&id, Some(key(&id))).await.unwrap().id,
        run.id,
        "a repeated trigger returns the same run"
    );
    on.rescue().await;
    let mut states = on.states(&id).await;
    states.sort_by_key(|state| *state == RunState::Ready);
    assert_eq!(states, [RunState::Cancelled, RunState::Ready]);
}

pub async fn a_trigger_that_was_handed_over_before_an_edit_creates_no_second_run(on: &Stage) {
    let id = on.submit(every_second()).await;
    let run = trigger_around(on, &id, async {
        on.rescue().await;
        edit(on, &id, "new").await;
    });
    let run = run.await;
    assert_eq!((run.rev, run.data.as_str(), run.state), (1, "data", RunState::Ready));
    assert_eq!(on.states(&id).await, [RunState::Ready], "one request, one run");
}

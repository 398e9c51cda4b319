//! Operations: selection, one effect per item, progress, rate, abort, rights.

use serde_json::{Value, json};
use taskcenter_server::core::access::{Grant, Scope};
use taskcenter_server::core::labels::Labels;
use taskcenter_server::core::operation::{
    Action, COUNT_LIMIT, Count, MAX_FAILURES, MAX_IDS, NewOperation, Operation, OperationState, Selection,
};
use taskcenter_server::core::quota::Quota;
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Run, RunState, Schedule, TaskId, TaskState};
use taskcenter_server::engine::operations;
use taskcenter_server::engine::service::{
    Caller, Forbidden, IdempotencyKey, MAX_RUNNING_OPERATIONS, Origin, RecordKind, Service, ServiceError,
    Step,
};
use taskcenter_server::ports::Clock;

use super::Stage;
use super::leases::{lease, report};
use crate::store::samples;

fn by_name(action: Action, name: &str) -> NewOperation {
    NewOperation::new(
        action,
        Selection::Tasks { name: Some(name.to_owned()), state: None, labels: Labels::new() },
    )
}

fn by_ids(action: Action, ids: Vec<String>) -> NewOperation {
    NewOperation::new(action, Selection::Ids(ids))
}

fn runs_of(action: Action, tag: &str) -> NewOperation {
    NewOperation::new(
        action,
        Selection::Runs { task_id: None, tag: Some(tag.to_owned()), state: None, labels: Labels::new() },
    )
}

/// Stores tasks that are due in an hour, and lets a millisecond pass.
async fn tasks(on: &Stage, name: &str, number: usize) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for n in 0..number {
        let start_at = Some(on.clock.now().plus_ms(3_600_000));
        ids.push(
            on.submit(Submission {
                start_at,
                ..Submission::named(name, format!("{n} {}", samples::unique()))
            })
            .await,
        );
    }
    on.clock.advance_ms(1);
    ids
}

async fn create(on: &Stage, new: NewOperation) -> Operation {
    on.service.create_operation(new, None).await.unwrap()
}

/// Runs the loop until the operation ends.
pub(super) async fn finish(on: &Stage, operation: &Operation) -> Operation {
    for _ in 0..1_000 {
        let stored = on.service.operation(&operation.id).await.unwrap();
        if !stored.is_running() {
            return stored;
        }
        let next = operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap();
        let wait = next.map_or(0, |next| next.since(on.clock.now()));
        on.clock.advance_ms(wait.max(0));
    }
    panic!("the operation does not end");
}

pub(super) async fn run_to_end(on: &Stage, new: NewOperation) -> Operation {
    finish(on, &create(on, new).await).await
}

pub(super) async fn state(on: &Stage, id: &TaskId) -> TaskState {
    on.store.task(id).await.unwrap().unwrap().state
}

pub(super) fn counts(operation: &Operation) -> (u64, u64, u64, u64) {
    (operation.matched, operation.done, operation.failed, operation.skipped)
}

pub async fn an_operation_acts_on_the_tasks_that_existed(on: &Stage) {
    let mail = tasks(on, "mail", 3).await;
    let other = tasks(on, "other", 1).await;
    let operation = create(on, by_name(Action::Pause, "mail")).await;
    assert_eq!(operation.expected, Count { rows: 3, more: false });
    on.clock.advance_ms(1);
    let later = tasks(on, "mail", 1).await;
    let ended = finish(on, &operation).await;
    assert_eq!((ended.state, counts(&ended)), (OperationState::Completed, (3, 3, 0, 0)));
    for id in &mail {
        assert_eq!(state(on, id).await, TaskState::Paused);
    }
    assert_eq!(state(on, &other[0]).await, TaskState::Active);
    assert_eq!(state(on, &later[0]).await, TaskState::Active, "it did not exist at the creation");
    let resumed = run_to_end(on, by_name(Action::Resume, "mail")).await;
    assert_eq!((counts(&resumed), state(on, &mail[0]).await), ((3, 3, 0, 0), TaskState::Active));
    let cancelled = run_to_end(on, by_name(Action::Cancel, "mail")).await;
    assert_eq!((counts(&cancelled), state(on, &mail[0]).await), ((4, 4, 0, 0), TaskState::Cancelled));
    let deleted = run_to_end(on, by_name(Action::Delete, "other")).await;
    assert_eq!(counts(&deleted), (1, 1, 0, 0));
    assert!(on.store.task(&other[0]).await.unwrap().unwrap().hidden);
}

pub async fn many_tasks_are_processed_in_batches(on: &Stage) {
    tasks(on, "mail", 250).await;
    let ended = run_to_end(on, by_name(Action::Pause, "mail")).await;
    assert_eq!((ended.state, counts(&ended)), (OperationState::Completed, (250, 250, 0, 0)));
}

pub async fn a_batch_that_is_repeated_triggers_each_task_once(on: &Stage) {
    let ids = tasks(on, "mail", 3).await;
    create(on, by_name(Action::Trigger, "mail")).await;
    operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap();
    let mut running = on.service.running_operations().await.unwrap();
    let planned = running.pop().unwrap().operation.unwrap();
    assert_eq!(planned.batch.len(), 3);
    // Another node has read the same checkpoint. Both process the batch, and one after the other stores it.
    let now = on.clock.now();
    let (one, two) =
        tokio::join!(on.service.step_operation(&planned, now), on.service.step_operation(&planned, now));
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    on.rescue().await;
    on.service.step_operation(&planned, now).await.unwrap();
    let ended = finish(on, &planned).await;
    assert_eq!(counts(&ended), (3, 3, 0, 0));
    for id in &ids {
        assert_eq!(on.states(id).await.len(), 1, "one run of each task");
    }
}

/// Lets a worker fail the run for good.
async fn fail(on: &Stage, run: &Run) -> Run {
    let leased = lease(on, "worker", 1).await.pop().unwrap();
    assert_eq!(leased.id, run.id);
    let report = report(&leased, Outcome::Dead);
    on.service.report(&run.id, &report).await.unwrap();
    on.run(run).await
}

pub async fn a_redrive_gives_each_dead_run_one_attempt(on: &Stage) {
    let name = format!("q{}", samples::unique());
    let ready = on.ready(&name).await;
    let dead = fail(on, &ready).await;
    assert_eq!(dead.state, RunState::Dead);
    on.clock.advance_ms(1);
    let operation = create(on, runs_of(Action::Redrive, &name)).await;
    operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap();
    let planned = on.service.operation(&operation.id).await.unwrap();
    on.service.step_operation(&planned, on.clock.now()).await.unwrap();
    on.rescue().await;
    let again = fail(on, &dead).await;
    assert_eq!((again.state, again.attempt), (RunState::Dead, 2));
    // The node has died before its checkpoint: another node processes the batch again.
    on.service.step_operation(&planned, on.clock.now()).await.unwrap();
    finish(on, &operation).await;
    let after = on.run(&again).await;
    assert_eq!((after.state, after.attempt), (RunState::Dead, 2), "the second death is not redriven");
    assert_eq!(on.service.preview_operation(runs_of(Action::Redrive, &name)).await.unwrap().rows, 1);
}

pub async fn runs_can_be_cancelled_and_redriven_by_id(on: &Stage) {
    let name = format!("q{}", samples::unique());
    let (one, two) = (on.ready(&name).await, on.ready(&name).await);
    on.clock.advance_ms(1);
    let ended = run_to_end(on, runs_of(Action::CancelRuns, &name)).await;
    assert_eq!(counts(&ended), (2, 2, 0, 0));
    assert_eq!(on.run(&one).await.state, RunState::Cancelled);
    let ids = vec![one.id.to_string(), two.id.to_string(), "unknown".to_owned()];
    let ended = run_to_end(on, by_ids(Action::Redrive, ids)).await;
    assert_eq!(counts(&ended), (3, 0, 3, 0));
    let errors: Vec<&str> = ended.failures.iter().map(|failure| failure.error.as_str()).collect();
    assert!(errors.contains(&"the run is cancelled") && errors.contains(&"not found"), "{errors:?}");
}

pub async fn failures_are_counted_and_kept_up_to_a_bound(on: &Stage) {
    let ids = (0..MAX_IDS).map(|_| samples::task().id.to_string()).collect();
    let ended = run_to_end(on, by_ids(Action::Pause, ids)).await;
    assert_eq!((ended.state, ended.failed), (OperationState::Completed, MAX_IDS as u64));
    assert_eq!((ended.failures.len(), ended.failures[0].error.as_str()), (MAX_FAILURES, "not found"));
}

async fn number_of_paused(on: &Stage, ids: &[TaskId]) -> usize {
    let mut paused = 0;
    for id in ids {
        paused += usize::from(state(on, id).await == TaskState::Paused);
    }
    paused
}

pub async fn an_aborted_operation_does_no_more(on: &Stage) {
    let ids = tasks(on, "mail", 3).await;
    let operation =
        create(on, NewOperation { rate_per_sec: Some(1), ..by_name(Action::Pause, "mail") }).await;
    for _ in 0..2 {
        operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap();
    }
    let aborted = on.service.abort_operation(&operation.id).await.unwrap();
    assert_eq!((aborted.state, counts(&aborted)), (OperationState::Aborted, (2, 1, 0, 0)));
    on.clock.advance_ms(60_000);
    assert_eq!(operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap(), None);
    assert_eq!(number_of_paused(on, &ids).await, 1);
    let again = on.service.abort_operation(&operation.id).await.unwrap();
    assert_eq!(again, on.service.operation(&operation.id).await.unwrap());
    // A node that was processing the batch meanwhile adds its results and goes on with nothing.
    let running = Operation { state: OperationState::Running, ..aborted.clone() };
    assert_eq!(on.service.step_operation(&running, on.clock.now()).await.unwrap(), Step::Ended);
    let ended = on.service.operation(&operation.id).await.unwrap();
    assert_eq!((ended.state, counts(&ended)), (OperationState::Aborted, (2, 2, 0, 0)));
}

pub async fn the_rate_holds_also_after_a_pause_of_the_node(on: &Stage) {
    tasks(on, "mail", 8).await;
    let operation =
        create(on, NewOperation { rate_per_sec: Some(4), ..by_name(Action::Pause, "mail") }).await;
    let done = async || on.service.operation(&operation.id).await.unwrap().done;
    for _ in 0..10 {
        operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap();
    }
    assert_eq!(done().await, 1);
    on.clock.advance_ms(249);
    operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap();
    assert_eq!(done().await, 1);
    on.clock.advance_ms(1);
    operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap();
    assert_eq!(done().await, 2);
    on.clock.advance_ms(60_000);
    for _ in 0..10 {
        operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap();
    }
    assert_eq!(done().await, 3, "the time of a stopped node is not caught up");
}

pub async fn a_dry_run_counts_up_to_a_bound(on: &Stage) {
    let stored: Vec<_> = (0..=COUNT_LIMIT).map(|_| samples::task()).collect();
    for part in stored.chunks(1_000) {
        on.store.insert_tasks(part.to_vec()).await.into_iter().for_each(|inserted| drop(inserted.unwrap()));
    }
    let all = || {
        NewOperation::new(Action::Pause, Selection::Tasks { name: None, state: None, labels: Labels::new() })
    };
    let count = on.service.preview_operation(all()).await.unwrap();
    assert_eq!(count, Count { rows: COUNT_LIMIT, more: true });
    assert_eq!(state(on, &stored[0].id).await, TaskState::Active, "nothing was changed");
    assert_eq!(on.service.list_operations(None, 10).await.unwrap().0, []);
    let some = by_ids(Action::Pause, vec![stored[0].id.to_string(), samples::task().id.to_string()]);
    assert_eq!(on.service.preview_operation(some).await.unwrap(), Count { rows: 1, more: false });
}

pub async fn an_edit_applies_a_patch_once(on: &Stage) {
    let ids = tasks(on, "mail", 2).await;
    let edit = |patch: &str| NewOperation { patch: Some(patch.into()), ..by_name(Action::Edit, "mail") };
    for (patch, field) in [
        (r#"{"queue": 7}"#, "patch.queue"),
        (r#"{"nothing": 7}"#, "patch.nothing"),
        (r#"{"delay_ms": 7}"#, "patch.delay_ms"),
        ("{}", "patch"),
    ] {
        match on.service.create_operation(edit(patch), None).await {
            Err(ServiceError::Operation(invalid)) => assert_eq!(invalid.field, field),
            other => panic!("{patch}: {other:?}"),
        }
    }
    for _ in 0..2 {
        let ended = run_to_end(on, edit(r#"{"queue": "slow"}"#)).await;
        assert_eq!(counts(&ended), (2, 2, 0, 0));
    }
    let task = on.store.task(&ids[0]).await.unwrap().unwrap();
    assert_eq!((task.queue.as_deref(), task.rev), (Some("slow"), 2), "the second edit changes nothing");
    let failed = run_to_end(on, edit(r#"{"end_at": "2001-09-09T02:00:00Z"}"#)).await;
    assert_eq!(counts(&failed), (2, 0, 2, 0), "the end is before the start");
}

/// Issues a token, and returns its id and a handle with its rights.
async fn token(on: &Stage, tags: &[&str]) -> (String, Service) {
    let tags = tags.iter().map(ToString::to_string).collect();
    let grant = Grant { scopes: vec![Scope::TaskWrite], tags, expires_at: None };
    let (token, text) = on.service.issue_token("ci", grant, Quota::default()).await.unwrap();
    let caller: Caller = on.unbound.admit(Some(&text), Origin::Elsewhere).await.unwrap();
    (token.id, on.unbound.for_caller(caller))
}

pub async fn the_limits_of_the_creator_hold_for_each_item(on: &Stage) {
    let (mail, other) = (tasks(on, "mail", 2).await, tasks(on, "other", 2).await);
    let (_, limited) = token(on, &["mail"]).await;
    let (_, stranger) = token(on, &["mail"]).await;
    let all =
        NewOperation::new(Action::Pause, Selection::Tasks { name: None, state: None, labels: Labels::new() });
    assert_eq!(limited.preview_operation(all.clone()).await.unwrap().rows, 2);
    let operation = limited.create_operation(all, None).await.unwrap();
    finish(on, &operation).await;
    assert_eq!(
        (state(on, &mail[0]).await, state(on, &other[0]).await),
        (TaskState::Paused, TaskState::Active)
    );
    let ids = vec![mail[0].to_string(), other[0].to_string()];
    let by_id = limited.create_operation(by_ids(Action::Delete, ids), None).await.unwrap();
    let ended = finish(on, &by_id).await;
    assert_eq!((counts(&ended), ended.failures[0].id.as_str()), ((2, 1, 1, 0), other[0].as_str()));
    let refused = limited.create_operation(by_name(Action::Pause, "other"), None).await;
    assert!(matches!(refused, Err(ServiceError::Forbidden(Forbidden::Tag(_)))), "{refused:?}");
    assert_eq!(limited.list_operations(None, 10).await.unwrap().0.len(), 2);
    assert_eq!(stranger.list_operations(None, 10).await.unwrap().0, []);
    let unseen = stranger.abort_operation(&operation.id).await;
    assert!(matches!(unseen, Err(ServiceError::NotFound)), "{unseen:?}");
}

pub async fn a_revoked_token_ends_its_operations(on: &Stage) {
    let ids = tasks(on, "mail", 2).await;
    let (token_id, holder) = token(on, &[]).await;
    let operation = holder.create_operation(by_name(Action::Pause, "mail"), None).await.unwrap();
    on.service.revoke_token(&token_id).await.unwrap();
    let ended = finish(on, &operation).await;
    assert_eq!(ended.state, OperationState::Failed);
    assert_eq!(ended.message.as_deref(), Some("the rights of its creator were revoked"));
    assert_eq!(state(on, &ids[0]).await, TaskState::Active);
}

pub async fn a_repeated_request_creates_one_operation(on: &Stage) {
    tasks(on, "mail", 1).await;
    let key =
        |fingerprint: &str| Some(IdempotencyKey { key: "k".to_owned(), fingerprint: fingerprint.to_owned() });
    let create = async |fingerprint| {
        on.service.create_operation(by_name(Action::Pause, "mail"), key(fingerprint)).await
    };
    let first = create("f").await.unwrap();
    finish(on, &first).await;
    let again = create("f").await.unwrap();
    assert_eq!((again.id, again.state), (first.id, OperationState::Completed));
    assert!(matches!(create("g").await, Err(ServiceError::KeyReused)));
    assert_eq!(on.service.list_operations(None, 10).await.unwrap().0.len(), 1);
}

pub async fn operations_are_listed_newest_first_and_pruned(on: &Stage) {
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.insert(0, create(on, by_name(Action::Pause, "mail")).await.id);
        on.clock.advance_ms(1);
    }
    let (first, next) = on.service.list_operations(None, 2).await.unwrap();
    assert_eq!(first.iter().map(|operation| &operation.id).collect::<Vec<_>>(), [&ids[0], &ids[1]]);
    let (rest, end) = on.service.list_operations(next.as_deref(), 2).await.unwrap();
    assert_eq!((rest.len(), rest[0].id.as_str(), end), (1, ids[2].as_str(), None));
    on.service.abort_operation(&ids[1]).await.unwrap();
    on.clock.advance_ms(200 * 3_600_000);
    operations::prune_once(&on.node, &on.service, on.clock.now()).await.unwrap();
    let (kept, _) = on.service.list_operations(None, 10).await.unwrap();
    let kept: Vec<&String> = kept.iter().map(|operation| &operation.id).collect();
    assert_eq!(kept, [&ids[0], &ids[2]], "a running operation is never pruned");
}

pub async fn an_operation_that_is_unreadable_hides_no_other(on: &Stage) {
    let operation = create(on, by_name(Action::Pause, "mail")).await;
    let of_a_newer_release =
        |_: Option<Value>| Ok::<_, ServiceError>((Some((json!({"action": "later"}), None)), ()));
    on.service.change_record(RecordKind::internal("operation"), "0", of_a_newer_release).await.unwrap();
    let (listed, next) = on.service.list_operations(None, 10).await.unwrap();
    assert_eq!((listed.len(), listed[0].id.as_str(), next), (1, operation.id.as_str(), None));
}

pub async fn too_many_operations_are_refused(on: &Stage) {
    for _ in 0..MAX_RUNNING_OPERATIONS {
        create(on, by_name(Action::Pause, "mail")).await;
    }
    let refused = on.service.create_operation(by_name(Action::Pause, "mail"), None).await;
    assert!(matches!(refused, Err(ServiceError::TooManyOperations)), "{refused:?}");
}

/// Two nodes whose locks do not separate them process operations at the same time.
pub async fn two_nodes_at_once_have_one_effect(on: &Stage) {
    let every =
        Submission { schedule: Schedule::Every { period_ms: 3_600_000 }, ..Submission::named("m", "d") };
    let mut ids = tasks(on, "mail", 120).await;
    ids.push(on.submit(Submission { name: "mail".to_owned(), ..every }).await);
    on.clock.advance_ms(1);
    let operation = create(on, by_name(Action::Trigger, "mail")).await;
    let node = async || {
        for _ in 0..10 {
            operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap();
        }
    };
    tokio::join!(node(), node());
    let ended = finish(on, &operation).await;
    assert_eq!((ended.state, counts(&ended)), (OperationState::Completed, (121, 121, 0, 0)));
    for id in &ids {
        assert_eq!(on.states(id).await.len(), 1);
    }
}

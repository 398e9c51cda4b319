//! Stories: operations trigger, redrive, backfill and delete, and are pruned.

use taskcenter_server::core::labels::Labels;
use taskcenter_server::core::operation::{Action, NewOperation, Operation, OperationState, Selection};
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Run, RunState, Schedule, TaskId};
use taskcenter_server::engine::operations;
use taskcenter_server::engine::service::{
    AuditAction, AuditFilter, NewBackfill, Report, ServiceError, definition,
};
use taskcenter_server::ports::Clock;

use crate::stage::{Running, Stage};
use crate::stories::{Consumer, key, lease, one_shot, queued, submit, wind_up};

/// Milliseconds after which an ended operation is pruned.
const KEPT_MS: i64 = 2 * 3_600_000;

/// A backfill creates runs, while a user edits the task.
pub async fn backfills(stage: &mut Stage) {
    for _ in 0..2 {
        let name = format!("op{:x}", stage.rng.u64(..));
        Box::pin(backfill(stage, &name)).await;
    }
    wind_up(stage, Consumer::default()).await;
}

/// Triggers tasks, redrives their runs with a canary, and then again.
pub async fn canaries(stage: &mut Stage) {
    let (name, ids) = later_tasks(stage).await;
    trigger(stage, &name, &ids).await;
    redrive(stage, &name, &ids).await;
    end(stage, &name, &ids).await;
    wind_up(stage, Consumer::default()).await;
}

/// Triggers and deletes tasks, and prunes the operations.
pub async fn play(stage: &mut Stage) {
    let (name, ids) = later_tasks(stage).await;
    trigger(stage, &name, &ids).await;
    let deleted = end(stage, &name, &ids).await;
    prune(stage, &deleted).await;
    wind_up(stage, Consumer::default()).await;
}

/// Operations without tasks end, and are pruned.
pub async fn old(stage: &mut Stage) {
    for _ in 0..5 {
        let name = Some(format!("op{:x}", stage.rng.u64(..)));
        let nothing = Selection::Tasks { name, state: None, labels: Labels::new() };
        let created = create(stage, new(Action::Trigger, nothing)).await;
        let ended = follow(stage, &created, false).await;
        prune(stage, &ended).await;
    }
}

/// Submits tasks that do not fire during the story. Returns their name: other stories use the same store.
async fn later_tasks(stage: &mut Stage) -> (String, Vec<TaskId>) {
    let name = format!("op{:x}", stage.rng.u64(..));
    let mut ids = Vec::new();
    for _ in 0..3 {
        let start_at = Some(stage.clock.now().plus_ms(3_600_000));
        let later = Submission { start_at, ..queued(one_shot(stage, &name)) };
        ids.push(submit(stage, later, None).await);
    }
    stage.clock.advance_ms(1);
    (name, ids)
}

/// Deletes the tasks.
async fn end(stage: &mut Stage, name: &str, ids: &[TaskId]) -> Operation {
    let selection = Selection::Tasks { name: Some(name.to_owned()), state: None, labels: Labels::new() };
    let deleted = operate(stage, new(Action::Delete, selection)).await;
    for id in ids {
        if !stage.task(id).await.hidden {
            stage.book.violation(format!("a completed delete has left {id}: {deleted:?}"));
        }
    }
    deleted
}

fn new(action: Action, selection: Selection) -> NewOperation {
    NewOperation { rate_per_sec: Some(8), ..NewOperation::new(action, selection) }
}

/// Creates an operation, and runs the loop until it ends.
async fn operate(stage: &mut Stage, new: NewOperation) -> Operation {
    let created = create(stage, new).await;
    let ended = follow(stage, &created, false).await;
    check_counts(stage, &ended);
    ended
}

async fn create(stage: &mut Stage, new: NewOperation) -> Operation {
    let key = key(stage);
    let create =
        async |running: &Running| running.service.create_operation(new.clone(), Some(key.clone())).await;
    stage.call(create).await.expect("the operation is accepted")
}

/// Runs the loop until the operation ends or is held. With `dies`, each leased run dies.
async fn follow(stage: &mut Stage, created: &Operation, dies: bool) -> Operation {
    for _ in 0..20 {
        let turn = async |running: &Running| {
            operations::run_once(&running.node, &running.service, running.node.clock.now()).await
        };
        stage.call(turn).await.expect("the store answers");
        stage.pass(1_000).await;
        let leased = if dies { lease(stage).await } else { Vec::new() };
        for run in leased {
            die(stage, &run).await;
        }
        let read = async |running: &Running| running.service.operation(&created.id).await;
        let operation = stage.call(read).await.expect("the operation exists");
        if !operation.is_running() {
            check_end(stage, &operation).await;
            return operation;
        }
    }
    stage.book.violation(format!("an operation does not end: {created:?}"));
    created.clone()
}

/// The audit log has the end of an operation once, as soon as the loop has run again.
async fn check_end(stage: &mut Stage, operation: &Operation) {
    let turn = async |running: &Running| {
        operations::run_once(&running.node, &running.service, running.node.clock.now()).await
    };
    stage.call(turn).await.expect("the store answers");
    let (object, action) = (Some(operation.id.clone()), Some(AuditAction::OperationEnd));
    let filter = AuditFilter { object, action, ..AuditFilter::default() };
    let read = async |running: &Running| running.service.audit_log(&filter, None, 10).await;
    let (entries, _) = stage.call(read).await.expect("the store answers");
    let expected = usize::from(operation.has_ended());
    if entries.len() != expected {
        stage.book.violation(format!("the end of {operation:?} is in the audit log as {entries:?}"));
    }
}

/// Each item was counted once.
fn check_counts(stage: &mut Stage, operation: &Operation) {
    let processed = operation.done + operation.failed + operation.skipped;
    let is_good = operation.state == OperationState::Completed && operation.failed == 0;
    if !is_good || processed != operation.matched || operation.matched != 3 {
        stage.book.violation(format!("wrong counts: {operation:?}"));
    }
}

async fn trigger(stage: &mut Stage, name: &str, ids: &[TaskId]) {
    let selection = Selection::Tasks { name: Some(name.to_owned()), state: None, labels: Labels::new() };
    operate(stage, new(Action::Trigger, selection)).await;
    for id in ids {
        let runs = stage.runs(id).await;
        if runs.len() != 1 {
            stage.book.violation(format!("a task was not triggered once: {runs:?}"));
        }
    }
    stage.pass(10).await;
}

/// Backfills three moments. Each one has one run, however often the node dies.
async fn backfill(stage: &mut Stage, name: &str) {
    const PERIOD_MS: i64 = 60_000;
    let (period_ms, now) = (PERIOD_MS, stage.clock.now());
    // Later than the end of the last story: its runs would be in the queue of the others.
    let start_at = Some(now.plus_ms(1_000_000 * PERIOD_MS));
    let hourly = Submission {
        schedule: Schedule::Every { period_ms },
        start_at,
        ..queued(one_shot(stage, &format!("{name}b")))
    };
    let id = submit(stage, hourly, Some(0)).await;
    let new = NewBackfill { from: now.plus_ms(-3 * PERIOD_MS), to: now, rate_per_sec: Some(8), reason: None };
    let key = key(stage);
    let create =
        async |running: &Running| running.service.backfill(&id, new.clone(), Some(key.clone())).await;
    let created = stage.call(create).await.expect("the backfill is accepted");
    Box::pin(edit_before_hand_over(stage, &id)).await;
    let ended = follow(stage, &created, false).await;
    check_counts(stage, &ended);
    let runs = decided(stage, &id).await;
    let live = runs.iter().filter(|run| run.state != RunState::Cancelled);
    let moments: Vec<i64> = live.map(|run| now.since(run.scheduled_at) / PERIOD_MS).collect();
    if moments != [3, 2, 1] || runs.iter().any(|run| run.id.backfill().is_none()) {
        stage.book.violation(format!("a backfill has not one run for each moment: {runs:?}"));
    }
}

/// Returns the runs of a task when each one is handed over or has ended. A run that was claimed before the death of
/// its node waits for the end of its lease.
async fn decided(stage: &mut Stage, id: &TaskId) -> Vec<Run> {
    const ROUNDS: usize = 60;
    let mut runs = stage.runs(id).await;
    for _ in 0..ROUNDS {
        stage.pass(1_000).await;
        runs = stage.runs(id).await;
        if runs.iter().all(|run| run.state != RunState::Firing) {
            break;
        }
    }
    runs
}

/// Creates runs, and edits the task before a node hands them over.
async fn edit_before_hand_over(stage: &mut Stage, id: &TaskId) {
    for _ in 0..2 {
        let turn = async |running: &Running| {
            operations::run_once(&running.node, &running.service, running.node.clock.now()).await
        };
        stage.call(turn).await.expect("the store answers");
        stage.clock.advance_ms(1_000);
    }
    let edit = async |running: &Running| {
        let task = running.service.shown_task(id).await?;
        let edited = Submission { data: "edited".to_owned(), ..definition(&task) };
        running.service.edit(id, task.rev, edited).await
    };
    Box::pin(stage.call(edit)).await.expect("the edit is accepted");
}

/// Lets every triggered run die, and redrives all.
async fn redrive(stage: &mut Stage, name: &str, ids: &[TaskId]) {
    for run in lease(stage).await {
        die(stage, &run).await;
    }
    for id in ids {
        if let Some(run) = stage.runs(id).await.into_iter().find(|run| run.state != RunState::Dead) {
            stage.book.violation(format!("a run is not dead: {run:?}"));
        }
    }
    stage.clock.advance_ms(1);
    let selection =
        Selection::Runs { task_id: None, tag: Some(name.to_owned()), state: None, labels: Labels::new() };
    redrive_with_canary(stage, selection, ids).await;
    for id in ids {
        let runs = stage.runs(id).await;
        if runs.iter().any(|run| run.attempt != 2) {
            stage.book.violation(format!("a run was not redriven once: {runs:?}"));
        }
    }
}

/// Redrives with a canary that fails. Only its run changes, until a user continues the operation.
async fn redrive_with_canary(stage: &mut Stage, selection: Selection, ids: &[TaskId]) {
    let redrive = NewOperation { canary: Some(1), ..new(Action::Redrive, selection) };
    let created = create(stage, redrive).await;
    let held = follow(stage, &created, true).await;
    let mut redriven = 0;
    for id in ids {
        redriven += stage.runs(id).await.iter().filter(|run| run.attempt > 1).count();
    }
    if !held.is_held() || redriven != 1 {
        stage.book.violation(format!("a canary of one has redriven {redriven} runs: {held:?}"));
    }
    let resume = async |running: &Running| running.service.continue_operation(&created.id).await;
    stage.call(resume).await.expect("the operation exists");
    let ended = follow(stage, &created, false).await;
    check_counts(stage, &ended);
}

async fn die(stage: &mut Stage, run: &Run) {
    let report = Report {
        attempt: run.attempt,
        token: run.token.clone(),
        outcome: Outcome::Dead,
        message: None,
        started_at: None,
    };
    let answer = stage.call(async |running| running.service.report(&run.id, &report).await).await;
    match answer {
        Ok(_) | Err(ServiceError::Stale(_)) => stage.book.reopened(&run.id),
        Err(error) => stage.book.violation(format!("a report was refused: {error}")),
    }
}

async fn prune(stage: &mut Stage, ended: &Operation) {
    stage.clock.advance_ms(KEPT_MS);
    let prune = async |running: &Running| {
        operations::prune_once(&running.node, &running.service, running.node.clock.now()).await
    };
    stage.call(prune).await.expect("the store answers");
    let read = async |running: &Running| running.service.operation(&ended.id).await;
    if !matches!(stage.call(read).await, Err(ServiceError::NotFound)) {
        stage.book.violation(format!("an old operation still exists: {}", ended.id));
    }
}

//! Stories: users change tasks and runs that fire.

use std::sync::atomic::Ordering;

use taskcenter_server::core::audit::{AuditPage, AuditSelection};
use taskcenter_server::core::calendar::{Calendar, Calendars};
use taskcenter_server::core::conflict::OnConflict;
use taskcenter_server::core::run::{Outcome, PayloadChange, PayloadDigest};
use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::timing::Timing;
use taskcenter_server::core::{Moment, Run, RunId, RunState, Schedule, TaskId};
use taskcenter_server::engine::service::{Changed, Confirmation, Report, Result, ServiceError, definition};
use taskcenter_server::ports::Clock;

use crate::cancellations::cancel_a_leased_run;
use crate::stage::{Running, Stage};
use crate::stories::{Consumer, key, lease, note_stopped, one_shot, queued, run_in, submit, wind_up};

/// Users pause, resume and edit tasks, and replace one by a create.
pub async fn edits(stage: &mut Stage) {
    let tasks = [forever(stage, false).await, forever(stage, true).await];
    stage.pass(700).await;
    for id in &tasks {
        pause_and_resume(stage, id).await;
        Box::pin(edit(stage, id)).await;
        Box::pin(edit_times(stage, id)).await;
    }
    Box::pin(change_a_calendar(stage)).await;
    stage.pass(600).await;
    replace_by_a_create(stage).await;
    end(stage, &tasks).await;
}

/// Users redrive, cancel and confirm runs.
pub async fn runs(stage: &mut Stage) {
    let queue = forever(stage, true).await;
    for _ in 0..3 {
        stage.pass(1_200).await;
        redrive_a_dead_run(stage).await;
        cancel_one_run(stage, &queue).await;
        confirm_a_run(stage, &queue).await;
        cancel_a_leased_run(stage).await;
    }
    end(stage, &[queue]).await;
}

/// Users trigger tasks, also while others cancel them.
pub async fn triggers(stage: &mut Stage) {
    let tasks = [forever(stage, false).await, forever(stage, true).await];
    stage.pass(700).await;
    for id in &tasks {
        trigger(stage, id).await;
    }
    for _ in 0..8 {
        trigger_during_cancel(stage).await;
    }
    end(stage, &tasks).await;
}

/// Users cancel and delete tasks that fire.
pub async fn ends(stage: &mut Stage) {
    for _ in 0..3 {
        let tasks = [forever(stage, false).await, forever(stage, true).await];
        stage.pass(600).await;
        cancel(stage, &tasks[1]).await;
        delete(stage, &tasks[0]).await;
    }
    wind_up(stage, Consumer::default()).await;
}

/// Submits a task without an end.
async fn forever(stage: &mut Stage, is_queued: bool) -> TaskId {
    let task = if is_queued { queued(one_shot(stage, "queue")) } else { one_shot(stage, "bus") };
    submit(stage, Submission { schedule: Schedule::Every { period_ms: 500 }, ..task }, None).await
}

/// Ends the tasks without an end.
async fn end(stage: &mut Stage, tasks: &[TaskId]) {
    for id in tasks {
        cancel(stage, id).await;
    }
    wind_up(stage, Consumer::default()).await;
}

/// Another version of a calendar reaches its task, also if the node dies in between.
async fn change_a_calendar(stage: &mut Stage) {
    let weekly = |entry: &str| vec![entry.to_owned()];
    let calendar =
        Calendar { zone: "UTC".to_owned(), weekly: weekly("mon-fri"), ..Calendar::named("workdays") };
    let put = async |running: &Running| running.service.put_calendar(&calendar, "").await;
    stage.call(put).await.expect("the calendar is stored");
    let calendars = Calendars::named(vec!["workdays".to_owned()], Vec::new());
    let timing = Timing { calendars, ..Timing::default() };
    let (schedule, start_at) = (Schedule::cron("@daily", "UTC"), Some(Moment::from_sec(4_000_000_000)));
    let task = Submission { schedule, start_at, timing, ..one_shot(stage, "calendar") };
    let id = submit(stage, task, None).await;
    let calendar = Calendar { weekly: weekly("sat,sun"), ..calendar };
    let put = async |running: &Running| running.service.put_calendar(&calendar, "").await;
    let stored = stage.call(put).await.expect("the calendar is stored");
    let settle = async |running: &Running| running.service.settle_calendars().await;
    stage.call(settle).await.expect("the store answers");
    let task = stage.task(&id).await;
    if task.timing.calendars.map(|calendars| calendars.only) != Some(vec![stored.calendar]) {
        stage.book.violation(format!("{id} has an earlier version of its calendar"));
    }
    let delete = async |running: &Running| running.service.delete(std::slice::from_ref(&id)).await;
    stage.call(delete).await.expect("the store answers");
}

/// A create with an idempotency key gives the live task its definition, once.
async fn replace_by_a_create(stage: &mut Stage) {
    let (start_at, dedup) =
        (Some(Moment::from_sec(4_000_000_000)), Dedup::Key(format!("{:x}", stage.rng.u64(..))));
    let first = Submission { start_at, dedup, ..one_shot(stage, "later") };
    let live = stage.call(async |running: &Running| running.service.submit(first.clone()).await).await;
    let live = live.expect("the task is accepted").id;
    let replacing = Submission { data: "new".to_owned(), on_conflict: OnConflict::Replace, ..first };
    let key = key(stage);
    let replace = async |running: &Running| {
        let answers = running.service.submit_idempotent(vec![replacing.clone()], Some(key.clone())).await?;
        answers.into_iter().collect::<Result<Vec<_>>>()
    };
    for _ in 0..2 {
        let answers = stage.call(replace).await.expect("the live task can be replaced");
        let task = stage.task(&live).await;
        let is_right = answers.iter().all(|answer| answer.id == live && answer.replaced);
        if !is_right || (task.rev, task.data.as_str()) != (2, "new") {
            stage.book.violation(format!("a create replaced {live} not exactly once: {answers:?}, {task:?}"));
        }
    }
    let delete = async |running: &Running| running.service.delete(std::slice::from_ref(&live)).await;
    stage.call(delete).await.expect("the store answers");
}

async fn pause_and_resume(stage: &mut Stage, id: &TaskId) {
    let paused = stage.call(async |running| running.service.pause(id, None).await).await;
    let paused = acknowledged(paused);
    note_audit(stage, id, "task.pause").await;
    note_stopped(stage, id, paused.task.rev - 1, &paused.open_runs).await;
    stage.pass(1_800).await;
    acknowledged(stage.call(async |running| running.service.resume(id, None).await).await);
}

/// The entry of an acknowledged change is stored before the answer.
async fn note_audit(stage: &mut Stage, id: &TaskId, action: &str) {
    let page = AuditPage { limit: 1, ..AuditPage::default() };
    let of_task = AuditSelection::Object(id.to_string());
    let entries = stage.back_end.store().audit(&of_task, &page).await.expect("the store answers");
    if entries.first().is_none_or(|entry| entry.action != action) {
        stage.book.violation(format!("the latest entry about {id} is not {action}: {entries:?}"));
    }
}

fn acknowledged(answer: Result<Changed>) -> Changed {
    answer.expect("the task can be changed")
}

/// Edits a task. If the answer was lost, the repeated edit finds the next revision.
async fn edit(stage: &mut Stage, id: &TaskId) {
    let task = stage.task(id).await;
    let edited = Submission { data: format!("{}+", task.data), ..definition(&task) };
    let edit = async |running: &Running| running.service.edit(id, task.rev, edited.clone()).await;
    match Box::pin(stage.call(edit)).await {
        Ok(changed) => note_stopped(stage, id, task.rev, &changed.open_runs).await,
        Err(ServiceError::RevisionMoved(rev)) if rev == task.rev + 1 => {}
        Err(error) => stage.book.violation(format!("an edit of {id} was refused: {error}")),
    }
    if stage.task(id).await.data != edited.data {
        stage.book.violation(format!("an acknowledged edit is lost: {id}"));
    }
    let current = stage.task(id).await.defined_at_rev();
    let past = stage.back_end.store().past_definitions(id, current, 1).await.expect("the store answers");
    if past.first().is_none_or(|past| past.data != task.data) {
        stage.book.violation(format!("the definition before an edit is lost: {id}"));
    }
}

/// Edits the period of a task with due moments. The first of them has a row of the old definition afterwards.
async fn edit_times(stage: &mut Stage, id: &TaskId) {
    stage.clock.advance_ms(1_100);
    let task = stage.task(id).await;
    let schedule = Schedule::Every { period_ms: 450 };
    let edited = Submission { schedule: schedule.clone(), ..definition(&task) };
    let edit = async |running: &Running| running.service.edit(id, task.rev, edited.clone()).await;
    match Box::pin(stage.call(edit)).await {
        Ok(changed) => note_stopped(stage, id, task.rev, &changed.open_runs).await,
        Err(ServiceError::RevisionMoved(rev)) if rev == task.rev + 1 => {}
        Err(error) => stage.book.violation(format!("an edit of {id} was refused: {error}")),
    }
    let due = task.next_due_at.expect("the task repeats");
    let row = stage.back_end.store().run(&RunId::derive(id, task.rev, due)).await;
    if row.expect("the store answers").is_none() || stage.task(id).await.schedule != schedule {
        stage.book.violation(format!("an edit of the times of {id} is lost, or dropped a moment"));
    }
}

/// A worker reports a run as dead, and a user redrives the run with another payload, once. The run keeps the original.
async fn redrive_a_dead_run(stage: &mut Stage) {
    let Some(run) = lease(stage).await.into_iter().rfind(|run| run.edited.is_none()) else { return };
    let report = Report {
        attempt: run.attempt,
        token: run.token.clone(),
        outcome: Outcome::Dead,
        message: None,
        started_at: None,
    };
    let dead = stage.call(async |running| running.service.report(&run.id, &report).await).await;
    let Ok(dead) = dead else { return };
    stage.book.settled(&dead);
    let change = PayloadChange { data: Some(format!("{} edited", run.data)), headers: None };
    let redriven = stage.call(async |running| running.service.retry_run_with(&run.id, &change).await).await;
    match redriven {
        Ok(run) => stage.book.settled(&run),
        Err(ServiceError::RunState(_)) => stage.book.reopened(&run.id),
        Err(error) => stage.book.violation(format!("a run could not be redriven: {error}")),
    }
    check_edit(stage, &run, &change).await;
}

/// The edit is stored once: the next attempt delivers the new payload, and the original one is kept.
async fn check_edit(stage: &mut Stage, before: &Run, change: &PayloadChange) {
    let stored = stage.back_end.store().run(&before.id).await.expect("the store answers");
    let stored = stored.expect("the run exists");
    let delivered = [before.attempt, before.attempt + 1].map(|attempt| stored.payload_of(attempt));
    let expected =
        [Some(&before.data), change.data.as_ref()].map(|data| data.map(|data| PayloadDigest::of(data)));
    let edits = stored.edited.as_ref().map_or(0, |edited| edited.edits.len());
    if Some(&stored.data) != change.data.as_ref() || delivered != expected || edits != 1 {
        stage.book.violation(format!("the edit of a payload is lost or doubled: {stored:?}"));
    }
}

/// A client confirms a run without a token: twice as failed, then twice as succeeded.
async fn confirm_a_run(stage: &mut Stage, id: &TaskId) {
    let is_open = |run: &Run| matches!(run.state, RunState::Ready | RunState::Leased | RunState::Retrying);
    let Some(run) = stage.runs(id).await.into_iter().rfind(is_open) else { return };
    for succeeded in [false, false, true, true] {
        let confirmation = Confirmation { succeeded, message: None, result: None };
        let expected = if succeeded { RunState::Succeeded } else { RunState::Dead };
        match stage.call(async |running| running.service.confirm(&run.id, &confirmation).await).await {
            Ok(run) if run.state == expected => stage.book.settled(&run),
            answer => stage
                .book
                .violation(format!("the confirmation {succeeded} of {} was answered {answer:?}", run.id)),
        }
    }
}

async fn cancel_one_run(stage: &mut Stage, id: &TaskId) {
    let Some(run) = run_in(stage, id, RunState::Ready).await else { return };
    let answer = stage.call(async |running| running.service.cancel_run(&run.id).await).await;
    let is_cancelled = matches!(&answer, Ok(run) if run.state == RunState::Cancelled)
        || matches!(answer, Err(ServiceError::RunState(RunState::Cancelled)));
    if !is_cancelled {
        stage.book.violation(format!("a run could not be cancelled: {answer:?}"));
    }
}

async fn trigger(stage: &mut Stage, id: &TaskId) {
    let key = key(stage);
    let trigger = async |running: &Running| running.service.trigger(id, Some(key.clone())).await;
    let run = stage.call(trigger).await.expect("a live task can be triggered");
    let triggered: Vec<_> = stage.runs(id).await.into_iter().filter(|run| run.triggered).collect();
    let live = triggered.iter().filter(|run| run.state != RunState::Cancelled).count();
    if live != 1 || !triggered.iter().any(|stored| stored.id == run.id) {
        stage.book.violation(format!("a repeated trigger created several runs: {triggered:?}"));
    }
}

/// Another node cancels the task between the row of a trigger and its second read of the task.
async fn trigger_during_cancel(stage: &mut Stage) {
    let later = Submission { start_at: Some(stage.clock.now().plus_ms(3_600_000)), ..one_shot(stage, "bus") };
    let id = submit(stage, later, Some(0)).await;
    let (interleaving, clock) = (stage.interleaving.clone(), stage.clock.clone());
    let key = key(stage);
    let answer = stage
        .call_beside(
            async |running| {
                interleaving.is_requested.store(true, Ordering::Relaxed);
                running.service.trigger(&id, Some(key.clone())).await
            },
            async |store| {
                while !interleaving.is_blocked.load(Ordering::Relaxed) {
                    tokio::task::yield_now().await;
                }
                store
                    .cancel_tasks(std::slice::from_ref(&id), None, false, clock.now())
                    .await
                    .expect("the store answers");
                interleaving.is_blocked.store(false, Ordering::Relaxed);
            },
        )
        .await;
    interleaving.is_requested.store(false, Ordering::Relaxed);
    match answer {
        Err(ServiceError::Over(_)) => note_stopped(stage, &id, u32::MAX, &[]).await,
        answer => stage.book.violation(format!("a trigger of a cancelled task was answered {answer:?}")),
    }
}

async fn cancel(stage: &mut Stage, id: &TaskId) {
    let changed = acknowledged(stage.call(async |running| running.service.cancel(id, None).await).await);
    note_stopped(stage, id, u32::MAX, &changed.open_runs).await;
}

async fn delete(stage: &mut Stage, id: &TaskId) {
    let delete = async |running: &Running| running.service.delete(std::slice::from_ref(id)).await;
    let deleted = stage.call(delete).await.expect("the store answers");
    assert_eq!(deleted.len(), 1, "the task exists");
    note_stopped(stage, id, u32::MAX, &deleted[0].open_runs).await;
}

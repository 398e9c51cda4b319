//! People change tasks and runs while they fire.

use std::sync::atomic::Ordering;

use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Run, RunState, Schedule, TaskId};
use taskcenter_server::engine::service::{Changed, Confirmation, Report, Result, ServiceError, definition};
use taskcenter_server::ports::Clock;

use crate::stage::{Running, Stage};
use crate::stories::{Consumer, key, lease, note_stopped, one_shot, queued, run_in, submit, wind_up};

pub async fn play(stage: &mut Stage) {
    let forever =
        |submission: Submission| Submission { schedule: Schedule::Every { period_ms: 500 }, ..submission };
    let bus = forever(one_shot(stage, "bus"));
    let queue = forever(queued(one_shot(stage, "queue")));
    let (bus, queue) = (submit(stage, bus, None).await, submit(stage, queue, None).await);
    stage.pass(700).await;
    for id in [&bus, &queue] {
        hold_and_go_on(stage, id).await;
        edit(stage, id).await;
    }
    stage.pass(600).await;
    give_up_and_bring_back(stage).await;
    call_off_one(stage, &queue).await;
    put_on_record(stage, &queue).await;
    trigger(stage, &bus).await;
    for _ in 0..3 {
        trigger_overtaken(stage).await;
    }
    stage.pass(600).await;
    cancel(stage, &queue).await;
    delete(stage, &bus).await;
    wind_up(stage, Consumer::default()).await;
}

async fn hold_and_go_on(stage: &mut Stage, id: &TaskId) {
    let held = stage.ask(async |running| running.service.pause(id, None).await).await;
    let held = acknowledged(held);
    note_stopped(stage, id, held.task.rev - 1, &held.open_runs).await;
    stage.pass(1_800).await;
    acknowledged(stage.ask(async |running| running.service.resume(id, None).await).await);
}

fn acknowledged(answer: Result<Changed>) -> Changed {
    answer.expect("the task can be changed")
}

/// At whatever revision it stands: an edit whose answer was lost finds that it was made.
async fn edit(stage: &mut Stage, id: &TaskId) {
    let task = stage.task(id).await;
    let wish = Submission { data: format!("{}+", task.data), ..definition(&task) };
    let edit = async |running: &Running| running.service.edit(id, task.rev, wish.clone()).await;
    match stage.ask(edit).await {
        Ok(changed) => note_stopped(stage, id, task.rev, &changed.open_runs).await,
        Err(ServiceError::RevisionMoved(rev)) if rev == task.rev + 1 => {}
        Err(error) => stage.book.wrong(format!("an edit of {id} was refused: {error}")),
    }
    if stage.task(id).await.data != wish.data {
        stage.book.wrong(format!("an acknowledged edit is lost: {id}"));
    }
}

/// A worker gives a run up for good, and a person wants one more attempt.
async fn give_up_and_bring_back(stage: &mut Stage) {
    let Some(run) = lease(stage).await.pop() else { return };
    let report =
        Report { attempt: run.attempt, token: run.token.clone(), outcome: Outcome::Dead, message: None };
    let gave_up = stage.ask(async |running| running.service.report(&run.id, &report).await).await;
    let Ok(gave_up) = gave_up else { return };
    stage.book.settled(&gave_up);
    let back = stage.ask(async |running| running.service.retry_run(&run.id).await).await;
    match back {
        Ok(run) => stage.book.settled(&run),
        Err(ServiceError::RunState(_)) => stage.book.reopened(&run.id),
        Err(error) => stage.book.wrong(format!("a run could not be brought back: {error}")),
    }
}

/// Somebody says what became of a run without holding it: first that it failed, twice, and then that it was done after all.
async fn put_on_record(stage: &mut Stage, id: &TaskId) {
    let is_open = |run: &Run| matches!(run.state, RunState::Ready | RunState::Leased | RunState::Retrying);
    let Some(run) = stage.runs(id).await.into_iter().rfind(is_open) else { return };
    for succeeded in [false, false, true, true] {
        let word = Confirmation { succeeded, message: None, result: None };
        let wanted = if succeeded { RunState::Succeeded } else { RunState::Dead };
        match stage.ask(async |running| running.service.confirm(&run.id, &word).await).await {
            Ok(run) if run.state == wanted => stage.book.settled(&run),
            answer => stage.book.wrong(format!("{succeeded} of {} was answered {answer:?}", run.id)),
        }
    }
}

async fn call_off_one(stage: &mut Stage, id: &TaskId) {
    let Some(run) = run_in(stage, id, RunState::Ready).await else { return };
    let off = stage.ask(async |running| running.service.cancel_run(&run.id).await).await;
    let is_off = matches!(&off, Ok(run) if run.state == RunState::Cancelled)
        || matches!(off, Err(ServiceError::RunState(RunState::Cancelled)));
    if !is_off {
        stage.book.wrong(format!("a run could not be called off: {off:?}"));
    }
}

async fn trigger(stage: &mut Stage, id: &TaskId) {
    let key = key(stage);
    let ask = async |running: &Running| running.service.trigger(id, Some(key.clone())).await;
    let run = stage.ask(ask).await.expect("the task is live");
    let triggered: Vec<_> = stage.runs(id).await.into_iter().filter(|run| run.triggered).collect();
    let live = triggered.iter().filter(|run| run.state != RunState::Cancelled).count();
    if live != 1 || !triggered.iter().any(|stored| stored.id == run.id) {
        stage.book.wrong(format!("a trigger sent again is not one run: {triggered:?}"));
    }
}

/// Another node's cancel comes between a trigger's row and its second look at the task.
async fn trigger_overtaken(stage: &mut Stage) {
    let far = Submission { start_at: Some(stage.clock.now().plus_ms(3_600_000)), ..one_shot(stage, "bus") };
    let id = submit(stage, far, Some(0)).await;
    let (overtaken, clock) = (stage.overtaken.clone(), stage.clock.clone());
    let key = key(stage);
    let answer = stage
        .ask_beside(
            async |running| {
                overtaken.is_wanted.store(true, Ordering::Relaxed);
                running.service.trigger(&id, Some(key.clone())).await
            },
            async |store| {
                while !overtaken.is_held.load(Ordering::Relaxed) {
                    tokio::task::yield_now().await;
                }
                store
                    .cancel_tasks(std::slice::from_ref(&id), None, false, clock.now())
                    .await
                    .expect("it answers");
                overtaken.is_held.store(false, Ordering::Relaxed);
            },
        )
        .await;
    overtaken.is_wanted.store(false, Ordering::Relaxed);
    match answer {
        Err(ServiceError::Over(_)) => note_stopped(stage, &id, u32::MAX, &[]).await,
        answer => stage.book.wrong(format!("a trigger of a cancelled task was answered {answer:?}")),
    }
}

async fn cancel(stage: &mut Stage, id: &TaskId) {
    let changed = acknowledged(stage.ask(async |running| running.service.cancel(id, None).await).await);
    note_stopped(stage, id, u32::MAX, &changed.open_runs).await;
}

async fn delete(stage: &mut Stage, id: &TaskId) {
    let delete = async |running: &Running| running.service.delete(std::slice::from_ref(id)).await;
    let deleted = stage.ask(delete).await.expect("the store answers");
    assert_eq!(deleted.len(), 1, "it is there");
    note_stopped(stage, id, u32::MAX, &deleted[0].open_runs).await;
}

//! A node has died at each step of a fire, and another one finds what it left.

use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Run, TaskId};
use taskcenter_server::engine::rescue;
use taskcenter_server::engine::service::definition;
use taskcenter_server::ports::{Advance, Clock, PortError};

use crate::stage::{Running, Stage};
use crate::stories::{Consumer, looped, note_stopped, one_shot, queued, submit, wind_up};

pub async fn play(stage: &mut Stage) {
    for steps in [true, false, false] {
        let (bus, queue) = (looped(stage, "bus", 500, 2), queued(looped(stage, "queue", 500, 2)));
        for submission in [bus, queue] {
            let id = submit(stage, submission, Some(2)).await;
            leave_row(stage, &id, steps).await;
        }
        look_after(stage).await;
    }
    for _ in 0..2 {
        let (edited, deleted) = (one_shot(stage, "bus"), one_shot(stage, "bus"));
        edit_over_a_row(stage, edited).await;
        look_after(stage).await;
        delete_over_a_row(stage, deleted).await;
        look_after(stage).await;
    }
    wind_up(stage, Consumer::default()).await;
}

/// Past the leases, and before any scan finds the tasks.
async fn look_after(stage: &mut Stage) {
    stage.clock.advance_ms(1_500);
    let look_after = async |running: &Running| {
        let now = running.node.clock.now();
        while rescue::run_once(&running.node, now).await? {}
        Ok::<(), PortError>(())
    };
    stage.ask(look_after).await.expect("the store answers");
}

/// What a node leaves that dies when it has written a run, or when it has stepped the task as well.
async fn leave_row(stage: &Stage, id: &TaskId, steps: bool) {
    let (store, now) = (stage.back_end.store(), stage.clock.now());
    let task = store.task(id).await.expect("the store answers").expect("it was acknowledged");
    let due = task.next_due_at.expect("it has not fired yet");
    let run = Run::firing(&task, due, "gone", format!("token-{id}"), now.plus_ms(1_000));
    store.insert_runs(&[run]).await.expect("the store answers");
    let next_due_at = task.due_after(due, 1);
    let advance =
        Advance { task_id: id.clone(), rev: task.rev, due, last_due_at: due, next_due_at, fires: true };
    if steps {
        assert_eq!(store.advance_tasks(&[advance]).await.expect("the store answers"), [true]);
    }
}

async fn edit_over_a_row(stage: &mut Stage, submission: Submission) {
    let id = submit(stage, submission, Some(1)).await;
    leave_row(stage, &id, false).await;
    let task = stage.task(&id).await;
    let wish = Submission { data: format!("{} edited", task.data), ..definition(&task) };
    let edit = async |running: &Running| running.service.edit(&id, 1, wish.clone()).await;
    let listed = stage.ask(edit).await.map(|changed| changed.open_runs).unwrap_or_default();
    note_stopped(stage, &id, 1, &listed).await;
}

async fn delete_over_a_row(stage: &mut Stage, submission: Submission) {
    let id = submit(stage, submission, Some(0)).await;
    leave_row(stage, &id, false).await;
    let delete = async |running: &Running| running.service.delete(std::slice::from_ref(&id)).await;
    let deleted = stage.ask(delete).await.expect("the store answers");
    assert_eq!(deleted.len(), 1, "it is there");
    // Its moment was not decided, and so the answer's word on it binds nobody: it must end unfired.
    note_stopped(stage, &id, u32::MAX, &[]).await;
}

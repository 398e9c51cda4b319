//! Stories: a node died, and another one rescues its rows.

use std::time::Duration;

use taskcenter_server::core::run::node_worker;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Run, TaskId};
use taskcenter_server::engine::service::{LeaseTerms, definition};
use taskcenter_server::engine::{orphans, rescue};
use taskcenter_server::ports::{Advance, Clock, PortError};

use crate::stage::{Running, Stage};
use crate::stories::{Consumer, note_stopped, one_shot, queued, repeating, submit, wind_up};

/// A node died after each step of a fire.
pub async fn rows(stage: &mut Stage) {
    for advances in [true, false, false, false, false] {
        let (bus, queue) = (repeating(stage, "bus", 500, 2), queued(repeating(stage, "queue", 500, 2)));
        for submission in [bus, queue] {
            let id = submit(stage, submission, Some(2)).await;
            leave_row(stage, &id, advances).await;
        }
        rescue_all(stage).await;
    }
    wind_up(stage, Consumer::default()).await;
}

/// A node died with leased runs.
pub async fn leases(stage: &mut Stage) {
    for _ in 0..6 {
        let left = queued(one_shot(stage, "queue"));
        submit(stage, left, Some(1)).await;
        stage.pass(100).await;
        leave_lease(stage).await;
        recover_orphans(stage).await;
    }
    wind_up(stage, Consumer::default()).await;
}

/// A node died in a fire, and then a user changes the task.
pub async fn changed(stage: &mut Stage) {
    for _ in 0..4 {
        let (edited, deleted) = (one_shot(stage, "bus"), one_shot(stage, "bus"));
        Box::pin(edit_during_a_fire(stage, edited)).await;
        rescue_all(stage).await;
        delete_during_a_fire(stage, deleted).await;
        rescue_all(stage).await;
    }
    wind_up(stage, Consumer::default()).await;
}

/// Runs the rescue loop after the leases have expired, and before a scan finds the tasks.
async fn rescue_all(stage: &mut Stage) {
    stage.clock.advance_ms(1_500);
    let rescue_all = async |running: &Running| {
        let now = running.node.clock.now();
        while rescue::run_once(&running.node, now).await? {}
        Ok::<(), PortError>(())
    };
    stage.call(rescue_all).await.expect("the store answers");
}

/// Writes the rows of a node that died after it had inserted the run, or after it had also advanced
/// the task.
async fn leave_row(stage: &Stage, id: &TaskId, advances: bool) {
    let (store, now) = (stage.back_end.store(), stage.clock.now());
    let task = store.task(id).await.expect("the store answers").expect("the task was acknowledged");
    let due = task.next_due_at.expect("the task has not fired yet");
    let run = Run::firing(&task, due, "gone", format!("token-{id}"), now.plus_ms(1_000));
    store.insert_runs(&[run]).await.expect("the store answers");
    let next_due_at = task.due_after(due, 1);
    let advance = Advance {
        task_id: id.clone(),
        rev: task.rev,
        due,
        last_due_at: due,
        next_due_at,
        nominal_at: None,
        fires: true,
        waits: false,
    };
    if advances {
        assert_eq!(store.advance_tasks(&[advance]).await.expect("the store answers"), [true]);
    }
}

/// Leases the ready runs as a built-in worker of a node that is gone.
async fn leave_lease(stage: &mut Stage) {
    let terms = LeaseTerms {
        worker: node_worker("gone"),
        queues: vec!["queue".to_owned()],
        limit: 10,
        lease_ms: 60_000,
        wait: Duration::ZERO,
        request_id: None,
    };
    let lease = async |running: &Running| running.service.lease(&terms).await.map(drop);
    stage.call(lease).await.expect("the store answers");
}

/// Finds that the other node is gone.
async fn recover_orphans(stage: &mut Stage) {
    let recover = async |running: &Running| {
        let node = &running.node;
        node.members.set(vec![node.name.clone()], node.clock.steady_ms(), 0);
        orphans::run_once(node, node.clock.now()).await
    };
    stage.call(recover).await.expect("the store answers");
}

async fn edit_during_a_fire(stage: &mut Stage, submission: Submission) {
    let id = submit(stage, submission, Some(1)).await;
    leave_row(stage, &id, false).await;
    let task = stage.task(&id).await;
    let edited = Submission { data: format!("{} edited", task.data), ..definition(&task) };
    let edit = async |running: &Running| running.service.edit(&id, 1, edited.clone()).await;
    let listed = Box::pin(stage.call(edit)).await.map(|changed| changed.open_runs).unwrap_or_default();
    note_stopped(stage, &id, 1, &listed).await;
}

async fn delete_during_a_fire(stage: &mut Stage, submission: Submission) {
    let id = submit(stage, submission, Some(0)).await;
    leave_row(stage, &id, false).await;
    let delete = async |running: &Running| running.service.delete(std::slice::from_ref(&id)).await;
    let deleted = stage.call(delete).await.expect("the store answers");
    assert_eq!(deleted.len(), 1, "the task exists");
    // The moment was not decided, so the run must end unfired, even if the answer lists it.
    note_stopped(stage, &id, u32::MAX, &[]).await;
}

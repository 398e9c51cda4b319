//! Pause, resume, edit, cancel, delete and redrive.

use taskcenter_server::core::retry::RetryPolicy;
use taskcenter_server::core::run::{Outcome, PayloadChange, PayloadDigest, Stretch};
use taskcenter_server::core::submission::{Dedup, MAX_DATA_BYTES, Submission};
use taskcenter_server::core::{Run, RunState, Schedule, TaskState};
use taskcenter_server::engine::service::{Service, ServiceError, definition};
use taskcenter_server::ports::Advance;

use super::interleaving::Pause;
use super::{NOW, Stage};
use crate::service::leases::{lease, report};

fn every_second() -> Submission {
    Submission { schedule: Schedule::Every { period_ms: 1_000 }, ..Submission::named("loop", "data") }
}

pub async fn a_paused_task_keeps_its_place_and_does_not_advance(on: &Stage) {
    let id = on.submit(every_second()).await;
    on.fire(&id).await;
    let changed = on.service.pause(&id, None).await.unwrap();
    let task = changed.task;
    assert_eq!((task.state, task.next_due_at), (TaskState::Paused, Some(NOW.plus_ms(1_000))));
    assert_eq!(changed.open_runs.len(), 1, "the run fired before the pause");
    let due = task.next_due_at.unwrap();
    let advance = Advance {
        task_id: id.clone(),
        rev: 1,
        due,
        last_due_at: due,
        next_due_at: Some(due.plus_ms(1_000)),
        nominal_at: None,
        fires: true,
        waits: false,
    };
    assert_eq!(
        on.store.advance_tasks(&[Advance { rev: task.rev, ..advance.clone() }, advance]).await.unwrap(),
        [false, false]
    );
    let again = on.service.pause(&id, None).await.unwrap();
    assert_eq!(again.task.rev, task.rev, "a second pause changes nothing");
}

pub async fn the_moments_of_a_pause_become_one_skipped_run(on: &Stage) {
    let id = on.submit(every_second()).await;
    on.service.pause(&id, None).await.unwrap();
    on.clock.set(NOW.plus_ms(60_500));
    let resumed = on.service.resume(&id, None).await.unwrap().task;
    assert_eq!((resumed.state, resumed.next_due_at), (TaskState::Active, Some(NOW.plus_ms(61_000))));
    let filter = taskcenter_server::ports::RunFilter { task_id: Some(id.clone()), ..Default::default() };
    let page = taskcenter_server::ports::RunPage { limit: 9, before: None };
    let rows = on.store.list_runs(&filter, &page).await.unwrap();
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(row.stretch, Some(Stretch { to: NOW.plus_ms(60_000), count: 61 }));
    assert_eq!((row.state, row.reason.as_deref()), (RunState::Skipped, Some("paused: 61 moments passed")));
    let run = on.fire(&id).await;
    assert_eq!((run.state, run.scheduled_at), (RunState::Ready, NOW.plus_ms(61_000)));
}

pub async fn an_interrupted_resume_continues_after_its_row(on: &Stage) {
    let id = on.submit(every_second()).await;
    let paused = on.service.pause(&id, None).await.unwrap().task;
    // The row of a node that died before it changed the task.
    let stretch = Stretch { to: NOW.plus_ms(60_000), count: 61 };
    let row = Run::skipped(&paused, NOW, stretch, "paused".to_owned(), "", NOW.plus_ms(60_500));
    on.store.insert_runs(&[row]).await.unwrap();
    on.clock.set(NOW.plus_ms(70_500));
    let resumed = on.service.resume(&id, None).await.unwrap().task;
    assert_eq!(
        (resumed.last_due_at, resumed.next_due_at),
        (Some(stretch.to), Some(NOW.plus_ms(61_000))),
        "every moment has a row"
    );
    assert_eq!(on.fire(&id).await.scheduled_at, NOW.plus_ms(61_000));
}

pub async fn an_edit_lists_the_runs_that_fired_before_and_lets_them_continue(on: &Stage) {
    let id = on.submit(every_second()).await;
    let task = on.store.task(&id).await.unwrap().unwrap();
    // The moment is decided, and the node died before the hand-over.
    let run = Run::firing(&task, NOW, "dead", "token".to_owned(), NOW.plus_ms(10_000));
    on.store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
    let advance = Advance {
        task_id: id.clone(),
        rev: 1,
        due: NOW,
        last_due_at: NOW,
        next_due_at: Some(NOW.plus_ms(1_000)),
        nominal_at: None,
        fires: true,
        waits: false,
    };
    assert_eq!(on.store.advance_tasks(&[advance]).await.unwrap(), [true]);
    let edited = Submission { data: "new".to_owned(), ..definition(&task) };
    let changed = on.service.edit(&id, 1, edited).await.unwrap();
    assert_eq!(changed.open_runs, std::slice::from_ref(&run.id));
    assert_eq!((changed.task.data.as_str(), changed.task.rev), ("new", 2));
    // A second change keeps the first revision, because its run is still open.
    on.service.pause(&id, Some(2)).await.unwrap();
    on.clock.set(NOW.plus_ms(10_001));
    on.rescue().await;
    let rescued = on.run(&run).await;
    assert_eq!(
        (rescued.state, rescued.data.as_str()),
        (RunState::Ready, "data"),
        "the run keeps the definition of its decision"
    );
}

pub async fn an_edit_of_another_revision_is_refused(on: &Stage) {
    let id = on.submit(every_second()).await;
    let task = on.store.task(&id).await.unwrap().unwrap();
    on.service.edit(&id, 1, Submission { data: "one".to_owned(), ..definition(&task) }).await.unwrap();
    let late = on.service.edit(&id, 1, Submission { data: "two".to_owned(), ..definition(&task) }).await;
    assert!(matches!(late, Err(ServiceError::RevisionMoved(2))), "{late:?}");
    assert_eq!(on.store.task(&id).await.unwrap().unwrap().data, "one");
    let other = on.submit(Submission { dedup: Dedup::Key("k".to_owned()), ..every_second() }).await;
    let taken = Submission { dedup: Dedup::Key("k".to_owned()), ..definition(&task) };
    let refused = on.service.edit(&id, 2, taken).await;
    assert!(matches!(&refused, Err(ServiceError::KeyHeld(holder)) if *holder == other), "{refused:?}");
}

pub async fn an_undecided_run_ends_unfired_after_an_edit(on: &Stage) {
    let id = on.submit(every_second()).await;
    let task = on.store.task(&id).await.unwrap().unwrap();
    let run = Run::firing(&task, NOW, "dead", "token".to_owned(), NOW.plus_ms(10_000));
    on.store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
    let changed =
        on.service.edit(&id, 1, Submission { data: "new".to_owned(), ..definition(&task) }).await.unwrap();
    assert!(changed.open_runs.is_empty(), "the moment was not decided: {:?}", changed.open_runs);
    on.clock.set(NOW.plus_ms(10_001));
    on.rescue().await;
    assert_eq!(on.run(&run).await.state, RunState::Cancelled);
    let again = on.fire(&id).await;
    assert_eq!(
        (again.scheduled_at, again.data.as_str()),
        (NOW, "new"),
        "the new definition fires the moment"
    );
}

pub async fn a_cancelled_task_is_visible_and_a_deleted_one_is_not(on: &Stage) {
    let id = on.submit(every_second()).await;
    let cancelled = on.service.cancel(&id, None).await.unwrap();
    assert_eq!(cancelled.task.state, TaskState::Cancelled);
    assert_eq!(on.service.shown_task(&id).await.unwrap().state, TaskState::Cancelled);
    assert!(
        matches!(on.service.task(&id).await, Err(ServiceError::NotFound)),
        "the legacy v1 API shows live tasks only"
    );
    let paused = on.service.pause(&id, None).await;
    assert!(matches!(paused, Err(ServiceError::Over(_))), "{paused:?}");
    assert_eq!(on.service.delete(std::slice::from_ref(&id)).await.unwrap()[0].id, id);
    assert!(matches!(on.service.shown_task(&id).await, Err(ServiceError::NotFound)));
}

pub async fn a_delete_cancels_waiting_runs_and_lists_leased_ones(on: &Stage) {
    let id = on.submit(every_second()).await;
    let leased = on.fire(&id).await;
    assert_eq!(lease(on, "worker", 1).await.len(), 1);
    let waiting = on.fire(&id).await;
    let deleted = on.service.delete(std::slice::from_ref(&id)).await.unwrap();
    assert_eq!(deleted[0].open_runs, std::slice::from_ref(&leased.id));
    assert_eq!(on.run(&waiting).await.state, RunState::Cancelled);
    assert_eq!(on.run(&leased).await.state, RunState::Leased, "the worker may finish the run");
    on.clock.set(NOW.plus_ms(60_000));
    on.rescue().await;
    assert_eq!(on.run(&leased).await.state, RunState::Cancelled, "the run is not retried");
}

pub async fn cancel_and_delete_need_the_given_revision(on: &Stage) {
    let id = on.submit(every_second()).await;
    on.edit(&id, "new").await;
    for refused in [on.service.cancel(&id, Some(1)).await, on.service.delete_one(&id, Some(1)).await] {
        assert!(matches!(refused, Err(ServiceError::RevisionMoved(2))), "{refused:?}");
    }
    assert_eq!(on.service.cancel(&id, Some(2)).await.unwrap().task.state, TaskState::Cancelled);
    assert_eq!(on.service.cancel(&id, Some(2)).await.unwrap().task.rev, 2, "a repeated request succeeds");
    assert_eq!(on.service.delete_one(&id, Some(2)).await.unwrap().task.state, TaskState::Cancelled);
    let again = on.service.delete_one(&id, Some(2)).await;
    assert!(matches!(again, Err(ServiceError::NotFound)), "{again:?}");
}

pub async fn cancel_and_delete_are_refused_after_a_concurrent_edit(on: &Stage) {
    let id = on.submit(every_second()).await;
    let before = || Pause::Before("cancel_tasks");
    let cancel = async |service: &Service| service.cancel(&id, Some(1)).await;
    let refused =
        on.with_interleaved(before(), cancel, async { drop(Box::pin(on.edit(&id, "new")).await) }).await;
    assert!(matches!(refused, Err(ServiceError::RevisionMoved(2))), "{refused:?}");
    let delete = async |service: &Service| service.delete_one(&id, Some(2)).await;
    let refused =
        on.with_interleaved(before(), delete, async { drop(Box::pin(on.edit(&id, "newer")).await) }).await;
    assert!(matches!(refused, Err(ServiceError::RevisionMoved(3))), "{refused:?}");
    let task = on.store.task(&id).await.unwrap().unwrap();
    assert_eq!((task.state, task.data.as_str(), task.hidden), (TaskState::Active, "newer", false));
    let any = async |service: &Service| service.cancel(&id, None).await;
    let ended = on
        .with_interleaved(before(), any, async { drop(Box::pin(on.edit(&id, "newest")).await) })
        .await
        .unwrap();
    assert_eq!(
        (ended.task.state, ended.task.rev),
        (TaskState::Cancelled, 4),
        "without a revision, the cancel succeeds"
    );
}

pub async fn a_redriven_run_gets_one_more_attempt(on: &Stage) {
    let once = RetryPolicy::doubling(1, 1, 1);
    let id = on.submit(Submission { retry: Some(once), ..Submission::named("a", "x") }).await;
    let run = on.fire(&id).await;
    let failed = Outcome::Failed { retry_after_ms: None };
    let leased = lease(on, "w", 1).await;
    on.service.report(&run.id, &report(&leased[0], failed.clone())).await.unwrap();
    let dead = on.run(&run).await;
    assert_eq!((dead.state, dead.reason.as_deref()), (RunState::Dead, Some("failed (attempt 1 of 1)")));

    assert_eq!(on.service.retry_run(&run.id).await.unwrap().state, RunState::Retrying);
    on.rescue().await;
    let leased = lease(on, "w", 1).await;
    assert_eq!((leased[0].attempt, &leased[0].id), (2, &run.id));
    on.service.report(&run.id, &report(&leased[0], failed)).await.unwrap();
    assert_eq!(on.run(&run).await.state, RunState::Dead, "one more attempt only");
    on.service.retry_run(&run.id).await.unwrap();
    on.rescue().await;
    let refused = on.service.retry_run(&run.id).await;
    assert!(matches!(refused, Err(ServiceError::RunState(RunState::Ready))), "{refused:?}");
    on.service.delete(std::slice::from_ref(&id)).await.unwrap();
    assert!(matches!(on.service.retry_run(&run.id).await, Err(ServiceError::Over(_))));
}

/// Lets the leased attempt of a run die.
async fn die(on: &Stage) -> Run {
    let leased = lease(on, "w", 1).await;
    on.service.report(&leased[0].id, &report(&leased[0], Outcome::Dead)).await.unwrap()
}

pub async fn a_redriven_run_delivers_an_edited_payload(on: &Stage) {
    let change = |data: &str| PayloadChange { data: Some(data.to_owned()), headers: None };
    let run = on.ready("a").await;
    let (id, original) = (run.id.clone(), run.data.clone());
    let refused = on.service.retry_run_with(&id, &change("early")).await;
    assert!(matches!(refused, Err(ServiceError::RunState(RunState::Ready))), "{refused:?}");
    assert_eq!(on.run(&run).await.data, original, "a refused edit changes nothing");
    die(on).await;
    on.service.retry_run_with(&id, &change("never delivered")).await.unwrap();
    let redriven = on.service.retry_run_with(&id, &change("second")).await.unwrap();
    assert_eq!((redriven.state, redriven.data.as_str()), (RunState::Retrying, "second"));
    on.rescue().await;
    let leased = lease(on, "w", 1).await;
    assert_eq!((leased[0].attempt, leased[0].data.as_str()), (2, "second"));
    on.service.report(&id, &report(&leased[0], Outcome::Dead)).await.unwrap();
    on.service.retry_run(&id).await.unwrap();
    on.rescue().await;
    let dead = die(on).await;
    assert_eq!((dead.attempt, dead.data.as_str()), (3, "second"), "a later retry keeps the edited payload");
    let delivered = [1, 2, 3].map(|attempt| dead.payload_of(attempt).unwrap());
    assert_eq!(delivered, [original.as_str(), "second", "second"].map(PayloadDigest::of));
    assert_eq!(dead.edited.as_ref().unwrap().original.data, original);
    assert_eq!(dead.edited.as_ref().unwrap().edits.len(), 1, "no attempt had the first edit");
    assert_eq!(on.run(&run).await, dead);
    let too_long = on.service.retry_run_with(&id, &change(&"x".repeat(MAX_DATA_BYTES + 1))).await;
    assert!(matches!(too_long, Err(ServiceError::Invalid(_))), "{too_long:?}");
    assert_eq!(on.run(&run).await, dead);
}

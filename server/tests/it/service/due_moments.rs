//! An edit drops no moment that was due before it.

use taskcenter_server::core::misfire::{MisfirePolicy, MisfireRule};
use taskcenter_server::core::run::Stretch;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Run, RunState, Schedule, TaskId};
use taskcenter_server::engine::service::{ServiceError, definition};
use taskcenter_server::ports::{RunFilter, RunPage};

use super::{NOW, Stage};

fn every(period_ms: i64) -> Submission {
    Submission { schedule: Schedule::Every { period_ms }, ..Submission::named("loop", "old") }
}

async fn edit(on: &Stage, id: &TaskId, period_ms: i64) -> Result<Vec<Run>, ServiceError> {
    let task = on.store.task(id).await.unwrap().unwrap();
    let schedule = Schedule::Every { period_ms };
    let edited = Submission { schedule, data: "new".to_owned(), ..definition(&task) };
    on.service.edit(id, task.rev, edited).await?;
    let filter = RunFilter { task_id: Some(id.clone()), ..RunFilter::default() };
    Ok(on.store.list_runs(&filter, &RunPage { limit: 200, before: None }).await.unwrap())
}

pub async fn an_edit_of_the_times_decides_the_due_moments(on: &Stage) {
    let id = on.submit(every(60_000)).await;
    on.clock.set(NOW.plus_ms(130_000));
    let runs = edit(on, &id, 7_000).await.unwrap();
    let decided: Vec<_> = runs.iter().map(|run| (run.rev, run.scheduled_at, run.data.as_str())).collect();
    let at = |minutes: i64| NOW.plus_ms(minutes * 60_000);
    assert_eq!(decided, [(1, at(2), "old"), (1, at(1), "old"), (1, at(0), "old")]);
    on.rescue().await;
    assert_eq!(on.states(&id).await, [RunState::Ready; 3]);
    let task = on.store.task(&id).await.unwrap().unwrap();
    assert_eq!((task.rev, task.fired_count, task.last_due_at), (2, 3, Some(at(2))));
    assert_eq!(task.next_due_at, Some(at(2).plus_ms(14_000)), "the new period counts from the last moment");
}

pub async fn an_edit_follows_the_misfire_policy_of_the_task(on: &Stage) {
    let misfire = MisfireRule { policy: Some(MisfirePolicy::FireAll), grace_ms: Some(0), max: Some(2) };
    let timing = taskcenter_server::core::timing::Timing { misfire, ..Default::default() };
    let id = on.submit(Submission { timing, ..every(60_000) }).await;
    on.clock.set(NOW.plus_ms(310_000));
    let runs = edit(on, &id, 7_000).await.unwrap();
    let at = |minutes: i64| NOW.plus_ms(minutes * 60_000);
    let rows: Vec<_> = runs.iter().map(|run| (run.scheduled_at, run.stretch)).collect();
    let skipped = Some(Stretch { to: at(3), count: 4 });
    assert_eq!(rows, [(at(5), None), (at(4), None), (at(0), skipped)]);
}

pub async fn moments_that_an_edit_does_not_decide_are_one_skipped_run(on: &Stage) {
    let id = on.submit(every(1_000)).await;
    on.clock.set(NOW.plus_ms(150_500));
    let runs = edit(on, &id, 7_000).await.unwrap();
    assert_eq!(runs.len(), 101);
    let skipped = &runs[0];
    assert_eq!(
        (skipped.state, skipped.rev, skipped.scheduled_at),
        (RunState::Skipped, 1, NOW.plus_ms(100_000))
    );
    assert_eq!(skipped.stretch, Some(Stretch { to: NOW.plus_ms(150_000), count: 51 }));
    assert_eq!(skipped.reason.as_deref(), Some("edited: 51 moments were due"));
}

pub async fn an_edit_of_a_paused_task_stores_the_moments_of_the_pause(on: &Stage) {
    let id = on.submit(every(1_000)).await;
    on.service.pause(&id, None).await.unwrap();
    on.clock.set(NOW.plus_ms(2_500));
    let runs = edit(on, &id, 7_000).await.unwrap();
    let [row] = runs.as_slice() else { panic!("{runs:?}") };
    assert_eq!((row.state, row.rev), (RunState::Skipped, 2));
    assert_eq!(row.stretch, Some(Stretch { to: NOW.plus_ms(2_000), count: 3 }));
}

pub async fn a_due_one_shot_fires_before_an_edit(on: &Stage) {
    let id = on.submit(Submission::named("once", "old")).await;
    let refused = edit(on, &id, 7_000).await;
    assert!(matches!(refused, Err(ServiceError::Over(_))), "{refused:?}");
    assert_eq!(on.states(&id).await.len(), 1);
}

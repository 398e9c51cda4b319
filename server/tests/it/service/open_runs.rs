//! Tasks with many open runs.

use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Run, RunState, Schedule, TaskId, TaskState};
use taskcenter_server::engine::service::MAX_OPEN_RUNS;
use taskcenter_server::ports::{Advance, RunFilter, RunPage};

use super::{NOW, Stage};
use crate::store::Fixture as _;
use crate::store::memory::MemoryFixture;

fn every_second() -> Submission {
    Submission { schedule: Schedule::Every { period_ms: 1_000 }, ..Submission::named("loop", "data") }
}

/// Creates a task with more open runs than an answer lists and than a page has. Half of them wait
/// in their queue, half are leased.
async fn with_many_open_runs(on: &Stage) -> TaskId {
    let id = on.submit(every_second()).await;
    let mut runs = waiting_runs(on, &id, MAX_OPEN_RUNS * 2 + 500).await;
    for run in runs.iter_mut().step_by(2) {
        run.lease("worker", "token".to_owned(), NOW, NOW.plus_ms(60_000)).unwrap();
    }
    on.store.insert_runs(&runs).await.unwrap();
    id
}

/// Returns runs of a task that wait in their queue.
async fn waiting_runs(on: &Stage, id: &TaskId, count: usize) -> Vec<Run> {
    let task = on.store.task(id).await.unwrap().unwrap();
    let run = |n: usize| {
        let at = NOW.plus_ms(-1_000 * n as i64);
        let mut run = Run::firing(&task, at, "node", "token".to_owned(), NOW);
        run.enqueue(NOW).unwrap();
        run
    };
    (0..count).map(run).collect()
}

async fn count(on: &Stage, id: &TaskId, state: RunState) -> usize {
    let filter = RunFilter { task_id: Some(id.clone()), state: Some(state), ..RunFilter::default() };
    on.store.list_runs(&filter, &RunPage { limit: 10_000, before: None }).await.unwrap().len()
}

pub async fn an_answer_lists_a_limited_number_of_open_runs(on: &Stage) {
    let id = with_many_open_runs(on).await;
    let paused = on.service.pause(&id, None).await.unwrap();
    assert_eq!((paused.open_runs.len(), paused.more_open_runs), (MAX_OPEN_RUNS, true));
    let few = on.submit(Submission { data: "few".to_owned(), ..every_second() }).await;
    let run = on.fire(&few).await;
    let paused = on.service.pause(&few, None).await.unwrap();
    assert_eq!((paused.open_runs, paused.more_open_runs), (vec![run.id], false));
}

pub async fn a_delete_cancels_any_number_of_waiting_runs(on: &Stage) {
    let id = with_many_open_runs(on).await;
    let deleted = on.service.delete(std::slice::from_ref(&id)).await.unwrap().remove(0);
    assert_eq!((deleted.open_runs.len(), deleted.more_open_runs), (MAX_OPEN_RUNS, true));
    let half = MAX_OPEN_RUNS + 250;
    assert_eq!(count(on, &id, RunState::Ready).await, 0);
    assert_eq!(
        (count(on, &id, RunState::Cancelled).await, count(on, &id, RunState::Leased).await),
        (half, half)
    );
}

pub async fn a_delete_by_name_cancels_the_waiting_runs_of_all_tasks(on: &Stage) {
    let mut ids = Vec::new();
    for n in 0..20 {
        let id = on.submit(Submission { data: format!("{n}"), ..every_second() }).await;
        on.fire(&id).await;
        ids.push(id);
    }
    let (deleted, more) = on.service.delete_by_name("loop").await.unwrap();
    assert_eq!((deleted.len(), more), (ids.len(), false));
    for id in &ids {
        assert_eq!(on.states(id).await, [RunState::Cancelled]);
    }
}

/// Each task has fewer waiting runs than a page, and all tasks together have more than one call
/// examines.
#[tokio::test]
async fn a_delete_by_name_does_not_wait_until_all_runs_are_cancelled() {
    const TASKS: usize = 60;
    let fixture = MemoryFixture::open().await;
    let on = Stage::on(fixture.one(), fixture.records());
    let mut ids = Vec::new();
    for n in 0..TASKS {
        let id = on.submit(Submission { data: format!("{n}"), ..every_second() }).await;
        on.store.insert_runs(&waiting_runs(&on, &id, 999).await).await.unwrap();
        ids.push(id);
    }
    let (deleted, more) = on.service.delete_by_name("loop").await.unwrap();
    assert_eq!((deleted.len(), more), (TASKS, false));
    let unfinished = deleted.iter().filter(|deleted| deleted.more_open_runs).count();
    assert!(unfinished > TASKS / 3, "{unfinished} tasks may still have open runs");
    for id in &ids {
        while count(&on, id, RunState::Ready).await > 0 {
            tokio::task::yield_now().await;
        }
    }
}

pub async fn past_revisions_with_open_runs_are_kept(on: &Stage) {
    let id = on.submit(every_second()).await;
    let mut runs = Vec::new();
    // Revisions with one and two digits, because ids sort as text.
    for rev in 1..=12 {
        let task = on.store.task(&id).await.unwrap().unwrap();
        let due = task.next_due_at.unwrap();
        let run = Run::firing(&task, due, "dead", "token".to_owned(), NOW.plus_ms(10_000));
        on.store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
        let next_due_at = Some(due.plus_ms(1_000));
        let advance = Advance {
            task_id: id.clone(),
            rev,
            due,
            last_due_at: due,
            next_due_at,
            nominal_at: None,
            fires: true,
            waits: false,
        };
        assert_eq!(on.store.advance_tasks(&[advance]).await.unwrap(), [true]);
        runs.push(run);
        on.service.trigger(&id, None).await.unwrap();
        on.edit(&id, &format!("data {rev}")).await;
    }
    let kept =
        |task: &taskcenter_server::core::Task| task.past.iter().map(|past| past.rev).collect::<Vec<_>>();
    assert_eq!(kept(&on.store.task(&id).await.unwrap().unwrap()), (1..=12).collect::<Vec<_>>());
    on.clock.set(NOW.plus_ms(60_000));
    on.rescue().await;
    for run in &runs {
        assert_eq!(on.run(run).await.state, RunState::Ready, "{}: the moment was decided", run.id);
    }
    on.service.delete(std::slice::from_ref(&id)).await.unwrap();
    assert_eq!(on.store.task(&id).await.unwrap().unwrap().state, TaskState::Cancelled);
    assert_eq!(count(on, &id, RunState::Ready).await, 0);
}

//! Removal of old rows, and the store's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use taskcenter_server::core::{Moment, Run, Task};
use taskcenter_server::ports::Advance;

use super::Fixture;
use super::samples::{PAST, ended, fire, run_until, task};

const LONG_AGO: Moment = PAST.plus_ms(-60_000);

fn run_of(task: &Task) -> Run {
    run_until(task, PAST)
}

pub async fn rows_that_ended_long_ago_are_pruned(on: &dyn Fixture) {
    let store = on.one();
    let [live, old, recent, finished] = [task(), task(), task(), task()];
    store.insert_tasks(vec![live.clone(), old.clone(), recent.clone(), finished.clone()]).await;
    store.cancel_tasks(std::slice::from_ref(&old.id), None, true, LONG_AGO).await.unwrap();
    store.cancel_tasks(std::slice::from_ref(&recent.id), None, true, PAST).await.unwrap();
    let last = Advance { next_due_at: None, ..fire(&finished) };
    assert_eq!(store.advance_tasks(&[last]).await.unwrap(), [true]);
    let runs = [ended(run_of(&old), LONG_AGO), ended(run_of(&recent), PAST), run_of(&live)];
    store.insert_runs(&runs).await.unwrap();

    assert_eq!(store.prune(PAST, LONG_AGO, 100).await.unwrap(), 2, "one run and one tombstone");
    assert_eq!(store.prune(PAST, LONG_AGO, 100).await.unwrap(), 0);
    assert_eq!(store.run(&runs[0].id).await.unwrap(), None);
    assert_eq!(store.task(&old.id).await.unwrap(), None);
    for kept in [&live, &recent, &finished] {
        assert!(store.task(&kept.id).await.unwrap().is_some());
    }
    for kept in &runs[1..] {
        assert!(store.run(&kept.id).await.unwrap().is_some());
    }
    let after_the_finish = store.now().await.unwrap().plus_ms(60_000);
    assert_eq!(
        store.prune(after_the_finish, LONG_AGO, 100).await.unwrap(),
        3,
        "the recent run, the recent tombstone and the finished task"
    );
    assert!(store.task(&live.id).await.unwrap().is_some());
}

pub async fn a_tombstone_with_an_open_run_stays_and_does_not_block_others(on: &dyn Fixture) {
    let store = on.one();
    let (busy, idle) = (task(), task());
    store.insert_tasks(vec![busy.clone(), idle.clone()]).await;
    store.cancel_tasks(std::slice::from_ref(&busy.id), None, true, LONG_AGO.plus_ms(-1)).await.unwrap();
    store.cancel_tasks(std::slice::from_ref(&idle.id), None, true, LONG_AGO).await.unwrap();
    let open = run_of(&busy);
    store.insert_runs(std::slice::from_ref(&open)).await.unwrap();
    assert_eq!(store.prune(PAST, LONG_AGO, 1).await.unwrap(), 1);
    assert!(store.task(&busy.id).await.unwrap().is_some());
    assert_eq!(store.task(&idle.id).await.unwrap(), None);

    assert_eq!(store.update_runs(&[ended(open, LONG_AGO)]).await.unwrap(), [true]);
    assert_eq!(store.prune(PAST, LONG_AGO, 10).await.unwrap(), 2);
    assert_eq!(store.task(&busy.id).await.unwrap(), None);
}

/// All tombstones end at the same moment, and they are more than one step examines.
pub async fn many_tombstones_with_open_runs_do_not_block_others(on: &dyn Fixture) {
    let store = on.one();
    let tasks: Vec<Task> = (0..1_101).map(|_| task()).collect();
    let ids: Vec<_> = tasks.iter().map(|task| task.id.clone()).collect();
    store.insert_tasks(tasks.clone()).await;
    store.cancel_tasks(&ids, None, true, LONG_AGO).await.unwrap();
    let open: Vec<Run> = tasks[..1_100].iter().map(run_of).collect();
    store.insert_runs(&open).await.unwrap();
    assert_eq!(store.prune(PAST, LONG_AGO, 10).await.unwrap(), 1);
    assert_eq!(store.task(&ids[1_100]).await.unwrap(), None);
    assert_eq!(store.tasks(&ids).await.unwrap().rows.len(), 1_100);
}

pub async fn pruning_removes_at_most_the_limit(on: &dyn Fixture) {
    let store = on.one();
    let runs: Vec<Run> = (0..1_500).map(|_| ended(run_of(&task()), LONG_AGO)).collect();
    store.insert_runs(&runs).await.unwrap();
    assert_eq!(store.prune(PAST, LONG_AGO, 0).await.unwrap(), 0);
    assert_eq!(store.prune(PAST, LONG_AGO, 1_200).await.unwrap(), 1_200);
    assert_eq!(store.prune(PAST, LONG_AGO, 1_200).await.unwrap(), 300);
}

#[allow(clippy::disallowed_methods, reason = "the test compares the store's clock with the system clock")]
pub async fn the_stores_clock_is_close_to_the_system_clock(on: &dyn Fixture) {
    let local = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let store = on.one().now().await.unwrap();
    assert!((store.ms() - local).abs() < 10_000, "{store}");
}

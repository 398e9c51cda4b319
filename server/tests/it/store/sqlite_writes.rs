//! Costs of writes on SQLite, as numbers that no other load on the machine changes.

use taskcenter_server::adapters::sqlite::explained;
use taskcenter_server::core::retry::RetryPolicy;
use taskcenter_server::core::run::{LeaseSlots, Outcome};
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::{Moment, Run, Schedule, Task};
use taskcenter_server::ports::{Fire, Fired, Order, Store};
use tempfile::TempDir;

use super::samples::{PAST, due_at, run_until, task};
use super::sqlite::open;

#[tokio::test]
async fn a_statement_writes_only_the_indexes_whose_columns_change() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).unwrap();
    // A partial index counts, although most rows are not in it.
    for (name, indexes) in [("step", 1), ("insert run", 14), ("step run", 10), ("replace run", 12)] {
        assert_eq!(explained::written_indexes(&store, name).await.unwrap(), indexes, "{name}");
    }
}

#[tokio::test]
async fn tasks_of_one_moment_are_due_in_the_order_of_their_ids() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).unwrap();
    let mut tasks: Vec<Task> = (0..100).map(|_| due_at(PAST)).collect();
    store.insert_tasks(tasks.clone()).await;
    tasks.sort_by(|a, b| a.id.cmp(&b.id));
    let shards: Vec<u16> = (0..SHARDS).collect();
    let due = async |order| store.due_tasks(&shards, PAST, 200, order).await.unwrap().rows;
    assert_eq!(due(Order::Earliest).await, tasks);
    tasks.reverse();
    assert_eq!(due(Order::Latest).await, tasks);
}

#[tokio::test]
async fn a_run_without_a_time_limit_is_not_read_for_attention() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).unwrap();
    let overdue = run_until(&task(), PAST);
    let mut ready = run_until(&Task { queue: Some("q".to_owned()), ..task() }, PAST);
    ready.enqueue(PAST).unwrap();
    store.insert_runs(&[overdue.clone(), ready]).await.unwrap();
    let shards: Vec<u16> = (0..SHARDS).collect();
    let found = store.runs_needing_attention(&shards, Moment::NEVER, 10, false).await.unwrap().rows;
    assert_eq!(found, [overdue]);
}

/// Bytes of the log are the work of the disk. They depend on the rows, the indexes and the pages.
#[tokio::test]
async fn a_run_writes_a_bounded_number_of_bytes() {
    const RUNS: usize = 200;
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).unwrap();
    let one_shot = || Task { queue: Some("q".to_owned()), schedule: Schedule::Once, ..due_at(PAST) };
    let tasks: Vec<Task> = (0..RUNS).map(|_| one_shot()).collect();
    store.insert_tasks(tasks.clone()).await;
    let log = || std::fs::metadata(dir.path().join("taskcenter.db-wal")).unwrap().len() as usize;
    let before = log();
    let fires = tasks.iter().map(|task| Fire { task, run: run_until(task, PAST) }).collect();
    let mut runs: Vec<Run> = store.fire(fires).await.unwrap().into_iter().map(passed).collect();
    let slots = LeaseSlots::of(&["bytes"]);
    for (position, run) in runs.iter_mut().enumerate() {
        run.lease("worker", format!("token-{position:026}"), PAST, PAST.plus_ms(9)).unwrap();
        run.lease_slot = Some(slots.name(position));
    }
    assert_eq!(store.update_runs(&runs).await.unwrap(), [true; RUNS]);
    for run in &mut runs {
        run.version += 1;
        run.report(&Outcome::Succeeded { result: None }, None, &RetryPolicy::default(), PAST.plus_ms(7))
            .unwrap();
    }
    assert_eq!(store.update_runs(&runs).await.unwrap(), [true; RUNS]);
    let bytes = (log() - before) / RUNS;
    assert!((1_000..BYTES).contains(&bytes), "{bytes} bytes per run");
}

/// Bound of the bytes per run in batches of 200, a tenth above the measurement: 5,129.
const BYTES: usize = 5_700;

fn passed(fired: Fired) -> Run {
    let Fired::Passed { run, queued: true } = fired else { panic!("the moment has come: {fired:?}") };
    *run
}

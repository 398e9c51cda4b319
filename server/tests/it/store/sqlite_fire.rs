//! Fires of a node on SQLite: one transaction, after which a run with a queue waits for its worker.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use taskcenter_server::adapters::clock::{ManualClock, SystemClock};
use taskcenter_server::adapters::fault::{Faulty, Plan};
use taskcenter_server::adapters::sqlite::{SqliteStore, explained};
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::{Moment, Run, RunState, Schedule, Task, TaskState};
use taskcenter_server::engine::node::Node;
use taskcenter_server::engine::{dispatch, rescue, scan};
use taskcenter_server::ports::{Clock, Fire, Fired, PortError, Result, RunFilter, RunPage, Store};
use tempfile::TempDir;

use super::samples::{PAST, due_at, run_until};
use super::sqlite::{file, open};
use super::tasks::insert;
use crate::bad_rows::node;

const TAG: &str = "order.close";

/// Returns a one-shot in a queue that has just become due.
fn one_shot() -> Task {
    let due = SystemClock.now().plus_ms(-10);
    Task { queue: Some("q".to_owned()), schedule: Schedule::Once, ..due_at(due) }
}

fn store_in(dir: &Path) -> Arc<SqliteStore> {
    Arc::new(open(dir).unwrap())
}

/// Finds the due tasks and fires them.
async fn fire_due(node: &Arc<Node>) -> usize {
    let shards: Vec<u16> = (0..SHARDS).collect();
    scan::run_once(node, &shards, node.clock.now()).await.unwrap();
    dispatch::run_once(node, node.clock.now()).await
}

async fn every_run(store: &dyn Store) -> Vec<Run> {
    store.list_runs(&RunFilter::default(), &RunPage { limit: 1_000, before: None }).await.unwrap()
}

/// Returns the fires that were counted in the last minutes.
async fn counted(store: &dyn Store) -> u64 {
    let mut counted = 0;
    for minutes_ago in 0..3 {
        let at = SystemClock.now().plus_ms(-60_000 * minutes_ago);
        counted += store.fires_in_minute(at).await.unwrap().iter().map(|(_, fires)| fires).sum::<u64>();
    }
    counted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_queued_one_shots_is_one_commit_without_an_update_of_its_runs() {
    const TASKS: usize = 200;
    let dir = TempDir::new().unwrap();
    let store = store_in(dir.path());
    let node = node(store.clone()).await;
    store.insert_tasks((0..TASKS).map(|_| one_shot()).collect()).await;
    let mut hints = node.hints.listen();
    let before = explained::commits(&store);
    assert_eq!(fire_due(&node).await, TASKS);
    let commits = explained::commits(&store) - before;
    assert_eq!(commits, 1, "the fire");
    let runs = every_run(&*store).await;
    assert_eq!(runs.len(), TASKS);
    assert!(runs.iter().all(|run| (run.state, run.version) == (RunState::Ready, 1)), "{:?}", runs[0]);
    let task = store.task(&runs[0].task_id).await.unwrap().unwrap();
    assert_eq!((task.state, task.fired_count), (TaskState::Finished, 1));
    assert_eq!(counted(&*store).await, TASKS as u64);
    assert_eq!(node.window.busy(), 0);
    hints.ready(&["q".to_owned()]).await;
    let metrics = node.metrics.encode().unwrap();
    assert!(metrics.contains(&format!("{{tag=\"{TAG}\"}} {TASKS}\n")), "{metrics}");
}

/// Loses the answer of one fire after its write.
#[derive(Default)]
struct LostAnswer(AtomicBool);

#[async_trait]
impl Plan for LostAnswer {
    async fn request(&self, _: &'static str) -> Result<()> {
        Ok(())
    }

    async fn answer(&self, call: &'static str) -> Result<()> {
        if call == "fire" && !self.0.swap(true, Ordering::Relaxed) {
            return Err(PortError::Unavailable("store", "the answer was lost".into()));
        }
        Ok(())
    }

    fn portion(&self, rows: usize) -> usize {
        rows
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fire_whose_answer_was_lost_is_not_repeated() {
    let dir = TempDir::new().unwrap();
    let store = store_in(dir.path());
    let node = node(Arc::new(Faulty::new(store.clone(), Arc::new(LostAnswer::default())))).await;
    let task = Task { schedule: Schedule::Every { period_ms: 60_000 }, ..one_shot() };
    insert(&*store, &task).await;
    assert_eq!(fire_due(&node).await, 1);
    let (runs, moved) = (every_run(&*store).await, store.task(&task.id).await.unwrap());
    assert_eq!((runs.len(), runs[0].state), (1, RunState::Ready));

    // The window still has the task as it was before the lost answer.
    node.window.offer(vec![task.clone()]);
    let mut hints = node.hints.listen();
    assert_eq!(dispatch::run_once(&node, node.clock.now()).await, 1);
    hints.ready(&["q".to_owned()]).await;
    assert_eq!(every_run(&*store).await, runs);
    assert_eq!(store.task(&task.id).await.unwrap(), moved);
    assert_eq!((counted(&*store).await, node.window.busy()), (1, 0));
    node.window.offer(vec![task]);
    assert!(node.window.is_empty(), "the window knows that the task has passed the moment");
}

/// A release that fired in two steps may have left a row in `firing`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_row_in_firing_is_handed_over_by_the_rescue() {
    let dir = TempDir::new().unwrap();
    let store = store_in(dir.path());
    let node = node(store.clone()).await;
    let task = one_shot();
    insert(&*store, &task).await;
    let left = run_until(&task, PAST);
    store.insert_runs(std::slice::from_ref(&left)).await.unwrap();
    assert_eq!(fire_due(&node).await, 1);
    assert_eq!(store.run(&left.id).await.unwrap(), Some(left.clone()), "the row has another holder");
    assert_eq!((store.task(&task.id).await.unwrap().unwrap().fired_count, counted(&*store).await), (1, 0));
    while rescue::run_once(&node, node.clock.now()).await.unwrap() {}
    assert_eq!(store.run(&left.id).await.unwrap().map(|run| run.state), Some(RunState::Ready));
    assert_eq!(counted(&*store).await, 1);
}

#[tokio::test]
async fn a_fire_waits_for_the_stores_clock() {
    let dir = TempDir::new().unwrap();
    let clock = Arc::new(ManualClock::new(PAST));
    let store = SqliteStore::open(dir.path(), clock.clone()).unwrap();
    let task = Task { queue: Some("q".to_owned()), ..due_at(PAST.plus_ms(2)) };
    insert(&store, &task).await;
    let fire = async || {
        let fires = vec![Fire { task: &task, run: run_until(&task, PAST) }];
        store.fire(fires).await.unwrap().remove(0)
    };
    assert_eq!((fire().await, every_run(&store).await), (Fired::NotPassed, Vec::new()));
    clock.advance_ms(1);
    let Fired::Passed { run, queued: true } = fire().await else {
        panic!("the tolerance is one millisecond")
    };
    assert_eq!((run.fired_at, run.attention_at), (Some(PAST.plus_ms(1)), Some(Moment::NEVER)));
}

/// The update of a fire compares documents. Another release may have written the document in another form.
#[tokio::test]
async fn a_task_whose_document_has_another_form_fires_once() {
    let dir = TempDir::new().unwrap();
    let task = Task { schedule: Schedule::Every { period_ms: 60_000 }, ..one_shot() };
    insert(&open(dir.path()).unwrap(), &task).await;
    assert_eq!(file(dir.path()).execute("UPDATE tasks SET doc = ' ' || doc", []).unwrap(), 1);
    let store = open(dir.path()).unwrap();
    for first in [true, false] {
        let fires = vec![Fire { task: &task, run: run_until(&task, PAST) }];
        let Fired::Passed { run, queued } = store.fire(fires).await.unwrap().remove(0) else {
            panic!("the task is due")
        };
        assert_eq!((queued, run.state), (first, RunState::Ready));
    }
    let stored = store.task(&task.id).await.unwrap().unwrap();
    assert_eq!(
        (stored.fired_count, stored.last_due_at, every_run(&store).await.len()),
        (1, task.next_due_at, 1)
    );
}

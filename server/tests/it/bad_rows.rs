//! Damaged rows beside honest ones: only the task of a damaged row waits for a repair.

use std::sync::Arc;

use serde_json::{Value, json};
use taskcenter_server::adapters::absent::NoBus;
use taskcenter_server::adapters::clock::SystemClock;
use taskcenter_server::adapters::local::LocalLock;
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::{Moment, Run, RunState, Task, TaskState};
use taskcenter_server::engine::health::{Condition, Readiness};
use taskcenter_server::engine::ids::Ids;
use taskcenter_server::engine::node::{Node, NodePorts};
use taskcenter_server::engine::settings::Settings;
use taskcenter_server::engine::{dispatch, membership, probe, rescue, scan};
use taskcenter_server::ports::{Clock, Fire, Fired, Order, Store};

use crate::fuzz::rows::Damage;
use crate::store::samples::{PAST, due_at, ids as ids_of, run_until};

/// More rows than a rescue reads at a time.
const MANY: usize = 600;

/// Returns a node on the store, which watches all shards.
pub async fn node(store: Arc<dyn Store>) -> Arc<Node> {
    let clock = Arc::new(SystemClock);
    let lock = Arc::new(LocalLock::new(clock.clone()));
    let ports = NodePorts { store, bus: Arc::new(NoBus), lock, clock };
    let node = Arc::new(Node::new("node", ports, Arc::new(Ids::new(1)), Settings::default()));
    node.health.lock.up();
    node.health.bus.up();
    membership::run_once(&node, node.clock.steady_ms()).await.unwrap();
    node
}

/// Returns a task in a queue that has just become due.
fn due_task() -> Task {
    Task { queue: Some("q".to_owned()), ..due_at(SystemClock.now().plus_ms(-10)) }
}

/// Returns a task that has passed its moment, and the run of the moment, whose lease has expired.
fn left_by_a_dead_node() -> (Task, Run) {
    let task = due_task();
    let run = run_until(&task, PAST);
    let finished =
        Task { next_due_at: None, last_due_at: task.next_due_at, state: TaskState::Finished, ..task };
    (finished, run)
}

async fn insert(store: &dyn Store, tasks: &[Task], runs: &[Run]) {
    assert!(store.insert_tasks(tasks.to_vec()).await.iter().all(Result::is_ok));
    store.insert_runs(runs).await.unwrap();
}

async fn state(store: &dyn Store, run: &Run) -> RunState {
    store.run(&run.id).await.unwrap().unwrap().state
}

/// Sets the state of a row to one that this release does not know.
async fn damage(fixture: &impl Damage, table: &str, id: &str) {
    fixture.damage(table, id, "state", &json!("unknown")).await;
}

async fn repair(fixture: &impl Damage, table: &str, id: &str, state: &str) {
    fixture.damage(table, id, "state", &Value::from(state)).await;
}

fn report(node: &Node) -> String {
    match node.health.rows.condition() {
        Condition::Down(report) => report,
        condition => panic!("{condition:?}"),
    }
}

async fn rescue_all(node: &Node, now: Moment) {
    while rescue::run_once(node, now).await.unwrap() {}
}

async fn an_unreadable_task_delays_only_its_own_runs(fixture: &impl Damage) {
    let (store, node) = (fixture.one(), node(fixture.one()).await);
    let ((honest, honest_run), (bad, bad_run)) = (left_by_a_dead_node(), left_by_a_dead_node());
    insert(&*store, &[honest, bad.clone()], &[bad_run.clone(), honest_run.clone()]).await;
    damage(fixture, "tasks", bad.id.as_str()).await;

    let now = node.clock.now();
    rescue_all(&node, now).await;
    assert_eq!(state(&*store, &honest_run).await, RunState::Ready);
    assert_eq!(state(&*store, &bad_run).await, RunState::Firing, "nothing is decided without the task");
    probe::run_once(&node).await;
    assert_eq!(node.health.readiness(), Readiness::Degraded);
    let report = report(&node);
    assert!(report.starts_with("1 unreadable") && report.contains(bad.id.as_str()), "{report}");

    repair(fixture, "tasks", bad.id.as_str(), "finished").await;
    rescue_all(&node, now.plus_ms(60_000)).await;
    assert_eq!(state(&*store, &bad_run).await, RunState::Ready);
    probe::run_once(&node).await;
    assert_eq!(node.health.readiness(), Readiness::Ready);
}

async fn many_unreadable_runs_do_not_hide_a_run_from_the_rescue(fixture: &impl Damage) {
    let (store, node) = (fixture.one(), node(fixture.one()).await);
    let (bad_tasks, bad_runs): (Vec<Task>, Vec<Run>) = (0..MANY).map(|_| left_by_a_dead_node()).unzip();
    let (honest, mut honest_run) = left_by_a_dead_node();
    honest_run.attention_at = Some(PAST.plus_ms(1));
    insert(&*store, &bad_tasks, &bad_runs).await;
    insert(&*store, &[honest], &[honest_run.clone()]).await;
    for run in &bad_runs {
        damage(fixture, "runs", run.id.as_str()).await;
    }
    rescue_all(&node, node.clock.now()).await;
    assert_eq!(state(&*store, &honest_run).await, RunState::Ready);
    probe::run_once(&node).await;
    let report = report(&node);
    assert!(report.starts_with(&format!("{MANY} unreadable")), "{report}");
}

async fn many_runs_of_an_unreadable_task_do_not_hide_other_runs(fixture: &impl Damage) {
    let (store, node) = (fixture.one(), node(fixture.one()).await);
    let (bad, first) = left_by_a_dead_node();
    let moment =
        |n: usize| Task { next_due_at: Some(first.scheduled_at.plus_ms(-(n as i64))), ..bad.clone() };
    let bad_runs: Vec<Run> = (0..MANY).map(|n| run_until(&moment(n), PAST)).collect();
    let (honest, mut honest_run) = left_by_a_dead_node();
    honest_run.attention_at = Some(PAST.plus_ms(1));
    insert(&*store, &[bad.clone(), honest], &bad_runs).await;
    insert(&*store, &[], &[honest_run.clone()]).await;
    damage(fixture, "tasks", bad.id.as_str()).await;
    rescue_all(&node, node.clock.now()).await;
    assert_eq!(state(&*store, &honest_run).await, RunState::Ready);
    let waiting = store.runs_needing_attention(&[bad.id.shard()], node.clock.now(), 9, false).await.unwrap();
    assert_eq!(waiting.rows, [], "the runs of the unreadable task are looked at later");
}

async fn an_unreadable_run_holds_only_its_task_back(fixture: &impl Damage) {
    let (store, node) = (fixture.one(), node(fixture.one()).await);
    let (honest, bad) = (due_task(), due_task());
    let planted = run_until(&bad, SystemClock.now().plus_ms(60_000));
    insert(&*store, &[bad.clone(), honest.clone()], std::slice::from_ref(&planted)).await;
    damage(fixture, "runs", planted.id.as_str()).await;

    let shards: Vec<u16> = (0..SHARDS).collect();
    scan::run_once(&node, &shards, node.clock.now()).await.unwrap();
    while dispatch::run_once(&node, node.clock.now()).await > 0 {}
    let fired = store.task(&honest.id).await.unwrap().unwrap();
    assert_eq!((fired.last_due_at, fired.fired_count), (honest.next_due_at, 1));
    let held = store.task(&bad.id).await.unwrap().unwrap();
    assert_eq!(held.next_due_at, bad.next_due_at, "the moment waits for a repair of its row");
    probe::run_once(&node).await;
    assert_eq!(node.health.store.condition(), Condition::Up);
    let report = report(&node);
    assert!(report.contains(planted.id.as_str()), "{report}");
}

async fn an_unreadable_task_delays_no_other_change(fixture: &impl Damage) {
    let (store, honest, bad) = (fixture.one(), due_task(), due_task());
    insert(&*store, &[bad.clone(), honest.clone()], &[]).await;
    damage(fixture, "tasks", bad.id.as_str()).await;
    let ids = [bad.id.clone(), honest.id.clone()];
    let found = store.tasks(&ids).await.unwrap();
    assert_eq!((found.rows, found.unreadable), (vec![honest.clone()], vec![bad.id.clone()]));
    let advances = [bad.clone(), honest.clone()].map(|task| crate::store::samples::fire(&task));
    assert!(store.advance_tasks(&advances).await.unwrap()[1]);
    let due = store
        .due_tasks(&(0..SHARDS).collect::<Vec<_>>(), SystemClock.now(), 1, Order::Earliest)
        .await
        .unwrap();
    assert_eq!((due.rows, due.more), (Vec::new(), false));
    let cancelled = ids_of(store.cancel_tasks(&ids, None, false, SystemClock.now()).await.unwrap());
    assert!(cancelled.contains(&honest.id), "{cancelled:?}");
}

async fn a_fire_passes_over_unreadable_rows(fixture: &impl Damage) {
    let (store, honest, bad, other) = (fixture.one(), due_task(), due_task(), due_task());
    let planted = run_until(&bad, SystemClock.now().plus_ms(60_000));
    insert(&*store, &[bad.clone(), other.clone(), honest.clone()], std::slice::from_ref(&planted)).await;
    damage(fixture, "runs", planted.id.as_str()).await;
    damage(fixture, "tasks", other.id.as_str()).await;
    let moments = [&bad, &other, &honest].map(|task| Fire { task, run: run_until(task, PAST) });
    let fired = store.fire(moments.into()).await.unwrap();
    assert_eq!(fired[..2], [Fired::Unreadable, Fired::NotPassed]);
    assert!(matches!(fired[2], Fired::Passed { .. }), "{fired:?}");
    assert_eq!(store.task(&bad.id).await.unwrap(), Some(bad), "the moment waits for a repair of its row");
    assert_eq!(store.task(&honest.id).await.unwrap().map(|task| task.fired_count), Some(1));
}

/// Makes each case a test on every store that has rows to damage.
macro_rules! on_every_file {
    ($($case:ident)*) => {
        #[cfg(feature = "cluster")]
        mod on_mongodb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                use crate::store::Fixture as _;
                let fixture = Box::new(crate::store::mongo::MongoFixture::open().await);
                super::$case(&*fixture).await;
                fixture.close().await;
            })*
        }
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&crate::store::sqlite::SqliteFixture::open().await).await;
            })*
        }
    };
}

on_every_file! {
    an_unreadable_task_delays_only_its_own_runs
    many_unreadable_runs_do_not_hide_a_run_from_the_rescue
    many_runs_of_an_unreadable_task_do_not_hide_other_runs
    an_unreadable_run_holds_only_its_task_back
    an_unreadable_task_delays_no_other_change
    a_fire_passes_over_unreadable_rows
}

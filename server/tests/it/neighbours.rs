//! Slow and numerous neighbours: what is wrong with some tasks, or with the bus, delays no other task.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use taskcenter_server::adapters::absent::NoBus;
use taskcenter_server::adapters::clock::ManualClock;
use taskcenter_server::adapters::local::LocalLock;
use taskcenter_server::adapters::memory::{MemoryBus, MemoryStore};
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::{Moment, Run, RunState, Schedule, Task, TaskState};
use taskcenter_server::engine::health::{Condition, Readiness};
use taskcenter_server::engine::ids::Ids;
use taskcenter_server::engine::node::{Node, NodePorts};
use taskcenter_server::engine::settings::Settings;
use taskcenter_server::engine::window::Lane;
use taskcenter_server::engine::{clock_check, dispatch, membership, probe, publish, rescue, scan};
use taskcenter_server::ports::{Bus, BusMessage, Clock, Lock, Result, RunFilter, RunPage, Store};

use crate::clocks::{NOW, lone_node};
use crate::store::samples::{due_at, run_until};

/// Bus that answers probes, and never answers a send.
struct HangingBus;

#[async_trait]
impl Bus for HangingBus {
    async fn publish(&self, _: Vec<BusMessage>) -> Vec<Result<()>> {
        std::future::pending().await
    }

    async fn lag(&self) -> Result<Vec<(String, u64)>> {
        std::future::pending().await
    }

    async fn probe(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) {}
}

/// Returns a node whose bus is up and hangs, and which fires one task at a time.
async fn node_with_hanging_bus() -> Arc<Node> {
    let node = lone_node(Arc::new(ManualClock::new(NOW)));
    let settings = Settings { batch: 1, ..node.settings.clone() };
    let node = Node { bus: Arc::new(HangingBus), settings, ..node };
    probe::measure_skew(&node).await.unwrap();
    node.health.bus.up();
    Arc::new(node)
}

fn queued(task: Task) -> Task {
    Task { queue: Some("q".to_owned()), ..task }
}

async fn scan_all(node: &Node) {
    let shards: Vec<u16> = (0..SHARDS).collect();
    scan::run_once(node, &shards, node.clock.now()).await.unwrap();
}

async fn runs(node: &Node, task: &Task) -> Vec<Run> {
    let filter = RunFilter { task_id: Some(task.id.clone()), ..RunFilter::default() };
    node.store.list_runs(&filter, &RunPage { limit: 9, before: None }).await.unwrap()
}

/// Waits until the task has a run in a queue. The clock is paused, so that the time is virtual.
async fn is_ready_within_a_second(node: &Node, task: &Task) -> bool {
    let ready = async {
        while !runs(node, task).await.iter().any(|run| run.state == RunState::Ready) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), ready).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_hangs_delays_no_queue() {
    let node = node_with_hanging_bus().await;
    let messages = (0..9).map(|n| due_at(NOW.plus_ms(n - 100)));
    let honest = queued(due_at(NOW));
    node.store.insert_tasks(messages.chain([honest.clone()]).collect()).await;
    scan_all(&node).await;
    let dispatcher = tokio::spawn({
        let node = Arc::clone(&node);
        async move { dispatch::run(&node).await }
    });
    assert!(is_ready_within_a_second(&node, &honest).await);
    node.shutdown.cancel();
    dispatcher.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_hangs_delays_no_rescue_of_a_queue() {
    let node = node_with_hanging_bus().await;
    let left = |task: Task| {
        let run = run_until(&task, NOW.plus_ms(-1));
        let finished =
            Task { last_due_at: task.next_due_at, next_due_at: None, state: TaskState::Finished, ..task };
        (finished, run)
    };
    let (message, message_run) = left(due_at(NOW));
    node.store.insert_tasks(vec![message]).await;
    node.store.insert_runs(std::slice::from_ref(&message_run)).await.unwrap();
    let rescuer = tokio::spawn({
        let node = Arc::clone(&node);
        async move { rescue::run(&node).await }
    });
    let is_claimed = async || node.store.run(&message_run.id).await.unwrap().unwrap().claim > 1;
    while !is_claimed().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (honest, honest_run) = left(queued(due_at(NOW)));
    node.store.insert_tasks(vec![honest.clone()]).await;
    node.store.insert_runs(&[honest_run]).await.unwrap();
    assert!(is_ready_within_a_second(&node, &honest).await);
    node.shutdown.cancel();
    rescuer.await.unwrap();
}

#[tokio::test]
async fn a_flood_of_one_tag_does_not_hide_another_tag() {
    let node = Arc::new(lone_node(Arc::new(ManualClock::new(NOW))));
    // More tasks than a scan reads, all late.
    let flood = (0..7_000).map(|n| queued(due_at(NOW.plus_ms(n / 100 - 1_000))));
    let honest = Task { name: "honest".to_owned(), ..queued(due_at(NOW)) };
    node.store.insert_tasks(flood.chain([honest.clone()]).collect()).await;
    scan_all(&node).await;
    dispatch::run_once(&node, NOW).await;
    assert_eq!(runs(&node, &honest).await.len(), 1, "the tag is in the first batch");
}

#[tokio::test]
async fn a_moment_beyond_the_window_does_not_stay_in_memory() {
    let clock = Arc::new(ManualClock::new(NOW));
    let node = Arc::new(lone_node(clock.clone()));
    let task = Task { schedule: Schedule::Every { period_ms: 15_000 }, ..queued(due_at(NOW)) };
    node.store.insert_tasks(vec![task.clone()]).await;
    scan_all(&node).await;
    dispatch::run_once(&node, NOW).await;
    assert_eq!(node.store.task(&task.id).await.unwrap().unwrap().last_due_at, Some(NOW));
    assert!(node.window.is_empty(), "the next moment is beyond the window");

    clock.advance_ms(3_000);
    node.store.cancel_tasks(std::slice::from_ref(&task.id), None, false, clock.now()).await.unwrap();
    clock.advance_ms(20_000);
    scan_all(&node).await;
    dispatch::run_once(&node, clock.now()).await;
    assert_eq!(runs(&node, &task).await.len(), 1, "the moment of the deleted task has no row");
}

#[tokio::test]
async fn a_scan_removes_a_deleted_task_from_the_window() {
    let clock = Arc::new(ManualClock::new(NOW));
    let node = Arc::new(lone_node(clock.clone()));
    let task = queued(due_at(NOW.plus_ms(2_000)));
    node.store.insert_tasks(vec![task.clone()]).await;
    scan_all(&node).await;
    assert_eq!(node.window.head(Lane::Queue), task.next_due_at);
    node.store.cancel_tasks(std::slice::from_ref(&task.id), None, false, NOW).await.unwrap();
    scan_all(&node).await;
    clock.advance_ms(2_000);
    dispatch::run_once(&node, clock.now()).await;
    assert_eq!(runs(&node, &task).await, []);
}

#[tokio::test]
async fn a_task_of_a_lost_shard_does_not_return_to_the_window() {
    let clock = Arc::new(ManualClock::new(NOW));
    let node = Arc::new(lone_node(clock.clone()));
    let task = Task { schedule: Schedule::Every { period_ms: 1_000 }, ..queued(due_at(NOW)) };
    node.store.insert_tasks(vec![task.clone()]).await;
    scan_all(&node).await;
    let others: Vec<u16> = (0..SHARDS).filter(|shard| *shard != task.id.shard()).collect();
    node.shards.set(others, clock.steady_ms() + 60_000);
    dispatch::run_once(&node, NOW).await;
    assert!(node.window.is_empty(), "another node watches the shard");
}

#[tokio::test]
async fn a_clock_behind_the_ledger_is_reported_until_it_is_right() {
    const DAY_MS: i64 = 86_400_000;
    let clock = Arc::new(ManualClock::new(NOW));
    let node = lone_node(clock.clone());
    probe::run_once(&node).await;
    node.health.lock.up();
    node.store.insert_tasks(vec![queued(due_at(NOW))]).await;
    node.store.insert_runs(&[run_until(&due_at(NOW), NOW)]).await.unwrap();
    clock_check::run_once(&node, clock.now()).await.unwrap();
    assert_eq!(node.health.readiness(), Readiness::Ready);

    clock.advance_ms(-DAY_MS);
    clock_check::run_once(&node, clock.now()).await.unwrap();
    assert_eq!(node.health.readiness(), Readiness::Degraded);
    let Condition::Down(report) = node.health.clock.condition() else { panic!("the clock is wrong") };
    assert!(report.contains("86400 s behind") && report.contains("correct the clock"), "{report}");
    let metrics = node.metrics.encode().unwrap();
    assert!(metrics.contains("taskcenter_clock_behind_ledger_ms 86400000"), "{metrics}");

    clock.set(NOW);
    clock_check::run_once(&node, clock.now()).await.unwrap();
    assert_eq!(node.health.readiness(), Readiness::Ready);
}

/// Clock whose wall clock can be set without the steady clock.
#[derive(Default)]
struct SettableClock {
    wall_ms: AtomicI64,
    steady_ms: AtomicI64,
}

impl SettableClock {
    fn pass_ms(&self, ms: i64) {
        self.wall_ms.fetch_add(ms, Ordering::Relaxed);
        self.steady_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for SettableClock {
    fn now(&self) -> Moment {
        Moment::from_ms(self.wall_ms.load(Ordering::Relaxed))
    }

    fn steady_ms(&self) -> i64 {
        self.steady_ms.load(Ordering::Relaxed)
    }

    async fn sleep_until(&self, _: Moment) {
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn a_jump_of_the_clock_does_not_extend_the_trust_in_leases() {
    const HOUR_MS: i64 = 3_600_000;
    let store_clock = Arc::new(ManualClock::new(NOW));
    let clock = Arc::new(SettableClock::default());
    clock.wall_ms.store(NOW.ms() + HOUR_MS, Ordering::Relaxed);
    let lock: Arc<dyn Lock> = Arc::new(LocalLock::new(store_clock.clone()));
    let ports = NodePorts {
        store: Arc::new(MemoryStore::new(store_clock)),
        bus: Arc::new(NoBus),
        lock,
        clock: clock.clone(),
    };
    let node = Node::new("node", ports, Arc::new(Ids::new(1)), Settings::default());
    probe::measure_skew(&node).await.unwrap();
    membership::run_once(&node, clock.steady_ms()).await.unwrap();
    assert_eq!(node.watch().shards.len(), 0, "the clock is wrong by an hour");
    // From here on the lock service does not answer.
    clock.wall_ms.store(NOW.ms(), Ordering::Relaxed);
    clock.pass_ms(node.settings.shard_lease_ms as i64);
    assert_eq!(node.watch().shards.len(), usize::from(SHARDS));
}

#[tokio::test]
async fn a_deadline_is_in_the_time_of_the_faster_clock() {
    let store_clock = Arc::new(ManualClock::new(NOW));
    let slow = lone_node(Arc::new(ManualClock::new(NOW.plus_ms(-1_900))));
    let store = Arc::new(MemoryStore::new(store_clock));
    let node = Node { store: store.clone(), bus: Arc::new(MemoryBus::default()), ..slow };
    probe::measure_skew(&node).await.unwrap();
    let task = Task { ack: true, max_runtime_sec: Some(1), ..due_at(NOW) };
    let run = run_until(&task, NOW.plus_ms(10_000));
    store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
    publish::publish(&node, vec![run.clone()]).await;
    let fired = store.run(&run.id).await.unwrap().unwrap();
    assert_eq!((fired.state, fired.attention_at), (RunState::Fired, Some(NOW.plus_ms(1_000))));
}

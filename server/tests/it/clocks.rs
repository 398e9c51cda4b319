//! A node with a wrong clock, among nodes with correct clocks.

use std::sync::Arc;
use std::time::Duration;

use taskcenter_server::adapters::absent::NoBus;
use taskcenter_server::adapters::clock::ManualClock;
use taskcenter_server::adapters::local::LocalLock;
use taskcenter_server::adapters::memory::{MemoryRecords, MemoryStore};
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::{Moment, RunState, Task};
use taskcenter_server::engine::ids::Ids;
use taskcenter_server::engine::node::{Node, NodePorts};
use taskcenter_server::engine::service::{Caller, Held, LeaseTerms, MIN_LEASE_MS, Ports, Service};
use taskcenter_server::engine::settings::Settings;
use taskcenter_server::engine::{membership, probe, rescue};
use taskcenter_server::ports::{Clock, Lock, Store};
use tokio_util::sync::CancellationToken;

use crate::store::samples::{run_until, task};

pub const NOW: Moment = Moment::from_sec(1_800_000_000);
/// More than the maximum deviation of a node, in milliseconds.
const TOO_FAR_MS: i64 = 5_000;

pub fn node(name: &str, store: &Arc<MemoryStore>, lock: Arc<LocalLock>, clock: Arc<ManualClock>) -> Node {
    Node::new(
        name,
        NodePorts { store: store.clone(), bus: Arc::new(NoBus), lock, clock },
        Arc::new(Ids::new(1)),
        Settings::default(),
    )
}

/// Returns a node with its own store; both use `clock`.
pub fn lone_node(clock: Arc<ManualClock>) -> Node {
    let store = Arc::new(MemoryStore::new(clock.clone()));
    node("lone", &store, Arc::new(LocalLock::new(clock.clone())), clock)
}

#[tokio::test]
async fn a_short_lease_of_a_slow_node_is_not_taken_over_early() {
    let clock = Arc::new(ManualClock::new(NOW));
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let lock = Arc::new(LocalLock::new(clock.clone()));
    let slow = Arc::new(ManualClock::new(NOW.plus_ms(-1_900)));
    let off = Arc::new(node("off", &store, lock.clone(), slow.clone()));
    let right = node("right", &store, Arc::new(lock.another()), clock.clone());
    for node in [&*off, &right] {
        probe::measure_skew(node).await.unwrap();
        assert!(node.is_fit());
    }
    let task = Task { queue: Some("q".to_owned()), ..task() };
    let mut run = run_until(&task, NOW);
    run.enqueue(NOW).unwrap();
    store.insert_tasks(vec![task]).await;
    store.insert_runs(&[run]).await.unwrap();
    let ports = Ports {
        store: store.clone(),
        lock,
        records: Arc::new(MemoryRecords::default()),
        clock: off.command_clock(),
        has_bus: false,
    };
    let service =
        Service::new(ports, off.ids.clone(), Arc::default(), Settings::default(), CancellationToken::new());
    let service = service.with_lease_clock(off.lease_clock()).for_caller(Caller::node());
    let terms = LeaseTerms {
        worker: "w".to_owned(),
        queues: vec!["q".to_owned()],
        limit: 1,
        lease_ms: MIN_LEASE_MS,
        wait: Duration::ZERO,
        request_id: None,
    };
    let leased = service.lease(&terms).await.unwrap().pop().unwrap();
    let state = async || store.run(&leased.id).await.unwrap().unwrap().state;
    for _ in 0..2 {
        clock.advance_ms(MIN_LEASE_MS - 1);
        rescue::run_once(&right, clock.now()).await.unwrap();
        assert_eq!(state().await, RunState::Leased);
        // The slow clock advances too, and the lease is renewed.
        slow.advance_ms(MIN_LEASE_MS - 1);
        let held = Held {
            run_id: leased.id.clone(),
            attempt: leased.attempt,
            token: leased.token.clone(),
            progress: None,
        };
        service.renew(&[held], MIN_LEASE_MS).await.unwrap().pop().unwrap().unwrap();
    }
    clock.advance_ms(MIN_LEASE_MS);
    rescue::run_once(&right, clock.now()).await.unwrap();
    assert_ne!(state().await, RunState::Leased, "the expired lease is taken over");
}

async fn count_shards(node: &Node) -> usize {
    membership::run_once(node, node.clock.steady_ms()).await.unwrap();
    let watch = node.watch();
    if watch.alone { watch.shards.len() } else { 0 }
}

#[tokio::test]
async fn a_node_with_too_much_skew_gives_up_its_shards_until_its_clock_is_right() {
    let clock = Arc::new(ManualClock::new(NOW));
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let lock = Arc::new(LocalLock::new(clock.clone()));
    let wrong = Arc::new(ManualClock::new(NOW));
    let right = node("right", &store, Arc::new(lock.another()), clock.clone());
    let off = node("off", &store, lock.clone(), wrong.clone());
    assert!(!off.is_fit(), "the skew is not measured yet");
    probe::measure_skew(&off).await.unwrap();
    assert!(off.is_fit());
    assert_eq!(count_shards(&off).await, usize::from(SHARDS));

    wrong.advance_ms(TOO_FAR_MS);
    probe::measure_skew(&off).await.unwrap();
    assert!(!off.is_fit(), "the node neither fires nor rescues");
    assert_eq!(count_shards(&off).await, 0);
    probe::measure_skew(&right).await.unwrap();
    assert_eq!(count_shards(&right).await, usize::from(SHARDS), "the other node takes over immediately");

    wrong.set(NOW);
    probe::measure_skew(&off).await.unwrap();
    assert!(off.is_fit());
    let nodes = lock.join("off", 3_000).await.unwrap();
    assert_eq!(nodes.len(), 2, "the node is a member again");
}

#[tokio::test]
async fn nodes_compare_their_time_zone_databases() {
    let clock = Arc::new(ManualClock::new(NOW));
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let lock = Arc::new(LocalLock::new(clock.clone()));
    let start = |name: &str, version: &str| {
        let name = membership::name_with_zones(name, version);
        node(&name, &store, Arc::new(lock.another()), clock.clone())
    };
    let versions = async |node: &Node| {
        probe::measure_skew(node).await.unwrap();
        membership::run_once(node, node.clock.steady_ms()).await.unwrap();
        let page = node.metrics.encode().unwrap();
        let line = page.lines().find(|line| line.starts_with("taskcenter_zone_database_versions "));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    let (first, same, newer) = (start("a", "2026e"), start("b", "2026e"), start("c", "2026f"));
    assert_eq!(versions(&first).await, "1");
    assert_eq!(versions(&same).await, "1");
    assert_eq!(versions(&newer).await, "2");
    assert_eq!(versions(&first).await, "2", "every node sees the difference");
}

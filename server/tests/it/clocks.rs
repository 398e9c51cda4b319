//! A node whose clock is off, among others whose clocks are right.

use std::sync::Arc;

use taskcenter_server::adapters::absent::NoBus;
use taskcenter_server::adapters::clock::ManualClock;
use taskcenter_server::adapters::local::LocalLock;
use taskcenter_server::adapters::memory::MemoryStore;
use taskcenter_server::core::Moment;
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::engine::ids::Ids;
use taskcenter_server::engine::metrics::Metrics;
use taskcenter_server::engine::node::Node;
use taskcenter_server::engine::settings::Settings;
use taskcenter_server::engine::shards::Shards;
use taskcenter_server::engine::skew::Skew;
use taskcenter_server::engine::window::Window;
use taskcenter_server::engine::{shards, skew};
use taskcenter_server::ports::Lock;
use tokio_util::sync::CancellationToken;

const NOW: Moment = Moment::from_sec(1_800_000_000);
/// Beyond what a node may be off.
const FAR_MS: i64 = 5_000;

pub fn node(name: &str, store: &Arc<MemoryStore>, lock: Arc<LocalLock>, clock: Arc<ManualClock>) -> Node {
    Node {
        name: name.to_owned(),
        store: store.clone(),
        bus: Arc::new(NoBus),
        lock,
        clock,
        ids: Arc::new(Ids::new(1)),
        settings: Settings::default(),
        health: Arc::default(),
        hints: Arc::default(),
        metrics: Arc::new(Metrics::new()),
        shards: Shards::default(),
        window: Window::default(),
        skew: Skew::default(),
        shutdown: CancellationToken::new(),
    }
}

async fn held(node: &Node) -> usize {
    shards::run_once(node, node.clock.now()).await.unwrap();
    let watch = node.shards.watch(node.clock.now());
    if watch.alone { watch.shards.len() } else { 0 }
}

#[tokio::test]
async fn a_node_that_is_too_far_off_gives_its_shards_to_the_others_until_it_is_mended() {
    let clock = Arc::new(ManualClock::new(NOW));
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let lock = Arc::new(LocalLock::new(clock.clone()));
    let wrong = Arc::new(ManualClock::new(NOW));
    let right = node("right", &store, Arc::new(lock.another()), clock.clone());
    let off = node("off", &store, lock.clone(), wrong.clone());
    assert!(!off.is_fit(), "it has not asked the store yet");
    skew::run_once(&off).await.unwrap();
    assert!(off.is_fit());
    assert_eq!(held(&off).await, usize::from(SHARDS));

    wrong.advance_ms(FAR_MS);
    skew::run_once(&off).await.unwrap();
    assert!(!off.is_fit(), "it neither fires nor rescues");
    assert_eq!(held(&off).await, 0);
    skew::run_once(&right).await.unwrap();
    assert_eq!(held(&right).await, usize::from(SHARDS), "nobody waits for its leases to run out");

    wrong.set(NOW);
    skew::run_once(&off).await.unwrap();
    assert!(off.is_fit());
    let nodes = lock.join("off", 3_000).await.unwrap();
    assert_eq!(nodes.len(), 2, "it is one of them again");
}

//! The moving parts: one loop a file, each a thin ticker around a `run_once(now)`, and the commands in `service`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::task::TaskTracker;

pub mod backlog;
pub mod dispatch;
pub mod ends;
pub mod health;
pub mod hints;
pub mod ids;
pub mod metrics;
pub mod node;
pub mod pace;
pub mod probe;
pub mod prune;
pub mod publish;
pub mod rescue;
pub mod scan;
pub mod service;
pub mod settings;
pub mod shards;
pub mod skew;
pub mod window;

use backlog::Backlog;
use node::Node;
use pace::Pace;

/// Runs a node's loops until it is told to stop, waits for what is under way, and leaves the cluster.
pub async fn run(node: Arc<Node>, backlog: Backlog) {
    let loops = TaskTracker::new();
    let spawn = |name: &'static str, turn: fn(Arc<Node>) -> futures_util::future::BoxFuture<'static, ()>| {
        loops.spawn(supervise(name, Arc::clone(&node), turn));
    };
    spawn("probe", |node| async move { probe::run(&node).await }.boxed());
    spawn("shards", |node| async move { hold_shards(&node).await }.boxed());
    spawn("scan", |node| async move { scan::run(&node).await }.boxed());
    spawn("wake-ups", |node| async move { scan::listen(&node).await }.boxed());
    spawn("dispatch", |node| async move { dispatch::run(&node).await }.boxed());
    spawn("rescue", |node| async move { rescue::run(&node).await }.boxed());
    spawn("prune", |node| async move { clear_away(&node).await }.boxed());
    let counting = Arc::clone(&node);
    loops.spawn(async move { backlog::run(&counting, &backlog).await });
    loops.close();
    loops.wait().await;
    shards::leave(&node).await;
    node.bus.close().await;
}

/// A loop that panics is started again: one bad record must not stop the node.
async fn supervise(
    name: &'static str,
    node: Arc<Node>,
    turn: fn(Arc<Node>) -> futures_util::future::BoxFuture<'static, ()>,
) {
    while AssertUnwindSafe(turn(Arc::clone(&node))).catch_unwind().await.is_err() {
        tracing::error!(at = name, "a loop panicked; it starts again");
        let _ = tokio::time::timeout(Duration::from_secs(1), node.shutdown.cancelled()).await;
    }
}

async fn hold_shards(node: &Node) {
    let mut pace = Pace::new("shards", Duration::from_millis(node.settings.shard_lease_ms / 4));
    while !node.shutdown.is_cancelled() {
        match shards::run_once(node, node.clock.now()).await {
            Ok(()) => {
                node.health.lock.up();
                pace.pause(&node.shutdown).await;
            }
            Err(error) => {
                node.health.lock.down(error.to_string());
                pace.failed(&error, &node.shutdown).await;
            }
        }
    }
}

async fn clear_away(node: &Node) {
    let mut pace = Pace::new("prune", Duration::from_secs(node.settings.prune_sec));
    while !node.shutdown.is_cancelled() {
        if !node.is_fit() {
            pace.pause(&node.shutdown).await;
            continue;
        }
        match prune::run_once(node, node.skew.cautious(node.clock.now())).await {
            Ok(()) => pace.pause(&node.shutdown).await,
            Err(error) => pace.failed(&error, &node.shutdown).await,
        }
    }
}

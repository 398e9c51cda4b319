//! The engine: one file for each loop, and the commands in [`service`].
//!
//! A loop is a thin ticker around a function `run_once`, which takes the time as a parameter.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::task::TaskTracker;

pub mod admission;
pub mod alerting;
pub mod alerts;
pub mod backlog;
pub mod batches;
pub mod calendars;
pub mod callback_health;
pub mod change_relay;
pub mod changes;
pub mod clock_check;
pub mod dead_runs;
pub mod description;
pub mod dispatch;
pub mod expired_leases;
pub mod fair_queue;
pub mod health;
pub mod hints;
pub mod holds;
pub mod ids;
pub mod limits;
pub mod log_feed;
pub mod members;
pub mod membership;
pub mod metrics;
pub mod node;
pub mod operations;
pub mod orphans;
pub mod outcome_counts;
pub mod pace;
pub mod probe;
pub mod prune;
pub mod publish;
pub mod rate_times;
pub mod rescue;
pub mod scan;
pub mod seen_workers;
pub mod service;
pub mod settings;
pub mod shards;
pub mod skew;
pub mod stuck;
pub mod turns;
pub mod window;

use backlog::Backlog;
use node::Node;
use service::{Caller, Service};

/// Runs a node's loops until the node stops, waits for the work in progress, and leaves the cluster.
/// `service` carries operations out.
pub async fn run(node: Arc<Node>, backlog: Backlog, service: Service) {
    let service = service.for_caller(Caller::node());
    let loops = TaskTracker::new();
    let spawn = |name: &'static str, run: Run| loops.spawn(supervise(name, Arc::clone(&node), run));
    spawn("probe", |node| async move { probe::run(&node).await }.boxed());
    spawn("clock", |node| async move { probe::check_clock(&node).await }.boxed());
    spawn("shards", |node| async move { membership::run(&node).await }.boxed());
    spawn("scan", |node| async move { scan::run(&node).await }.boxed());
    spawn("wake-ups", |node| async move { scan::listen(&node).await }.boxed());
    spawn("dispatch", |node| async move { dispatch::run(&node).await }.boxed());
    spawn("admission", |node| async move { admission::run(&node).await }.boxed());
    spawn("rescue", |node| async move { rescue::run(&node).await }.boxed());
    spawn("orphans", |node| async move { orphans::run(&node).await }.boxed());
    spawn("changes", |node| async move { change_relay::run(&node).await }.boxed());
    spawn("prune", |node| async move { prune::run(&node).await }.boxed());
    let carried_out = service.clone();
    let operations = move |node: Arc<Node>| {
        let service = carried_out.clone();
        async move { operations::run(&node, &service).await }.boxed()
    };
    loops.spawn(supervise("operations", Arc::clone(&node), operations));
    let settled = service.clone();
    let calendars = move |node: Arc<Node>| {
        let service = settled.clone();
        async move { calendars::run(&node, &service).await }.boxed()
    };
    loops.spawn(supervise("calendars", Arc::clone(&node), calendars));
    let prune = move |node: Arc<Node>| {
        let service = service.clone();
        async move { operations::prune(&node, &service).await }.boxed()
    };
    loops.spawn(supervise("prune operations", Arc::clone(&node), prune));
    let counted = Arc::clone(&node);
    loops.spawn(async move { backlog::run(&counted, &backlog).await });
    loops.close();
    loops.wait().await;
    membership::leave(&node).await;
    node.bus.close().await;
}

type Run = fn(Arc<Node>) -> BoxFuture<'static, ()>;

/// Runs a loop, and starts it again if it panics: one malformed record must not stop the node.
async fn supervise(name: &'static str, node: Arc<Node>, run: impl Fn(Arc<Node>) -> BoxFuture<'static, ()>) {
    while AssertUnwindSafe(run(Arc::clone(&node))).catch_unwind().await.is_err() {
        tracing::error!("loop" = name, "loop panicked; restarting");
        let _ = tokio::time::timeout(Duration::from_secs(1), node.shutdown.cancelled()).await;
    }
}

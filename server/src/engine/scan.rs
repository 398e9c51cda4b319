//! Reads due tasks into the window: periodically for all watched shards, and at once for shards that a
//! hint names.

use std::collections::BTreeSet;
use std::time::Duration;

use super::node::Node;
use super::pace::Pace;
use crate::core::Moment;
use crate::ports::{Head, Lock, Order, Result};

/// Maximum number of tasks that one scan reads. Later tasks are read after these have fired.
const SCAN_LIMIT: u32 = 5_000;
/// Maximum number of tasks that a scan also reads from the end of the window, if it cannot read all. So a
/// backlog of one tag does not hide the tasks of other tags that become due.
const LATEST_LIMIT: u32 = 1_000;
/// Time without a further hint after which one scan answers the collected hints.
const GATHER: Duration = Duration::from_millis(2);
/// Maximum time to collect hints. Without it, a steady stream of hints would delay the scan.
const GATHER_AT_MOST: Duration = Duration::from_millis(10);

/// Reads the due tasks of `shards` into the window. If there are more, returns the number of tasks that
/// it read.
///
/// # Errors
/// A port's error. The window is unchanged.
pub async fn run_once(node: &Node, shards: &[u16], now: Moment) -> Result<Option<usize>> {
    let until = now.plus_ms(node.settings.window_ms);
    let scan = node.window.begin_scan();
    // Tasks that fire now, and tasks that are held back, must not fill the result.
    let limit = SCAN_LIMIT.saturating_add(node.window.busy() as u32);
    let Head { rows: mut tasks, more } = node.store.due_tasks(shards, until, limit, Order::Earliest).await?;
    let read = tasks.len();
    // Of the tasks that are due at the last moment, the result may have only some.
    let last = tasks.last().and_then(|task| task.next_due_at).filter(|_| more);
    if more {
        let latest = node.store.due_tasks(shards, until, LATEST_LIMIT, Order::Latest).await?;
        tasks.extend(latest.rows);
    }
    // The shards may have moved during the query.
    let watched = node.watch().shards;
    tasks.retain(|task| watched.contains(&task.id.shard()));
    scan.offer(tasks, shards, last.unwrap_or(until));
    Ok(more.then_some(read))
}

/// Scans until the node stops.
pub async fn run(node: &Node) {
    let mut pace = Pace::new("scan", Duration::from_millis(node.settings.rescan_ms));
    while !node.shutdown.is_cancelled() {
        let watch = node.watch();
        match run_once(node, &watch.shards, node.clock.now()).await {
            // There are more due tasks than one scan reads: continue as soon as half of them have fired.
            Ok(Some(read)) => pace.pause_until(drained(node, read / 2)).await,
            Ok(None) => pace.pause(&node.shutdown).await,
            Err(error) => {
                node.health.store.down(error.to_string());
                pace.failed(&error, &node.shutdown).await;
            }
        }
    }
}

async fn drained(node: &Node, left: usize) {
    while node.window.len() > left && !node.shutdown.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Listens for hints, and scans the shards that they name.
pub async fn listen(node: &Node) {
    let mut pace = Pace::new("wake-ups", Duration::from_millis(1));
    while !node.shutdown.is_cancelled() {
        let hints = tokio::select! {
            // A fixed order, so that a simulation can be repeated.
            biased;
            () = node.shutdown.cancelled() => return,
            hints = gather(&*node.lock) => hints,
        };
        let scanned = match hints {
            Ok(shards) => scan_hinted(node, &shards).await,
            Err(error) => Err(error),
        };
        match scanned {
            Ok(()) => pace.worked(),
            Err(error) => pace.failed(&error, &node.shutdown).await,
        }
    }
}

/// Waits for a hint, and collects the hints that follow within 10 ms. Returns their shards.
///
/// # Errors
/// A port's error.
pub async fn gather(lock: &dyn Lock) -> Result<BTreeSet<u16>> {
    let mut shards: BTreeSet<u16> = lock.next_hint().await?.into_iter().collect();
    let more = async {
        while let Ok(more) = tokio::time::timeout(GATHER, lock.next_hint()).await {
            shards.extend(more?);
        }
        Result::Ok(())
    };
    tokio::time::timeout(GATHER_AT_MOST, more).await.unwrap_or(Ok(()))?;
    Ok(shards)
}

async fn scan_hinted(node: &Node, hinted: &BTreeSet<u16>) -> Result<()> {
    let now = node.clock.now();
    let watched = node.watch().shards;
    let shards: Vec<u16> = watched.iter().copied().filter(|shard| hinted.contains(shard)).collect();
    if shards.is_empty() { Ok(()) } else { run_once(node, &shards, now).await.map(drop) }
}

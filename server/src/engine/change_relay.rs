//! Carries changes between the nodes of a cluster. A node sends its changes only while another node has viewers.
//!
//! Lost changes cost time only: viewers are told to read the current state again.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::broadcast::error::RecvError;

use super::changes::Tick;
use super::node::Node;
use super::pace::Pace;
use crate::ports::Result;

/// Time between two looks at which nodes have viewers.
const LOOK: Duration = Duration::from_secs(1);
/// How long a node counts as one with viewers, in milliseconds.
const VIEWERS_MS: u64 = 5_000;
/// Time until all nodes have noticed the first viewer. Changes in between do not reach the viewer.
const NOTICED: Duration = Duration::from_millis(2_500);

/// Announces viewers, and sends and receives changes, until the node stops.
pub async fn run(node: &Node) {
    let relay = async { tokio::join!(look(node), send(node), receive(node)) };
    node.shutdown.run_until_cancelled(relay).await;
}

/// Announces the viewers of this node, and looks for those of other nodes.
async fn look(node: &Node) {
    let mut pace = Pace::new("changes", LOOK);
    // The pause returns at once after the stop, and a lock inside the process never waits.
    while !node.shutdown.is_cancelled() {
        match look_once(node).await {
            Ok(()) => pace.pause(&node.shutdown).await,
            Err(error) => {
                // Nothing can be sent either.
                node.hints.changes.set_watched_elsewhere(false);
                pace.failed(&error, &node.shutdown).await;
            }
        }
    }
}

/// Announces the viewers of this node once, and looks for those of other nodes.
///
/// # Errors
/// A port's error.
pub async fn look_once(node: &Node) -> Result<()> {
    let changes = &node.hints.changes;
    let own = (changes.viewers() > 0).then_some(node.name.as_str());
    let nodes = node.lock.viewers(own, VIEWERS_MS).await?;
    changes.set_watched_elsewhere(nodes.iter().any(|other| *other != node.name));
    Ok(())
}

async fn send(node: &Node) {
    let mut ticks = node.hints.changes.ticks();
    loop {
        let message = match ticks.recv().await {
            Ok(tick) if tick.is_own() && node.hints.changes.is_watched_elsewhere() => {
                tick.to_message(&node.name)
            }
            Ok(_) => continue,
            Err(RecvError::Lagged(_)) => Tick::resync().to_message(&node.name),
            Err(RecvError::Closed) => return,
        };
        if let Err(error) = node.lock.send_changes(&message).await {
            tracing::debug!(%error, "changes were not sent; viewers of other nodes see them later");
        }
    }
}

/// Listens while this node has viewers.
async fn receive(node: &Node) {
    loop {
        if node.hints.changes.viewers() == 0 {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        match node.lock.changes().await {
            Ok(messages) => listen(node, messages).await,
            Err(error) => tracing::debug!(%error, "no changes of other nodes arrive"),
        }
        // The connection may have been lost, and messages with it.
        tokio::time::sleep(LOOK).await;
    }
}

async fn listen(node: &Node, mut messages: futures_util::stream::BoxStream<'static, String>) {
    let changes = &node.hints.changes;
    let is_noticed = tokio::time::sleep(NOTICED);
    tokio::pin!(is_noticed);
    let mut has_resynced = node.members.count() <= 1;
    while changes.viewers() > 0 {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => Tick::of_message(&message, &node.name).into_iter().for_each(|tick| changes.pass_on(tick)),
                None => return,
            },
            () = &mut is_noticed, if !has_resynced => {
                has_resynced = true;
                changes.resync();
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

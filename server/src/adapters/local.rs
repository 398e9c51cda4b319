//! Leases within one process: for a single node, and for tests that run several nodes in one
//! process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::core::Moment;
use crate::core::task::SHARDS;
use crate::ports::{Clock, Lock, MAX_DESCRIPTIONS, PortError, Result};

/// Number of hints that a handle keeps. Hints beyond them are lost.
const HINTS: usize = 1_024;
/// Number of messages about changes that a listener keeps. A listener that is further behind has lost messages.
const CHANGES: usize = 16;

/// Leases in memory. Each node needs its own handle: see [`another`](Self::another).
pub struct LocalLock {
    leases: Arc<Mutex<Leases>>,
    clock: Arc<dyn Clock>,
    hints: broadcast::Sender<Vec<u16>>,
    changes: broadcast::Sender<String>,
    receiver: tokio::sync::Mutex<broadcast::Receiver<Vec<u16>>>,
}

/// Announced nodes and leased shards, with their expiry.
#[derive(Default)]
struct Leases {
    nodes: BTreeMap<String, Moment>,
    shards: HashMap<u16, (String, Moment)>,
    descriptions: BTreeMap<String, (String, Moment)>,
    viewers: BTreeMap<String, Moment>,
}

impl LocalLock {
    /// Creates leases, and the first handle on them. The leases expire by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (hints, receiver) = broadcast::channel(HINTS);
        let (receiver, changes) = (tokio::sync::Mutex::new(receiver), broadcast::Sender::new(CHANGES));
        Self { leases: Arc::default(), clock, hints, changes, receiver }
    }

    /// Returns another node's handle on the same leases.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            leases: Arc::clone(&self.leases),
            clock: Arc::clone(&self.clock),
            hints: self.hints.clone(),
            changes: self.changes.clone(),
            receiver: tokio::sync::Mutex::new(self.hints.subscribe()),
        }
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the current time, and the expiry of a lease of `ttl_ms` milliseconds.
    fn term(&self, ttl_ms: u64) -> (Moment, Moment) {
        let now = self.clock.now();
        (now, now.plus_ms(i64::try_from(ttl_ms).unwrap_or(i64::MAX)))
    }
}

#[async_trait]
impl Lock for LocalLock {
    async fn join(&self, node: &str, ttl_ms: u64) -> Result<Vec<String>> {
        let (now, until) = self.term(ttl_ms);
        let mut leases = self.leases();
        leases.nodes.retain(|_, until| *until > now);
        leases.nodes.insert(node.to_owned(), until);
        Ok(leases.nodes.keys().cloned().collect())
    }

    fn may_lose_announcements(&self) -> bool {
        false
    }

    async fn acquire(&self, node: &str, shards: &[u16], ttl_ms: u64) -> Result<Vec<u16>> {
        let (now, until) = self.term(ttl_ms);
        let mut leases = self.leases();
        let mut acquire = |shard: &u16| {
            let (holder, lease) = leases.shards.entry(*shard).or_insert_with(|| (node.to_owned(), until));
            let is_ours = holder == node || *lease <= now;
            if is_ours {
                (*holder, *lease) = (node.to_owned(), until);
            }
            is_ours
        };
        Ok(shards.iter().filter(|shard| acquire(shard)).copied().collect())
    }

    async fn release(&self, node: &str, shards: &[u16], leave: bool) -> Result<()> {
        let mut leases = self.leases();
        leases.shards.retain(|shard, (holder, _)| holder != node || !shards.contains(shard));
        if leave {
            leases.nodes.remove(node);
        }
        Ok(())
    }

    async fn describe(&self, node: &str, description: &str, ttl_ms: u64) -> Result<()> {
        let (now, until) = self.term(ttl_ms);
        let mut leases = self.leases();
        leases.descriptions.retain(|_, (_, until)| *until > now);
        leases.descriptions.insert(node.to_owned(), (description.to_owned(), until));
        Ok(())
    }

    async fn descriptions(&self) -> Result<Vec<String>> {
        let now = self.clock.now();
        let leases = self.leases();
        let valid = leases.descriptions.values().filter(|(_, until)| *until > now);
        Ok(valid.take(MAX_DESCRIPTIONS).map(|(text, _)| text.clone()).collect())
    }

    async fn wake(&self, shards: &[u16]) -> Result<()> {
        // The handle itself has a receiver, so sending cannot fail.
        let _ = self.hints.send(shards.to_vec());
        Ok(())
    }

    async fn next_hint(&self) -> Result<Vec<u16>> {
        match self.receiver.lock().await.recv().await {
            Ok(shards) => Ok(shards),
            // The lost hints may have named any shard.
            Err(RecvError::Lagged(_)) => Ok((0..SHARDS).collect()),
            Err(closed @ RecvError::Closed) => {
                Err(PortError::Unavailable("the in-process lock", closed.into()))
            }
        }
    }

    async fn viewers(&self, node: Option<&str>, ttl_ms: u64) -> Result<Vec<String>> {
        let (now, until) = self.term(ttl_ms);
        let mut leases = self.leases();
        leases.viewers.retain(|_, until| *until > now);
        leases.viewers.extend(node.map(|node| (node.to_owned(), until)));
        Ok(leases.viewers.keys().cloned().collect())
    }

    async fn send_changes(&self, message: &str) -> Result<()> {
        // An error means that there is no subscriber.
        let _ = self.changes.send(message.to_owned());
        Ok(())
    }

    async fn changes(&self) -> Result<BoxStream<'static, String>> {
        let next = async |mut listener: broadcast::Receiver<String>| {
            // An error means that messages were lost, or that no node is left.
            let message = listener.recv().await.ok()?;
            Some((message, listener))
        };
        Ok(stream::unfold(self.changes.subscribe(), next).boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::ManualClock;

    #[tokio::test]
    async fn a_lease_expires_after_its_ttl() {
        let clock = Arc::new(ManualClock::new(Moment::from_ms(0)));
        let one = LocalLock::new(clock.clone());
        let two = one.another();
        assert_eq!(one.acquire("a", &[7], 100).await.unwrap(), [7]);
        clock.set(Moment::from_ms(99));
        assert_eq!(two.acquire("b", &[7], 100).await.unwrap(), [] as [u16; 0]);
        clock.set(Moment::from_ms(100));
        assert_eq!(two.acquire("b", &[7], 100).await.unwrap(), [7]);
        assert_eq!(one.acquire("a", &[7], u64::MAX).await.unwrap(), [] as [u16; 0]);
    }

    #[tokio::test]
    async fn a_handle_that_lost_hints_gets_all_shards() {
        let lock = LocalLock::new(Arc::new(ManualClock::new(Moment::from_ms(0))));
        for _ in 0..=HINTS {
            lock.wake(&[1]).await.unwrap();
        }
        assert_eq!(lock.next_hint().await.unwrap().len(), usize::from(SHARDS));
        assert_eq!(lock.next_hint().await.unwrap(), [1]);
    }
}

//! Leases within one process: for a node that is alone, and for tests that run several in one process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::core::Moment;
use crate::core::task::SHARDS;
use crate::ports::{Clock, Lock, PortError, Result};

/// Hints that a watcher may be behind by before it loses count.
const HINTS: usize = 1_024;

/// Leases in memory. Each node has a handle of its own: see [`another`](Self::another).
pub struct LocalLock {
    leases: Arc<Mutex<Leases>>,
    clock: Arc<dyn Clock>,
    hints: broadcast::Sender<Vec<u16>>,
    heard: tokio::sync::Mutex<broadcast::Receiver<Vec<u16>>>,
}

/// Who is there and who holds what, each until a moment.
#[derive(Default)]
struct Leases {
    nodes: BTreeMap<String, Moment>,
    shards: HashMap<u16, (String, Moment)>,
}

impl LocalLock {
    /// The first handle on leases that nobody else knows of; they run out by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (hints, heard) = broadcast::channel(HINTS);
        Self { leases: Arc::default(), clock, hints, heard: tokio::sync::Mutex::new(heard) }
    }

    /// A further node's handle on the same leases.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            leases: Arc::clone(&self.leases),
            clock: Arc::clone(&self.clock),
            hints: self.hints.clone(),
            heard: tokio::sync::Mutex::new(self.hints.subscribe()),
        }
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now, and when what is taken now for `ttl_ms` runs out.
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

    async fn acquire(&self, node: &str, shards: &[u16], ttl_ms: u64) -> Result<Vec<u16>> {
        let (now, until) = self.term(ttl_ms);
        let mut leases = self.leases();
        let mut take = |shard: &u16| {
            let (holder, lease) = leases.shards.entry(*shard).or_insert_with(|| (node.to_owned(), until));
            let is_ours = holder == node || *lease <= now;
            if is_ours {
                (*holder, *lease) = (node.to_owned(), until);
            }
            is_ours
        };
        Ok(shards.iter().filter(|shard| take(shard)).copied().collect())
    }

    async fn release(&self, node: &str, shards: &[u16], leave: bool) -> Result<()> {
        let mut leases = self.leases();
        leases.shards.retain(|shard, (holder, _)| holder != node || !shards.contains(shard));
        if leave {
            leases.nodes.remove(node);
        }
        Ok(())
    }

    async fn wake(&self, shards: &[u16]) -> Result<()> {
        // This handle listens itself, so there is somebody to hear it.
        let _ = self.hints.send(shards.to_vec());
        Ok(())
    }

    async fn next_hint(&self) -> Result<Vec<u16>> {
        match self.heard.lock().await.recv().await {
            Ok(shards) => Ok(shards),
            // What was missed may have named any of them.
            Err(RecvError::Lagged(_)) => Ok((0..SHARDS).collect()),
            Err(closed @ RecvError::Closed) => {
                Err(PortError::Unavailable("the in-process lock", closed.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::ManualClock;

    #[tokio::test]
    async fn a_lease_ends_when_its_time_has_come() {
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
    async fn a_watcher_that_lost_count_is_told_to_look_everywhere() {
        let lock = LocalLock::new(Arc::new(ManualClock::new(Moment::from_ms(0))));
        for _ in 0..=HINTS {
            lock.wake(&[1]).await.unwrap();
        }
        assert_eq!(lock.next_hint().await.unwrap().len(), usize::from(SHARDS));
        assert_eq!(lock.next_hint().await.unwrap(), [1]);
    }
}

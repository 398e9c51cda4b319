//! Leases that can all be lost at once, as after a flush of Redis.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use taskcenter_server::adapters::local::LocalLock;
use taskcenter_server::ports::{Clock, Lock, Result};

/// Leases of all nodes.
pub struct Locks {
    clock: Arc<dyn Clock>,
    shared: Mutex<Shared>,
}

struct Shared {
    leases: LocalLock,
    handles: Vec<Arc<Handle>>,
}

/// Handle of one node. A flush gives it an empty set of leases.
pub struct Handle(Mutex<Arc<LocalLock>>);

impl Locks {
    /// Creates an empty set of leases that expire by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let leases = LocalLock::new(Arc::clone(&clock));
        Self { clock, shared: Mutex::new(Shared { leases, handles: Vec::new() }) }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a handle for another node.
    pub fn handle(&self) -> Arc<Handle> {
        let mut shared = self.shared();
        let handle = Arc::new(Handle(Mutex::new(Arc::new(shared.leases.another()))));
        shared.handles.push(Arc::clone(&handle));
        handle
    }

    /// Drops every lease and every membership. A node that waits for hints gets none until its next
    /// call.
    pub fn flush(&self) {
        let mut shared = self.shared();
        shared.leases = LocalLock::new(Arc::clone(&self.clock));
        for handle in &shared.handles {
            *handle.slot() = Arc::new(shared.leases.another());
        }
    }
}

impl Handle {
    fn slot(&self) -> MutexGuard<'_, Arc<LocalLock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Arc<LocalLock> {
        Arc::clone(&self.slot())
    }
}

#[async_trait]
impl Lock for Handle {
    async fn join(&self, node: &str, ttl_ms: u64) -> Result<Vec<String>> {
        self.current().join(node, ttl_ms).await
    }

    async fn acquire(&self, node: &str, shards: &[u16], ttl_ms: u64) -> Result<Vec<u16>> {
        self.current().acquire(node, shards, ttl_ms).await
    }

    async fn release(&self, node: &str, shards: &[u16], leave: bool) -> Result<()> {
        self.current().release(node, shards, leave).await
    }

    async fn describe(&self, node: &str, description: &str, ttl_ms: u64) -> Result<()> {
        self.current().describe(node, description, ttl_ms).await
    }

    async fn descriptions(&self) -> Result<Vec<String>> {
        self.current().descriptions().await
    }

    async fn wake(&self, shards: &[u16]) -> Result<()> {
        self.current().wake(shards).await
    }

    async fn next_hint(&self) -> Result<Vec<u16>> {
        self.current().next_hint().await
    }

    async fn viewers(&self, node: Option<&str>, ttl_ms: u64) -> Result<Vec<String>> {
        self.current().viewers(node, ttl_ms).await
    }

    async fn send_changes(&self, message: &str) -> Result<()> {
        self.current().send_changes(message).await
    }

    async fn changes(&self) -> Result<BoxStream<'static, String>> {
        self.current().changes().await
    }
}

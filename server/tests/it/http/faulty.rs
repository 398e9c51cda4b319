//! Back ends that fail, for tests of what a client then sees.

use std::future::pending;
use std::sync::Arc;

use taskcenter_server::adapters::clock::SystemClock;
use taskcenter_server::adapters::fault::{Faulty, Plan};
use taskcenter_server::adapters::memory::{MemoryRecords, MemoryStore};
use taskcenter_server::core::Moment;
use taskcenter_server::ports::{Clock, PortError, Records, Result, Store};

use super::{Server, Setup};

/// Text that only the cause of an error holds. No answer may show it.
pub const CANARY: &str = "canary-7f3a";

/// Every call fails.
pub struct Unavailable;

#[async_trait::async_trait]
impl Plan for Unavailable {
    async fn request(&self, _: &'static str) -> Result<()> {
        Err(PortError::Unavailable("store", format!("no connection to {CANARY}@127.0.0.1").into()))
    }

    async fn answer(&self, _: &'static str) -> Result<()> {
        Ok(())
    }

    fn portion(&self, rows: usize) -> usize {
        rows
    }
}

/// No call returns.
pub struct Silent;

#[async_trait::async_trait]
impl Plan for Silent {
    async fn request(&self, _: &'static str) -> Result<()> {
        pending().await
    }

    async fn answer(&self, _: &'static str) -> Result<()> {
        Ok(())
    }

    fn portion(&self, rows: usize) -> usize {
        rows
    }
}

/// Runs a test against a server whose store fails by this plan.
pub async fn with_failing_store(setup: Setup, plan: impl Plan + 'static, test: impl AsyncFnOnce(&Server)) {
    let plan: Arc<dyn Plan> = Arc::new(plan);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let records: Arc<dyn Records> = Arc::new(MemoryRecords::default());
    let store = Arc::new(Faulty::new(store, Arc::clone(&plan)));
    setup.with_server_on(store, Arc::new(Faulty::new(records, plan)), test).await;
}

/// A clock that panics when it is read.
pub struct BrokenClock;

#[async_trait::async_trait]
impl Clock for BrokenClock {
    fn now(&self) -> Moment {
        panic!("{CANARY}")
    }

    fn steady_ms(&self) -> i64 {
        0
    }

    async fn sleep_until(&self, _: Moment) {}
}

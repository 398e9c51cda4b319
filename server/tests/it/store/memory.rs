//! The fixture in memory. Both nodes share one handle.

use std::sync::Arc;

use taskcenter_server::adapters::clock::SystemClock;
use taskcenter_server::adapters::memory::{MemoryRecords, MemoryStore};
use taskcenter_server::ports::{Records, Store};

use super::Fixture;

pub struct MemoryFixture {
    store: Arc<MemoryStore>,
    records: Arc<MemoryRecords>,
}

impl MemoryFixture {
    #[allow(clippy::unused_async, reason = "other fixtures need async")]
    pub async fn open() -> Self {
        Self { store: Arc::new(MemoryStore::new(Arc::new(SystemClock))), records: Arc::default() }
    }
}

/// The fixture whose store fires in one write.
pub struct OneWriteFixture;

impl OneWriteFixture {
    #[allow(clippy::unused_async, reason = "other fixtures need async")]
    pub async fn open() -> MemoryFixture {
        let store = Arc::new(MemoryStore::firing_in_one_write(Arc::new(SystemClock)));
        MemoryFixture { store, records: Arc::default() }
    }
}

#[async_trait::async_trait]
impl Fixture for MemoryFixture {
    fn one(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn two(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn records(&self) -> Arc<dyn Records> {
        self.records.clone()
    }

    async fn close(self: Box<Self>) {}
}

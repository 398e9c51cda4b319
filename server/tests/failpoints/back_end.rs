//! Ledgers that outlive a node.

use std::path::Path;
use std::sync::Arc;

use taskcenter_server::adapters::clock::ManualClock;
use taskcenter_server::adapters::memory::{MemoryRecords, MemoryStore};
use taskcenter_server::adapters::mongo::MongoStore;
use taskcenter_server::adapters::sqlite::SqliteStore;
use taskcenter_server::ports::{Records, Store};
use tempfile::TempDir;

/// Back end of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Memory,
    Sqlite,
    Mongo,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "SQLite",
            Self::Mongo => "MongoDB",
        }
    }

    /// Returns whether this back end can reach a failpoint.
    pub fn has(self, point: &str) -> bool {
        match point.split_once("::") {
            Some(("sqlite", _)) => self == Self::Sqlite,
            Some(("mongo", _)) => self == Self::Mongo,
            // SQLite fires in one write.
            Some(("fire", "inserted")) => self != Self::Sqlite,
            _ => true,
        }
    }
}

pub enum BackEnd {
    Memory(Arc<MemoryStore>, Arc<MemoryRecords>),
    /// Every life opens the file again: the writer thread ends with the life.
    Sqlite(TempDir, Option<Arc<SqliteStore>>),
    Mongo(Arc<MongoStore>),
}

fn mongodb_uri() -> String {
    std::env::var("TASKCENTER_TEST_MONGODB_URI")
        .unwrap_or_else(|_| "mongodb://127.0.0.1:27117/?replicaSet=rs0".to_owned())
}

/// Waits for the indexes. On a busy machine, many new databases take longer than the time limit of
/// one call.
async fn prepare(store: &MongoStore) {
    const TRIES: usize = 12;
    for _ in 1..TRIES {
        if store.now().await.is_ok() {
            return;
        }
    }
    store.now().await.expect("the store answers");
}

/// Returns a directory in memory, if the system has one. The death of a process does not lose data
/// in the kernel, so flushes to a disk would prove nothing more.
fn directory() -> std::io::Result<TempDir> {
    let in_memory = Path::new("/dev/shm");
    if in_memory.is_dir() { TempDir::new_in(in_memory) } else { TempDir::new() }
}

impl BackEnd {
    pub async fn new(kind: Kind, clock: &Arc<ManualClock>, name: &str) -> Self {
        match kind {
            Kind::Memory => Self::Memory(Arc::new(MemoryStore::new(clock.clone())), Arc::default()),
            Kind::Sqlite => Self::Sqlite(directory().expect("a temporary directory"), None),
            Kind::Mongo => {
                let store = MongoStore::new(&mongodb_uri(), name).await.expect("the address is valid");
                prepare(&store).await;
                Self::Mongo(Arc::new(store))
            }
        }
    }

    /// Closes the file after all code of the dead node has released it, and opens the file again.
    pub async fn reopen(&mut self, clock: &Arc<ManualClock>) {
        let Self::Sqlite(dir, store) = self else { return };
        if let Some(store) = store.take() {
            while Arc::strong_count(&store) > 1 {
                tokio::task::yield_now().await;
            }
        }
        *store = Some(Arc::new(SqliteStore::open(dir.path(), clock.clone()).expect("the file opens again")));
    }

    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory(store, _) => store.clone(),
            Self::Sqlite(_, store) => store.clone().expect("the file is open"),
            Self::Mongo(store) => store.clone(),
        }
    }

    pub fn records(&self) -> Arc<dyn Records> {
        match self {
            Self::Memory(_, records) => records.clone(),
            Self::Sqlite(_, store) => store.clone().expect("the file is open"),
            Self::Mongo(store) => store.clone(),
        }
    }

    pub async fn close(self) {
        if let Self::Mongo(store) = self {
            store.database().drop().await.expect("the database can be dropped");
        }
    }
}

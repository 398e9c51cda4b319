//! Opens the back ends that the configuration selects. To add an adapter, add its arm to the match
//! of its port.

mod channels;
#[cfg(feature = "cluster")]
mod cluster;

pub use channels::channels;

use std::sync::Arc;

use anyhow::Context;

use crate::adapters::absent::NoBus;
use crate::adapters::local::LocalLock;
use crate::adapters::sqlite::SqliteStore;
use crate::compat::ReadTopic;
use crate::config::{BusKind, Config, LockKind, StoreKind};
use crate::ports::{Bus, Clock, Lock, Records, Store};

/// The ports of a node with their adapters.
pub struct BackEnds {
    /// Tasks and runs.
    pub store: Arc<dyn Store>,
    /// Documents beside tasks and runs.
    pub records: Arc<dyn Records>,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The lock.
    pub lock: Arc<dyn Lock>,
    /// Reads a further topic of the bus. `None`: there is no bus.
    pub read_topic: Option<ReadTopic>,
}

impl BackEnds {
    /// Opens the store, the bus and the lock. Servers need not be reachable yet.
    ///
    /// # Errors
    /// When the data directory cannot be opened, or an address in the configuration is invalid.
    pub async fn open(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let chosen = config.back_ends();
        let (store, records): (Arc<dyn Store>, Arc<dyn Records>) = match chosen.store {
            StoreKind::Sqlite => sqlite(config, clock).await.map(|store| (store.clone() as _, store as _))?,
            #[cfg(feature = "cluster")]
            StoreKind::Mongodb => {
                cluster::mongodb(config).await.map(|store| (store.clone() as _, store as _))?
            }
            #[cfg(not(feature = "cluster"))]
            StoreKind::Mongodb => return Err(without_cluster()),
        };
        let (bus, read_topic): (Arc<dyn Bus>, _) = match chosen.bus {
            BusKind::None => (Arc::new(NoBus), None),
            #[cfg(feature = "cluster")]
            BusKind::Rocketmq => (cluster::rocketmq(config), Some(cluster::read_topic(config))),
            #[cfg(not(feature = "cluster"))]
            BusKind::Rocketmq => return Err(without_cluster()),
        };
        let lock: Arc<dyn Lock> = match chosen.lock {
            LockKind::Local => Arc::new(LocalLock::new(Arc::clone(clock))),
            #[cfg(feature = "cluster")]
            LockKind::Redis => cluster::redis(config)?,
            #[cfg(not(feature = "cluster"))]
            LockKind::Redis => return Err(without_cluster()),
        };
        Ok(Self { store, records, bus, lock, read_topic })
    }
}

async fn sqlite(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<SqliteStore>> {
    let directory = config.embedded.directory();
    let directory = directory.context("there is no data directory: set embedded.data_dir, or HOME")?;
    let clock = Arc::clone(clock);
    // Opening may migrate an older file, which takes time.
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&directory, clock));
    Ok(Arc::new(opened.await.context("opening the data directory failed")??))
}

/// `Config::load` refuses such a configuration; one that a program makes itself ends here.
#[cfg(not(feature = "cluster"))]
fn without_cluster() -> anyhow::Error {
    anyhow::anyhow!("this binary was built without cluster support (feature `cluster`)")
}

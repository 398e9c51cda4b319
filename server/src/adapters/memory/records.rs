//! Records in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::ports::{Record, Records, Result};

/// Records in memory, lost at the end of the process.
#[derive(Debug, Default)]
pub struct MemoryRecords(Mutex<BTreeMap<(String, String), Record>>);

impl MemoryRecords {
    fn all(&self) -> MutexGuard<'_, BTreeMap<(String, String), Record>> {
        // A panic cannot leave a change half done: each one is a single insert or remove.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn map_key(record: &Record) -> (String, String) {
    (record.kind.clone(), record.key.clone())
}

#[async_trait]
impl Records for MemoryRecords {
    async fn record(&self, kind: &str, key: &str) -> Result<Option<Record>> {
        Ok(self.all().get(&(kind.to_owned(), key.to_owned())).cloned())
    }

    async fn put_record(&self, record: &Record) -> Result<bool> {
        let mut all = self.all();
        let version = all.get(&map_key(record)).map_or(0, |stored| stored.version);
        if version != record.version {
            return Ok(false);
        }
        all.insert(map_key(record), Record { version: version + 1, ..record.clone() });
        Ok(true)
    }

    async fn remove_record(&self, record: &Record) -> Result<bool> {
        let mut all = self.all();
        if all.get(&map_key(record)).is_some_and(|stored| stored.version != record.version) {
            return Ok(false);
        }
        all.remove(&map_key(record));
        Ok(true)
    }

    async fn records(
        &self,
        kind: &str,
        index: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Record>> {
        let matches = |record: &&Record| {
            record.kind == kind
                && after.is_none_or(|after| record.key.as_str() > after)
                && index.is_none_or(|index| record.index.as_deref() == Some(index))
        };
        Ok(self.all().values().filter(matches).take(limit as usize).cloned().collect())
    }
}

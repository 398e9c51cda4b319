//! Unique numbers of tasks. A node reserves them in blocks from a counter in a record.

use std::ops::RangeInclusive;

use tokio::sync::Mutex;

use crate::engine::service::{RecordKind, Result, Service, ServiceError};

const COUNTER: RecordKind = RecordKind::internal("easytask_pull.counter");
const KEY: &str = "task";
/// Size of a block. The unused numbers of a node that stops are never used.
const BLOCK: i64 = 100;

/// The numbers that this node has reserved and not used.
#[derive(Debug)]
pub struct Numbers(Mutex<RangeInclusive<i64>>);

impl Default for Numbers {
    fn default() -> Self {
        Self(Mutex::new(RangeInclusive::new(1, 0)))
    }
}

impl Numbers {
    /// Returns an unused task number. Reserves a new block if the current block is used up.
    ///
    /// # Errors
    /// An error of the store.
    pub async fn next(&self, service: &Service) -> Result<i64> {
        let mut block = self.0.lock().await;
        if let Some(number) = block.next() {
            return Ok(number);
        }
        let last = service.change_record(COUNTER, KEY, |last: Option<i64>| {
            let last = last.unwrap_or_default() + BLOCK;
            Ok::<_, ServiceError>((Some((last, None)), last))
        });
        let last = last.await?;
        *block = last - BLOCK + 2..=last;
        Ok(last - BLOCK + 1)
    }
}

//! A broker in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::ports::{Bus, BusMessage, Result};

/// Keeps every published message, in order.
#[derive(Debug, Default)]
pub struct MemoryBus(Mutex<Vec<BusMessage>>);

impl MemoryBus {
    /// Returns the messages from index `from` on.
    pub fn since(&self, from: usize) -> Vec<BusMessage> {
        self.sent().iter().skip(from).cloned().collect()
    }

    fn sent(&self) -> MutexGuard<'_, Vec<BusMessage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(&self, messages: Vec<BusMessage>) -> Vec<Result<()>> {
        let answers = messages.iter().map(|_| Ok(())).collect();
        self.sent().extend(messages);
        answers
    }

    async fn lag(&self) -> Result<Vec<(String, u64)>> {
        Ok(Vec::new())
    }

    async fn probe(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) {}
}

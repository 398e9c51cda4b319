//! The bus of a node without a broker.

use async_trait::async_trait;

use crate::ports::{Bus, BusMessage, PortError, Result};

/// Refuses every message. On a node without a broker every task has a queue, so nothing is
/// published.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBus;

#[async_trait]
impl Bus for NoBus {
    async fn publish(&self, messages: Vec<BusMessage>) -> Vec<Result<()>> {
        // For example, a run from before the broker was removed: its attempts fail, and it ends as
        // dead, which users see.
        let refused = || PortError::Refused("bus", "this node has no broker: give the task a queue".into());
        messages.iter().map(|_| Err(refused())).collect()
    }

    async fn lag(&self) -> Result<Vec<(String, u64)>> {
        Ok(Vec::new())
    }

    async fn probe(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) {}
}

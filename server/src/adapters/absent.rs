//! The bus of a node that has none.

use async_trait::async_trait;

use crate::ports::{Bus, BusMessage, PortError, Result};

/// Stands where a bus is asked for and none is there: every task of such a node has a queue, so that nothing is ever published.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBus;

#[async_trait]
impl Bus for NoBus {
    async fn publish(&self, messages: Vec<BusMessage>) -> Vec<Result<()>> {
        // A run of a time when there was a bus, say: it fails its attempts and ends as dead, where a person sees it.
        messages.iter().map(|_| Err(PortError::Refused("bus", "this node has none".into()))).collect()
    }

    async fn lag(&self) -> Result<Vec<(String, u64)>> {
        Ok(Vec::new())
    }

    async fn probe(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) {}
}

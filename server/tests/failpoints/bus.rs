//! Broker that records its messages. It refuses first attempts with the tag [`REFUSED`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use taskcenter_server::adapters::clock::ManualClock;
use taskcenter_server::core::{Moment, RunId};
use taskcenter_server::engine::publish::property;
use taskcenter_server::ports::{Bus, BusMessage, Clock, PortError, Result};

/// Tag of messages whose first attempt the broker refuses.
pub const REFUSED: &str = "refused";

/// A confirmed message.
#[derive(Debug, Clone)]
pub struct Sent {
    pub run: RunId,
    pub attempt: u32,
    pub token: String,
    pub awaits_outcome: bool,
    pub at: Moment,
    pub scheduled_at: Moment,
}

pub struct RecordingBus {
    clock: Arc<ManualClock>,
    sent: Mutex<Vec<Sent>>,
}

impl RecordingBus {
    pub fn new(clock: Arc<ManualClock>) -> Self {
        Self { clock, sent: Mutex::default() }
    }

    /// Returns the confirmed messages in order.
    pub fn sent(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(&self, message: &BusMessage) -> Result<()> {
        let read = |name: &str| {
            let found = message.properties.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let attempt = read(property::ATTEMPT).parse().expect("an attempt is a number");
        if message.tag == REFUSED && attempt == 1 {
            return Err(PortError::Refused("broker", "refused by the test".into()));
        }
        let scheduled_at = read(property::SCHEDULED_AT).parse().expect("a moment is a number");
        self.sent().push(Sent {
            run: RunId::from_text(read(property::RUN_ID)),
            attempt,
            token: read(property::TOKEN),
            awaits_outcome: read(property::ACK) == "1",
            at: self.clock.now(),
            scheduled_at: Moment::from_ms(scheduled_at),
        });
        Ok(())
    }
}

#[async_trait]
impl Bus for RecordingBus {
    async fn publish(&self, messages: Vec<BusMessage>) -> Vec<Result<()>> {
        messages.iter().map(|message| self.accept(message)).collect()
    }

    async fn lag(&self) -> Result<Vec<(String, u64)>> {
        Ok(Vec::new())
    }

    async fn probe(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) {}
}

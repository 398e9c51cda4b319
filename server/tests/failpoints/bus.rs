//! A broker that keeps what it is sent, and refuses the first attempt of what is named so.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use taskcenter_server::adapters::clock::ManualClock;
use taskcenter_server::core::{Moment, RunId};
use taskcenter_server::engine::publish::property;
use taskcenter_server::ports::{Bus, BusMessage, Clock, PortError, Result};

/// The tag whose first attempts it refuses.
pub const REFUSED: &str = "refused";

/// A message that it has confirmed.
#[derive(Debug, Clone)]
pub struct Sent {
    pub run: RunId,
    pub attempt: u32,
    pub token: String,
    pub awaits_outcome: bool,
    pub at: Moment,
    pub scheduled_at: Moment,
}

pub struct Post {
    clock: Arc<ManualClock>,
    sent: Mutex<Vec<Sent>>,
}

impl Post {
    pub fn new(clock: Arc<ManualClock>) -> Self {
        Self { clock, sent: Mutex::default() }
    }

    /// What it was sent, in order.
    pub fn sent(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, message: &BusMessage) -> Result<()> {
        let read = |name: &str| {
            let found = message.properties.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let attempt = read(property::ATTEMPT).parse().expect("an attempt is a number");
        if message.tag == REFUSED && attempt == 1 {
            return Err(PortError::Refused("broker", "as the test wants it".into()));
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
impl Bus for Post {
    async fn publish(&self, messages: Vec<BusMessage>) -> Vec<Result<()>> {
        messages.iter().map(|message| self.take(message)).collect()
    }

    async fn lag(&self) -> Result<Vec<(String, u64)>> {
        Ok(Vec::new())
    }

    async fn probe(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) {}
}

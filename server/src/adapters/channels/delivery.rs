//! The task of a channel: merges what waits, sends it, and repeats what failed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::Receiver;

use super::{Outgoing, SendError, Transport};
use crate::core::Moment;
use crate::core::alert::channel::Channel;
use crate::core::alert::message::{Message, render};
use crate::core::alert::{AlertEvent, AlertKey, AlertTransition};
use crate::ports::Clock;

/// Maximum number of alerts in one message.
const MAX_MERGED: usize = 1_000;
/// Maximum number of times that a message waits for a rate limit.
const MAX_WAITS: u32 = 20;
/// Longest time that a receiver can ask for.
const MAX_WAIT: Duration = Duration::from_mins(15);

/// Pauses between attempts.
pub struct Pauses {
    /// After the first failed attempt. Each further pause is twice as long.
    pub first: Duration,
    /// After a rate limit without a time. DingTalk blocks a robot for 10 minutes.
    pub limited: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), limited: Duration::from_mins(1) }
    }
}

/// What happened to the last messages of a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryStatus {
    /// Why the last message was not delivered. `None`: it was, or there was none.
    pub last_error: Option<String>,
    /// When the receiver last accepted a message.
    pub last_delivered_at: Option<Moment>,
}

/// The parts of a running channel.
pub struct Delivery {
    pub channel: Channel,
    pub transport: Box<dyn Transport>,
    pub clock: Arc<dyn Clock>,
    pub timeout: Duration,
    pub attempts: u32,
    pub link: String,
    pub pauses: Pauses,
    pub status: Mutex<DeliveryStatus>,
}

impl Delivery {
    /// Sends what the queue brings, until the queue is closed.
    pub async fn run(self: Arc<Self>, mut queue: Receiver<Vec<AlertEvent>>) {
        while let Some(events) = queue.recv().await {
            let mut batch = Batch::default();
            batch.add(events);
            batch.drain(&mut queue);
            let alerts = batch.len();
            let delivered = self.deliver(batch, &mut queue).await;
            self.note(delivered.as_ref().err());
            if let Err(error) = delivered {
                let channel = self.channel.name.as_str();
                tracing::warn!(channel, error, alerts, "alerts not delivered; alerts dropped");
            }
            tokio::time::sleep(self.transport.gap()).await;
        }
    }

    async fn deliver(&self, mut batch: Batch, queue: &mut Receiver<Vec<AlertEvent>>) -> Result<(), String> {
        let (mut attempts, mut waits, mut pause) = (0, 0, self.pauses.first);
        let mut built_at = self.clock.now();
        loop {
            let events = batch.events();
            let message = render(&events, self.channel.language, &self.link);
            match self.send_once(&message, &events, built_at).await {
                Ok(()) => return Ok(()),
                Err(SendError::Refused(error)) => return Err(error),
                Err(SendError::Temporary(error)) => {
                    attempts += 1;
                    if attempts >= self.attempts {
                        return Err(error);
                    }
                    // The message may have arrived, so it is repeated unchanged.
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2);
                }
                Err(SendError::Limited(after)) => {
                    waits += 1;
                    if waits > MAX_WAITS {
                        return Err("the receiver has reached its rate limit".to_owned());
                    }
                    tokio::time::sleep(after.unwrap_or(self.pauses.limited).min(MAX_WAIT)).await;
                    // What was raised meanwhile joins the message.
                    batch.drain(queue);
                    built_at = self.clock.now();
                }
            }
        }
    }

    pub fn status(&self) -> DeliveryStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records the result of the last message.
    pub fn note(&self, error: Option<&String>) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.last_error = error.cloned();
        if error.is_none() {
            status.last_delivered_at = Some(self.clock.now());
        }
    }

    /// Sends a message that was built at `built_at` once, within the time limit.
    pub async fn send_once(
        &self,
        message: &Message,
        events: &[AlertEvent],
        built_at: Moment,
    ) -> Result<(), SendError> {
        let id = super::signature::message_id(&self.channel.name, message, built_at);
        let outgoing = Outgoing { id: &id, message, events, now: self.clock.now() };
        let sent = tokio::time::timeout(self.timeout, self.transport.send(&outgoing)).await;
        sent.unwrap_or_else(|_| Err(SendError::Temporary("the receiver did not answer in time".to_owned())))
    }
}

/// The alerts of one message, each with its last change.
#[derive(Default)]
struct Batch(BTreeMap<AlertKey, AlertEvent>);

impl Batch {
    fn add(&mut self, events: Vec<AlertEvent>) {
        for mut event in events {
            let before = self.0.get(&event.key);
            if before.is_none() && self.0.len() >= MAX_MERGED {
                continue;
            }
            // The raise has not been sent yet.
            let is_new = before.is_some_and(|before| before.change == AlertTransition::Raised);
            if is_new && event.change == AlertTransition::Reminder {
                event.change = AlertTransition::Raised;
            }
            self.0.insert(event.key.clone(), event);
        }
    }

    fn drain(&mut self, queue: &mut Receiver<Vec<AlertEvent>>) {
        while let Ok(events) = queue.try_recv() {
            self.add(events);
        }
    }

    fn events(&self) -> Vec<AlertEvent> {
        self.0.values().cloned().collect()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

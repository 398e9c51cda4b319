//! Sends messages.

mod avoid;
mod batch;
mod config;
mod ids;
mod message;
mod queues;
mod send;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use config::ProducerConfig;
pub use message::Message;

use self::avoid::Avoided;
use self::message::Encoded;
use self::queues::Queues;
use crate::clock::monotonic;
use crate::{Client, Error, GroupMember, Membership, MessageQueue};

/// Status of a stored message (`SendStatus.java`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendStatus {
    /// Stored as configured.
    Ok,
    /// Stored, but not flushed to disk in time.
    FlushDiskTimeout,
    /// Stored, but not copied to a slave in time.
    FlushSlaveTimeout,
    /// Stored, but no slave is available.
    SlaveNotAvailable,
}

/// Confirmation of a stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Id that the producer gave to the message (property `UNIQ_KEY`). It is the same in every
    /// delivery of the message.
    pub message_id: String,
    /// Queue that has the message.
    pub queue: MessageQueue,
    /// Offset in the queue.
    pub offset: i64,
}

/// Sends messages. Cheap to clone; clones share the bound of messages in flight.
///
/// A send that fails is never repeated by the producer, because its result may be unknown: see
/// [`Error::may_have_arrived`]. The next send avoids the broker that has failed, if the topic has
/// others.
#[derive(Clone)]
pub struct Producer(Arc<Inner>);

struct Inner {
    client: Client,
    config: ProducerConfig,
    group: String,
    queues: Queues,
    avoided: Avoided,
    permits: Semaphore,
    _membership: Membership,
}

impl Producer {
    /// Creates a producer. It does not connect before the first send.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(client: &Client, config: ProducerConfig) -> Result<Self, Error> {
        config.validate()?;
        let group = client.config().wire_name(&config.group);
        Ok(Self(Arc::new(Inner {
            client: client.clone(),
            queues: Queues::default(),
            avoided: Avoided::default(),
            permits: Semaphore::new(config.max_in_flight),
            _membership: client.join(GroupMember::Producer { group: group.clone() })?,
            group,
            config,
        })))
    }

    /// Returns the settings.
    pub fn config(&self) -> &ProducerConfig {
        &self.0.config
    }

    /// Sends one message. Waits while [`max_in_flight`](ProducerConfig::max_in_flight) requests are
    /// in flight, within the time limit of the send.
    ///
    /// # Errors
    /// - [`Error::Invalid`]: the message can never be sent, for example because its body is empty.
    /// - [`Error::TopicNotFound`], [`Error::NoQueue`], [`Error::Unreachable`]: nothing was stored.
    /// - [`Error::Refused`]: the broker refused the message.
    /// - [`Error::Unanswered`], [`Error::NotSafelyStored`]: the message may have been stored.
    pub async fn send(&self, message: Message) -> Result<Receipt, Error> {
        let deadline = monotonic() + self.0.config.send_timeout;
        let topic = self.0.client.config().wire_name(&message.topic);
        let message = Encoded::new(message, &self.0.config)?;
        let message = message.compress(self.0.config.compress_above).await;
        self.0.send_one(&topic, message, deadline).await
    }

    /// Sends messages in batches. Returns one result for each message, in order.
    ///
    /// Each batch has messages of one topic, goes to one queue, and is bounded by
    /// [`max_batch_messages`](ProducerConfig::max_batch_messages) and
    /// [`max_batch_bytes`](ProducerConfig::max_batch_bytes). Batches are sent at the same time. A
    /// message that can never be sent fails alone. If the broker refuses a batch as illegal, its
    /// halves are sent, until the message that is illegal is found.
    ///
    /// # Errors
    /// As [`send`](Self::send), per message.
    pub async fn send_batch(&self, messages: Vec<Message>) -> Vec<Result<Receipt, Error>> {
        let deadline = monotonic() + self.0.config.send_timeout;
        let mut results: Vec<Option<Result<Receipt, Error>>> = Vec::with_capacity(messages.len());
        let mut valid = Vec::new();
        for message in messages {
            let topic = self.0.client.config().wire_name(&message.topic);
            match Encoded::new(message, &self.0.config) {
                Ok(encoded) => {
                    valid.push((results.len(), topic, encoded));
                    results.push(None);
                }
                Err(invalid) => results.push(Some(Err(invalid))),
            }
        }
        let mut sends = JoinSet::new();
        for batch in batch::split(valid, &self.0.config) {
            let inner = Arc::clone(&self.0);
            sends.spawn(async move { inner.send_all(batch, deadline).await });
        }
        for (index, result) in sends.join_all().await.into_iter().flatten() {
            results[index] = Some(result);
        }
        results.into_iter().map(|result| result.unwrap_or(Err(Error::Closed))).collect()
    }

    /// Checks that at least one broker of the topic answers.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`] or the error of the last broker.
    pub async fn probe(&self, topic: &str) -> Result<(), Error> {
        let topic = self.0.client.config().wire_name(topic);
        let route = self.0.client.refresh_route(&topic).await?;
        let mut asked = JoinSet::new();
        for (_, address) in route.masters() {
            let (client, topic, address) = (self.0.client.clone(), topic.clone(), address.to_owned());
            asked.spawn(async move { avoid::probe(&client, &topic, &address).await });
        }
        let mut failed = Error::NoQueue { topic, operation: "written" };
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(why)) => failed = why,
                Err(_) => {}
            }
        }
        Err(failed)
    }
}

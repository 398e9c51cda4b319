//! Producer of messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rocketmq_client_rust::{DefaultMQProducer, SendStatus};
use rocketmq_model::common::message::message_single::Message;
use tokio::sync::Mutex;

use super::runtime::RocketMqRuntime;
use super::{EMPTY, RocketMqConfig, RocketMqError, client_error, lag, unavailable};

/// Maximum size of a batch, in bytes. The broker accepts 4 MiB.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// Maximum number of messages in a batch.
const MAX_BATCH_MESSAGES: usize = 64;
/// Maximum number of concurrent batches.
const MAX_IN_FLIGHT: usize = 16;
/// Maximum size of a message, in bytes: the limit of the broker.
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Approximate size of a message without its body and properties.
const OVERHEAD_BYTES: usize = 256;
/// Consecutive failures after which a client is replaced, before its circuit breaker opens at 5.
const MAX_FAILURES: u32 = 3;
/// Time limit of a query of the lag, over all groups.
const MAX_LAG_TIME: Duration = Duration::from_secs(10);
/// Number of queues of a new topic.
const NEW_TOPIC_QUEUES: i32 = 8;
/// Topic whose brokers get new topics.
const TEMPLATE_TOPIC: &str = "TBW102";

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutMessage {
    /// Tag, which consumers filter by (RocketMQ: TAGS).
    pub tag: String,
    /// Key of the message (RocketMQ: KEYS).
    pub key: String,
    /// Body, byte for byte. RocketMQ has no empty bodies: an empty body is sent as one blank with
    /// the property `TC_EMPTY`.
    pub body: Bytes,
    /// User properties. Names and values must not contain the characters U+0001 and U+0002, which
    /// are separators on the wire.
    pub properties: Vec<(String, String)>,
}

/// Sends messages to one topic. Cheap to clone. It connects at the first use, and reconnects
/// itself.
#[derive(Clone)]
pub struct Producer {
    config: Arc<RocketMqConfig>,
    client: Arc<Mutex<Option<Client>>>,
}

/// A started client.
#[derive(Clone)]
struct Client {
    runtime: Arc<RocketMqRuntime>,
    producer: DefaultMQProducer,
    consecutive_failures: Arc<AtomicU32>,
}

impl Producer {
    /// Creates a producer. It does not connect before the first use.
    pub fn new(config: RocketMqConfig) -> Self {
        Self { config: Arc::new(config), client: Arc::default() }
    }

    async fn client(&self) -> Result<Client, RocketMqError> {
        let mut slot = self.client.lock().await;
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        let runtime = Arc::new(RocketMqRuntime::start(4).await?);
        let mut builder = DefaultMQProducer::builder(runtime.client())
            .client_config(self.config.unique_client())
            .producer_group(self.config.wire_group())
            .send_msg_timeout(self.config.send_timeout.as_millis() as u32)
            // The caller decides about a repetition, because a failed send may have arrived.
            .retry_times_when_send_failed(0);
        if let Some(credentials) = self.config.credentials() {
            builder = builder.rpc_hook(credentials);
        }
        let mut producer = builder.build();
        let start = runtime.run(async move { producer.start().await.map(|()| producer) });
        let producer = start.await?.map_err(unavailable)?;
        Ok(slot.insert(Client { runtime, producer, consecutive_failures: Arc::default() }).clone())
    }

    /// Sends messages in concurrent batches. Returns one result for each message, in order.
    ///
    /// `Ok` means that the broker has stored the message as configured. A message that the broker
    /// accepted without the configured flush or replica is an error.
    pub async fn send(&self, messages: Vec<OutMessage>) -> Vec<Result<(), RocketMqError>> {
        let client = match self.client().await {
            Ok(client) => client,
            Err(failed) => return messages.iter().map(|_| Err(copy_of(&failed))).collect(),
        };
        // A batch has one result for all its messages, so an invalid message must not be part of a
        // batch.
        let checks: Vec<Result<(), RocketMqError>> = messages.iter().map(check).collect();
        let valid =
            messages.into_iter().zip(&checks).filter(|(_, check)| check.is_ok()).map(|(message, _)| message);
        let sends = batches(valid.collect()).into_iter().map(|batch| self.send_batch(&client, batch));
        let results: Vec<Vec<_>> = stream::iter(sends).buffered(MAX_IN_FLIGHT).collect().await;
        let mut results = results.into_iter().flatten();
        let missing = || Err(unavailable("no answer"));
        checks.into_iter().map(|check| check.and_then(|()| results.next().unwrap_or_else(missing))).collect()
    }

    async fn send_batch(&self, client: &Client, batch: Vec<OutMessage>) -> Vec<Result<(), RocketMqError>> {
        let count = batch.len();
        let messages: Result<Vec<Message>, _> =
            batch.into_iter().map(|message| self.message(message)).collect();
        let sent = match messages {
            Ok(messages) => {
                let sent = self.send_messages(client, messages).await;
                self.count_failure(client, sent).await
            }
            Err(refused) => Err(refused),
        };
        (0..count).map(|_| sent.as_ref().copied().map_err(copy_of)).collect()
    }

    async fn send_messages(&self, client: &Client, mut messages: Vec<Message>) -> Result<(), RocketMqError> {
        let producer = client.producer.clone();
        let send = client.runtime.run(async move {
            match (messages.len(), messages.pop()) {
                (1, Some(message)) => {
                    Box::pin(producer.send(message)).await.map(|sent| sent.map(|sent| sent.send_status))
                }
                (_, last) => {
                    messages.extend(last);
                    producer.send_batch(messages).await.map(|sent| Some(sent.send_status))
                }
            }
        });
        // The client can exceed its own time limit.
        let limit = self.config.send_timeout + Duration::from_secs(1);
        let status =
            tokio::time::timeout(limit, send).await.map_err(|_| unavailable("no confirmation in time"))??;
        match status.map_err(client_error)? {
            Some(SendStatus::SendOk) => Ok(()),
            other => Err(unavailable(format!("the broker has not stored the message safely: {other:?}"))),
        }
    }

    fn message(&self, message: OutMessage) -> Result<Message, RocketMqError> {
        let empty = message.body.is_empty();
        let body = if empty { Bytes::from_static(b" ") } else { message.body };
        let mut builder =
            Message::builder().topic(self.config.wire_topic()).tags(message.tag).key(message.key).body(body);
        let marks = empty.then(|| (EMPTY.to_owned(), "1".to_owned()));
        for (name, value) in message.properties.into_iter().chain(marks) {
            builder = builder.raw_property(name, value).map_err(unavailable)?;
        }
        builder.build().map_err(unavailable)
    }

    /// Counts consecutive failures of a client. Drops the client after [`MAX_FAILURES`] failures,
    /// so that the next call starts a new client, which connects within a second.
    ///
    /// Without the drop, the circuit breaker of the client would open after five failures. The
    /// client would then not connect for 30 s; this pause cannot be configured. A single failure
    /// does not drop the client, because a new client costs memory.
    async fn count_failure<T>(
        &self,
        client: &Client,
        result: Result<T, RocketMqError>,
    ) -> Result<T, RocketMqError> {
        if !matches!(result, Err(RocketMqError::Unavailable(_))) {
            client.consecutive_failures.store(0, Ordering::Relaxed);
            return result;
        }
        if client.consecutive_failures.fetch_add(1, Ordering::Relaxed) + 1 < MAX_FAILURES {
            return result;
        }
        let mut slot = self.client.lock().await;
        if slot.as_ref().is_some_and(|current| Arc::ptr_eq(&current.runtime, &client.runtime)) {
            slot.take();
            tokio::spawn(shut_down(client.clone()));
        }
        result
    }

    /// Checks that RocketMQ is reachable: asks a name server for the queues of the topic, and the
    /// broker of one queue for its offset. Creates a missing topic if the broker allows it.
    ///
    /// # Errors
    /// [`RocketMqError`] if the name server or the broker does not answer, or the topic cannot be
    /// created.
    pub async fn probe(&self) -> Result<(), RocketMqError> {
        let Err(failed) = self.check_topic().await else { return Ok(()) };
        let Client { runtime, mut producer, .. } = self.client().await?;
        let topic = self.config.wire_topic();
        let create = runtime.run(async move {
            let created = producer.create_topic(TEMPLATE_TOPIC, &topic, NEW_TOPIC_QUEUES, HashMap::new());
            created.await.map_err(client_error)
        });
        // If the topic cannot be created, the first error is the better explanation.
        if !matches!(tokio::time::timeout(self.config.send_timeout, create).await, Ok(Ok(Ok(())))) {
            return Err(failed);
        }
        self.check_topic().await
    }

    /// Like [`probe`](Self::probe), but does not create a topic.
    ///
    /// # Errors
    /// [`RocketMqError`] if the name server or the broker does not answer, or the topic does not
    /// exist.
    pub async fn check_topic(&self) -> Result<(), RocketMqError> {
        let client = self.client().await?;
        let result = self.read_offset(&client).await;
        self.count_failure(&client, result).await
    }

    async fn read_offset(&self, client: &Client) -> Result<(), RocketMqError> {
        let mut producer = client.producer.clone();
        let topic = self.config.wire_topic();
        let read = client.runtime.run(async move {
            let queues = producer.fetch_publish_message_queues(&topic).await.map_err(client_error)?;
            let queue = queues.first().ok_or_else(|| unavailable("the topic has no queue"))?;
            producer.max_offset(queue).await.map(drop).map_err(client_error)
        });
        tokio::time::timeout(self.config.send_timeout, read)
            .await
            .map_err(|_| unavailable("no answer in time"))??
    }

    /// Returns the lag of each consumer group of the topic: the number of messages that wait,
    /// including redeliveries.
    ///
    /// # Errors
    /// [`RocketMqError`] if the name server or the broker does not answer within 10 s.
    pub async fn lag(&self) -> Result<Vec<(String, u64)>, RocketMqError> {
        let client = self.client().await?;
        let lag = lag::by_group(&client.runtime, Arc::clone(&self.config));
        let lag = tokio::time::timeout(MAX_LAG_TIME, lag).await;
        lag.map_err(|_| unavailable("the lag was not answered in time"))?
    }

    /// Disconnects in order. A later call connects again.
    pub async fn shutdown(&self) {
        if let Some(client) = self.client.lock().await.take() {
            shut_down(client).await;
        }
    }
}

async fn shut_down(Client { runtime, mut producer, .. }: Client) {
    let _ = runtime.run(async move { producer.shutdown().await }).await;
    runtime.close().await;
}

/// Copies the error of a batch for one of its messages.
fn copy_of(failed: &RocketMqError) -> RocketMqError {
    match failed {
        RocketMqError::Unavailable(why) => RocketMqError::Unavailable(why.clone()),
        RocketMqError::Refused(why) => RocketMqError::Refused(why.clone()),
    }
}

/// Refuses a message that RocketMQ never accepts. The client would return the same error as for a
/// topic without a route, which is transient.
fn check(message: &OutMessage) -> Result<(), RocketMqError> {
    let refused = |why: String| Err(RocketMqError::Refused(why));
    if size(message) > MAX_MESSAGE_BYTES {
        return refused(format!("the message has more than {MAX_MESSAGE_BYTES} bytes"));
    }
    let has_separator = |text: &str| text.contains(['\u{1}', '\u{2}']);
    match message.properties.iter().find(|(name, value)| has_separator(name) || has_separator(value)) {
        Some((name, _)) => refused(format!("the property {name:?} contains the character U+0001 or U+0002")),
        None => Ok(()),
    }
}

fn size(message: &OutMessage) -> usize {
    let properties: usize = message.properties.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    message.body.len() + message.tag.len() + message.key.len() + properties + OVERHEAD_BYTES
}

/// Splits the messages into batches, in order. A message above the size of a batch is a batch of
/// its own.
fn batches(messages: Vec<OutMessage>) -> Vec<Vec<OutMessage>> {
    let mut batches: Vec<Vec<OutMessage>> = Vec::new();
    let mut bytes = 0;
    for message in messages {
        let size = size(&message);
        match batches.last_mut() {
            Some(batch) if batch.len() < MAX_BATCH_MESSAGES && bytes + size <= MAX_BATCH_BYTES => {
                bytes += size;
                batch.push(message);
            }
            _ => {
                bytes = size;
                batches.push(vec![message]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: usize) -> OutMessage {
        OutMessage { tag: "t".into(), key: "k".into(), body: vec![0; bytes].into(), properties: Vec::new() }
    }

    fn sizes(messages: Vec<OutMessage>) -> Vec<usize> {
        batches(messages).iter().map(Vec::len).collect()
    }

    #[test]
    fn batches_are_limited_by_count_and_bytes() {
        assert_eq!(sizes(vec![of(10); 130]), [64, 64, 2]);
        assert_eq!(sizes(vec![of(400_000); 5]), [2, 2, 1]);
        assert_eq!(sizes(vec![of(1), of(3_000_000), of(1)]), [1, 1, 1]);
        assert!(sizes(Vec::new()).is_empty());
    }
}

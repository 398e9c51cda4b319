//! Sends messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rocketmq_client_rust::{DefaultMQProducer, SendStatus};
use rocketmq_model::common::message::message_single::Message;
use tokio::sync::Mutex;

use super::link::Link;
use super::{EMPTY, RocketMqConfig, RocketMqError, client_error, error, lag};

/// Bytes in one batch, at most; the broker takes 4 MiB.
const BATCH_BYTES: usize = 1024 * 1024;
/// Messages in one batch, at most.
const BATCH: usize = 64;
/// Batches under way, at most.
const IN_FLIGHT: usize = 16;
/// Bytes in one message, at most: the broker's own limit.
const MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// What a message weighs beyond its body and properties.
const OVERHEAD: usize = 256;
/// Failures in a row with which a client is given up: fewer than its circuit breaker's five.
const PATIENCE: u32 = 3;
/// Queues of a topic that is created.
const QUEUES: i32 = 8;
/// The topic whose brokers new topics are created on.
const TEMPLATE_TOPIC: &str = "TBW102";

/// One message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutMessage {
    /// What consumers filter on.
    pub tag: String,
    /// RocketMQ's KEYS.
    pub key: String,
    /// The body, byte for byte. An empty one, which RocketMQ does not carry, is sent as one blank marked by the property `TC_EMPTY`.
    pub body: Bytes,
    /// User properties. Names and values must not hold the characters U+0001 and U+0002, which part them on the wire.
    pub properties: Vec<(String, String)>,
}

/// Sends messages to one topic. Cheap to clone; connects when it is first used, and again by itself.
#[derive(Clone)]
pub struct Producer {
    config: Arc<RocketMqConfig>,
    started: Arc<Mutex<Option<Started>>>,
}

#[derive(Clone)]
struct Started {
    link: Arc<Link>,
    producer: DefaultMQProducer,
    // In a row.
    failures: Arc<AtomicU32>,
}

impl Producer {
    /// A producer; nothing is sent yet.
    pub fn new(config: RocketMqConfig) -> Self {
        Self { config: Arc::new(config), started: Arc::default() }
    }

    async fn started(&self) -> Result<Started, RocketMqError> {
        let mut slot = self.started.lock().await;
        if let Some(started) = &*slot {
            return Ok(started.clone());
        }
        let link = Arc::new(Link::open(4).await?);
        let mut builder = DefaultMQProducer::builder(link.client())
            .client_config(self.config.client_of_its_own())
            .producer_group(self.config.group.as_str())
            .send_msg_timeout(self.config.send_timeout.as_millis() as u32)
            // Whoever sends decides whether to send again: a failed send may have arrived.
            .retry_times_when_send_failed(0);
        if let Some(credentials) = self.config.credentials() {
            builder = builder.rpc_hook(credentials);
        }
        let mut producer = builder.build();
        let producer =
            link.run(async move { producer.start().await.map(|()| producer) }).await?.map_err(error)?;
        Ok(slot.insert(Started { link, producer, failures: Arc::default() }).clone())
    }

    /// Sends messages, in batches and several batches at a time; one answer each, in order. `Ok` only for a message that the broker
    /// has stored as it is configured to: one that it took without the flush or the replica it is to wait for is not confirmed.
    pub async fn send(&self, messages: Vec<OutMessage>) -> Vec<Result<(), RocketMqError>> {
        let started = match self.started().await {
            Ok(started) => started,
            Err(failed) => return messages.iter().map(|_| Err(again(&failed))).collect(),
        };
        // Judged one by one: a batch is answered as a whole, and one message must not take its neighbours with it.
        let judged: Vec<Result<(), RocketMqError>> = messages.iter().map(sendable).collect();
        let good = messages
            .into_iter()
            .zip(&judged)
            .filter(|(_, judged)| judged.is_ok())
            .map(|(message, _)| message);
        let sends = batches(good.collect()).into_iter().map(|batch| self.send_batch(&started, batch));
        let answers: Vec<Vec<_>> = stream::iter(sends).buffered(IN_FLIGHT).collect().await;
        let mut answers = answers.into_iter().flatten();
        let missing = || Err(error("no answer"));
        judged
            .into_iter()
            .map(|judged| judged.and_then(|()| answers.next().unwrap_or_else(missing)))
            .collect()
    }

    async fn send_batch(&self, started: &Started, batch: Vec<OutMessage>) -> Vec<Result<(), RocketMqError>> {
        let count = batch.len();
        let messages: Result<Vec<Message>, _> =
            batch.into_iter().map(|message| self.message(message)).collect();
        let sent = match messages {
            Ok(messages) => self.mended(started, self.send_messages(started, messages).await).await,
            Err(refused) => Err(refused),
        };
        (0..count).map(|_| sent.as_ref().copied().map_err(again)).collect()
    }

    async fn send_messages(
        &self,
        started: &Started,
        mut messages: Vec<Message>,
    ) -> Result<(), RocketMqError> {
        let producer = started.producer.clone();
        let send = started.link.run(async move {
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
        // The client has been seen to take longer than it was told.
        let patience = self.config.send_timeout + Duration::from_secs(1);
        let status =
            tokio::time::timeout(patience, send).await.map_err(|_| error("no confirmation in time"))??;
        match status.map_err(client_error)? {
            Some(SendStatus::SendOk) => Ok(()),
            other => Err(error(format!("the broker took the message without storing it safely: {other:?}"))),
        }
    }

    fn message(&self, message: OutMessage) -> Result<Message, RocketMqError> {
        let empty = message.body.is_empty();
        let body = if empty { Bytes::from_static(b" ") } else { message.body };
        let mut builder = Message::builder()
            .topic(self.config.topic.as_str())
            .tags(message.tag)
            .key(message.key)
            .body(body);
        let marks = empty.then(|| (EMPTY.to_owned(), "1".to_owned()));
        for (name, value) in message.properties.into_iter().chain(marks) {
            builder = builder.raw_property(name, value).map_err(error)?;
        }
        builder.build().map_err(error)
    }

    /// Gives a client up that has failed a few times in a row, so that the next call makes a new one: after five it would not even try
    /// to connect for 30 s, which nothing can change, and a new one is there within a second of the broker. A single failure is no
    /// reason, for a new client costs memory.
    async fn mended<T>(&self, used: &Started, answer: Result<T, RocketMqError>) -> Result<T, RocketMqError> {
        if !matches!(answer, Err(RocketMqError::Unavailable(_))) {
            used.failures.store(0, Ordering::Relaxed);
            return answer;
        }
        if used.failures.fetch_add(1, Ordering::Relaxed) + 1 < PATIENCE {
            return answer;
        }
        let mut slot = self.started.lock().await;
        if slot.as_ref().is_some_and(|current| Arc::ptr_eq(&current.link, &used.link)) {
            slot.take();
            tokio::spawn(end(used.clone()));
        }
        answer
    }

    /// Asks a name server for the topic's queues, and the broker of one of them for its offset. A topic that does not exist is
    /// created, where the broker lets clients do that.
    ///
    /// # Errors
    /// When one of them does not answer, or the topic cannot be created.
    pub async fn probe(&self) -> Result<(), RocketMqError> {
        let Err(failed) = self.reach().await else { return Ok(()) };
        let Started { link, mut producer, .. } = self.started().await?;
        let topic = self.config.topic.clone();
        let create = link.run(async move {
            producer.create_topic(TEMPLATE_TOPIC, &topic, QUEUES, HashMap::new()).await.map_err(client_error)
        });
        // What cannot be created was not just missing: the first error says more.
        if !matches!(tokio::time::timeout(self.config.send_timeout, create).await, Ok(Ok(Ok(())))) {
            return Err(failed);
        }
        self.reach().await
    }

    /// [`probe`](Self::probe) without creating anything.
    ///
    /// # Errors
    /// When name server or broker do not answer, or the topic does not exist.
    pub async fn reach(&self) -> Result<(), RocketMqError> {
        let started = self.started().await?;
        let answer = self.ask(&started).await;
        self.mended(&started, answer).await
    }

    async fn ask(&self, started: &Started) -> Result<(), RocketMqError> {
        let mut producer = started.producer.clone();
        let topic = self.config.topic.clone();
        let ask = started.link.run(async move {
            let queues = producer.fetch_publish_message_queues(&topic).await.map_err(client_error)?;
            let queue = queues.first().ok_or_else(|| error("the topic has no queue"))?;
            producer.max_offset(queue).await.map(drop).map_err(client_error)
        });
        tokio::time::timeout(self.config.send_timeout, ask)
            .await
            .map_err(|_| error("no answer in time"))??
    }

    /// Messages of the topic that wait for each consumer group, redeliveries included.
    ///
    /// # Errors
    /// When name server or broker do not answer.
    pub async fn lag(&self) -> Result<Vec<(String, u64)>, RocketMqError> {
        let started = self.started().await?;
        lag::by_group(&started.link, Arc::clone(&self.config)).await
    }

    /// Ends it in order. It can be used again.
    pub async fn shutdown(&self) {
        if let Some(started) = self.started.lock().await.take() {
            end(started).await;
        }
    }
}

async fn end(Started { link, mut producer, .. }: Started) {
    let _ = link.run(async move { producer.shutdown().await }).await;
    link.close().await;
}

/// The same error for another message of the batch.
fn again(failed: &RocketMqError) -> RocketMqError {
    match failed {
        RocketMqError::Unavailable(why) => RocketMqError::Unavailable(why.clone()),
        RocketMqError::Refused(why) => RocketMqError::Refused(why.clone()),
    }
}

/// Whether RocketMQ would take the message. What it never will is refused here: the client answers it with the same error as a
/// topic without a route, which passes.
fn sendable(message: &OutMessage) -> Result<(), RocketMqError> {
    let refused = |why: String| Err(RocketMqError::Refused(why));
    if weight(message) > MESSAGE_BYTES {
        return refused(format!("the message has over {MESSAGE_BYTES} bytes"));
    }
    let parts = |text: &str| text.contains(['\u{1}', '\u{2}']);
    match message.properties.iter().find(|(name, value)| parts(name) || parts(value)) {
        Some((name, _)) => refused(format!("the property {name:?} holds a separator of the wire")),
        None => Ok(()),
    }
}

fn weight(message: &OutMessage) -> usize {
    let properties: usize = message.properties.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    message.body.len() + message.tag.len() + message.key.len() + properties + OVERHEAD
}

/// Cuts the messages into batches, in order. One that is too heavy for any batch stands alone.
fn batches(messages: Vec<OutMessage>) -> Vec<Vec<OutMessage>> {
    let mut batches: Vec<Vec<OutMessage>> = Vec::new();
    let mut bytes = 0;
    for message in messages {
        let weight = weight(&message);
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH && bytes + weight <= BATCH_BYTES => {
                bytes += weight;
                batch.push(message);
            }
            _ => {
                bytes = weight;
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
    fn batches_are_bounded_by_count_and_by_bytes() {
        assert_eq!(sizes(vec![of(10); 130]), [64, 64, 2]);
        assert_eq!(sizes(vec![of(400_000); 5]), [2, 2, 1]);
        assert_eq!(sizes(vec![of(1), of(3_000_000), of(1)]), [1, 1, 1]);
        assert!(sizes(Vec::new()).is_empty());
    }
}

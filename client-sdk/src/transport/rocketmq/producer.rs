//! Producer of messages.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::select_ok;
use taskcenter_rocketmq::admin::{Admin, QueueLag};
use taskcenter_rocketmq::producer::{Message, Producer as Sender};
use taskcenter_rocketmq::{Client, Error, MessageQueue, Route};

use super::{EMPTY, RocketMqConfig, RocketMqError};

/// Time limit of a query of the lag, over all groups.
const MAX_LAG_TIME: Duration = Duration::from_secs(10);
/// Time that a check leaves the name servers, before it asks the known brokers.
const MAX_ROUTE_TIME: Duration = Duration::from_secs(1);
/// Number of queues of a new topic, on each broker.
const NEW_TOPIC_QUEUES: u32 = 8;

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
    started: Arc<Mutex<Option<Started>>>,
}

/// A started client.
#[derive(Clone)]
struct Started {
    client: Client,
    sender: Sender,
}

impl Producer {
    /// Creates a producer. It does not connect before the first use.
    pub fn new(config: RocketMqConfig) -> Self {
        Self { config: Arc::new(config), started: Arc::default() }
    }

    fn start(&self) -> Result<Started, RocketMqError> {
        let mut slot = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(started) = &*slot {
            return Ok(started.clone());
        }
        let client = Client::new(self.config.client())?;
        let sender = Sender::new(&client, self.config.producer())?;
        Ok(slot.insert(Started { client, sender }).clone())
    }

    /// Sends messages in concurrent batches. Returns one result for each message, in order.
    ///
    /// `Ok` means that the broker has stored the message as configured. A message that the broker
    /// accepted without the configured flush or replica is an error. A message that is refused does
    /// not affect the others.
    pub async fn send(&self, messages: Vec<OutMessage>) -> Vec<Result<(), RocketMqError>> {
        let sender = match self.start() {
            Ok(started) => started.sender,
            Err(failed) => return vec![Err(failed); messages.len()],
        };
        let messages = messages.into_iter().map(|message| self.message(message)).collect();
        let results = sender.send_batch(messages).await;
        results.into_iter().map(|result| result.map(drop).map_err(RocketMqError::from)).collect()
    }

    fn message(&self, message: OutMessage) -> Message {
        let mut properties = message.properties;
        let mut body = message.body;
        if body.is_empty() {
            body = Bytes::from_static(b" ");
            properties.push((EMPTY.to_owned(), "1".to_owned()));
        }
        let (tag, keys) = (message.tag, message.key);
        Message { topic: self.config.topic.clone(), body, tag, keys, properties }
    }

    /// Checks that RocketMQ is reachable: asks a name server for the brokers of the topic, and each
    /// broker for an offset. One answer suffices, because sends avoid brokers that fail. Creates a
    /// missing topic if the broker allows it.
    ///
    /// # Errors
    /// [`RocketMqError`] if no broker answers, or the topic cannot be created.
    pub async fn probe(&self) -> Result<(), RocketMqError> {
        let Started { client, .. } = self.start()?;
        match self.within_limit(check_topic(&client, &self.config.topic)).await {
            Err(Error::TopicNotFound { .. }) => {}
            result => return Ok(result?),
        }
        let admin = Admin::new(&client);
        match self.within_limit(admin.ensure_topic(&self.config.topic, NEW_TOPIC_QUEUES)).await {
            Err(refused @ Error::Refused { .. }) => return Err(refused.into()),
            // A name server that has just started knows no topic, and sends use the known brokers.
            Err(why) => tracing::debug!(topic = self.config.topic, %why, "cannot create the topic"),
            Ok(()) => {}
        }
        Ok(self.within_limit(ask_known_brokers(&client, &self.config.topic)).await?)
    }

    /// Like [`probe`](Self::probe), but does not create a topic.
    ///
    /// # Errors
    /// [`RocketMqError`] if no broker answers, or the topic does not exist.
    pub async fn check_topic(&self) -> Result<(), RocketMqError> {
        let Started { client, .. } = self.start()?;
        Ok(self.within_limit(check_topic(&client, &self.config.topic)).await?)
    }

    async fn within_limit<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::time::timeout(self.config.send_timeout, work).await.unwrap_or_else(|_| {
            Err(Error::Unreachable {
                address: self.config.namesrv.clone(),
                reason: "no answer in time".into(),
            })
        })
    }

    /// Returns the lag of each consumer group of the topic: the number of messages that wait,
    /// including redeliveries.
    ///
    /// # Errors
    /// [`RocketMqError`] if a broker of the topic does not answer within 10 s.
    pub async fn lag(&self) -> Result<Vec<(String, u64)>, RocketMqError> {
        let Started { client, .. } = self.start()?;
        let lag = tokio::time::timeout(MAX_LAG_TIME, lag(&Admin::new(&client), &self.config.topic)).await;
        let lag = lag.map_err(|_| RocketMqError::Unavailable("the lag was not answered in time".into()))?;
        Ok(lag?)
    }

    /// Disconnects in order. A later call connects again.
    pub async fn shutdown(&self) {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Started { client, .. }) = started {
            client.close().await;
        }
    }
}

/// Succeeds if a broker of the topic answers. Asks the known brokers if no name server answers.
async fn check_topic(client: &Client, topic: &str) -> Result<(), Error> {
    let topic_on_the_wire = client.config().wire_name(topic);
    match tokio::time::timeout(MAX_ROUTE_TIME, client.refresh_route(&topic_on_the_wire)).await {
        Ok(Err(missing @ Error::TopicNotFound { .. })) => Err(missing),
        _ => ask_known_brokers(client, topic).await,
    }
}

/// Succeeds if a broker of the last known route answers.
async fn ask_known_brokers(client: &Client, topic: &str) -> Result<(), Error> {
    let topic = client.config().wire_name(topic);
    let route = client.route(&topic).await?;
    let admin = Admin::new(client);
    let queues = first_queues(&route, &topic);
    if queues.is_empty() {
        return Err(Error::NoQueue { topic, operation: "written" });
    }
    select_ok(queues.iter().map(|queue| admin.max_offset(queue).boxed())).await.map(drop)
}

/// Returns one queue for each broker.
fn first_queues(route: &Route, topic: &str) -> Vec<MessageQueue> {
    let queue = |broker_name: &String| MessageQueue {
        topic: topic.to_owned(),
        broker_name: broker_name.clone(),
        queue_id: 0,
    };
    route.queues.iter().map(|range| queue(&range.broker_name)).collect()
}

async fn lag(admin: &Admin, topic: &str) -> Result<Vec<(String, u64)>, Error> {
    let mut lag = Vec::new();
    for group in admin.groups(topic).await? {
        let waiting = admin.lag(topic, &group).await?.iter().map(QueueLag::waiting).sum();
        lag.push((group, waiting));
    }
    Ok(lag)
}

//! Handler of messages.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::session::{DEAD_LETTER_PREFIX, RETRY_PREFIX};
use crate::MessageQueue;
use crate::protocol::message::{RETRY_TOPIC, StoredMessage};
use crate::protocol::properties::{KEYS, TAGS};

/// Handles messages.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles a message and returns how to settle it. A panic counts as [`Disposition::Retry`]
    /// without a delay.
    ///
    /// It may take any time, also hours. It delays the commit of its queue, and pulling from the
    /// queue stops when [`max_span`](super::ConsumerConfig::max_span) messages wait for the commit.
    ///
    /// `lost` is cancelled when another member of the group takes the queue. That member receives
    /// the message as well, unless it finishes first.
    async fn handle(&self, message: Received, lost: CancellationToken) -> Disposition;
}

/// How to settle a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disposition {
    /// The message is done.
    Ack,
    /// Deliver the message again. The next delivery has a higher
    /// [`reconsume_times`](Received::reconsume_times).
    Retry {
        /// Minimum delay. Brokers know 18 delays from 1 s to 2 h; a delay in between is rounded up.
        /// `None`: the back-off of the broker, from 10 s to 2 h.
        after: Option<Duration>,
    },
    /// Move the message to the dead-letter queue of the group.
    DeadLetter,
    /// Leave the message unhandled. It is delivered again soon, here or to another member, and the
    /// delivery does not count. During shutdown the next owner of the queue receives it.
    Release,
}

/// A received message. Tests of handlers can fill a default one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Topic, without the namespace. A redelivered message has its original topic.
    pub topic: String,
    /// Tag.
    pub tag: Option<String>,
    /// Keys, separated by blanks.
    pub keys: Option<String>,
    /// Body, decompressed.
    pub body: Bytes,
    /// All properties, of the system and of the producer.
    pub properties: BTreeMap<String, String>,
    /// Id that the producer gave the message. Redeliveries keep it.
    pub message_id: String,
    /// Id of the storage. Each redelivery has another one.
    pub offset_id: String,
    /// Number of redeliveries: 0 at the first delivery.
    pub reconsume_times: u32,
    /// Queue from which the message was read. Redeliveries come from the retry topic.
    pub queue: MessageQueue,
    /// Position in the queue.
    pub queue_offset: i64,
    /// Flag of the producer.
    pub flag: i32,
    /// Time of the send by the producer's clock, in milliseconds since 1970.
    pub born_ms: i64,
    /// Time of the storage by the broker's clock, in milliseconds since 1970.
    pub stored_ms: i64,
}

impl Received {
    pub(crate) fn new(message: &StoredMessage, body: Bytes, queue: &MessageQueue, namespace: &str) -> Self {
        Self {
            topic: without_namespace(real_topic(message), namespace).to_owned(),
            tag: message.property(TAGS).map(str::to_owned),
            keys: message.property(KEYS).map(str::to_owned),
            body,
            message_id: message.unique_id(),
            offset_id: message.offset_id(),
            reconsume_times: message.reconsume_times.max(0) as u32,
            queue: queue.clone(),
            queue_offset: message.queue_offset,
            flag: message.flag,
            born_ms: message.born_ms,
            stored_ms: message.stored_ms,
            properties: message.properties.clone(),
        }
    }
}

/// Returns the topic to which the message was sent, as on the wire. Messages of other topics than
/// those of redeliveries and dead letters have the property if a program sent them on.
pub(crate) fn real_topic(message: &StoredMessage) -> &str {
    let moved = [RETRY_PREFIX, DEAD_LETTER_PREFIX].iter().any(|prefix| message.topic.starts_with(prefix));
    message.property(RETRY_TOPIC).filter(|_| moved).unwrap_or(&message.topic)
}

fn without_namespace<'a>(topic: &'a str, namespace: &str) -> &'a str {
    let rest = topic.strip_prefix(namespace).filter(|_| !namespace.is_empty());
    rest.and_then(|rest| rest.strip_prefix('%')).unwrap_or(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_removed() {
        assert_eq!(without_namespace("MQ_1%topic", "MQ_1"), "topic");
        for (topic, namespace) in [("topic", ""), ("%topic", ""), ("topic", "MQ_1"), ("MQ_1topic", "MQ_1")] {
            assert_eq!(without_namespace(topic, namespace), topic);
        }
    }
}

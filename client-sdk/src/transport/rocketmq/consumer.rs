//! Consumer of messages.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use taskcenter_rocketmq::consumer::{
    Consumer, Disposition, Handler, Health, Received, Subscription as WireSubscription,
};
use taskcenter_rocketmq::{Client, Error};
use tokio_util::sync::CancellationToken;

use super::{EMPTY, RocketMqConfig};
use crate::tag::Subscription;
use crate::transport::{Deliver, Delivery, Transport, TransportError, Verdict};

/// Transport that consumes a topic of RocketMQ as a member of a consumer group.
///
/// A new group starts with the oldest message of the topic, unless
/// [`start_from`](RocketMqConfig::start_from) says otherwise.
///
/// A released message counts no redelivery: it starts again after a second, or at the next owner of
/// its queue. Clones share the [`health`](Self::health).
#[derive(Clone)]
pub struct RocketMq {
    config: RocketMqConfig,
    /// Consumer of the last run.
    consumer: Arc<Mutex<Option<Arc<Consumer>>>>,
}

impl RocketMq {
    /// Creates the transport. It does not connect before the consumer starts.
    pub fn new(config: RocketMqConfig) -> Self {
        Self { config, consumer: Arc::default() }
    }

    /// Returns the state of the consumer: the queues that it reads, and what fails at present, such
    /// as a missing topic or a wrong key. Before the start it is the default.
    pub fn health(&self) -> Health {
        let consumer = self.consumer.lock().unwrap_or_else(PoisonError::into_inner);
        consumer.as_ref().map(|consumer| consumer.health()).unwrap_or_default()
    }
}

impl std::fmt::Debug for RocketMq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocketMq").field("config", &self.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for RocketMq {
    /// Waits for RocketMQ and for the topic, and repeats what fails. Only an invalid configuration
    /// is an error.
    async fn run(
        &self,
        subscription: Subscription,
        sink: Arc<dyn Deliver>,
        shutdown: CancellationToken,
    ) -> Result<(), TransportError> {
        let client = Client::new(self.config.client()).map_err(|why| transport_error(&why))?;
        let config = self.config.consumer(sink.concurrency());
        let consumer = Arc::new(Consumer::new(client.clone(), config).map_err(|why| transport_error(&why))?);
        *self.consumer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&consumer));
        let topics = BTreeMap::from([(self.config.topic.clone(), wire_subscription(&subscription))]);
        let result = consumer.run(topics, Arc::new(Bridge(sink)), shutdown).await;
        client.close().await;
        result.map_err(|why| transport_error(&why))
    }
}

fn transport_error(why: &Error) -> TransportError {
    TransportError::new("rocketmq", why.to_string())
}

fn wire_subscription(subscription: &Subscription) -> WireSubscription {
    match subscription {
        Subscription::All => WireSubscription::All,
        Subscription::Tags(tags) => WireSubscription::Tags(tags.clone()),
    }
}

/// Passes messages to the sink.
struct Bridge(Arc<dyn Deliver>);

#[async_trait]
impl Handler for Bridge {
    /// Ignores the loss of the queue. The new owner of the queue receives the message as well, but
    /// the run still belongs to this attempt: the server accepts its outcome. A handler that stopped
    /// would report a failure.
    async fn handle(&self, message: Received, _lost: CancellationToken) -> Disposition {
        match self.0.deliver(delivery(message)).await {
            Verdict::Ack | Verdict::HandOver { .. } => Disposition::Ack,
            Verdict::Retry { after } => Disposition::Retry { after },
            Verdict::DeadLetter => Disposition::DeadLetter,
            Verdict::Release => Disposition::Release,
        }
    }
}

fn delivery(message: Received) -> Delivery {
    let is_empty = message.properties.contains_key(EMPTY);
    Delivery {
        message_id: message.message_id,
        task_id: message.keys.unwrap_or_default(),
        tag: message.tag.unwrap_or_default(),
        body: if is_empty { Bytes::new() } else { message.body },
        delivery_attempt: message.reconsume_times.saturating_add(1),
        properties: HashMap::from_iter(message.properties),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns sample messages: lines of `name=value`, an empty line, and the body.
    fn samples() -> Vec<Vec<u8>> {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/tests/it/fuzz/corpus/messages");
        let files = std::fs::read_dir(corpus).unwrap_or_else(|error| panic!("{corpus}: {error}"));
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    /// Returns the next number of the pseudo-random sequence.
    fn next(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize
    }

    /// A message of any publisher becomes a delivery with all its parts.
    #[test]
    fn every_message_becomes_a_delivery() {
        const NAMES: [&str; 6] = ["UNIQ_KEY", "KEYS", "TAGS", EMPTY, "TC_RUN_ID", ""];
        let seed = std::env::var("TASKCENTER_TEST_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(crate::random::bits);
        println!("messages: TASKCENTER_TEST_FUZZ_SEED={seed}");
        let (samples, mut state) = (samples(), seed);
        for _ in 0..2_000 {
            let mut input = samples[next(&mut state) % samples.len()].clone();
            for _ in 0..next(&mut state) % 4 {
                let at = next(&mut state) % (input.len() + 1);
                input.insert(at, next(&mut state) as u8);
            }
            let text = String::from_utf8_lossy(&input).into_owned();
            let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
            let mut sent: HashMap<String, String> = head
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            sent.insert(NAMES[next(&mut state) % NAMES.len()].to_owned(), body.to_owned());
            let times = [0, 1, 16, u32::MAX][next(&mut state) % 4];
            let mut received = Received::default();
            (received.body, received.reconsume_times) = (body.to_owned().into(), times);
            (received.keys, received.tag) = (sent.get("KEYS").cloned(), sent.get("TAGS").cloned());
            received.message_id = "id".to_owned();
            received.properties = sent.clone().into_iter().collect();

            let delivery = delivery(received);
            assert_eq!(delivery.properties, sent);
            let property = |name: &str| sent.get(name).cloned().unwrap_or_default();
            assert_eq!(
                (delivery.message_id, delivery.task_id, delivery.tag),
                ("id".to_owned(), property("KEYS"), property("TAGS"))
            );
            let body = if sent.contains_key(EMPTY) { "" } else { body };
            assert_eq!(delivery.body, body.as_bytes());
            assert_eq!(delivery.delivery_attempt, times.saturating_add(1));
        }
    }
}

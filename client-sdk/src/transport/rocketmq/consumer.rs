//! Receives messages.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rocketmq_client_rust::{
    ClientError, ClientResult, ConsumeConcurrentlyContext, ConsumeConcurrentlyStatus, DefaultMQPushConsumer,
    MQPushConsumer, MessageListenerConcurrently,
};
use rocketmq_model::common::consumer::consume_from_where::ConsumeFromWhere;
use rocketmq_model::common::message::message_ext::MessageExt;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::link::Link;
use super::{EMPTY, Producer, RocketMqConfig, error};
use crate::tag::Subscription;
use crate::transport::{Deliver, Delivery, Transport, TransportError, Verdict};

/// The broker's delay levels in seconds, counted from 1; they are its defaults.
const LEVELS_SEC: [u64; 18] =
    [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
/// Between two looks at whether the topic can be reached.
const WATCH: Duration = Duration::from_secs(2);
/// Looks in vain before RocketMQ counts as having been away: one may be late on a busy machine.
const AWAY: u32 = 2;
/// The level that stands for the dead-letter queue.
const DEAD_LETTER: i32 = -1;

/// Consumes a topic as a member of a group. A new group begins with the oldest message, so that nothing that was published before
/// its first start is lost to it.
#[derive(Debug, Clone)]
pub struct RocketMq {
    config: RocketMqConfig,
}

impl RocketMq {
    /// A consumer that is not started; nothing is sent yet.
    pub fn new(config: RocketMqConfig) -> Self {
        Self { config }
    }
}

#[async_trait]
impl Transport for RocketMq {
    async fn run(
        &self,
        subscription: Subscription,
        sink: Arc<dyn Deliver>,
        shutdown: CancellationToken,
    ) -> Result<(), TransportError> {
        let watch = Producer::new(self.config.clone());
        let mut result = Ok(());
        while result.is_ok() && !shutdown.is_cancelled() {
            let life = shutdown.child_token();
            let session = self.session(&subscription, Arc::clone(&sink), life.clone());
            tokio::pin!(session);
            result = tokio::select! {
                ended = &mut session => ended,
                () = came_back(&watch) => {
                    tracing::info!(topic = self.config.topic, "RocketMQ is back; the consumer starts again");
                    life.cancel();
                    session.await
                }
            };
        }
        watch.shutdown().await;
        result
    }
}

/// Returns when the topic could not be reached for a while and can be again. The client notices by itself only up to 30 s later
/// (see [`Producer`]), and a topic that was created meanwhile later still.
async fn came_back(watch: &Producer) {
    let mut turn = tokio::time::interval(WATCH);
    let mut misses = 0;
    loop {
        turn.tick().await;
        match watch.reach().await {
            Ok(()) if misses >= AWAY => return,
            Ok(()) => misses = 0,
            Err(_) => misses += 1,
        }
    }
}

async fn shut_down(consumer: &OnceLock<Mutex<DefaultMQPushConsumer>>) {
    if let Some(consumer) = consumer.get() {
        consumer.lock().await.shutdown().await;
    }
}

impl RocketMq {
    /// Consumes with one client until `shutdown`.
    async fn session(
        &self,
        subscription: &Subscription,
        sink: Arc<dyn Deliver>,
        shutdown: CancellationToken,
    ) -> Result<(), TransportError> {
        let failed = |why: String| TransportError::new("rocketmq", why);
        let link = Link::open(self.config.max_in_flight).await.map_err(|why| failed(why.to_string()))?;
        let under_way = TaskTracker::new();
        let consumer = Arc::new(OnceLock::new());
        let listener = Listener {
            sink,
            subscription: subscription.clone(),
            handle: Handle::current(),
            consumer: Arc::clone(&consumer),
            under_way: under_way.clone(),
        };
        let mut push = self.build(&link);
        let (topic, expression) = (self.config.topic.clone(), expression(subscription));
        let started = link.run(async move {
            push.subscribe(topic, expression).await?;
            push.register_message_listener_concurrently(listener);
            push.start().await.map(|()| push)
        });
        let push =
            started.await.map_err(|why| failed(why.to_string()))?.map_err(|why| failed(why.to_string()))?;
        let push = consumer.get_or_init(|| Mutex::new(push));
        shutdown.cancelled().await;
        push.lock().await.suspend().await;
        under_way.close();
        under_way.wait().await;
        let push = Arc::clone(&consumer);
        let _ = link.run(async move { shut_down(&push).await }).await;
        link.close().await;
        Ok(())
    }

    fn build(&self, link: &Link) -> DefaultMQPushConsumer {
        let parallel = self.config.max_in_flight as u32;
        DefaultMQPushConsumer::builder(link.client())
            .client_config(self.config.client_of_its_own())
            .consumer_group(self.config.group.as_str())
            .consume_from_where(ConsumeFromWhere::ConsumeFromFirstOffset)
            .consume_message_batch_max_size(1)
            .consume_thread_min(parallel)
            .consume_thread_max(parallel)
            .await_termination_millis_when_shutdown(5_000)
            .max_reconsume_times(self.config.max_reconsume_times)
            .rpc_hook(self.config.credentials().map(|credentials| credentials as _))
            .build()
    }
}

/// Blanks in it would be hashed as part of the tags, and match nothing.
fn expression(subscription: &Subscription) -> String {
    match subscription {
        Subscription::All => "*".to_owned(),
        Subscription::Tags(tags) => tags.iter().map(String::as_str).collect::<Vec<_>>().join("||"),
    }
}

/// The client's side of a delivery. It is called on a thread that may block.
struct Listener {
    sink: Arc<dyn Deliver>,
    subscription: Subscription,
    handle: Handle,
    consumer: Arc<OnceLock<Mutex<DefaultMQPushConsumer>>>,
    under_way: TaskTracker,
}

impl MessageListenerConcurrently for Listener {
    fn consume_message(
        &self,
        messages: &[&MessageExt],
        _context: &ConsumeConcurrentlyContext,
    ) -> ClientResult<ConsumeConcurrentlyStatus> {
        let _under_way = self.under_way.token();
        for message in messages {
            if !self.handle.block_on(self.deliver(message)) {
                return Ok(ConsumeConcurrentlyStatus::ReconsumeLater);
            }
        }
        Ok(ConsumeConcurrentlyStatus::ConsumeSuccess)
    }
}

impl Listener {
    /// Whether the message is settled. If not, the client sends it back to the broker with the broker's own back-off.
    async fn deliver(&self, message: &MessageExt) -> bool {
        let delivery = delivery(message);
        // The broker filters by the tags' hashes, which can collide.
        if !self.subscription.matches(&delivery.tag) {
            return true;
        }
        match self.sink.deliver(delivery).await {
            Verdict::Ack | Verdict::HandOver { .. } => true,
            Verdict::Retry { after: None } | Verdict::Release => false,
            Verdict::Retry { after: Some(after) } => self.send_back(message, level(after)).await,
            Verdict::DeadLetter => self.send_back(message, DEAD_LETTER).await,
        }
    }

    async fn send_back(&self, message: &MessageExt, level: i32) -> bool {
        let Some(consumer) = self.consumer.get() else { return false };
        let broker = message.broker_name().to_string();
        let sent: Result<(), ClientError> =
            Box::pin(consumer.lock().await.send_message_back(message.clone(), level, &broker)).await;
        if let Err(why) = &sent {
            tracing::warn!(why = %error(why), "a message could not be sent back; it comes again with the broker's own pause");
        }
        sent.is_ok()
    }
}

/// The shortest of the broker's pauses that is not shorter than `after`.
fn level(after: Duration) -> i32 {
    let level = LEVELS_SEC.iter().position(|sec| Duration::from_secs(*sec) >= after);
    level.map_or(LEVELS_SEC.len() as i32, |position| position as i32 + 1)
}

fn delivery(message: &MessageExt) -> Delivery {
    let properties: HashMap<String, String> =
        message.properties().iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let property = |name: &str| properties.get(name).cloned().unwrap_or_default();
    Delivery {
        // The message id changes with each redelivery; this one does not.
        message_id: property("UNIQ_KEY"),
        task_id: property("KEYS"),
        tag: property("TAGS"),
        body: if properties.contains_key(EMPTY) { Bytes::new() } else { message.body().unwrap_or_default() },
        delivery_attempt: message.reconsume_times().max(0) as u32 + 1,
        properties,
    }
}

#[cfg(test)]
mod tests {
    use rocketmq_model::common::message::message_single::Message;

    use super::*;

    #[test]
    fn pauses_are_rounded_up_to_a_level() {
        let levels = [0, 1, 2, 5, 6, 31, 7_200, 100_000].map(|sec| level(Duration::from_secs(sec)));
        assert_eq!(levels, [1, 1, 2, 2, 3, 5, 18, 18]);
        assert_eq!(level(Duration::from_millis(1_001)), 2);
    }

    #[test]
    fn a_subscription_is_joined_without_blanks() {
        let tags = Subscription::Tags(["b".to_owned(), "a".to_owned()].into());
        assert_eq!(expression(&tags), "a||b");
        assert_eq!(expression(&Subscription::All), "*");
    }

    /// Messages that are known to be interesting, `name=value` a line and the body after an empty one.
    fn samples() -> Vec<Vec<u8>> {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/tests/it/fuzz/corpus/messages");
        let files = std::fs::read_dir(corpus).unwrap_or_else(|error| panic!("{corpus}: {error}"));
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    /// The next number of a row that begins with a seed.
    fn next(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize
    }

    /// What the broker sends, whoever published it: every part comes through, and nothing stumbles.
    #[test]
    fn whatever_stands_in_a_message_it_becomes_a_delivery() {
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
            let times = [0, 1, -1, i32::MAX, i32::MIN][next(&mut state) % 5];
            let mut message = Message::builder().topic("topic").body_slice(body.as_bytes()).build_unchecked();
            message.set_properties(
                sent.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect(),
            );
            let mut received = MessageExt::default();
            received.set_message_inner(message);
            received.set_reconsume_times(times);

            let delivery = delivery(&received);
            assert_eq!(delivery.properties, sent);
            let property = |name: &str| sent.get(name).cloned().unwrap_or_default();
            assert_eq!(
                (delivery.message_id, delivery.task_id, delivery.tag),
                (property("UNIQ_KEY"), property("KEYS"), property("TAGS"))
            );
            let body = if sent.contains_key(EMPTY) { "" } else { body };
            assert_eq!(delivery.body, body.as_bytes());
            assert_eq!(i64::from(delivery.delivery_attempt), i64::from(times.max(0)) + 1);
        }
    }
}

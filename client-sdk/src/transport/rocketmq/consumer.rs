//! Consumer of messages.

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

use super::runtime::RocketMqRuntime;
use super::{EMPTY, Producer, RocketMqConfig, unavailable};
use crate::tag::Subscription;
use crate::transport::{Deliver, Delivery, Transport, TransportError, Verdict};

/// Delay levels of the broker in seconds; the first is level 1. These are the defaults of the
/// broker.
const LEVELS_SEC: [u64; 18] =
    [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
/// Time between two checks of the topic.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Consecutive failed checks after which RocketMQ counts as unreachable. One check may time out on
/// a busy machine.
const OUTAGE_CHECKS: u32 = 2;
/// Level of the dead-letter queue.
const DEAD_LETTER: i32 = -1;

/// Transport that consumes a topic of RocketMQ as a member of a consumer group.
///
/// A new group starts with the oldest message of the topic. So the group also receives the messages
/// that were sent before its first start.
#[derive(Debug, Clone)]
pub struct RocketMq {
    config: RocketMqConfig,
}

impl RocketMq {
    /// Creates the transport. It does not connect before the consumer starts.
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
        let monitor = Producer::new(self.config.clone());
        let sessions = TaskTracker::new();
        let stop = shutdown.child_token();
        // Every return of this function stops the sessions.
        let _stop = stop.clone().drop_guard();
        let mut result = Ok(());
        while result.is_ok() && !stop.is_cancelled() {
            let ends = SessionEnd { stop: stop.clone(), replace: CancellationToken::new() };
            let session = Self::session(self.clone(), subscription.clone(), Arc::clone(&sink), ends.clone());
            let mut session = sessions.spawn(session);
            result = tokio::select! {
                ended = &mut session => ended.unwrap_or_else(|failed| Err(transport_error(&failed))),
                () = wait_for_recovery(&monitor) => {
                    tracing::info!(topic = self.config.topic, "RocketMQ reachable again; restarting the consumer");
                    // The running handlers of the old session continue beside the new session.
                    ends.replace.cancel();
                    Ok(())
                }
            };
        }
        sessions.close();
        if result.is_ok() {
            sessions.wait().await;
        }
        monitor.shutdown().await;
        result
    }
}

/// Signals that end a session.
#[derive(Clone)]
struct SessionEnd {
    /// The consumer stops. The session settles the messages in progress before it leaves the group.
    stop: CancellationToken,
    /// A new session replaces this one and needs all queues of the topic immediately. The session
    /// leaves the group before it settles the messages in progress.
    replace: CancellationToken,
}

fn transport_error(why: &impl std::fmt::Display) -> TransportError {
    TransportError::new("rocketmq", why.to_string())
}

/// Returns when the topic is reachable again after an outage. The client itself notices up to 30 s
/// later (see [`Producer`]), and a topic that was created during the outage even later.
async fn wait_for_recovery(monitor: &Producer) {
    let mut ticks = tokio::time::interval(CHECK_INTERVAL);
    let mut failures = 0;
    loop {
        ticks.tick().await;
        match monitor.check_topic().await {
            Ok(()) if failures >= OUTAGE_CHECKS => return,
            Ok(()) => failures = 0,
            Err(_) => failures += 1,
        }
    }
}

async fn shut_down(consumer: &OnceLock<Mutex<DefaultMQPushConsumer>>) {
    if let Some(consumer) = consumer.get() {
        consumer.lock().await.shutdown().await;
    }
}

impl RocketMq {
    /// Consumes with one client until one of the signals.
    async fn session(
        self,
        subscription: Subscription,
        sink: Arc<dyn Deliver>,
        ends: SessionEnd,
    ) -> Result<(), TransportError> {
        let runtime =
            RocketMqRuntime::start(self.config.max_in_flight).await.map_err(|why| transport_error(&why))?;
        let in_progress = TaskTracker::new();
        let consumer = Arc::new(OnceLock::new());
        let listener = Listener {
            sink,
            subscription: subscription.clone(),
            handle: Handle::current(),
            consumer: Arc::clone(&consumer),
            in_progress: in_progress.clone(),
        };
        let mut push = self.build(&runtime);
        let (topic, expression) = (self.config.wire_topic(), subscription.to_string());
        let started = runtime.run(async move {
            push.subscribe(topic, expression).await?;
            push.register_message_listener_concurrently(listener);
            push.start().await.map(|()| push)
        });
        let push =
            started.await.map_err(|why| transport_error(&why))?.map_err(|why| transport_error(&why))?;
        let push = consumer.get_or_init(|| Mutex::new(push));
        let stops = tokio::select! {
            () = ends.stop.cancelled() => true,
            () = ends.replace.cancelled() => false,
        };
        push.lock().await.suspend().await;
        in_progress.close();
        if stops {
            in_progress.wait().await;
        }
        let push = Arc::clone(&consumer);
        let _ = runtime.run(async move { shut_down(&push).await }).await;
        in_progress.wait().await;
        runtime.close().await;
        Ok(())
    }

    fn build(&self, runtime: &RocketMqRuntime) -> DefaultMQPushConsumer {
        let parallel = self.config.max_in_flight as u32;
        DefaultMQPushConsumer::builder(runtime.client())
            .client_config(self.config.unique_client())
            .consumer_group(self.config.wire_group())
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

/// Listener of the client. The client calls it on a thread that may block.
struct Listener {
    sink: Arc<dyn Deliver>,
    subscription: Subscription,
    handle: Handle,
    consumer: Arc<OnceLock<Mutex<DefaultMQPushConsumer>>>,
    in_progress: TaskTracker,
}

impl MessageListenerConcurrently for Listener {
    fn consume_message(
        &self,
        messages: &[&MessageExt],
        _context: &ConsumeConcurrentlyContext,
    ) -> ClientResult<ConsumeConcurrentlyStatus> {
        let _in_progress = self.in_progress.token();
        for message in messages {
            if !self.handle.block_on(self.deliver(message)) {
                return Ok(ConsumeConcurrentlyStatus::ReconsumeLater);
            }
        }
        Ok(ConsumeConcurrentlyStatus::ConsumeSuccess)
    }
}

impl Listener {
    /// Delivers a message and returns whether it is settled. Otherwise the client sends it back to
    /// the broker, with the back-off of the broker.
    async fn deliver(&self, message: &MessageExt) -> bool {
        let delivery = delivery(message);
        // The broker filters by the hash of the tag, and hashes can collide.
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
            tracing::warn!(why = %unavailable(why), "send-back failed; the broker redelivers with its own back-off");
        }
        sent.is_ok()
    }
}

/// Returns the delay level of RocketMQ with the shortest delay that is at least `after`. If `after`
/// is longer than all delays, returns the level with the longest delay.
fn level(after: Duration) -> i32 {
    let level = LEVELS_SEC.iter().position(|sec| Duration::from_secs(*sec) >= after);
    level.map_or(LEVELS_SEC.len() as i32, |position| position as i32 + 1)
}

fn delivery(message: &MessageExt) -> Delivery {
    let properties: HashMap<String, String> =
        message.properties().iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let property = |name: &str| properties.get(name).cloned().unwrap_or_default();
    Delivery {
        // The message id of the broker changes with each redelivery; UNIQ_KEY does not.
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
    fn delays_are_rounded_up_to_a_level() {
        let levels = [0, 1, 2, 5, 6, 31, 7_200, 100_000].map(|sec| level(Duration::from_secs(sec)));
        assert_eq!(levels, [1, 1, 2, 2, 3, 5, 18, 18]);
        assert_eq!(level(Duration::from_millis(1_001)), 2);
    }

    #[test]
    fn a_subscription_is_joined_without_blanks() {
        let tags = Subscription::Tags(["b".to_owned(), "a".to_owned()].into());
        assert_eq!(tags.to_string(), "a||b");
        assert_eq!(Subscription::All.to_string(), "*");
    }

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

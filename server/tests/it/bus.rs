//! Conformance suite of [`Bus`], run against every adapter, and tests of single adapters. A new
//! adapter needs one line in `on_every_bus!`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use taskcenter_client::rocketmq::{RocketMq, RocketMqConfig};
use taskcenter_client::tag::Subscription;
use taskcenter_client::{Deliver, Delivery, Transport, Verdict};
use taskcenter_server::adapters::absent::NoBus;
use taskcenter_server::adapters::fault::{Faulty, Odds, SeededPlan};
use taskcenter_server::adapters::memory::MemoryBus;
use taskcenter_server::adapters::rocketmq::RocketMqBus;
use taskcenter_server::ports::{Bus, BusMessage, PortError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::store::samples::unique;

/// Interval between two checks of a condition.
const INTERVAL: Duration = Duration::from_millis(100);
/// Longest wait for a condition.
const DEADLINE: Duration = Duration::from_mins(1);

/// A bus with its own topic.
#[async_trait]
trait Fixture: Send + Sync {
    fn bus(&self) -> Arc<dyn Bus>;
    /// Waits for `count` messages, and returns them.
    async fn arrived(&mut self, count: usize) -> Vec<BusMessage>;
    async fn close(self);
}

/// Makes each case a test on every adapter.
macro_rules! on_every_bus {
    ($($case:ident)*) => {
        on_every_bus!(@adapter on_rocketmq crate::bus::Broker, $($case)*);
        on_every_bus!(@adapter in_memory crate::bus::Memory, $($case)*);
        on_every_bus!(@adapter through_the_fault_decorator crate::bus::Decorated, $($case)*);
    };
    (@adapter $adapter:ident $fixture:path, $($case:ident)*) => {
        mod $adapter {
            use super::Fixture;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let mut fixture = <$fixture>::open().await;
                    super::$case(&mut fixture).await;
                    fixture.close().await;
                }
            )*
        }
    };
}

on_every_bus! {
    messages_arrive_unchanged
    each_of_a_thousand_messages_is_confirmed_and_arrives_once
    a_probe_succeeds_and_an_unused_topic_has_no_lag
}

fn message(tag: &str, body: impl Into<Vec<u8>>) -> BusMessage {
    let properties =
        vec![("TC_RUN_ID".to_owned(), format!("run-{tag}")), ("note".to_owned(), "äöü 日本 =;".to_owned())];
    BusMessage { tag: tag.to_owned(), key: format!("task-{tag}"), body: body.into(), properties }
}

async fn messages_arrive_unchanged(on: &mut impl Fixture) {
    let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    let sent = [message("订单 close", "{\"a\":1}"), message("empty", ""), message("bytes", bytes)];
    let answers = on.bus().publish(sent.to_vec()).await;
    assert!(matches!(answers[..], [Ok(()), Ok(()), Ok(())]), "{answers:?}");
    let arrived = on.arrived(3).await;
    for message in &sent {
        let found = arrived.iter().find(|found| found.tag == message.tag).expect("the message has arrived");
        assert_eq!((&found.key, &found.body), (&message.key, &message.body));
        assert!(message.properties.iter().all(|property| found.properties.contains(property)), "{found:?}");
    }
    assert_eq!(on.bus().publish(Vec::new()).await.len(), 0);
}

async fn each_of_a_thousand_messages_is_confirmed_and_arrives_once(on: &mut impl Fixture) {
    let sent: Vec<BusMessage> = (0..1_000).map(|n| message("t", n.to_string())).collect();
    let answers = on.bus().publish(sent.clone()).await;
    assert_eq!((answers.len(), answers.iter().filter(|answer| answer.is_ok()).count()), (1_000, 1_000));
    let arrived = on.arrived(1_000).await;
    let bodies: BTreeSet<Vec<u8>> = arrived.iter().map(|message| message.body.clone()).collect();
    assert_eq!((arrived.len(), bodies), (1_000, sent.into_iter().map(|message| message.body).collect()));
}

async fn a_probe_succeeds_and_an_unused_topic_has_no_lag(on: &mut impl Fixture) {
    on.bus().probe().await.unwrap();
    let waiting: u64 = on.bus().lag().await.unwrap().into_iter().map(|(_, waiting)| waiting).sum();
    assert_eq!(waiting, 0);
    on.bus().close().await;
}

/// RocketMQ, with a consumer of the fixture's topic.
struct Broker {
    bus: Arc<dyn Bus>,
    config: RocketMqConfig,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    shutdown: CancellationToken,
    consuming: JoinHandle<()>,
}

struct Sink(mpsc::UnboundedSender<Delivery>);

#[async_trait]
impl Deliver for Sink {
    async fn deliver(&self, delivery: Delivery) -> Verdict {
        let _ = self.0.send(delivery);
        Verdict::Ack
    }
}

fn config_at(namesrv: &str) -> RocketMqConfig {
    let topic = format!("it_bus_{:032x}", unique());
    let group = format!("{topic}_group");
    RocketMqConfig::new(namesrv, topic, group)
}

impl Broker {
    async fn open() -> Self {
        let namesrv = std::env::var("TASKCENTER_TEST_ROCKETMQ_NAMESRV");
        let config = config_at(&namesrv.unwrap_or_else(|_| "127.0.0.1:19876".to_owned()));
        let bus: Arc<dyn Bus> = Arc::new(RocketMqBus::new(config.clone()));
        // A new topic takes a while to reach every name server.
        until("the topic exists", async || bus.probe().await.is_ok()).await;
        let (sender, deliveries) = mpsc::unbounded_channel();
        let (transport, shutdown) = (RocketMq::new(config.clone()), CancellationToken::new());
        let stop = shutdown.clone();
        let consuming = tokio::spawn(async move {
            transport.run(Subscription::All, Arc::new(Sink(sender)), stop).await.unwrap();
        });
        Self { bus, config, deliveries, shutdown, consuming }
    }
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let wait = async {
        let mut checks = interval(INTERVAL);
        while !condition().await {
            checks.tick().await;
        }
    };
    timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("timed out: {what}"));
}

#[async_trait]
impl Fixture for Broker {
    fn bus(&self) -> Arc<dyn Bus> {
        self.bus.clone()
    }

    async fn arrived(&mut self, count: usize) -> Vec<BusMessage> {
        let mut arrived = Vec::new();
        while arrived.len() < count {
            let delivery =
                timeout(DEADLINE, self.deliveries.recv()).await.expect("a delivery arrives in time").unwrap();
            arrived.push(BusMessage {
                tag: delivery.tag,
                key: delivery.task_id,
                body: delivery.body.into(),
                properties: delivery.properties.into_iter().collect(),
            });
        }
        arrived
    }

    async fn close(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.consuming).await.expect("the consumer stops in time").unwrap();
        self.bus.close().await;
    }
}

struct Memory(Arc<MemoryBus>);

impl Memory {
    #[allow(clippy::unused_async, reason = "other fixtures need async")]
    async fn open() -> Self {
        Self(Arc::default())
    }
}

#[async_trait]
impl Fixture for Memory {
    fn bus(&self) -> Arc<dyn Bus> {
        self.0.clone()
    }

    async fn arrived(&mut self, _: usize) -> Vec<BusMessage> {
        self.0.since(0)
    }

    async fn close(self) {}
}

/// The fault decorator without faults, with writes in parts.
struct Decorated {
    inner: Memory,
    bus: Arc<Faulty<MemoryBus>>,
}

fn decorated(inner: &Memory, seed: u64, odds: Odds) -> Faulty<MemoryBus> {
    Faulty::new(inner.0.clone(), Arc::new(SeededPlan::new("bus", seed, Odds { parts: 1_000, ..odds })))
}

impl Decorated {
    async fn open() -> Self {
        let inner = Memory::open().await;
        let bus = Arc::new(decorated(&inner, unique() as u64, Odds::default()));
        Self { inner, bus }
    }
}

#[async_trait]
impl Fixture for Decorated {
    fn bus(&self) -> Arc<dyn Bus> {
        self.bus.clone()
    }

    async fn arrived(&mut self, count: usize) -> Vec<BusMessage> {
        self.inner.arrived(count).await
    }

    async fn close(self) {}
}

#[tokio::test]
async fn only_confirmed_messages_arrive_after_lost_requests() {
    let mut mixed = 0;
    for seed in 0..50 {
        let inner = Memory::open().await;
        let bus = decorated(&inner, seed, Odds { lost_requests: 300, ..Odds::default() });
        let sent: Vec<BusMessage> = (0..20).map(|n| message("t", n.to_string())).collect();
        let answers = bus.publish(sent.clone()).await;
        let confirmed = sent.into_iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
        let confirmed: Vec<BusMessage> = confirmed.map(|(message, _)| message).collect();
        assert_eq!((answers.len(), inner.0.since(0)), (20, confirmed.clone()), "seed {seed}");
        assert!(
            answers
                .iter()
                .filter_map(|answer| answer.as_ref().err())
                .all(|error| matches!(error, PortError::Unavailable(..)))
        );
        mixed += usize::from((1..20).contains(&confirmed.len()));
    }
    assert!(mixed > 0, "no seed had both confirmed and lost messages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_message_does_not_affect_others() {
    let mut on = Broker::open().await;
    let separator =
        BusMessage { properties: vec![("a".to_owned(), "\u{1}".to_owned())], ..message("t", "x") };
    let sent = vec![
        message("t", "before"),
        message("t", vec![b'x'; 5 << 20]),
        message("t", "between"),
        separator,
        message("t", "after"),
    ];
    let answers = on.bus().publish(sent).await;
    let refused = |at: usize| matches!(answers[at], Err(PortError::Refused(..)));
    assert!(refused(1) && refused(3) && [0, 2, 4].iter().all(|at| answers[*at].is_ok()), "{answers:?}");
    let arrived: BTreeSet<Vec<u8>> = on.arrived(3).await.into_iter().map(|message| message.body).collect();
    assert_eq!(arrived, ["before", "between", "after"].map(|body| body.as_bytes().to_vec()).into());
    on.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_counts_unacknowledged_messages() {
    let mut on = Broker::open().await;
    on.bus.publish(vec![message("t", "0")]).await.pop().unwrap().unwrap();
    on.arrived(1).await;
    on.shutdown.cancel();
    (&mut on.consuming).await.unwrap();
    let lag_is = async |waiting| {
        let lag = on.bus.lag().await.unwrap();
        lag == [(on.config.group.clone(), waiting)]
    };
    until("no message waits", async || lag_is(0).await).await;
    assert!(
        on.bus.publish((0..7).map(|n| message("t", n.to_string())).collect()).await.iter().all(Result::is_ok)
    );
    until("seven messages wait", async || lag_is(7).await).await;
    on.bus.close().await;
}

#[tokio::test]
async fn an_unreachable_broker_is_an_error_for_each_message() {
    let unreachable: Arc<dyn Bus> = Arc::new(RocketMqBus::new(config_at("127.0.0.1:1")));
    let answers =
        timeout(DEADLINE, unreachable.publish(vec![message("a", "1"), message("b", "2")])).await.unwrap();
    assert!(
        matches!(answers[..], [Err(PortError::Unavailable(..)), Err(PortError::Unavailable(..))]),
        "{answers:?}"
    );
    for answer in [unreachable.probe().await.err(), unreachable.lag().await.err()] {
        assert!(matches!(answer, Some(PortError::Unavailable(..))), "{answer:?}");
    }
    unreachable.close().await;
    let refused = NoBus.publish(vec![message("a", "1"), message("b", "2")]).await;
    assert!(refused.len() == 2 && refused.iter().all(Result::is_err), "{refused:?}");
}

//! RocketMQ: the fixture, and tests of this adapter only.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use taskcenter_client::rocketmq::{RocketMq, RocketMqConfig};
use taskcenter_client::tag::Subscription;
use taskcenter_client::{Deliver, Delivery, Transport, Verdict};
use taskcenter_server::adapters::rocketmq::RocketMqBus;
use taskcenter_server::ports::{Bus, BusMessage, PortError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::{Fixture, message};
use crate::store::samples::unique;

/// Interval between two checks of a condition.
const INTERVAL: Duration = Duration::from_millis(100);
/// Longest wait for a condition.
const DEADLINE: Duration = Duration::from_mins(1);

/// RocketMQ, with a consumer of the fixture's topic.
pub struct Broker {
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
    pub async fn open() -> Self {
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
}

//! The RocketMQ bus.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use taskcenter_client::rocketmq::{OutMessage, Producer, RocketMq, RocketMqConfig, RocketMqError};
use taskcenter_client::tag::Subscription;
use taskcenter_client::{Deliver, Delivery, Transport, Verdict};
use tokio_util::sync::CancellationToken;

use crate::ports::{Bus, BusMessage, PortError, Result};

const NAME: &str = "RocketMQ";
/// Pause before a failed consumer restarts.
const RESTART_PAUSE: Duration = Duration::from_secs(5);

/// A bus on RocketMQ.
pub struct RocketMqBus(Producer);

impl RocketMqBus {
    /// Creates a bus. Connects at the first call, and again at each call while the broker is
    /// unreachable.
    pub fn new(config: RocketMqConfig) -> Self {
        Self(Producer::new(config))
    }
}

fn port_error(failed: RocketMqError) -> PortError {
    match failed {
        RocketMqError::Refused(_) => PortError::Refused(NAME, failed.into()),
        // Every other failure counts as unavailable, so that no message is dropped.
        _ => PortError::Unavailable(NAME, failed.into()),
    }
}

fn outgoing(message: BusMessage) -> OutMessage {
    OutMessage {
        tag: message.tag,
        key: message.key,
        body: message.body.into(),
        properties: message.properties,
    }
}

#[async_trait]
impl Bus for RocketMqBus {
    async fn publish(&self, messages: Vec<BusMessage>) -> Vec<Result<()>> {
        let answers = self.0.send(messages.into_iter().map(outgoing).collect()).await;
        answers.into_iter().map(|answer| answer.map_err(port_error)).collect()
    }

    async fn lag(&self) -> Result<Vec<(String, u64)>> {
        self.0.lag().await.map_err(port_error)
    }

    async fn probe(&self) -> Result<()> {
        self.0.probe().await.map_err(port_error)
    }

    async fn close(&self) {
        self.0.shutdown().await;
    }
}

/// Handles a message's body, and decides whether the message is acknowledged.
pub type MessageHandler = Arc<dyn Fn(Vec<u8>) -> BoxFuture<'static, Verdict> + Send + Sync>;

struct Reader(MessageHandler);

#[async_trait]
impl Deliver for Reader {
    async fn deliver(&self, delivery: Delivery) -> Verdict {
        (self.0)(delivery.body.into()).await
    }
}

/// Consumes every message of a topic until `shutdown`. Waits while the broker is unreachable.
pub async fn read(config: RocketMqConfig, handle: MessageHandler, shutdown: CancellationToken) {
    let reader: Arc<dyn Deliver> = Arc::new(Reader(handle));
    let transport = RocketMq::new(config.clone());
    while !shutdown.is_cancelled() {
        let ended = transport.run(Subscription::All, Arc::clone(&reader), shutdown.clone()).await;
        if let Err(error) = ended {
            tracing::warn!(topic = config.topic, %error, "consumer failed; restarting");
            shutdown.run_until_cancelled(tokio::time::sleep(RESTART_PAUSE)).await;
        }
    }
}

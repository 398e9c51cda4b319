//! The bus on RocketMQ.

use async_trait::async_trait;
use taskcenter_client::rocketmq::{OutMessage, Producer, RocketMqConfig, RocketMqError};

use crate::ports::{Bus, BusMessage, PortError, Result};

const NAME: &str = "RocketMQ";

/// The bus on RocketMQ.
pub struct RocketMqBus(Producer);

impl RocketMqBus {
    /// A bus; nothing is sent yet, and a broker that is not there is asked again at each call.
    pub fn new(config: RocketMqConfig) -> Self {
        Self(Producer::new(config))
    }
}

fn port_error(failed: RocketMqError) -> PortError {
    match failed {
        RocketMqError::Unavailable(_) => PortError::Unavailable(NAME, failed.into()),
        RocketMqError::Refused(_) => PortError::Refused(NAME, failed.into()),
    }
}

fn out(message: BusMessage) -> OutMessage {
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
        let answers = self.0.send(messages.into_iter().map(out).collect()).await;
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

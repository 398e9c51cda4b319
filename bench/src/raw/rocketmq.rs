//! RocketMQ alone: sends with the producer of the SDK.

use std::time::Instant;

use anyhow::Result;
use taskcenter_client::rocketmq::{OutMessage, Producer, RocketMqConfig};

use crate::figures::Figures;

/// Messages in one call, as in the server.
const BATCH: usize = 256;

/// Broker and amount of work.
#[derive(clap::Args)]
pub struct Target {
    /// Name server
    #[arg(long)]
    namesrv: String,
    /// Topic. Nothing consumes it
    #[arg(long)]
    topic: String,
    /// Number of messages
    #[arg(long)]
    count: usize,
}

/// Sends messages, one batch after the other.
pub async fn send(target: &Target) -> Result<Figures> {
    let sender = Sender::start(&target.namesrv, &target.topic).await?;
    let start = Instant::now();
    sender.send(target.count).await?;
    let figures = Figures::rate(target.count, start);
    sender.shutdown().await;
    Ok(figures)
}

/// A connected producer.
pub struct Sender(Producer);

impl Sender {
    /// Connects, creates the topic, and sends one message.
    pub async fn start(namesrv: &str, topic: &str) -> Result<Self> {
        let sender = Self(Producer::new(RocketMqConfig::new(namesrv, topic, "taskcenter_bench")));
        sender.0.probe().await?;
        sender.send(1).await?;
        Ok(sender)
    }

    /// Sends `count` messages.
    pub async fn send(&self, count: usize) -> Result<()> {
        for first in (0..count).step_by(BATCH) {
            let messages = std::iter::repeat_with(message).take(BATCH.min(count - first)).collect();
            for sent in self.0.send(messages).await {
                sent?;
            }
        }
        Ok(())
    }

    /// Disconnects.
    pub async fn shutdown(&self) {
        self.0.shutdown().await;
    }
}

fn message() -> OutMessage {
    OutMessage {
        tag: "raw".to_owned(),
        key: "raw".to_owned(),
        body: vec![b'x'; 60].into(),
        properties: vec![("TC_RUN_ID".to_owned(), "x".repeat(60))],
    }
}

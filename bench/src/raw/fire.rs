//! What one fire needs at least: insert a row, update the row, and send a message.

use std::time::Instant;

use anyhow::Result;

use super::{mongo, rocketmq};
use crate::figures::Figures;

/// Servers and amount of work.
#[derive(clap::Args)]
pub struct Target {
    /// Connection string of MongoDB
    #[arg(long)]
    uri: String,
    /// Name server of RocketMQ
    #[arg(long)]
    namesrv: String,
    /// Topic. Nothing consumes it
    #[arg(long)]
    topic: String,
    /// Number of rows and messages
    #[arg(long)]
    count: usize,
}

/// Does the three steps one after the other, each for all rows.
pub async fn fire(target: &Target) -> Result<Figures> {
    let rows = mongo::Rows::open(&target.uri).await?;
    let sender = rocketmq::Sender::start(&target.namesrv, &target.topic).await?;
    let start = Instant::now();
    rows.insert(target.count, BATCH).await?;
    rows.update(target.count, BATCH).await?;
    sender.send(target.count).await?;
    let figures = Figures::rate(target.count, start);
    sender.shutdown().await;
    rows.drop().await?;
    Ok(figures)
}

/// Rows in one command, as in the server.
const BATCH: usize = 1_000;

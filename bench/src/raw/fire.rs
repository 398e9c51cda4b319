//! What the runs of a burst need at least: rows, their updates, and messages.

use std::time::Instant;

use anyhow::Result;

use super::mongo::BATCH;
use super::{mongo, mongo_runs, rocketmq};
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

/// Inserts and updates small rows with one index, and sends messages, one step after the other, each for all
/// rows.
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

/// Same as [`fire`], with the rows and indexes of the server.
pub async fn fire_like_the_server(target: &Target) -> Result<Figures> {
    let rows = mongo_runs::Rows::open(&target.uri, target.count, false).await?;
    let sender = rocketmq::Sender::start(&target.namesrv, &target.topic).await?;
    let start = Instant::now();
    rows.fire().await?;
    sender.send(target.count).await?;
    rows.mark_fired().await?;
    let figures = Figures::rate(target.count, start);
    sender.shutdown().await;
    rows.drop().await?;
    Ok(figures)
}

/// Writes the rows of runs from a queue, with the indexes of the server.
pub async fn pull_like_the_server(target: &mongo::Target) -> Result<Figures> {
    let rows = mongo_runs::Rows::open(&target.uri, target.count, true).await?;
    let start = Instant::now();
    rows.fire().await?;
    rows.mark_ready().await?;
    rows.lease().await?;
    rows.succeed().await?;
    let figures = Figures::rate(target.count, start);
    rows.drop().await?;
    Ok(figures)
}

/// Writes each run until a worker has it, at a steady rate.
pub async fn steady_like_the_server(target: &mongo::Target, rate: usize) -> Result<Figures> {
    let mut times = mongo_runs::hand_over_at_a_rate(&target.uri, target.count, rate).await?;
    Ok(Figures::default().with_percentiles("", &mut times))
}

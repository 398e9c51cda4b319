//! Sends and consumes 100 messages of 1 KiB per second in one process. Prints the memory, threads
//! and open files of the process every 30 s.
//!
//! `cargo run -p taskcenter-client --example rocketmq_soak -- 127.0.0.1:19876 3600`
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use taskcenter_client::rocketmq::{OutMessage, Producer, RocketMq, RocketMqConfig};
use taskcenter_client::tag::Subscription;
use taskcenter_client::{Deliver, Delivery, Transport, Verdict};
use tokio_util::sync::CancellationToken;

const BATCH: usize = 4;
const SEND_INTERVAL: Duration = Duration::from_millis(40);
const PRINT_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Received(AtomicU64);

#[async_trait]
impl Deliver for Received {
    async fn deliver(&self, _: Delivery) -> Verdict {
        self.0.fetch_add(1, Ordering::Relaxed);
        Verdict::Ack
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: rocketmq_soak NAME_SERVER SECONDS";
    let (Some(server), Some(seconds)) = (arguments.next(), arguments.next()) else {
        return Err(usage.into());
    };
    let length = Duration::from_secs(seconds.parse()?);
    let config = RocketMqConfig::new(server, "tc_soak", "tc_soak_group");

    let (received, stop) = (Arc::new(Received::default()), CancellationToken::new());
    let consumer = RocketMq::new(config.clone());
    let consuming = tokio::spawn({
        let (received, stop) = (Arc::clone(&received), stop.clone());
        async move { consumer.run(Subscription::All, received, stop).await }
    });
    let producer = Producer::new(config);
    // Creates the topic.
    producer.probe().await?;
    let (start, mut print_at) = (Instant::now(), Duration::ZERO);
    let (mut sent, mut unconfirmed) = (0_u64, 0_u64);
    let mut tick = tokio::time::interval(SEND_INTERVAL);
    while start.elapsed() < length {
        tick.tick().await;
        for answer in producer.send(batch()).await {
            match answer {
                Ok(()) => sent += 1,
                Err(why) => {
                    unconfirmed += 1;
                    println!("not confirmed: {why}");
                }
            }
        }
        if start.elapsed() >= print_at {
            let (at, got) = (start.elapsed().as_secs(), received.0.load(Ordering::Relaxed));
            println!("{at} s: sent {sent}, unconfirmed {unconfirmed}, received {got}, {}", resources());
            print_at += PRINT_INTERVAL;
        }
    }
    stop.cancel();
    consuming.await??;
    producer.shutdown().await;
    println!("end: sent {sent}, unconfirmed {unconfirmed}, received {}", received.0.load(Ordering::Relaxed));
    Ok(())
}

fn batch() -> Vec<OutMessage> {
    let message = || OutMessage {
        tag: "soak".into(),
        key: "soak".into(),
        body: vec![b'x'; 1024].into(),
        properties: vec![],
    };
    std::iter::repeat_with(message).take(BATCH).collect()
}

/// Returns the resident memory, threads and open files of the process, from Linux procfs.
fn resources() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim_start_matches(':').trim().to_owned()).unwrap_or_default()
    };
    let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    format!("{} resident, {} threads, {files} files", field("VmRSS"), field("Threads"))
}

//! Sends messages as fast as possible, and prints the rate and the latencies.
//!
//! ```text
//! cargo run --release -p taskcenter-rocketmq --example produce -- NAMESRV SECONDS IN_FLIGHT BYTES BATCH
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use taskcenter_rocketmq::admin::Admin;
use taskcenter_rocketmq::producer::{Message, Producer, ProducerConfig};
use taskcenter_rocketmq::{Client, ClientConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let name_servers = arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse());
    let (seconds, in_flight, bytes, batch) = (number(10)?, number(64)?, number(1024)?, number(1)?);
    let client = Client::new(ClientConfig::new(name_servers))?;
    let topic = format!("produce-{:08x}", fastrand::u32(..));
    Admin::new(&client).create_topic(&topic, 8).await?;
    let producer = Producer::new(&client, ProducerConfig::new("produce"))?;
    let (sent, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let body = bytes::Bytes::from(vec![b'x'; bytes as usize]);
    let senders = (0..in_flight).map(|_| {
        let (producer, topic, body) = (producer.clone(), topic.clone(), body.clone());
        let (sent, failed) = (Arc::clone(&sent), Arc::clone(&failed));
        tokio::spawn(async move {
            loop {
                let message = || Message::new(&topic, body.clone()).tag("t").keys("k");
                let results = match batch {
                    1 => vec![producer.send(message()).await],
                    _ => producer.send_batch((0..batch).map(|_| message()).collect()).await,
                };
                let ok = results.iter().filter(|result| result.is_ok()).count() as u64;
                sent.fetch_add(ok, Ordering::Relaxed);
                failed.fetch_add(results.len() as u64 - ok, Ordering::Relaxed);
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    let mut before = 0;
    for second in 1..=seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = sent.load(Ordering::Relaxed);
        println!("{second} s: {} messages/s, {} failed", now - before, failed.load(Ordering::Relaxed));
        before = now;
    }
    for sender in senders {
        sender.abort();
    }
    println!("mean: {} messages/s", sent.load(Ordering::Relaxed) / seconds);
    client.close().await;
    Ok(())
}

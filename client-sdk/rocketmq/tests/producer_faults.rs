//! The producer while brokers and name servers fail.

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use support::cluster::Cluster;
use support::{Version, until};
use taskcenter_rocketmq::admin::Admin;
use taskcenter_rocketmq::producer::{Message, Producer, ProducerConfig};
use taskcenter_rocketmq::{Client, ClientConfig, Error};
use tokio::time::{Instant, timeout};

/// Returns the time, which is only printed.
#[allow(clippy::disallowed_methods, reason = "a measurement for the reader")]
fn now() -> Instant {
    Instant::now()
}

/// Returns when a client without a past reaches the broker.
async fn fresh_client_reaches(name_server: String, broker: &'static str) -> Instant {
    until("a new client stores a message", async || {
        let client = Client::new(ClientConfig::new(&name_server)).unwrap();
        let producer = Producer::new(&client, ProducerConfig::new("g")).unwrap();
        let sends = (0..8).map(|_| producer.send(Message::new("t", "body")));
        let mut stored = false;
        for send in sends {
            stored |= send.await.is_ok_and(|receipt| receipt.queue.broker_name == broker);
        }
        stored
    })
    .await;
    now()
}

/// Sends until a message is stored on the broker.
async fn reaches(producer: &Producer, broker: &str) {
    until(&format!("a message is stored on {broker}"), async || {
        let sent = producer.send(Message::new("t", "body")).await;
        sent.is_ok_and(|receipt| receipt.queue.broker_name == broker)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_avoid_a_sick_broker_and_use_it_again_when_it_is_back() {
    let mut cluster = Cluster::start(Version::Five).await;
    let client = Client::new(ClientConfig::new(cluster.address())).unwrap();
    Admin::new(&client).create_topic("t", 4).await.unwrap();
    let config = ProducerConfig::new("g").send_timeout(Duration::from_secs(1));
    let producer = Producer::new(&client, config).unwrap();
    reaches(&producer, "a").await;
    reaches(&producer, "b").await;

    cluster.b.freeze();
    let mut unknown = 0;
    for _ in 0..200 {
        match producer.send(Message::new("t", "body")).await {
            Ok(receipt) => assert_eq!(receipt.queue.broker_name, "a"),
            Err(Error::Unanswered { .. }) => unknown += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(unknown, 1, "one send finds out that the broker is sick");
    cluster.b.thaw();
    let thawed = now();
    timeout(Duration::from_secs(20), reaches(&producer, "b")).await.unwrap();
    println!("after a freeze: {:?}", thawed.elapsed());

    cluster.b.kill();
    let mut failures = 0;
    for _ in 0..200 {
        match producer.send(Message::new("t", "body")).await {
            Ok(receipt) => assert_eq!(receipt.queue.broker_name, "a"),
            Err(Error::Unanswered { .. } | Error::Unreachable { .. }) => failures += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(failures <= 2, "{failures}");
    cluster.b.restart();
    cluster.listens(cluster.ports().b).await;
    let back = now();
    let recovered = async {
        timeout(Duration::from_secs(20), reaches(&producer, "b")).await.unwrap();
        now()
    };
    let (recovered, fresh) = tokio::join!(recovered, fresh_client_reaches(cluster.address(), "b"));
    println!("after a crash: {:?}; a new client: {:?}", recovered - back, fresh - back);
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_continue_without_the_name_server() {
    let mut cluster = Cluster::start(Version::Five).await;
    let config = ClientConfig::new(cluster.address()).route_interval(Duration::from_millis(100));
    let client = Client::new(config).unwrap();
    Admin::new(&client).create_topic("t", 4).await.unwrap();
    let producer = Producer::new(&client, ProducerConfig::new("g")).unwrap();
    producer.send(Message::new("t", "body")).await.unwrap();
    cluster.name_server.kill();
    until("a refresh fails", async || client.refresh_route("t").await.is_err()).await;
    for _ in 0..100 {
        producer.send(Message::new("t", "body")).await.unwrap();
    }
    // A name server that has just started knows no topics until the brokers register again.
    cluster.name_server.restart();
    until("the name server knows the topic", async || {
        producer.send(Message::new("t", "body")).await.unwrap();
        client.refresh_route("t").await.is_ok()
    })
    .await;
}

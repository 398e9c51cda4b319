//! Access keys over TLS, and servers that demand a client certificate.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use support::secure::{KEYS, SecureCluster, tls};
use support::{DEADLINE, until};
use taskcenter_rocketmq::admin::Admin;
use taskcenter_rocketmq::consumer::{Consumer, ConsumerConfig, Disposition, Handler, Received, Subscription};
use taskcenter_rocketmq::producer::{Message, Producer, ProducerConfig};
use taskcenter_rocketmq::{Client, ClientConfig, Credentials, Error, Tls};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "secure";

/// Reports the bodies of the messages.
struct Reporter(mpsc::UnboundedSender<String>);

#[async_trait]
impl Handler for Reporter {
    async fn handle(&self, message: Received, _lost: CancellationToken) -> Disposition {
        let _ = self.0.send(String::from_utf8_lossy(&message.body).into_owned());
        Disposition::Ack
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_client_with_its_certificate_and_its_keys_sends_and_consumes() {
    let cluster = SecureCluster::start().await;
    let client = Client::new(cluster.config()).unwrap();
    let admin = Admin::new(&client);
    until("the topic is created", async || admin.create_topic(TOPIC, 2).await.is_ok()).await;
    let producer = Producer::new(&client, ProducerConfig::new("secure")).unwrap();
    producer.send(Message::new(TOPIC, "allowed")).await.unwrap();

    let without_certificate = Tls { client_certificate: None, ..tls() };
    let failed = send(cluster.config().tls(without_certificate)).await;
    assert!(matches!(failed, Error::Unreachable { .. } | Error::Unanswered { .. }), "{failed}");
    for credentials in [None, Some(Credentials::new(KEYS.0, "wrong"))] {
        let failed = send(ClientConfig { credentials, ..cluster.config() }).await;
        assert!(matches!(failed, Error::Refused { .. }), "{failed}");
    }

    assert_eq!(consume(&client, &admin).await, "allowed");
    client.close().await;
}

/// Returns the error of a send.
async fn send(config: ClientConfig) -> Error {
    let client = Client::new(config).unwrap();
    let producer = Producer::new(&client, ProducerConfig::new("secure")).unwrap();
    let failed = producer.send(Message::new(TOPIC, "not allowed")).await.unwrap_err();
    client.close().await;
    failed
}

/// Returns the only message of the topic, after its offset is committed.
async fn consume(client: &Client, admin: &Admin) -> String {
    let (report, mut bodies) = mpsc::unbounded_channel();
    let consumer = Consumer::new(client.clone(), ConsumerConfig::new("secure_group")).unwrap();
    let topics = BTreeMap::from([(TOPIC.to_owned(), Subscription::parse("*"))]);
    let (shutdown, handler) = (CancellationToken::new(), Arc::new(Reporter(report)));
    let stop = shutdown.clone();
    let run = tokio::spawn(async move { consumer.run(topics, handler, stop).await });
    let body = timeout(DEADLINE, bodies.recv()).await.expect("a message in time").expect("the consumer runs");
    until("the offset is committed", async || {
        let lag = admin.lag(TOPIC, "secure_group").await.unwrap();
        lag.iter().any(|queue| queue.consumer_offset == 1) && lag.iter().all(|queue| queue.waiting() == 0)
    })
    .await;
    shutdown.cancel();
    timeout(DEADLINE, run).await.expect("the consumer ends in time").unwrap().unwrap();
    assert!(bodies.recv().await.is_none(), "one message is stored");
    body
}

//! The producer on real brokers.

mod common;

use std::time::Duration;

use common::{acl, eventually, plain, tls, topic, unique};
use taskcenter_rocketmq::admin::Admin;
use taskcenter_rocketmq::producer::{Message, Producer, ProducerConfig};
use taskcenter_rocketmq::{Client, ClientConfig, Credentials, Error, MessageQueue, Tls};

fn producer(client: &Client) -> Producer {
    Producer::new(client, ProducerConfig::new("rocketmq-tests")).unwrap()
}

/// Waits until the broker shows this number of messages. It counts messages a moment after it
/// confirmed them.
async fn stored(client: &Client, queue: &MessageQueue, messages: i64) {
    let admin = Admin::new(client);
    eventually("the offset", async || admin.max_offset(queue).await == Ok(messages)).await;
}

async fn sends(config: ClientConfig) {
    let client = Client::new(config).unwrap();
    let topic = topic(&client, "send", 4).await;
    let producer = producer(&client);
    let message = Message::new(&topic, "body").tag("tag").keys("key").property("name", "value \u{e4}");
    let receipt = producer.send(message).await.unwrap();
    assert_eq!((receipt.offset, receipt.queue.topic.as_str()), (0, topic.as_str()));
    stored(&client, &receipt.queue, 1).await;
    producer.probe(&topic).await.unwrap();
    client.close().await;
}

#[tokio::test]
async fn a_message_is_stored_on_a_plain_broker() {
    sends(plain()).await;
}

#[tokio::test]
async fn a_message_is_stored_on_a_broker_with_acls() {
    sends(acl()).await;
}

#[tokio::test]
async fn a_message_is_stored_over_tls() {
    sends(tls()).await;
}

#[tokio::test]
async fn tls_without_a_ca_file_accepts_any_certificate() {
    sends(tls().tls(Tls::default())).await;
}

#[tokio::test]
async fn another_authority_and_another_server_name_are_refused() {
    let trusted = tls().tls.unwrap();
    // The certificate of the server has another issuer than itself.
    let other = trusted.ca_file.as_ref().map(|file| file.with_file_name("server.pem"));
    let other_authority = Tls { ca_file: other, ..trusted.clone() };
    let other_name = Tls { server_name: Some("other.example".into()), ..trusted };
    for tls_settings in [other_authority, other_name] {
        let client = Client::new(tls().tls(tls_settings)).unwrap();
        let failed = client.route("any").await.unwrap_err();
        assert!(
            matches!(&failed, Error::Unreachable { reason, .. } if reason.contains("certificate")),
            "{failed}"
        );
    }
}

#[tokio::test]
async fn wrong_keys_are_refused_and_nothing_was_stored() {
    let topic = topic(&Client::new(acl()).unwrap(), "keys", 1).await;
    let key = acl().credentials.unwrap().access_key;
    let without = ClientConfig { credentials: None, ..acl() };
    for config in [without, acl().credentials(Credentials::new(key, "wrong"))] {
        let client = Client::new(config).unwrap();
        let failed = producer(&client).send(Message::new(&topic, "body")).await.unwrap_err();
        assert!(matches!(failed, Error::Refused { .. }), "{failed}");
        assert!(!failed.may_have_arrived() && !failed.is_transient(), "{failed:?}");
    }
}

#[tokio::test]
async fn a_missing_topic_is_reported() {
    let client = Client::new(plain()).unwrap();
    let topic = unique("missing");
    let failed = producer(&client).send(Message::new(&topic, "body")).await.unwrap_err();
    assert_eq!(failed, Error::TopicNotFound { topic });
    assert!(!failed.may_have_arrived());
}

#[tokio::test]
async fn an_empty_body_is_refused_before_it_is_sent() {
    let client = Client::new(plain()).unwrap();
    let failed = producer(&client).send(Message::new("any", "")).await.unwrap_err();
    assert!(matches!(&failed, Error::Invalid(why) if why.contains("empty")), "{failed}");
}

#[tokio::test]
async fn messages_are_spread_over_all_queues() {
    let client = Client::new(plain()).unwrap();
    let topic = topic(&client, "spread", 4).await;
    let producer = producer(&client);
    let mut offsets = [0; 4];
    for _ in 0..8 {
        let receipt = producer.send(Message::new(&topic, "body")).await.unwrap();
        offsets[receipt.queue.queue_id as usize] += 1;
    }
    assert_eq!(offsets, [2; 4]);
}

#[tokio::test]
async fn a_namespace_is_the_prefix_of_the_topic() {
    let client = Client::new(plain().namespace("MQ_INST_1")).unwrap();
    let topic = topic(&client, "named", 1).await;
    let receipt = producer(&client).send(Message::new(&topic, "body")).await.unwrap();
    assert_eq!(receipt.queue.topic, format!("MQ_INST_1%{topic}"));
}

#[tokio::test]
async fn a_batch_is_stored_in_order_and_split_by_its_bounds() {
    let client = Client::new(plain()).unwrap();
    let topic = topic(&client, "batch", 1).await;
    let config = ProducerConfig::new("rocketmq-tests").max_batch_messages(7);
    let producer = Producer::new(&client, config).unwrap();
    let mut messages: Vec<_> = (0..20).map(|n| Message::new(&topic, format!("{n}")).tag("t")).collect();
    messages[5].body.clear();
    let results = producer.send_batch(messages).await;
    assert!(matches!(results[5], Err(Error::Invalid(_))));
    let stored: Vec<_> = results.iter().flatten().collect();
    assert_eq!(stored.len(), 19);
    // Each batch has successive offsets.
    for batch in [0..5, 7..14] {
        let offsets: Vec<_> = batch.map(|n| stored[n].offset).collect();
        assert!(offsets.windows(2).all(|pair| pair[1] == pair[0] + 1), "{offsets:?}");
    }
    self::stored(&client, &stored[0].queue, 19).await;
}

#[tokio::test]
async fn a_batch_that_the_broker_refuses_is_bisected() {
    let client = Client::new(plain()).unwrap();
    let topic = topic(&client, "bisect", 1).await;
    let bytes = 8 * 1024 * 1024;
    let config = ProducerConfig::new("rocketmq-tests").max_batch_bytes(bytes).max_message_bytes(bytes);
    let producer = Producer::new(&client, config.compress_above(usize::MAX)).unwrap();
    let mut messages: Vec<_> = (0..6).map(|n| Message::new(&topic, format!("{n}"))).collect();
    // Above the broker's `maxMessageSize` of 4 MiB, but within the producer's bounds.
    messages[2].body = vec![0; 5 * 1024 * 1024].into();
    let results = producer.send_batch(messages).await;
    let refused: Vec<_> = (0..6).filter(|n| results[*n].is_err()).collect();
    assert_eq!(refused, [2], "{results:?}");
    let failed = results[2].as_ref().unwrap_err();
    assert!(!failed.may_have_arrived() && !failed.is_transient(), "{failed}");
}

#[tokio::test]
async fn large_messages_are_stored() {
    let client = Client::new(plain()).unwrap();
    let topic = topic(&client, "large", 1).await;
    let producer = producer(&client);
    let random: Vec<u8> = (0..4_000_000).map(|_| fastrand::u8(..)).collect();
    for body in [random, vec![7; 4_000_000]] {
        producer.send(Message::new(&topic, body)).await.unwrap();
    }
}

#[tokio::test]
async fn without_a_server_a_send_fails_in_time_and_nothing_was_stored() {
    let client = Client::new(ClientConfig::new("127.0.0.1:1")).unwrap();
    let producer = producer(&client);
    let send = producer.send(Message::new("any", "body"));
    let failed = tokio::time::timeout(Duration::from_secs(10), send).await.unwrap().unwrap_err();
    assert!(matches!(failed, Error::Unreachable { .. }), "{failed}");
    assert!(failed.is_transient() && !failed.may_have_arrived());
}

#[tokio::test]
async fn a_dead_name_server_in_the_list_is_skipped() {
    let live = plain().name_servers.join(";");
    for list in [format!("127.0.0.1:1;{live}"), format!("{live};no-such-host.invalid:9876")] {
        let client = Client::new(ClientConfig::new(list)).unwrap();
        for _ in 0..3 {
            let topic = topic(&Client::new(plain()).unwrap(), "failover", 1).await;
            producer(&client).send(Message::new(&topic, "body")).await.unwrap();
        }
    }
}

//! The administration on real brokers.

mod common;

use common::{acl, eventually, plain, tls, topic, unique};
use taskcenter_rocketmq::admin::{Admin, GroupSettings};
use taskcenter_rocketmq::producer::{Message, Producer, ProducerConfig};
use taskcenter_rocketmq::{Client, ClientConfig, Error};

async fn offsets(config: ClientConfig) {
    let client = Client::new(config).unwrap();
    let (admin, topic) = (Admin::new(&client), topic(&client, "offsets", 1).await);
    let producer = Producer::new(&client, ProducerConfig::new("rocketmq-tests")).unwrap();
    let queue = client.route(&topic).await.unwrap().read_queues(&topic).remove(0);
    assert_eq!((admin.min_offset(&queue).await, admin.max_offset(&queue).await), (Ok(0), Ok(0)));
    for _ in 0..3 {
        producer.send(Message::new(&topic, "body")).await.unwrap();
    }
    // The broker counts messages a moment after it confirmed them.
    eventually("the last offset", async || admin.max_offset(&queue).await == Ok(3)).await;
    assert_eq!(admin.min_offset(&queue).await, Ok(0));
    eventually("the offset of the first message", async || admin.search_offset(&queue, 0).await == Ok(0))
        .await;
    assert_eq!(admin.search_offset(&queue, i64::MAX / 2).await, Ok(3));
    client.close().await;
}

#[tokio::test]
async fn offsets_are_found_on_a_plain_broker() {
    offsets(plain()).await;
}

#[tokio::test]
async fn offsets_are_found_on_a_broker_with_acls() {
    offsets(acl()).await;
}

#[tokio::test]
async fn offsets_are_found_over_tls() {
    offsets(tls()).await;
}

#[tokio::test]
async fn a_new_group_has_no_consumers_and_no_lag() {
    for config in [plain(), acl(), tls()] {
        let client = Client::new(config).unwrap();
        let (admin, topic, group) = (Admin::new(&client), topic(&client, "group", 2).await, unique("group"));
        admin.create_group(&group, &GroupSettings::default()).await.unwrap();
        assert_eq!(admin.connections(&topic, &group).await, Ok(Vec::new()));
        assert_eq!(admin.lag(&topic, &group).await, Ok(Vec::new()));
        assert_eq!(admin.groups(&topic).await, Ok(Vec::new()));
    }
}

#[tokio::test]
async fn a_topic_that_exists_is_not_changed() {
    for config in [plain(), acl()] {
        let client = Client::new(config).unwrap();
        let (admin, topic) = (Admin::new(&client), unique("ensure"));
        admin.ensure_topic(&topic, 3).await.unwrap();
        admin.ensure_topic(&topic, 8).await.unwrap();
        assert_eq!(client.refresh_route(&topic).await.unwrap().read_queues(&topic).len(), 3);
        admin.create_topic(&topic, 8).await.unwrap();
        let changed = async || client.refresh_route(&topic).await.unwrap().read_queues(&topic).len() == 8;
        eventually("the topic has more queues", changed).await;
    }
}

#[tokio::test]
async fn a_deleted_topic_is_gone() {
    let client = Client::new(plain()).unwrap();
    let (admin, topic) = (Admin::new(&client), topic(&client, "delete", 1).await);
    admin.delete_topic(&topic).await.unwrap();
    let gone = Error::TopicNotFound { topic: topic.clone() };
    assert_eq!(client.refresh_route(&topic).await.unwrap_err(), gone);
}

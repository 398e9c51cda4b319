//! The back ends of a cluster, from the sections `mongodb`, `redis` and `rocketmq` of the
//! configuration.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use taskcenter_client::Verdict;
use taskcenter_client::rocketmq::{RocketMqConfig, Tls};

use crate::adapters::mongo::MongoStore;
use crate::adapters::redis::RedisLock;
use crate::adapters::rocketmq::{self, RocketMqBus};
use crate::compat::{ReadTopic, Received, Topic};
use crate::config::Config;
use crate::ports::{Bus, Lock};

pub async fn mongodb(config: &Config) -> anyhow::Result<Arc<MongoStore>> {
    let store = MongoStore::new(config.mongodb.uri.expose(), &config.mongodb.db).await;
    store.map(Arc::new).context("mongodb.uri or mongodb.db")
}

pub fn redis(config: &Config) -> anyhow::Result<Arc<dyn Lock>> {
    let redis = &config.redis;
    let file = &redis.tls_ca_file;
    let authority = if file.is_empty() {
        None
    } else {
        Some(std::fs::read(file).with_context(|| format!("redis.tls_ca_file {file}"))?)
    };
    let lock = RedisLock::trusting(&redis.url(), &redis.key_prefix, authority);
    Ok(Arc::new(lock.context("redis.addr")?))
}

pub fn rocketmq(config: &Config) -> Arc<dyn Bus> {
    Arc::new(RocketMqBus::new(client(config)))
}

/// Messages that one reader of a topic handles at the same time.
const TOPIC_IN_FLIGHT: usize = 4;

/// Reads topics beside the topic of the runs.
pub fn read_topic(config: &Config) -> ReadTopic {
    let base = client(config);
    Arc::new(move |topic: Topic, shutdown| {
        let mut client = base.clone();
        // All members of a consumer group must read the same topics, so each topic has its own
        // group.
        client.group = format!("{}_{}", client.group, topic.group_suffix);
        client.topic = topic.name;
        client.max_in_flight = Some(TOPIC_IN_FLIGHT);
        let receive = topic.receive;
        let take: rocketmq::MessageHandler = Arc::new(move |body| receive(body).map(verdict).boxed());
        rocketmq::read(client, take, shutdown).boxed()
    })
}

fn verdict(received: Received) -> Verdict {
    match received {
        Received::Stored => Verdict::Ack,
        Received::Invalid => Verdict::DeadLetter,
        Received::Failed => Verdict::Retry { after: None },
    }
}

fn client(config: &Config) -> RocketMqConfig {
    let config = &config.rocketmq;
    let mut client = RocketMqConfig::new(config.namesvr.join(";"), &config.topic, &config.group_id);
    if !config.access_key.is_empty() {
        client = client.keys(config.access_key.expose(), config.secret_key.expose());
    }
    if config.tls {
        let ca_file = (!config.tls_ca_file.is_empty()).then(|| config.tls_ca_file.clone().into());
        client = client.tls(Tls { ca_file, ..Tls::default() });
    }
    client.instance_name.clone_from(&config.instance_name);
    client.send_timeout = Duration::from_millis(config.send_timeout_ms);
    client
}

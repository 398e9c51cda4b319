//! Servers that run for the tests (`cargo xtask services up`).

#![allow(dead_code, reason = "each test program uses a part")]

use std::time::Duration;

use taskcenter_rocketmq::admin::Admin;
use taskcenter_rocketmq::{Client, ClientConfig, Credentials, Tls};

pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask services up`"))
}

pub fn plain() -> ClientConfig {
    ClientConfig::new(variable("TASKCENTER_TEST_ROCKETMQ_NAMESRV"))
}

pub fn acl() -> ClientConfig {
    let credentials = Credentials::new(
        variable("TASKCENTER_TEST_ROCKETMQ_ACCESS_KEY"),
        variable("TASKCENTER_TEST_ROCKETMQ_SECRET_KEY"),
    );
    ClientConfig::new(variable("TASKCENTER_TEST_ROCKETMQ_ACL_NAMESRV")).credentials(credentials)
}

pub fn tls() -> ClientConfig {
    let ca_file = Some(variable("TASKCENTER_TEST_ROCKETMQ_TLS_CA").into());
    ClientConfig::new(variable("TASKCENTER_TEST_ROCKETMQ_TLS_NAMESRV")).tls(Tls { ca_file, ..Tls::default() })
}

/// Returns a name that no other test uses.
pub fn unique(name: &str) -> String {
    format!("{name}-{:012x}", fastrand::u64(..) & 0xffff_ffff_ffff)
}

/// Creates a topic.
pub async fn topic(client: &Client, name: &str, queues: u32) -> String {
    let topic = unique(name);
    Admin::new(client).create_topic(&topic, queues).await.unwrap();
    topic
}

/// Waits for a condition.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), met)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}

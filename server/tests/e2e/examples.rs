//! The examples do what they say, as a user would run them.

use std::process::Stdio;

use tokio::process::Command;

use crate::cluster::{Cluster, namesrv};

#[tokio::test(flavor = "multi_thread")]
async fn delayed_order_close() {
    tells_its_story("delayed_order_close", &["is closed in 3 s", "closed, "]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cron_report() {
    tells_its_story("cron_report", &["report on", "no more reports: 1 task deleted"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loop_with_count() {
    tells_its_story("loop_with_count", &["three reminders are due", "reminded, due at"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumer_with_retry() {
    tells_its_story("consumer_with_retry", &["a charge is due in 3 s"]).await;
}

async fn tells_its_story(example: &str, says: &[&str]) {
    let cluster = Cluster::new(example);
    let node = cluster.start().await;
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--package", "taskcenter-examples", "--bin", example])
        .env("TASKCENTER_SERVER", &node.url)
        .env("ROCKETMQ_NAMESRV", namesrv())
        .env("TASKCENTER_TOPIC", &cluster.id)
        .stdin(Stdio::null())
        .output()
        .await
        .expect("cargo runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{example} failed\n{out}\n{err}");
    for words in says {
        assert!(out.contains(words), "{example} does not say {words:?}:\n{out}");
    }
}

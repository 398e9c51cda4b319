//! The examples do what they say, as a user would run them.

use std::process::Stdio;

use tokio::process::Command;

use crate::cluster::{Cluster, namesrv};

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

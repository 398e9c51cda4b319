//! What a node writes down, and what it must not.

use serde_json::Value;
use taskcenter_client::NewTask;

use crate::cluster::{Cluster, guarded_namesrv};
use crate::inbox::Inbox;

const CANARY: &str = "canary-7f3a";

fn lines(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the log is there");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_leaves_one_line_and_neither_payload_nor_secret() {
    let mut cluster = Cluster::new("log");
    cluster.extra = format!("[alerts]\nwebhook_url = \"http://127.0.0.1:9/{CANARY}\"\n");
    let mut node = cluster.start().await;
    let inbox = Inbox::open(&cluster);
    let client = node.client();
    client.add_task(NewTask::once("log", CANARY).dedup_key(CANARY)).await.expect("it is accepted");
    client.query_task(CANARY).await.expect_err("no id looks like that");
    inbox.until_runs(1).await;
    inbox.close().await;
    node.stop().await;

    let all = lines(&node.log);
    assert!(all.iter().all(|line| !line.to_string().contains(CANARY)), "{all:#?}");
    let told = |line: &&Value| line["target"] == "taskcenter_server::access" && line["path"] != "/readyz";
    let access: Vec<&Value> = all.iter().filter(told).collect();
    let asked = |line: &&Value| (line["method"].clone(), line["path"].clone(), line["status"].clone());
    assert_eq!(
        access.iter().map(asked).collect::<Vec<_>>(),
        [
            ("POST".into(), "/v1/api/task".into(), 200.into()),
            ("GET".into(), "/v1/api/query-task-by-id".into(), 400.into()),
        ]
    );
    for line in access {
        assert!(
            line["latency_ms"].is_f64() && line["bytes"].is_u64() && line["request_id"].is_string(),
            "{line}"
        );
    }
}

/// Wrong keys, with everything at its most talkative: the broker says no, and no line says with what.
#[tokio::test(flavor = "multi_thread")]
async fn no_key_of_the_broker_is_ever_logged() {
    let mut cluster = Cluster::new("log_keys");
    cluster.rocketmq = (guarded_namesrv(), Some(("canary-access", CANARY)));
    cluster.level = "trace";
    let mut node = cluster.spawn("");
    node.until_status("degraded").await;
    node.stop().await;
    let text = std::fs::read_to_string(&node.log).expect("the log is there");
    assert!(text.contains("taskcenter_server"), "it did log");
    assert!(!text.contains(CANARY), "the secret key is in {}", node.log);
}

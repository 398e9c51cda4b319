//! The log of a node, and what it must not contain.

use serde_json::Value;
use taskcenter_client::NewTask;

use crate::cluster::{Cluster, guarded_namesrv};
use crate::inbox::Inbox;

const CANARY: &str = "canary-7f3a";

fn lines(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the log exists");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_logs_one_line_without_payload_or_secrets() {
    let mut cluster = Cluster::new("log");
    cluster.extra = format!("[alerts]\nwebhook_url = \"http://127.0.0.1:9/{CANARY}\"\n");
    let mut node = cluster.start().await;
    let inbox = Inbox::open(&cluster);
    let client = node.client();
    client
        .add_task(NewTask::once("log", CANARY).dedup_key(CANARY))
        .await
        .expect("the server accepts the request");
    client.query_task(CANARY).await.expect_err("the id is malformed");
    inbox.until_runs(1).await;
    inbox.close().await;
    node.stop().await;

    let all = lines(&node.log);
    assert!(all.iter().all(|line| !line.to_string().contains(CANARY)), "{all:#?}");
    let is_access =
        |line: &&Value| line["target"] == "taskcenter_server::access" && line["path"] != "/readyz";
    let access: Vec<&Value> = all.iter().filter(is_access).collect();
    let request = |line: &&Value| (line["method"].clone(), line["path"].clone(), line["status"].clone());
    assert_eq!(
        access.iter().map(request).collect::<Vec<_>>(),
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

/// The node logs at `trace` and uses wrong keys, which the broker refuses.
#[tokio::test(flavor = "multi_thread")]
async fn no_key_of_the_broker_is_logged() {
    let mut cluster = Cluster::new("log_keys");
    cluster.rocketmq = (guarded_namesrv(), Some(("canary-access", CANARY)));
    cluster.level = "trace";
    let mut node = cluster.spawn("");
    node.until_status("degraded").await;
    node.stop().await;
    let text = std::fs::read_to_string(&node.log).expect("the log exists");
    assert!(text.contains("taskcenter_server"), "the node logs");
    assert!(!text.contains(CANARY), "the secret key is in {}", node.log);
}

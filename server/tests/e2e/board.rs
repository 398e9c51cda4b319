//! The legacy API of TaskDash over its topics, on a real broker.

use axum::Router;
use axum::routing::post;
use serde_json::{Value, json};
use taskcenter_client::rocketmq::{OutMessage, Producer, RocketMqConfig};
use tokio::net::TcpListener;

use crate::cluster::{Cluster, Server, http_client, namesrv};
use crate::wait;

const ID: &str = "d8b6efc3ee308ef3ea1284b9dfc79df8";

/// Sends to a topic as a task service does.
async fn publish(cluster: &Cluster, topic: &str, body: &Value) {
    let topic = format!("{}_{topic}", cluster.id);
    let producer = Producer::new(RocketMqConfig::new(namesrv(), &topic, format!("{topic}_services")));
    let message = || OutMessage {
        tag: String::new(),
        key: String::new(),
        body: body.to_string().into_bytes().into(),
        properties: Vec::new(),
    };
    wait::until("the topic accepts a message", async || {
        let _ = producer.probe().await;
        producer.send(vec![message()]).await.iter().all(Result::is_ok)
    })
    .await;
    producer.shutdown().await;
}

async fn query(server: &Server, query: &str) -> Vec<Value> {
    let url = format!("{}/rget/task?{query}", server.url);
    let Ok(answer) = http_client().get(url).send().await else { return Vec::new() };
    serde_json::from_slice(&answer.bytes().await.unwrap_or_default()).unwrap_or_default()
}

fn task(status: &str) -> Value {
    json!({
        "ID": "ignored", "ProjectID": "projectID", "InstanceID": "instanceID", "TaskID": "0210232_1220_1222_020",
        "TaskType": "satEdit", "Status": status, "URL": "https://192.168.51.33:8080", "CreateTime": 1_597_116_419,
    })
}

/// Starts a task service with one new task. Returns its URL.
async fn task_service() -> String {
    let new_tasks = |form: String| async move {
        assert_eq!(form, "operation=GetNewTasks&increment=0");
        json!([{"ProjectID": "p1", "InstanceID": "i1", "TaskID": "20200311_0000001_111111", "TaskType": "vidEdit"}])
            .to_string()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}/TaskDash/", listener.local_addr().expect("the listener has an address"));
    let routes = Router::new().route("/TaskDash/", post(new_tasks));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_services_are_handled_and_early_ones_retried() {
    let mut cluster = Cluster::new("board");
    cluster.extra = format!(
        "[callback]\nallow = [\"127.0.0.0/8\"]\n[compat.taskdash]\nenabled = true\ntopic_prefix = \"{}_\"\n",
        cluster.id
    );
    // The status is sent before its task, and before the node consumes.
    publish(&cluster, "updateStatus", &task("编辑中")).await;
    let server = cluster.start().await;
    publish(&cluster, "taskRegister", &task("待领取")).await;
    wait::until("the task has the status that was sent first", async || {
        query(&server, "operation=GetTasksNoUser")
            .await
            .iter()
            .any(|row| row["ID"] == ID && row["Status"] == "编辑中")
    })
    .await;

    let url = task_service().await;
    publish(&cluster, "serviceRegister", &json!({"URL": url, "Name": "annotator", "Reserved": ""})).await;
    wait::until("the tasks of the service are fetched", async || {
        let rows = query(&server, "operation=GetTasksNoUser").await;
        rows.iter().any(|row| row["ID"] == "9cf4db018beecb08a1f27678798c0653")
    })
    .await;
    let time =
        async || query(&server, "operation=GetServices").await.first().and_then(|of| of["Time"].as_i64());
    let registered = time().await.expect("the service is listed");
    wait::moment((registered + 1) * 1_000).await;
    publish(&cluster, "heartBeat", &json!({"url": url, "time": 1_594_885_152, "reserved": "no"})).await;
    wait::until("the heartbeat is later than the registration", async || {
        time().await.is_some_and(|time| time > registered)
    })
    .await;
    let log = std::fs::read_to_string(&server.log).expect("the log exists");
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let changes: Vec<Value> = lines.filter(|line| line["target"] == "audit").collect();
    for (topic, kind) in [("taskRegister", "taskdash.task"), ("serviceRegister", "taskdash.service")] {
        let is_logged = changes.iter().any(|line| {
            let ids = line["ids"].as_str().unwrap_or_default();
            line["caller"] == "message"
                && line["name"] == topic
                && ids.starts_with(kind)
                && line["outcome"] == "done"
        });
        assert!(is_logged, "no audit line for {topic}: {changes:#?}");
    }
}

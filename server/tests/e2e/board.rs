//! The claim board over its topics, on the real broker.

use axum::Router;
use axum::routing::post;
use serde_json::{Value, json};
use taskcenter_client::rocketmq::{OutMessage, Producer, RocketMqConfig};
use tokio::net::TcpListener;

use crate::cluster::{Cluster, Server, namesrv};
use crate::wait;

const ID: &str = "d8b6efc3ee308ef3ea1284b9dfc79df8";

/// Sends to one of the board's topics, as a task service does.
async fn publish(cluster: &Cluster, topic: &str, body: &Value) {
    let topic = format!("{}_{topic}", cluster.id);
    let producer = Producer::new(RocketMqConfig::new(namesrv(), &topic, format!("{topic}_services")));
    let message = || OutMessage {
        tag: String::new(),
        key: String::new(),
        body: body.to_string().into_bytes().into(),
        properties: Vec::new(),
    };
    wait::until("the topic takes a message", async || {
        let _ = producer.probe().await;
        producer.send(vec![message()]).await.iter().all(Result::is_ok)
    })
    .await;
    producer.shutdown().await;
}

async fn ask(server: &Server, query: &str) -> Vec<Value> {
    let url = format!("{}/rget/task?{query}", server.url);
    let Ok(answer) = reqwest::get(url).await else { return Vec::new() };
    serde_json::from_slice(&answer.bytes().await.unwrap_or_default()).unwrap_or_default()
}

fn task(status: &str) -> Value {
    json!({
        "ID": "ignored", "ProjectID": "projectID", "InstanceID": "instanceID", "TaskID": "0210232_1220_1222_020",
        "TaskType": "satEdit", "Status": status, "URL": "https://192.168.51.33:8080", "CreateTime": 1_597_116_419,
    })
}

/// A task service with one new task; its address.
async fn task_service() -> String {
    let asked = |form: String| async move {
        assert_eq!(form, "operation=GetNewTasks&increment=0");
        json!([{"ProjectID": "p1", "InstanceID": "i1", "TaskID": "20200311_0000001_111111", "TaskType": "vidEdit"}])
            .to_string()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}/TaskDash/", listener.local_addr().expect("it has an address"));
    let routes = Router::new().route("/TaskDash/", post(asked));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn services_speak_to_the_board_by_their_topics_and_what_came_too_early_comes_again() {
    let mut cluster = Cluster::new("board");
    cluster.extra = format!(
        "[callback]\nallow = [\"127.0.0.0/8\"]\n[compat.taskdash]\nenabled = true\ntopic_prefix = \"{}_\"\n",
        cluster.id
    );
    // Before anybody reads, and the status before its task.
    publish(&cluster, "updateStatus", &task("编辑中")).await;
    let server = cluster.start().await;
    publish(&cluster, "taskRegister", &task("待领取")).await;
    wait::until("the task stands on the board with the status that was sent first", async || {
        ask(&server, "operation=GetTasksNoUser")
            .await
            .iter()
            .any(|row| row["ID"] == ID && row["Status"] == "编辑中")
    })
    .await;

    let url = task_service().await;
    publish(&cluster, "serviceRegister", &json!({"URL": url, "Name": "annotator", "Reserved": ""})).await;
    wait::until("the service was asked for its tasks", async || {
        let rows = ask(&server, "operation=GetTasksNoUser").await;
        rows.iter().any(|row| row["ID"] == "9cf4db018beecb08a1f27678798c0653")
    })
    .await;
    publish(&cluster, "heartBeat", &json!({"url": url, "time": 1_594_885_152, "reserved": "no"})).await;
    wait::until("the service lives", async || {
        ask(&server, "operation=GetServices").await.iter().any(|service| service["Status"] == "up")
    })
    .await;
    let log = std::fs::read_to_string(&server.log).expect("the log is there");
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let changes: Vec<Value> = lines.filter(|line| line["target"] == "audit").collect();
    for (topic, kind) in [("taskRegister", "taskdash.task"), ("serviceRegister", "taskdash.service")] {
        let told = changes.iter().any(|line| {
            let ids = line["ids"].as_str().unwrap_or_default();
            line["caller"] == "message"
                && line["name"] == topic
                && ids.starts_with(kind)
                && line["outcome"] == "done"
        });
        assert!(told, "no line tells of {topic}: {changes:#?}");
    }
}

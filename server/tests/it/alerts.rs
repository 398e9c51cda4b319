//! The examples of the pages about alerts, and a real node that sends its alerts to a channel.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use taskcenter_server::config::{ChannelKind, Config};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::access::node::{Node, TIMEOUT, taskcenter};
use crate::docs::pages::Page;

#[test]
fn the_configurations_of_the_pages_are_valid() {
    for (page, kinds) in [
        ("docs/alerts.md", [ChannelKind::Email, ChannelKind::Dingtalk, ChannelKind::Slack]),
        ("docs/zh/alerts.md", [ChannelKind::Dingtalk, ChannelKind::Feishu, ChannelKind::Wecom]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("alerts.toml");
        std::fs::write(&file, Page::read(page).code("toml").concat()).unwrap();
        let config = Config::load(Some(&file), []).unwrap_or_else(|error| panic!("{page}: {error}"));
        let read: Vec<_> = config.alerts.channels.values().map(|channel| channel.kind).collect();
        assert_eq!(read, kinds, "{page}");
    }
}

async fn record(State(texts): State<UnboundedSender<String>>, Json(message): Json<Value>) -> &'static str {
    texts.send(message["text"].as_str().unwrap_or_default().to_owned()).expect("the test runs");
    "ok"
}

/// Starts a receiver with the format of Slack.
async fn receiver() -> (String, UnboundedReceiver<String>) {
    let (sender, texts) = unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}/services/canary7f3a", listener.local_addr().expect("it has an address"));
    let app = Router::new().route("/services/canary7f3a", post(record)).with_state(sender);
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, texts)
}

/// Creates a task, and ends its run as dead.
async fn end_dead(client: &reqwest::Client, address: &str, data: &str) {
    let call = async |path: &str, body: Value| -> Value {
        let request = client.post(format!("http://{address}{path}")).body(body.to_string());
        let response = request.send().await.expect("the node answers");
        let text = response.text().await.expect("the answer is text");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error} in {text}"))
    };
    call("/v1/tasks", json!({"name": "order.close", "data": data})).await;
    let lease =
        json!({"worker": "w", "queues": ["order.close"], "limit": 1, "lease_ms": 60_000, "wait_ms": 20_000});
    let leased = call("/v1/runs/lease", lease).await;
    let run = &leased["runs"][0];
    let outcome = json!({"run_id": run["run_id"], "attempt": run["attempt"], "token": run["token"],
        "outcome": "dead", "message": "no stock"});
    call("/v1/runs/settle", json!({"outcomes": [outcome]})).await;
}

#[tokio::test]
async fn a_dead_run_reaches_the_channel_of_a_node_and_the_log_hides_its_address() {
    let directory = tempfile::tempdir().unwrap();
    let (url, mut texts) = receiver().await;
    let env = [
        ("TASKCENTER__EMBEDDED__DATA_DIR", directory.path().to_str().unwrap()),
        ("TASKCENTER__ENGINE__BACKLOG_SEC", "1"),
        ("TASKCENTER__ALERTS__PUBLIC_URL", "https://tasks.example"),
        ("TASKCENTER__ALERTS__CHANNELS__OPS__KIND", "slack"),
        ("TASKCENTER__ALERTS__CHANNELS__OPS__URL", &url),
        ("TASKCENTER__LOG__LEVEL", "debug"),
    ];
    let mut node = Node::start(&env).await;
    let server = format!("http://{}", node.address);
    let (code, output) = taskcenter(&["alert", "--server", &server, "test", "ops"], &[]).await;
    assert_eq!((code, output.as_str()), (0, "delivered to ops\n"));
    let text = texts.recv().await.unwrap();
    assert!(text.contains("test message") && text.contains("https://tasks.example"), "{text}");

    // The first reading of the counters is the base, so a run that ends before it does not count.
    let client = reqwest::Client::new();
    let text = timeout(TIMEOUT, async {
        for nth in 0.. {
            end_dead(&client, &node.address, &format!("{nth}")).await;
            let next = timeout(std::time::Duration::from_secs(5), texts.recv()).await;
            if let Some(text) = next.ok().flatten() {
                return text;
            }
        }
        unreachable!("the loop has no end")
    });
    let text = text.await.expect("the alert arrives in time");
    assert!(text.contains("first dead run") && text.contains("- order.close: "), "{text}");
    let (code, output) = taskcenter(&["alert", "--server", &server, "list"], &[]).await;
    assert!(code == 0 && output.contains("first_dead") && output.contains("order.close"), "{output}");
    let silence =
        ["alert", "--server", &server, "silence", "--rule", "first_dead", "--for", "2h", "--comment", "c"];
    let (code, output) = taskcenter(&silence, &[]).await;
    assert!(code == 0 && output.contains("first_dead"), "{output}");
    let (code, output) = taskcenter(&["alert", "--server", &server, "test", "other"], &[]).await;
    assert!(code == 3 && output.contains("alert list"), "{output}");
    node.until("#FIRST_DEAD").await;
    let log = node.log.join("\n");
    assert!(!log.contains("canary7f3a"), "{log}");
}

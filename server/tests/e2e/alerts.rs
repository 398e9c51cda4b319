//! Alerts about a backlog: log line, gauge and webhook.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use taskcenter_client::NewTask;
use tokio::net::TcpListener;

use crate::cluster::{Cluster, Mode, http_client, in_both_modes};
use crate::inbox::Inbox;
use crate::wait;

const FIRES: [&str; 2] = ["#NAME_TO_MANY_TASK alert.asked raised", "#TOTAL_TO_MANY_TASK all raised"];

type Posts = Arc<Mutex<Vec<Value>>>;

async fn record(State(posts): State<Posts>, Json(post): Json<Value>) {
    posts.lock().expect("no thread panicked with the lock").push(post);
}

/// Receives the webhook.
async fn webhook() -> (String, Posts) {
    let posts = Posts::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}/alerts", listener.local_addr().expect("the listener has an address"));
    let app = Router::new().route("/alerts", post(record)).with_state(posts.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, posts)
}

/// Returns the posted alerts as `#CODE subject change`.
fn alerts(posts: &Posts) -> Vec<String> {
    let posts = posts.lock().expect("no thread panicked with the lock");
    let all = posts.iter().flat_map(|post| post["alerts"].as_array().cloned().unwrap_or_default());
    let text = |alert: Value| {
        let word = |key: &str| alert[key].as_str().unwrap_or("all").to_owned();
        format!("{} {} {}", word("code"), word("subject"), word("change"))
    };
    all.map(text).collect()
}

in_both_modes! {
    too_many_fires_and_unreported_runs_raise_alerts_that_are_cleared
}

/// Without a bus the node knows the state of every run, so no run is unreported.
async fn too_many_fires_and_unreported_runs_raise_alerts_that_are_cleared(mode: Mode) {
    let (url, posts) = webhook().await;
    let mut cluster = Cluster::on(mode, "alerts");
    cluster.extra = format!(
        "[task_center]\nname_alert_count = 2\ntotal_alert_count = 3\n\
         [alerts]\nunreported_per_tag = 1\nwebhook_url = \"{url}\"\n\
         [engine]\nbacklog_sec = 1\nrescue_ms = 100\n[engine.retry]\nmax_attempts = 1\n"
    );
    let node = cluster.start().await;
    let inbox = Inbox::open(&cluster);
    for i in 0..3 {
        let task = NewTask::once("alert.asked", i.to_string()).ack(Duration::from_secs(8));
        node.client().add_task(task).await.expect("the server accepts the request");
    }
    node.client().add_task(NewTask::once("alert.other", "1")).await.expect("the server accepts the request");
    inbox.until_runs(4).await;

    let (mut raised, mut active) = (FIRES.to_vec(), vec!["fires_per_tag"]);
    if mode == Mode::Cluster {
        raised.push("#BACKLOG_UNREPORTED alert.asked raised");
        active.push("unreported_per_tag");
    }
    let posted = |wanted: &str| alerts(&posts).iter().any(|alert| alert == wanted);
    wait::until("the alerts are raised", async || raised.iter().all(|alert| posted(alert))).await;
    let metrics = http_client().get(format!("{}/metrics", node.url)).send().await;
    let metrics = metrics.expect("the server answers").text().await;
    let metrics = metrics.expect("the value is a string");
    for kind in active {
        let gauge = format!("taskcenter_alert_active{{kind=\"{kind}\",subject=\"alert.asked\"}} 1");
        assert!(metrics.contains(&gauge), "{gauge} is missing from {metrics}");
    }
    let log = std::fs::read_to_string(&node.log).expect("the log exists");
    assert!(
        raised.iter().all(|alert| log.contains(alert.split(' ').next().expect("an alert has a code"))),
        "{log}"
    );

    if mode == Mode::Cluster {
        // No consumer reports, so the attempts are used up and the backlog ends.
        wait::until("the alert is cleared", async || posted("#BACKLOG_UNREPORTED alert.asked cleared")).await;
    }
    assert!(!alerts(&posts).iter().any(|alert| alert.contains("alert.other")), "{:?}", alerts(&posts));
    inbox.close().await;
}

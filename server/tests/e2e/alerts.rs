//! A backlog that a person hears of: log line, gauge, webhook.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use taskcenter_client::NewTask;
use tokio::net::TcpListener;

use crate::cluster::{Cluster, Mode, in_both_modes};
use crate::inbox::Inbox;
use crate::wait;

const FIRES: [&str; 2] = ["#NAME_TO_MANY_TASK alert.asked raised", "#TOTAL_TO_MANY_TASK all raised"];

type Posts = Arc<Mutex<Vec<Value>>>;

async fn keep(State(posts): State<Posts>, Json(post): Json<Value>) {
    posts.lock().expect("nothing panics while it is held").push(post);
}

/// A chat program's end of the webhook.
async fn webhook() -> (String, Posts) {
    let posts = Posts::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}/alerts", listener.local_addr().expect("it has an address"));
    let app = Router::new().route("/alerts", post(keep)).with_state(posts.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, posts)
}

/// The codes posted so far with what became of them, as `#CODE subject change`.
fn told(posts: &Posts) -> Vec<String> {
    let posts = posts.lock().expect("nothing panics while it is held");
    let alerts = posts.iter().flat_map(|post| post["alerts"].as_array().cloned().unwrap_or_default());
    let text = |alert: Value| {
        let word = |key: &str| alert[key].as_str().unwrap_or("all").to_owned();
        format!("{} {} {}", word("code"), word("subject"), word("change"))
    };
    alerts.map(text).collect()
}

in_both_modes! {
    too_many_fires_and_unreported_runs_are_told_and_taken_back
}

/// Without a bus no run is out of the node's sight: then there are fires to tell of, and nothing that is unreported.
async fn too_many_fires_and_unreported_runs_are_told_and_taken_back(mode: Mode) {
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
        let ask = NewTask::once("alert.asked", i.to_string()).ack(Duration::from_secs(8));
        node.client().add_task(ask).await.expect("it is accepted");
    }
    node.client().add_task(NewTask::once("alert.other", "1")).await.expect("it is accepted");
    inbox.until_runs(4).await;

    let (mut raised, mut active) = (FIRES.to_vec(), vec!["fires_per_tag"]);
    if mode == Mode::Cluster {
        raised.push("#BACKLOG_UNREPORTED alert.asked raised");
        active.push("unreported_per_tag");
    }
    let heard = |wanted: &str| told(&posts).iter().any(|told| told == wanted);
    wait::until("the alerts are raised", async || raised.iter().all(|alert| heard(alert))).await;
    let metrics = reqwest::get(format!("{}/metrics", node.url)).await.expect("it answers").text().await;
    let metrics = metrics.expect("it is text");
    for kind in active {
        let gauge = format!("taskcenter_alert_active{{kind=\"{kind}\",subject=\"alert.asked\"}} 1");
        assert!(metrics.contains(&gauge), "{gauge} is missing from {metrics}");
    }
    let log = std::fs::read_to_string(&node.log).expect("the log is there");
    assert!(raised.iter().all(|alert| log.contains(alert.split(' ').next().expect("a code"))), "{log}");

    if mode == Mode::Cluster {
        // Nobody reports: the attempts run out, and with them the backlog.
        wait::until("it is taken back", async || heard("#BACKLOG_UNREPORTED alert.asked cleared")).await;
    }
    assert!(!told(&posts).iter().any(|told| told.contains("alert.other")), "{:?}", told(&posts));
    inbox.close().await;
}

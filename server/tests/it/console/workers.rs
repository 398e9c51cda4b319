//! Workers with the runs that they hold, and nodes.

use serde_json::json;
use taskcenter_server::core::access::Scope;

use super::{Browser, token, with_console, with_locked_console};
use crate::http::Server;

const PAGE: &str = "/console/workers";

async fn lease(server: &Server, worker: &str, limit: u32) {
    let request = json!({"worker": worker, "queues": ["q"], "limit": limit, "lease_ms": 60_000});
    let (status, leased) = server.post("/v1/runs/lease", &request).await;
    assert_eq!(status, 200, "{leased}");
}

#[tokio::test]
async fn workers_are_shown_with_what_they_hold_and_nodes_with_their_shards() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let empty = browser.get(PAGE).await;
        empty.has("taskcenter worker --queues callback,rpc,script").has("node under test");
        empty.has(env!("CARGO_PKG_VERSION")).has("not measured").has("Store: Unknown");
        lease(server, "idle", 1).await;
        for number in 0..25 {
            server.ready(&number.to_string()).await;
            server.clock.advance_ms(1);
        }
        lease(server, "busy", 25).await;
        server.clock.advance_ms(61_000);
        let shown = browser.get(PAGE).await;
        shown
            .has(">busy<")
            .has("<span class=\"strong\">25</span>")
            .has("17 more runs")
            .has("5 runs are not listed");
        assert_eq!(shown.html.matches("href=\"/console/runs/").count(), 20);
        shown.has("1 min 1 s ago").lacks("taskcenter worker --queues");
        assert!(shown.html.find(">busy<") < shown.html.find(">idle<"), "busy workers are first");
    })
    .await;
}

#[tokio::test]
async fn a_limited_reader_sees_its_workers_and_no_nodes() {
    with_locked_console(async |server| {
        let (_, pay) = token(server, &[Scope::TaskRead], &["pay"]).await;
        let browser = Browser::new(server);
        browser.sign_in(&pay).await;
        browser.get(PAGE).await.has("Workers and nodes").lacks("node under test");
    })
    .await;
}

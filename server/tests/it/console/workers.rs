//! Workers with the runs that they hold, nodes, and callback services.

use serde_json::{Value, json};
use taskcenter_server::core::Moment;
use taskcenter_server::core::access::Scope;
use taskcenter_server::engine::service::DownNode;
use taskcenter_server::ports::Clock as _;

use super::{Browser, token, with_console, with_locked_console};
use crate::http::{Server, with_changes};

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

#[tokio::test]
async fn nodes_of_services_are_shown_with_their_health() {
    with_console(async |server| {
        let put = async |name: &str, more: Value| {
            let nodes = json!([{"url": format!("http://{name}-1")}, {"url": format!("http://{name}-2")}]);
            let (status, _) = server
                .post("/v1/services", &with_changes(json!({"name": name, "nodes": nodes}), &more))
                .await;
            assert_eq!(status, 201);
        };
        put("shop", json!({"health": {"path": "/up"}})).await;
        put("unchecked", json!({})).await;
        let browser = Browser::new(server);
        let before = browser.get("/console/services").await;
        assert_eq!(
            before.html.matches("Unknown</span>").count(),
            2,
            "no worker checks the nodes of the shop"
        );
        before.lacks("Answers</span>").lacks("Down</span>");

        let since = Moment::from_ms(server.clock.now().ms() - 61_000);
        let down = |url: &str| DownNode { url: url.to_owned(), why: "<i>refused</i>".to_owned(), since };
        // A node that is not checked always gets calls, whatever a worker reports.
        server.state.service.report_callback_health(vec![down("http://shop-2"), down("http://unchecked-1")]);
        let shown = browser.get("/console/services").await;
        shown.has("&#60;i&#62;refused&#60;/i&#62;; reported by node under test").has("1 min 1 s ago");
        for (word, number) in [("Answers", 1), ("Down", 1), ("Unknown", 0)] {
            assert_eq!(shown.html.matches(&format!("{word}</span>")).count(), number, "{word}");
        }

        let (_, shop) = server.get("/v1/services/shop").await;
        assert_eq!(shop["checked_by"], json!(["node under test"]));
        assert_eq!(
            (&shop["down"][0]["url"], &shop["down"][0]["reason"]),
            (&json!("http://shop-2"), &json!("<i>refused</i>"))
        );
        let (_, unchecked) = server.get("/v1/services/unchecked").await;
        assert_eq!((&unchecked["checked_by"], &unchecked["down"]), (&json!([]), &json!([])));
    })
    .await;
}

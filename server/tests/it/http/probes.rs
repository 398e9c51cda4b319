//! Probes, metrics, request ids and the access log.

use std::sync::Arc;

use reqwest::Method;
use serde_json::json;

use super::{one_shot, with_server};

#[tokio::test]
async fn readiness_follows_the_back_ends() {
    with_server(async |server| {
        let health = Arc::clone(&server.state.health);
        let checks = |store: &str, lock: &str, bus: &str, rows: &str| json!({"store": store, "lock": lock, "bus": bus, "rows": rows, "clock": "unknown"});
        let unready = json!({"status": "unready", "checks": checks("unknown", "unknown", "unknown", "unknown")});
        assert_eq!(server.get("/readyz").await, (503, unready));
        health.store.up();
        health.lock.up();
        health.rows.up();
        health.bus.down("RocketMQ is unavailable");
        let degraded = json!({"status": "degraded", "checks": checks("ok", "ok", "RocketMQ is unavailable", "ok")});
        assert_eq!(server.get("/readyz").await, (200, degraded));
        health.bus.up();
        let ready = json!({"status": "ready", "checks": checks("ok", "ok", "ok", "ok")});
        assert_eq!(server.get("/readyz").await, (200, ready));
        health.store.down("MongoDB is unavailable");
        assert_eq!(server.get("/readyz").await.0, 503);
        assert_eq!(server.get("/livez").await, (200, json!({"status": "alive"})), "the process is alive");
    })
    .await;
}

#[tokio::test]
async fn metrics_count_by_route_and_never_by_path() {
    with_server(async |server| {
        let id = server.add(&one_shot()).await;
        server.add(&one_shot()).await;
        server.get(&format!("/v1/runs/{id}")).await;
        server.get("/nowhere/canary-7f3a").await;
        let response = server.send(Method::GET, "/metrics", "").await;
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!(response.headers()["content-type"], kind);
        let page = response.text().await.unwrap();
        for line in [
            "taskcenter_tasks_submitted_total 1",
            "taskcenter_http_requests_total{method=\"POST\",route=\"/v1/api/task\",status=\"200\"} 2",
            "taskcenter_http_requests_total{method=\"GET\",route=\"/v1/runs/{run_id}\",status=\"404\"} 1",
            "taskcenter_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 1",
            "taskcenter_http_request_duration_seconds_count{route=\"/v1/api/task\"} 2",
        ] {
            assert!(page.contains(line), "{line} is missing from\n{page}");
        }
        assert!(!page.contains("canary-7f3a") && !page.contains(&id), "{page}");
    })
    .await;
}

#[tokio::test]
async fn a_request_id_is_echoed_or_generated() {
    with_server(async |server| {
        let request_id_for = async |given: Option<&[u8]>| {
            let mut request = server.client.get(format!("http://{}/livez", server.address));
            if let Some(given) = given {
                request = request.header("x-request-id", given);
            }
            let response = request.send().await.unwrap();
            response.headers()["x-request-id"].to_str().unwrap().to_owned()
        };
        assert_eq!(request_id_for(Some(b"order-42:a.b_c")).await, "order-42:a.b_c");
        let generated = request_id_for(None).await;
        assert!(uuid::Uuid::parse_str(&generated).is_ok(), "{generated}");
        assert_ne!(request_id_for(None).await, generated);
        for invalid in [&b"a b"[..], b"a\"b", b"{}", b"\xff", b"", &[b'x'; 129]] {
            let generated = request_id_for(Some(invalid)).await;
            assert!(uuid::Uuid::parse_str(&generated).is_ok(), "{invalid:?} was answered with {generated}");
        }
    })
    .await;
}

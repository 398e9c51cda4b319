//! Requests to every route of the HTTP API and of the legacy APIs. Input: a line with method and
//! target, then the body.
//!
//! The server stores what it accepts as it was sent, a refusal names the field, and no request
//! causes a fault of the server.

use std::net::Ipv4Addr;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::{Router, http::Method};
use serde_json::Value;
use taskcenter_server::compat::Compat;
use taskcenter_server::http::{Peer, router};
use taskcenter_server::legacy_apis;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::mutate::each;
use crate::hostile::state;
use crate::http::LIMITS;
use crate::store::Fixture;
use crate::store::memory::MemoryFixture;
use crate::store::sqlite::SqliteFixture;

async fn answer(router: &Router, method: Method, target: &str, body: Vec<u8>) -> Option<(u16, Value)> {
    let peer = Peer(Ipv4Addr::LOCALHOST.into());
    let request = Request::builder().method(method).uri(target).extension(peer);
    let request = request.header("host", "localhost").header("if-match", "*");
    // A client library rejects such a target, too.
    let request = request.body(Body::from(body)).ok()?;
    let response = router.clone().oneshot(request).await.expect("a router always answers");
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Some((status, serde_json::from_slice(&body).unwrap_or_default()))
}

/// Members that mark a fault of the server in answers of legacy APIs.
const SERVER_FAULTS: [(&str, u64); 2] = [("code", 500), ("errid", 1_002)];

/// Returns whether a refusal at this path names its field.
fn names_fields(target: &str) -> bool {
    ["/v1/", "/api/v1/"].iter().any(|prefix| target.starts_with(prefix))
}

/// Sends one request, checks the answer, and returns whether the request succeeded.
async fn check(router: &Router, input: &[u8]) -> bool {
    let (line, body) = input.split_at(input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len()));
    let line = String::from_utf8_lossy(line).into_owned();
    let (method, target) = line.split_once(' ').unwrap_or(("GET", "/"));
    let Ok(method) = method.parse::<Method>() else { return false };
    let Some((status, reply)) = answer(router, method.clone(), target, body.to_vec()).await else {
        return false;
    };
    assert!(status < 500, "{status} {reply}");
    assert!(!SERVER_FAULTS.iter().any(|fault| reply[fault.0] == fault.1), "{reply}");
    if status == 400 && names_fields(target) {
        assert!(reply["field"].is_string(), "the refusal does not name a field: {reply}");
        assert!(reply.to_string().len() < 2_000, "{reply}");
    }
    if status < 300 && method == Method::POST {
        match target {
            "/v1/tasks" => assert_task_is_stored(router, body, &reply).await,
            "/v1/api/task" => assert_contract_task_is_stored(router, body, &reply).await,
            _ => {}
        }
    }
    status < 300
}

/// Checks that the task has all fields of the request, and that a query returns the answer of the
/// create without its notes on the request.
async fn assert_task_is_stored(router: &Router, body: &[u8], task: &Value) {
    let Some(id) = task["id"].as_str() else { return };
    let shown = answer(router, Method::GET, &format!("/v1/tasks/{id}"), Vec::new()).await;
    let mut stored = task.clone();
    stored.as_object_mut().unwrap().retain(|name, _| !["existing", "warnings"].contains(&name.as_str()));
    assert_eq!(shown, Some((200, stored)));
    let sent: Value = serde_json::from_slice(body).expect("an accepted body is JSON");
    // An existing task with the dedup key may be the answer.
    let fields = if sent["dedup_key"].is_string() {
        &["name"][..]
    } else {
        &["name", "data", "ack", "queue", "max_fires"]
    };
    for field in fields.iter().filter(|field| !sent[**field].is_null()) {
        assert_eq!(sent[*field], task[*field], "{field} of {sent}");
    }
    assert!(
        task["next_due_at"].is_string() || task["dedup_key"].is_string(),
        "a new task has a next moment: {task}"
    );
}

async fn assert_contract_task_is_stored(router: &Router, body: &[u8], reply: &Value) {
    let target = format!(
        "/v1/api/query-task-by-id?taskid={}",
        reply["taskid"].as_str().expect("a created task has an id")
    );
    let (status, shown) = answer(router, Method::GET, &target, Vec::new()).await.unwrap();
    let sent: Value = serde_json::from_slice(body).expect("an accepted body is JSON");
    assert_eq!((status, &shown["name"]), (200, &sent["name"]));
    assert!(sent["dedup_key"].is_string() || shown["data"] == sent["data"], "{sent} is stored as {shown}");
}

async fn entries(fixture: Box<dyn Fixture>, rounds: usize) {
    let shutdown = CancellationToken::new();
    let (state, _) = state(&*fixture, shutdown);
    let apis = Compat::default().all_on();
    let router = router(state, LIMITS, legacy_apis(apis));
    let mut succeeded = 0;
    each("entries", rounds, async |input| succeeded += usize::from(check(&router, &input).await)).await;
    println!("{succeeded} requests succeeded");
    assert!(succeeded > 10, "only {succeeded} requests succeeded");
    drop(router);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    entries(Box::new(SqliteFixture::open().await), 300).await;
}

#[tokio::test]
async fn in_memory() {
    entries(Box::new(MemoryFixture::open().await), 1_500).await;
}

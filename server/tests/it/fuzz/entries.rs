//! Every entry of the HTTP front, and of those for older systems' clients: a line with method and target, and a body. What is taken can be read back as it was sent, what
//! is refused names its field, and nothing is our fault.

use std::net::Ipv4Addr;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::{Router, http::Method};
use serde_json::Value;
use taskcenter_server::compat::{Compat, mount};
use taskcenter_server::http::{Peer, router};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::mutate::each;
use crate::hostile::state;
use crate::http::LIMITS;
use crate::store::Fixture;
use crate::store::memory::MemoryFixture;
use crate::store::sqlite::SqliteFixture;

async fn answer(router: &Router, method: Method, target: &str, body: Vec<u8>) -> Option<(u16, Value)> {
    let here = Peer(Ipv4Addr::LOCALHOST.into());
    let request = Request::builder().method(method).uri(target).header("if-match", "*").extension(here);
    // A client's library would not send such a target either.
    let request = request.body(Body::from(body)).ok()?;
    let response = router.clone().oneshot(request).await.expect("a router always answers");
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Some((status, serde_json::from_slice(&body).unwrap_or_default()))
}

/// What the fronts for older systems' clients say when something broke, whatever the status is.
const OUR_FAULTS: [(&str, u64); 2] = [("code", 500), ("errid", 1_002)];

/// Whether a path is this API's own, and not one of those fronts'.
fn is_own(target: &str) -> bool {
    ["/v1/", "/api/v1/"].iter().any(|prefix| target.starts_with(prefix))
}

/// Whether it was taken.
async fn checked(router: &Router, input: &[u8]) -> bool {
    let (line, body) = input.split_at(input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len()));
    let line = String::from_utf8_lossy(line).into_owned();
    let (method, target) = line.split_once(' ').unwrap_or(("GET", "/"));
    let Ok(method) = method.parse::<Method>() else { return false };
    let Some((status, reply)) = answer(router, method.clone(), target, body.to_vec()).await else {
        return false;
    };
    assert!(status < 500, "{status} {reply}");
    assert!(!OUR_FAULTS.iter().any(|fault| reply[fault.0] == fault.1), "{reply}");
    if status == 400 && is_own(target) {
        assert!(reply["field"].is_string(), "the refusal names no field: {reply}");
        assert!(reply.to_string().len() < 2_000, "{reply}");
    }
    if status < 300 && method == Method::POST {
        match target {
            "/v1/tasks" => assert_kept(router, body, &reply).await,
            "/v1/api/task" => assert_kept_by_the_contract(router, body, &reply).await,
            _ => {}
        }
    }
    status < 300
}

/// Everything that was sent stands in the task, and the task is shown as it was answered.
async fn assert_kept(router: &Router, body: &[u8], task: &Value) {
    let Some(id) = task["id"].as_str() else { return };
    let shown = answer(router, Method::GET, &format!("/v1/tasks/{id}"), Vec::new()).await;
    assert_eq!(shown, Some((200, task.clone())));
    let sent: Value = serde_json::from_slice(body).expect("what is taken is JSON");
    // A task with this key stood already, and is the answer.
    let fields = if sent["dedup_key"].is_string() {
        &["name"][..]
    } else {
        &["name", "data", "ack", "queue", "max_fires"]
    };
    for field in fields.iter().filter(|field| !sent[**field].is_null()) {
        assert_eq!(sent[*field], task[*field], "{field} of {sent}");
    }
    assert!(task["next_due_at"].is_string() || task["dedup_key"].is_string(), "it will fire: {task}");
}

async fn assert_kept_by_the_contract(router: &Router, body: &[u8], reply: &Value) {
    let target =
        format!("/v1/api/query-task-by-id?taskid={}", reply["taskid"].as_str().expect("it has an id"));
    let (status, shown) = answer(router, Method::GET, &target, Vec::new()).await.unwrap();
    let sent: Value = serde_json::from_slice(body).expect("what is taken is JSON");
    assert_eq!((status, &shown["name"]), (200, &sent["name"]));
    assert!(sent["dedup_key"].is_string() || shown["data"] == sent["data"], "{sent} is shown as {shown}");
}

async fn entries(fixture: Box<dyn Fixture>, rounds: usize) {
    let shutdown = CancellationToken::new();
    let (state, _) = state(&*fixture, shutdown);
    let fronts = Compat::default().all_on();
    let router = router(state, LIMITS, Box::new(move |routes| mount(routes, &fronts)));
    let mut taken = 0;
    each("entries", rounds, async |input| taken += usize::from(checked(&router, &input).await)).await;
    println!("{taken} requests were taken");
    assert!(taken > 10, "hardly any request was taken");
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

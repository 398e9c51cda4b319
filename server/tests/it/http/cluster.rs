//! The HTTP API on the back ends of a cluster: MongoDB and Redis.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;

use futures_util::FutureExt as _;
use reqwest::Method;
use serde_json::json;
use taskcenter_server::adapters::mongo::MongoStore;
use taskcenter_server::adapters::redis::RedisLock;
use taskcenter_server::http::HttpLimits;
use tokio::net::TcpListener;

use super::contract::{large_tasks_are_listed_page_by_page, setup_for_large_tasks};
use super::faulty::CANARY;
use super::{LIMITS, SHORT, Server, Setup, one_shot, parse_problem, refusal, status_and_body};
use crate::store::Fixture as _;
use crate::store::mongo::MongoFixture;
use crate::store::samples::unique;

/// Runs a test against a server on a database and a key prefix of its own.
pub async fn with_server(test: impl AsyncFnOnce(&Server)) {
    with_server_as(Setup::default(), test).await;
}

async fn with_server_as(setup: Setup, test: impl AsyncFnOnce(&Server)) {
    let fixture = Box::new(MongoFixture::open().await);
    let redis = std::env::var("TASKCENTER_TEST_REDIS_ADDR").unwrap_or_else(|_| "127.0.0.1:16379".to_owned());
    let lock = RedisLock::new(&redis, &format!("it{:032x}", unique())).unwrap();
    let setup = Setup { lock: Some(Arc::new(lock)), ..setup };
    let test = Box::pin(setup.with_server_on(fixture.one(), fixture.records(), test));
    let outcome = AssertUnwindSafe(test).catch_unwind().await;
    fixture.close().await;
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
}

/// Runs a test against a server whose MongoDB does not answer.
async fn with_mongodb_at(uri: &str, limits: HttpLimits, test: impl AsyncFnOnce(&Server)) {
    let store = Arc::new(MongoStore::new(uri, "db").await.unwrap());
    Setup { limits, ..Setup::default() }.with_server_on(store.clone(), store, test).await;
}

#[tokio::test]
async fn a_page_cut_short_by_large_tasks_has_a_cursor() {
    with_server_as(setup_for_large_tasks(), large_tasks_are_listed_page_by_page).await;
}

#[tokio::test]
async fn an_unreachable_mongodb_is_answered_503_without_a_cause() {
    let uri =
        format!("mongodb://user:{CANARY}@127.0.0.1:1/?serverSelectionTimeoutMS=100&connectTimeoutMS=100");
    with_mongodb_at(&uri, LIMITS, async |server| {
        let legacy = format!("/v1/api/query-task-by-id?taskid={}", "0".repeat(32));
        for path in ["/v1/tasks", &legacy] {
            let (status, reply) = server.get(path).await;
            assert_eq!(status, 503, "{path}: {reply}");
            let text = reply.to_string();
            assert!(!text.contains("127.0.0.1") && !text.contains(CANARY), "{text}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_mongodb_that_does_not_answer_is_answered_503_in_time() {
    // The kernel accepts connections to this port. No process answers on them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("mongodb://user:{CANARY}@{}/", silent.local_addr().unwrap());
    let limits = HttpLimits { request_timeout: SHORT, ..LIMITS };
    with_mongodb_at(&uri, limits, async |server| {
        let response = server.send(Method::GET, "/v1/queues", "").await;
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(parse_problem(status_and_body(response).await), refusal(503, "timeout"));
        let response = server.send(Method::POST, "/v1/api/task", one_shot().to_string()).await;
        assert_eq!(response.headers()["retry-after"], "1");
        let (status, reply) = status_and_body(response).await;
        assert_eq!((status, &reply["err"]), (503, &json!(503)));
    })
    .await;
}

//! The HTTP API, tested over the network. Each test has a server and a store of its own.

mod access;
mod alerts;
mod attempts;
mod audit;
mod backfills;
mod calendars;
#[cfg(feature = "cluster")]
mod cluster;
mod concurrency;
mod contract;
mod events;
mod faulty;
mod holds;
mod labels;
pub mod legacy_routes;
mod limits;
mod malformed;
mod nodes;
mod openapi;
mod openapi_bounds;
mod operations;
mod overlap;
mod probes;
mod problems;
mod queues;
mod quotas;
mod races;
mod rate_limit;
mod revisions;
mod run_logs;
mod runs;
mod schedule;
mod schedule_preview;
mod server;
mod services;
mod tasks_by_key;
mod tasks_v1;
mod timing;
mod users;
mod work;

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;
use taskcenter_server::core::Moment;
use taskcenter_server::http::HttpLimits;

pub use server::{Server, Setup, with_server};

/// Initial time of the server's clock.
pub const NOW_SEC: i64 = 2_000_000_000;
pub const NOW: Moment = Moment::from_sec(NOW_SEC);
pub const PREFIXES: [&str; 2] = ["/v1/api", "/api/v1"];

/// Time limits that a busy machine does not reach. Tests that wait for a limit set a short one.
pub const LIMITS: HttpLimits = HttpLimits {
    body_limit_bytes: 64 * 1024,
    request_timeout: Duration::from_mins(1),
    header_timeout: Duration::from_mins(1),
    max_head_bytes: 64 * 1024,
    write_timeout: Duration::from_mins(1),
    max_connections: 100,
    max_connections_per_peer: 100,
    peer_requests_per_sec: 0,
    shutdown_grace: Duration::from_mins(1),
};
pub const SHORT: Duration = Duration::from_millis(100);

#[cfg(feature = "cluster")]
pub fn mongodb_uri() -> String {
    std::env::var("TASKCENTER_TEST_MONGODB_URI")
        .unwrap_or_else(|_| "mongodb://127.0.0.1:27117/?replicaSet=rs0".to_owned())
}

/// Makes each case a test on SQLite with the local lock, and a test on MongoDB with Redis.
macro_rules! on_embedded_and_cluster {
    ($($area:ident: $($case:ident)*;)*) => {
        mod on_embedded {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::with_server(super::$area::$case).await;
                }
            )*)*
        }

        #[cfg(feature = "cluster")]
        mod on_cluster {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::cluster::with_server(super::$area::$case).await;
                }
            )*)*
        }
    };
}

on_embedded_and_cluster! {
    tasks_v1:
        a_task_is_returned_as_it_was_created
        tasks_are_listed_page_by_page
        a_request_with_an_idempotency_key_is_executed_once;
    races:
        one_of_equal_edits_is_done;
    runs:
        runs_are_listed_page_by_page;
    run_logs:
        a_log_is_read_page_by_page;
    work:
        a_run_is_leased_to_one_worker;
    queues:
        statistics_are_by_tag_and_by_queue;
    labels:
        lists_are_filtered_by_labels
        a_run_has_the_labels_of_its_fire;
    events:
        events_of_tasks_and_runs_arrive_without_payloads;
    nodes:
        workers_are_listed_with_their_runs;
    services:
        a_service_is_created_changed_and_deleted_without_showing_its_secret;
    alerts:
        silences_are_created_listed_and_ended;
    users:
        users_are_added_changed_and_removed;
    contract:
        every_task_of_a_name_is_deleted;
    access:
        a_revoked_token_is_refused_at_once_and_by_other_nodes_within_two_seconds;
}

/// Returns status and body. Asserts that the body is one JSON document, and a problem if the request
/// was refused outside the legacy task API.
pub async fn status_and_body(response: Response) -> (u16, Value) {
    let (status, path) = (response.status().as_u16(), response.url().path().to_owned());
    let is_legacy = PREFIXES.iter().any(|prefix| path == *prefix || path.starts_with(&format!("{prefix}/")));
    let is_problem = status >= 400 && path != "/readyz" && !is_legacy;
    let kind = if is_problem { "application/problem+json" } else { "application/json" };
    assert_eq!(response.headers()["content-type"], kind);
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?} is not JSON: {error}"));
    (status, body)
}

/// Returns status, `code` and `field` of a problem. Asserts that the problem is complete, short, and
/// without further members.
pub fn parse_problem((status, problem): (u16, Value)) -> (u16, String, Option<String>) {
    let text = |member: &str| problem[member].as_str().map(str::to_owned);
    assert_eq!(
        (problem["status"].as_u64(), text("type")),
        (Some(u64::from(status)), Some("about:blank".into())),
        "{problem}"
    );
    for member in ["title", "detail"] {
        assert!(text(member).is_some_and(|text| !text.is_empty() && text.len() < 1_000), "{problem}");
    }
    let known = ["type", "title", "status", "detail", "code", "field", "task_id", "quota"];
    assert!(problem.as_object().unwrap().keys().all(|member| known.contains(&member.as_str())), "{problem}");
    (status, text("code").expect("a problem has a code"), text("field"))
}

/// Returned by [`parse_problem`] for an invalid field.
pub fn invalid_field(name: &str) -> (u16, String, Option<String>) {
    (400, "invalid_field".to_owned(), Some(name.to_owned()))
}

/// Returned by [`parse_problem`] for every other error.
pub fn refusal(status: u16, code: &str) -> (u16, String, Option<String>) {
    (status, code.to_owned(), None)
}

/// A valid task for the legacy task API.
pub fn one_shot() -> Value {
    serde_json::json!({"name": "order.close", "type": 1, "data": "42", "start_time": NOW_SEC + 3_600})
}

/// Returns `task` with some fields changed. `null` removes a field.
pub fn with_changes(mut task: Value, changes: &Value) -> Value {
    for (field, value) in changes.as_object().expect("changes are an object") {
        task[field] = value.clone();
    }
    task.as_object_mut().expect("a task is an object").retain(|_, value| !value.is_null());
    task
}

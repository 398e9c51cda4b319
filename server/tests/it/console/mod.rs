//! The web console over HTTP, as a browser uses it.

mod access;
mod access_forms;
mod actions;
mod admission;
mod alerts;
mod audit;
mod backfills;
mod browser;
mod calendars;
mod composer;
mod copies;
mod cost;
mod events;
mod filters;
mod history;
mod holds;
mod kept_input;
mod logs;
mod operations;
mod pages;
mod payloads;
mod users;
mod workers;

use serde_json::{Value, json};
use taskcenter_server::core::access::{Grant, Scope};
use taskcenter_server::core::quota::Quota;
use taskcenter_server::engine::service::{AccessSettings, Required};

use crate::http::{Server, Setup};
use browser::{Browser, Shown};

/// Pages that exist without any task.
const PAGES: [&str; 18] = [
    "/",
    "/console/tasks",
    "/console/runs",
    "/console/dead-letters",
    "/console/operations",
    "/console/alerts",
    "/console/alerts/silences/new",
    "/console/queues",
    "/console/holds/new",
    "/console/workers",
    "/console/services",
    "/console/calendars",
    "/console/calendars/new",
    "/console/access",
    "/console/access/users/new",
    "/console/access/tokens/new",
    "/console/audit",
    "/console/sign-in",
];

/// Runs a test against a server with the console, whose callers on this machine need no token.
async fn with_console(test: impl AsyncFnOnce(&Server)) {
    Setup { console: true, ..Setup::default() }.with_server(test).await;
}

/// Runs a test against a server with the console, whose callers all need a token.
async fn with_locked_console(test: impl AsyncFnOnce(&Server)) {
    let access = AccessSettings { required: Required::Always, ..AccessSettings::default() };
    Setup { console: true, access, ..Setup::default() }.with_server(test).await;
}

/// Issues a token with these scopes, limited to tags or not.
async fn token(server: &Server, scopes: &[Scope], tags: &[&str]) -> (String, String) {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let grant = Grant { scopes: scopes.to_vec(), tags, expires_at: None };
    let (token, text) = server.state.service.issue_token("reader", grant, Quota::default()).await.unwrap();
    (token.id, text)
}

/// Creates a task and returns its id.
async fn create(server: &Server, spec: Value) -> String {
    server.create(&spec).await["id"].as_str().unwrap().to_owned()
}

fn hourly(name: &str) -> Value {
    json!({"name": name, "data": "{}", "schedule": {"kind": "every", "period_ms": 3_600_000}})
}

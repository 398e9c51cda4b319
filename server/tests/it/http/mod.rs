//! The HTTP front over the real ledger and leases: a server on a port of its own and a database a test.

mod access;
mod contract;
mod front_routes;
mod limits;
mod malformed;
mod openapi;
mod probes;
mod problems;
mod queues;
mod runs;
mod schedule;
mod services;
mod tasks_v1;
mod users;
mod work;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, Response};
use serde_json::Value;
use taskcenter_server::adapters::clock::ManualClock;
use taskcenter_server::adapters::entropy;
use taskcenter_server::adapters::mongo::MongoStore;
use taskcenter_server::adapters::redis::RedisLock;
use taskcenter_server::compat::{Compat, mount};
use taskcenter_server::core::{Moment, Run, TaskId};
use taskcenter_server::engine::health::Health;
use taskcenter_server::engine::ids::Ids;
use taskcenter_server::engine::metrics::Metrics;
use taskcenter_server::engine::service::{AccessSettings, Ports, Service};
use taskcenter_server::engine::settings::Settings;
use taskcenter_server::http::{HttpLimits, HttpState, serve};
use taskcenter_server::ports::{Clock, Store};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::store::samples::unique;

/// What the server's clock shows.
pub const NOW_SEC: i64 = 2_000_000_000;
pub const NOW: Moment = Moment::from_sec(NOW_SEC);
pub const PREFIXES: [&str; 2] = ["/v1/api", "/api/v1"];

/// Long enough for a busy machine; tests that wait for a limit set a short one.
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

pub fn mongodb_uri() -> String {
    std::env::var("TASKCENTER_TEST_MONGODB_URI")
        .unwrap_or_else(|_| "mongodb://127.0.0.1:27117/?replicaSet=rs0".to_owned())
}

pub struct Server {
    pub address: String,
    pub client: Client,
    pub store: Arc<MongoStore>,
    pub state: HttpState,
    pub shutdown: CancellationToken,
    pub serving: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(LIMITS).await
    }

    pub async fn start_with(limits: HttpLimits) -> Self {
        let store = MongoStore::new(&mongodb_uri(), &format!("it{:032x}", unique())).await;
        let clock = Arc::new(ManualClock::new(NOW));
        Self::start_on(Arc::new(store.expect("the address is sound")), clock, limits).await
    }

    pub async fn start_on(store: Arc<MongoStore>, clock: Arc<dyn Clock>, limits: HttpLimits) -> Self {
        Self::start_guarded(store, clock, limits, AccessSettings::default()).await
    }

    pub async fn start_guarded(
        store: Arc<MongoStore>,
        clock: Arc<dyn Clock>,
        limits: HttpLimits,
        access: AccessSettings,
    ) -> Self {
        Self::start_with_fronts(store, clock, limits, access, Compat::default()).await
    }

    pub async fn start_with_fronts(
        store: Arc<MongoStore>,
        clock: Arc<dyn Clock>,
        limits: HttpLimits,
        access: AccessSettings,
        fronts: Compat,
    ) -> Self {
        let redis =
            std::env::var("TASKCENTER_TEST_REDIS_ADDR").unwrap_or_else(|_| "127.0.0.1:16379".to_owned());
        let lock = Arc::new(RedisLock::new(&redis, &format!("it{:032x}", unique())).unwrap());
        let ids = Arc::new(Ids::new(unique() as u64));
        let ports = Ports { store: store.clone(), records: store.clone(), lock, clock, has_bus: true };
        let shutdown = CancellationToken::new();
        let service =
            Service::new(ports, Arc::clone(&ids), Arc::default(), Settings::default(), shutdown.clone());
        let service = service.with_access(access, entropy::fill);
        let (health, metrics) = (Arc::new(Health::default()), Arc::new(Metrics::new()));
        let state = HttpState { service: Arc::new(service), health, metrics, ids };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let commands = Arc::clone(&state.service);
        let routes = Box::new(move |routes| mount(routes, &commands, &fronts));
        let serving = tokio::spawn(serve(listener, state.clone(), limits, routes, shutdown.clone()));
        // Another test may have chosen the provider of cryptography already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { address, client: Client::new(), store, state, shutdown, serving }
    }

    /// Stops it in order, and removes its database.
    pub async fn close(self) {
        self.shutdown.cancel();
        drop(self.client);
        self.serving.await.unwrap().unwrap();
        self.store.database().drop().await.unwrap();
    }

    pub async fn send(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        request.body(body).send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.send(Method::GET, path, "").await).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(self.send(Method::POST, path, body.to_string()).await).await
    }

    /// Sends a request with some headers; the answer with its headers.
    pub async fn send_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Response {
        let mut request = self.client.request(method, format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body.to_string()).send().await.unwrap()
    }

    /// The same; status and body.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> (u16, Value) {
        answer(self.send_with(method, path, headers, body).await).await
    }

    /// Creates a task over the resource API; the task.
    pub async fn create(&self, spec: &Value) -> Value {
        let (status, task) = self.post("/v1/tasks", spec).await;
        assert_eq!(status, 201, "{task}");
        task
    }

    /// A run that waits in the queue `q` for a worker; `data` tells its task from others.
    pub async fn ready(&self, data: &str) -> Run {
        let spec = serde_json::json!({"name": "order.close", "data": data, "queue": "q"});
        let id = self.create(&spec).await["id"].as_str().unwrap().to_owned();
        let task = self.state.service.shown_task(&TaskId::parse(&id).unwrap()).await.unwrap();
        let mut run = Run::firing(&task, NOW, "node", "first".to_owned(), NOW);
        run.enqueue(NOW).unwrap();
        self.store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
        run
    }

    /// Adds a task; its id.
    pub async fn add(&self, task: &Value) -> String {
        let (status, reply) = self.post("/v1/api/task", task).await;
        assert_eq!(status, 200, "{reply}");
        reply["taskid"].as_str().expect("the id is text").to_owned()
    }
}

/// Status and body, which is exactly one JSON document, and says so: a refusal outside the legacy contract is a problem.
pub async fn answer(response: Response) -> (u16, Value) {
    let (status, path) = (response.status().as_u16(), response.url().path().to_owned());
    let is_legacy = PREFIXES.iter().any(|prefix| path == *prefix || path.starts_with(&format!("{prefix}/")));
    let is_problem = status >= 400 && path != "/readyz" && !is_legacy;
    let kind = if is_problem { "application/problem+json" } else { "application/json" };
    assert_eq!(response.headers()["content-type"], kind);
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?} is no JSON: {error}"));
    (status, body)
}

/// Status, `code` and `field` of a problem that is complete and says nothing of our own affairs.
pub fn told((status, problem): (u16, Value)) -> (u16, String, Option<String>) {
    let text = |member: &str| problem[member].as_str().map(str::to_owned);
    assert_eq!(
        (problem["status"].as_u64(), text("type")),
        (Some(u64::from(status)), Some("about:blank".into())),
        "{problem}"
    );
    for member in ["title", "detail"] {
        assert!(text(member).is_some_and(|text| !text.is_empty() && text.len() < 1_000), "{problem}");
    }
    let known = ["type", "title", "status", "detail", "code", "field"];
    assert!(problem.as_object().unwrap().keys().all(|member| known.contains(&member.as_str())), "{problem}");
    (status, text("code").expect("a problem has a code"), text("field"))
}

/// What [`told`] says of a refused field.
pub fn field(name: &str) -> (u16, String, Option<String>) {
    (400, "invalid_field".to_owned(), Some(name.to_owned()))
}

/// What [`told`] says of any other refusal.
pub fn refusal(status: u16, code: &str) -> (u16, String, Option<String>) {
    (status, code.to_owned(), None)
}

/// A task that is taken as it is.
pub fn once() -> Value {
    serde_json::json!({"name": "order.close", "type": 1, "data": "42", "start_time": NOW_SEC + 3_600})
}

/// A task with some fields set otherwise; `null` takes one away.
pub fn with(mut task: Value, changes: &Value) -> Value {
    for (field, value) in changes.as_object().expect("changes are an object") {
        task[field] = value.clone();
    }
    task.as_object_mut().expect("a task is an object").retain(|_, value| !value.is_null());
    task
}

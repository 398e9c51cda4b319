//! The HTTP server of the tests: a listener on a port of its own, on any store.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;

use futures_util::FutureExt as _;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use taskcenter_server::adapters::absent::NoBus;
use taskcenter_server::adapters::clock::ManualClock;
use taskcenter_server::adapters::entropy;
use taskcenter_server::adapters::local::LocalLock;
use taskcenter_server::compat::Compat;
use taskcenter_server::console::Console;
use taskcenter_server::core::{Run, TaskId};
use taskcenter_server::engine::alerting::Alerting;
use taskcenter_server::engine::health::Health;
use taskcenter_server::engine::hints::Hints;
use taskcenter_server::engine::ids::Ids;
use taskcenter_server::engine::metrics::Metrics;
use taskcenter_server::engine::node::{Node, NodePorts};
use taskcenter_server::engine::service::{AccessSettings, Caller, Ports, Service};
use taskcenter_server::engine::settings::Settings;
use taskcenter_server::http::{HttpLimits, HttpState, serve};
use taskcenter_server::ports::{Clock, Lock, Records, Store};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{LIMITS, NOW, status_and_body};
use crate::store::Fixture as _;
use crate::store::samples::unique;
use crate::store::sqlite::SqliteFixture;

/// Runs a test against a server with the default [`Setup`].
pub async fn with_server(test: impl AsyncFnOnce(&Server)) {
    Setup::default().with_server(test).await;
}

/// Configuration of a test server.
pub struct Setup {
    pub limits: HttpLimits,
    pub access: AccessSettings,
    /// Default: no legacy API.
    pub legacy_apis: Compat,
    /// Replaces [`Server::clock`].
    pub clock: Option<Arc<dyn Clock>>,
    /// Default: a [`LocalLock`].
    pub lock: Option<Arc<dyn Lock>>,
    pub has_bus: bool,
    /// Whether the legacy v1 API waits for outcome reports.
    pub legacy_ack: bool,
    /// Whether the server has the console.
    pub console: bool,
    /// Default: no rules and no channels.
    pub alerting: Option<Arc<Alerting>>,
    /// Maximum number of streams of events.
    pub max_viewers: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: LIMITS,
            access: AccessSettings::default(),
            legacy_apis: Compat::default(),
            clock: None,
            lock: None,
            has_bus: true,
            legacy_ack: true,
            console: false,
            alerting: None,
            max_viewers: 100,
        }
    }
}

/// A server that listens.
pub struct Server {
    /// Host and port.
    pub address: String,
    pub client: Client,
    /// Starts at [`NOW`] and does not move by itself.
    pub clock: Arc<ManualClock>,
    pub store: Arc<dyn Store>,
    pub records: Arc<dyn Records>,
    pub state: HttpState,
    pub shutdown: CancellationToken,
    serving: Mutex<Option<JoinHandle<std::io::Result<()>>>>,
}

impl Setup {
    /// Runs a test against a server on SQLite.
    pub async fn with_server(self, test: impl AsyncFnOnce(&Server)) {
        let fixture = SqliteFixture::open().await;
        self.with_server_on(fixture.one(), fixture.records(), test).await;
    }

    /// Runs a test against a server on this store. The server stops before this function returns or
    /// passes on the panic of a test that failed.
    pub async fn with_server_on(
        self,
        store: Arc<dyn Store>,
        records: Arc<dyn Records>,
        test: impl AsyncFnOnce(&Server),
    ) {
        let server = self.start(store, records).await;
        let outcome = AssertUnwindSafe(Box::pin(test(&server))).catch_unwind().await;
        server.stop().await;
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    }

    /// Starts a server. The caller stops it.
    pub async fn start(self, store: Arc<dyn Store>, records: Arc<dyn Records>) -> Server {
        let clock = Arc::new(ManualClock::new(NOW));
        let shutdown = CancellationToken::new();
        let (limits, legacy_apis, console) = (self.limits, self.legacy_apis.clone(), self.console);
        let state = self.state(store.clone(), records.clone(), clock.clone(), shutdown.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let routes = if console {
            taskcenter_server::fronts(legacy_apis, Console::new(Arc::clone(&state.health)))
        } else {
            taskcenter_server::legacy_apis(legacy_apis)
        };
        let serving = tokio::spawn(serve(listener, state.clone(), limits, routes, shutdown.clone()));
        let serving = Mutex::new(Some(serving));
        // Fails if another test of this process has installed the provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Server { address, client: Client::new(), clock, store, records, state, shutdown, serving }
    }

    /// The commands on a store, without a listener.
    pub fn state(
        self,
        store: Arc<dyn Store>,
        records: Arc<dyn Records>,
        clock: Arc<ManualClock>,
        shutdown: CancellationToken,
    ) -> HttpState {
        // Another clock is one of the commands only.
        let node_clock: Arc<dyn Clock> = clock.clone();
        let clock = self.clock.unwrap_or(clock);
        let lock: Arc<dyn Lock> = self.lock.unwrap_or_else(|| Arc::new(LocalLock::new(Arc::clone(&clock))));
        let ids = Arc::new(Ids::new(unique() as u64));
        let ports = Ports {
            store: Arc::clone(&store),
            records,
            lock: Arc::clone(&lock),
            clock,
            has_bus: self.has_bus,
        };
        let hints = Arc::new(Hints::default());
        hints.changes.limit_viewers(self.max_viewers);
        let service = Service::new(ports, Arc::clone(&ids), hints, Settings::default(), shutdown);
        let legacy_ack = self.legacy_ack;
        let service = service.with_patches(taskcenter_server::http::patch_definition);
        let service = service.with_access(self.access, entropy::fill).for_caller(Caller::node());
        let service = service.with_alerting(self.alerting.unwrap_or_default());
        let node_ports = NodePorts { store, bus: Arc::new(NoBus), lock, clock: node_clock };
        let node = Node::new("node under test", node_ports, Arc::clone(&ids), Settings::default());
        let (health, metrics) = (Arc::new(Health::default()), Arc::new(Metrics::new()));
        let service = service.with_node(&Arc::new(node)).with_metrics(Arc::clone(&metrics));
        HttpState { service, health, metrics, ids, legacy_ack }
    }
}

impl Server {
    /// Stops the server and waits until its last connection ends. Further calls do nothing.
    pub async fn stop(&self) {
        self.shutdown.cancel();
        if let Some(serving) = self.serving.lock().await.take() {
            serving.await.unwrap().unwrap();
        }
    }

    pub async fn send(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        request.body(body).send().await.unwrap()
    }

    /// Sends a GET request. Returns status and body.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        status_and_body(self.send(Method::GET, path, "").await).await
    }

    /// Sends a POST request. Returns status and body.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        status_and_body(self.send(Method::POST, path, body.to_string()).await).await
    }

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

    /// Sends a request with headers. Returns status and body.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> (u16, Value) {
        status_and_body(self.send_with(method, path, headers, body).await).await
    }

    /// Creates a task over the resource API and returns it.
    pub async fn create(&self, spec: &Value) -> Value {
        let (status, task) = self.post("/v1/tasks", spec).await;
        assert_eq!(status, 201, "{spec}: {task}");
        task
    }

    /// Creates an object by each of the examples of a page. Asserts that it has the fields of its example.
    pub async fn creates_all(&self, path: &str, examples: &[String]) {
        assert!(!examples.is_empty(), "the page has no example");
        for example in examples {
            let spec: Value = serde_json::from_str(example).unwrap();
            let (status, created) = self.post(path, &spec).await;
            assert_eq!(status, 201, "{example}: {created}");
            for (field, value) in spec.as_object().unwrap() {
                assert_eq!(&created[field], value, "{example}");
            }
        }
    }

    /// Stores a `ready` run in the queue `q`. `data` identifies its task.
    pub async fn ready(&self, data: &str) -> Run {
        let spec = json!({"name": "order.close", "data": data, "queue": "q"});
        let id = self.create(&spec).await["id"].as_str().unwrap().to_owned();
        let task = self.state.service.shown_task(&TaskId::parse(&id).unwrap()).await.unwrap();
        let mut run = Run::firing(&task, NOW, "node", "first".to_owned(), NOW);
        run.enqueue(NOW).unwrap();
        self.store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
        run
    }

    /// Creates a task over the legacy task API and returns its id.
    pub async fn add(&self, task: &Value) -> String {
        let (status, reply) = self.post("/v1/api/task", task).await;
        assert_eq!(status, 200, "{reply}");
        reply["taskid"].as_str().expect("the id is a string").to_owned()
    }
}

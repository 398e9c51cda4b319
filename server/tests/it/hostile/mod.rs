//! Hostile clients: requests that are too large, too deep, too many or too slow; operators of query
//! languages in every field; requests that two servers would read differently.

mod browser;
mod flood;
mod inject;
mod legacy_apis;
mod memory;
mod shapes;
mod sizes;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::Value;
use taskcenter_server::adapters::clock::ManualClock;
use taskcenter_server::compat::Compat;
use taskcenter_server::core::{Run, TaskId};
use taskcenter_server::http::{HttpLimits, HttpState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::http::{LIMITS, NOW, Server, Setup, status_and_body};
use crate::store::Fixture;
use crate::store::memory::MemoryFixture;

/// Runs a case of this suite on a store.
pub async fn on_store(fixture: Box<dyn Fixture>, case: impl AsyncFnOnce(Box<dyn Fixture>)) {
    case(fixture).await;
}

on_every_store! {
    suite hostile;
    inject:
        operators_are_data
        operators_are_no_structure;
    legacy_apis:
        operators_are_data
        operators_are_no_structure;
    sizes:
        payloads_up_to_the_limit_are_stored_unchanged;
}

/// Timeout that only a hanging server reaches.
const NEVER: Duration = Duration::from_mins(2);
/// Default limits of the configuration.
const DEFAULT_LIMITS: HttpLimits = HttpLimits {
    body_limit_bytes: 8 * 1024 * 1024,
    max_connections: 10_000,
    max_connections_per_peer: 5_000,
    ..LIMITS
};

/// Every route with a JSON body, without the legacy APIs of other systems.
const ROUTES: [(Method, &str); 14] = [
    (Method::POST, "/v1/api/task"),
    (Method::POST, "/v1/api/delete-task"),
    (Method::POST, "/v1/api/delete-task-by-name"),
    (Method::POST, "/api/v1/task"),
    (Method::POST, "/v1/tasks"),
    (Method::PATCH, "/v1/tasks/00000000000000000000000000000000"),
    (Method::POST, "/v1/runs/lease"),
    (Method::POST, "/v1/runs/renew"),
    (Method::POST, "/v1/runs/settle"),
    (Method::POST, "/v1/runs/r/report"),
    (Method::POST, "/v1/runs/r/confirm"),
    (Method::POST, "/v1/services"),
    (Method::POST, "/v1/tokens"),
    (Method::POST, "/v1/users"),
];

/// Every route with a JSON body of the legacy APIs, with a text of its refusal of an invalid body.
const LEGACY_ROUTES: [(Method, &str, &str); 17] = [
    (Method::POST, "/api/v1/task/script", "invalid argument"),
    (Method::POST, "/api/v1/task/rpc", "invalid argument"),
    (Method::POST, "/add_task_server", "10001"),
    (Method::POST, "/del_task_server", "10001"),
    (Method::POST, "/add_task", "10001"),
    (Method::POST, "/confirm_task", "10001"),
    (Method::POST, "/stop_task", "10001"),
    (Method::POST, "/task_log", "10001"),
    (Method::PUT, "/api/putask", "\"code\":-1"),
    (Method::PUT, "/putask/t", "\"code\":-1"),
    (Method::PUT, "/addtask", "\"code\":-1"),
    (Method::POST, "/updatetask", "\"code\":-1"),
    (Method::POST, "/rpost/serviceRegister", "\"errid\":1000"),
    (Method::POST, "/rpost/taskRegister", "\"errid\":1000"),
    (Method::POST, "/rpost/updateStatus", "\"errid\":1000"),
    (Method::POST, "/rpost/heartBeat", "\"errid\":1000"),
    (Method::POST, "/rpost/task", "\"errid\":1000"),
];

/// HTTP server with all legacy APIs on any store.
pub struct TestServer {
    pub address: SocketAddr,
    pub clock: Arc<ManualClock>,
    client: Client,
    state: HttpState,
    fixture: Box<dyn Fixture>,
    server: Server,
}

fn setup(limits: HttpLimits) -> Setup {
    Setup { limits, legacy_apis: Compat::default().all_on(), has_bus: false, ..Setup::default() }
}

/// Returns the state of a server without a listener. Its clock does not move by itself.
pub fn state(fixture: &dyn Fixture, shutdown: CancellationToken) -> (HttpState, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(NOW));
    (setup(LIMITS).state(fixture.one(), fixture.records(), clock.clone(), shutdown), clock)
}

impl TestServer {
    pub async fn in_memory(limits: HttpLimits) -> Self {
        Self::on(Box::new(MemoryFixture::open().await), limits).await
    }

    pub async fn on(fixture: Box<dyn Fixture>, limits: HttpLimits) -> Self {
        let server = setup(limits).start(fixture.one(), fixture.records()).await;
        let address = server.address.parse().unwrap();
        let (clock, client, state) = (server.clock.clone(), server.client.clone(), server.state.clone());
        Self { address, clock, client, state, fixture, server }
    }

    pub async fn close(self) {
        self.server.stop().await;
        drop((self.server, self.state));
        self.fixture.close().await;
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Response {
        let mut request = self.client.request(method, format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body).send().await.unwrap()
    }

    /// Sends a request. Returns status and text.
    async fn request_text(
        &self,
        method: Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> (u16, String) {
        let response = self.send(method, path, &[], body).await;
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Sends a request with `If-Match: *`. Returns status and JSON body.
    pub async fn request(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        status_and_body(self.send(method, path, &[("if-match", "*")], body).await).await
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.request(Method::GET, path, "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.request(Method::POST, path, body.to_string()).await
    }

    /// Creates a task over the resource API and returns it, without the warnings.
    pub async fn create(&self, spec: &Value) -> Value {
        let (status, mut task) = self.post("/v1/tasks", spec).await;
        assert_eq!(status, 201, "{spec}: {task}");
        task.as_object_mut().unwrap().remove("warnings");
        task
    }

    /// Stores a `ready` run of this task.
    pub async fn add_ready_run(&self, task: &Value) {
        let id = TaskId::parse(task["id"].as_str().unwrap()).unwrap();
        let task = self.state.service.shown_task(&id).await.unwrap();
        let mut run = Run::firing(&task, NOW, "node", "first".to_owned(), NOW);
        run.enqueue(NOW).unwrap();
        self.fixture.one().insert_runs(std::slice::from_ref(&run)).await.unwrap();
    }

    pub async fn connect(&self) -> TcpStream {
        self.connect_from("127.0.0.1").await
    }

    /// Connects from this loopback address.
    pub async fn connect_from(&self, address: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Fails unless the server answers a valid request.
    pub async fn assert_alive(&self) {
        let answer =
            tokio::time::timeout(NEVER, self.client.get(format!("http://{}/livez", self.address)).send());
        assert_eq!(answer.await.expect("the server answers").unwrap().status(), 200);
    }
}

/// Reads until the server closes or resets the connection.
pub async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let ended = tokio::time::timeout(NEVER, stream.read_to_end(&mut bytes)).await;
    // A reset also ends the connection.
    let _ = ended.expect("the server ends the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends bytes on a new connection, and returns all bytes until the end of the connection.
async fn exchange(server: &TestServer, request: &[u8]) -> String {
    let mut stream = server.connect().await;
    // The server may close the connection before it has read all bytes.
    let _ = stream.write_all(request).await;
    read_to_end(&mut stream).await
}

/// Returns the statuses of consecutive answers.
fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
}

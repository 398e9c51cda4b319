//! The legacy API of easytask with the built-in worker and real callback services.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use taskcenter_server::compat::{Compat, Easytask};
use taskcenter_server::core::{Run, RunState, TaskId};
use taskcenter_server::ports::{RunFilter, RunPage};
use taskcenter_server::workers::settings::Settings;

use super::{TestServer, TestServerWithWorkers};
use crate::service::NOW;
use crate::store::memory::MemoryFixture;
use crate::workers::endpoint::Endpoint;
use crate::workers::until;

pub fn settings(queues: &[&str]) -> Settings {
    crate::workers::settings(queues)
}

/// Listening nodes of one service.
pub struct Nodes {
    nodes: Vec<Endpoint>,
}

const DONE: &str = r#"{"pong":true,"is_success":true,"extra":"done"}"#;
const LATER: &str = r#"{"pong":true,"is_run_in_async":true}"#;

fn node(service: &str, endpoint: &Endpoint, changes: &Value) -> Value {
    let port: u16 = endpoint.address().rsplit_once(':').unwrap().1.parse().unwrap();
    let mut node = json!({ "name": service, "schema": "http", "host": "127.0.0.1", "port": port });
    node.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    node
}

impl Nodes {
    /// Registers a service with one node that answers success.
    pub async fn start(server: &TestServer, service: &str) -> Self {
        let endpoint = Endpoint::start().await;
        endpoint.respond_with(200, DONE);
        let body = node(service, &endpoint, &json!({})).to_string();
        assert!(server.post("/add_task_server", &body).await.body.starts_with(r#"{"code":0"#));
        Self { nodes: vec![endpoint] }
    }

    /// Waits until the first run of a task has ended.
    pub async fn ended(&self, server: &TestServerWithWorkers, id: &TaskId) -> Run {
        let filter = RunFilter { task_id: Some(id.clone()), ..RunFilter::default() };
        let page = RunPage { limit: 1, before: None };
        let run = server.bench.stage.store.list_runs(&filter, &page).await.unwrap().remove(0);
        let run = server.bench.in_state(&run, &[RunState::Succeeded, RunState::Dead]).await;
        assert!(self.nodes.iter().any(|node| node.calls() > 0));
        run
    }
}

/// A server in memory with the legacy API and the workers.
async fn start() -> TestServerWithWorkers {
    let fixture = MemoryFixture::open().await;
    let legacy_apis =
        Compat { easytask: Easytask { enabled: true, ..Easytask::default() }, ..Compat::default() };
    TestServer::new(&fixture, legacy_apis).with_workers(settings(&["callback", "rpc"]))
}

async fn register(server: &TestServerWithWorkers, endpoint: &Endpoint, changes: &Value) {
    let answer = server.request("/add_task_server", &node("srv", endpoint, changes)).await;
    assert_eq!(answer["code"], 0, "{answer}");
}

/// Adds a task that is due and fires it.
async fn fire(server: &TestServerWithWorkers, name: &str) -> Run {
    let task = json!({ "name": name, "srv_name": "srv", "callback_path": "/cb", "sched_mode": 2, "time_spec_at": 1,
        "biz_id": "b" });
    let answer = server.request("/add_task", &task).await;
    let id = TaskId::parse(answer["task_id"].as_str().unwrap_or_else(|| panic!("{answer}"))).unwrap();
    server.bench.stage.fire(&id).await
}

fn callbacks(endpoint: &Endpoint) -> usize {
    endpoint.received().iter().filter(|request| request.path == "/cb").count()
}

#[tokio::test]
async fn the_callback_timeout_applies_to_the_answer() {
    let (server, endpoint) = (start().await, Endpoint::start().await);
    endpoint.block();
    register(&server, &endpoint, &json!({ "callback_timeout_sec": 1 })).await;
    let run = fire(&server, "slow").await;
    let run = server.bench.outcome(&run).await;
    assert_eq!((run.state, run.reason.as_deref()), (RunState::Dead, Some("no answer within 1000 ms")));
    endpoint.release(1);
    server.bench.stop().await;
}

/// Known defect of the old server: "Async tasks never expired". A confirmation has the same timeout as the
/// answer, although the lease of the worker is longer.
#[tokio::test]
async fn the_callback_timeout_applies_to_a_confirmation() {
    let (server, endpoint) = (start().await, Endpoint::start().await);
    endpoint.respond_with(200, LATER);
    register(&server, &endpoint, &json!({ "callback_timeout_sec": 5 })).await;
    let run = fire(&server, "unconfirmed").await;
    let stage = &server.bench.stage;
    let deadline = Some(NOW.plus_ms(5_000));
    until("the deadline is in five seconds", async || stage.run(&run).await.attention_at == deadline).await;
    stage.clock.set(NOW.plus_ms(4_999));
    stage.rescue().await;
    assert_eq!(stage.run(&run).await.state, RunState::Leased);
    // The server cannot know whether the callback was lost, so it repeats the callback once. Then the run
    // fails.
    stage.clock.set(NOW.plus_ms(5_000));
    stage.rescue().await;
    until("the service is called again", async || callbacks(&endpoint) == 2).await;
    let deadline = Some(NOW.plus_ms(10_000));
    until("the deadline is five seconds later", async || stage.run(&run).await.attention_at == deadline)
        .await;
    stage.clock.set(NOW.plus_ms(10_000));
    stage.rescue().await;
    assert_eq!(stage.run(&run).await.state, RunState::Dead);
    assert_eq!(callbacks(&endpoint), 2);
    server.bench.stop().await;
}

#[tokio::test]
async fn trace_headers_arrive_with_the_callback() {
    let (server, endpoint) = (start().await, Endpoint::start().await);
    endpoint.respond_with(200, DONE);
    register(&server, &endpoint, &json!({})).await;
    let trace = [("trace-id", "t-1"), ("span-id", "s-1"), ("parent-span-id", "p-1")];
    let mut request = Request::post("/add_task");
    for (name, value) in trace {
        request = request.header(format!("x-easy-task-{name}"), value);
    }
    let task =
        json!({ "name": "n", "srv_name": "srv", "callback_path": "/cb", "sched_mode": 2, "time_spec_at": 1 });
    let answer = server.send(request.body(Body::from(task.to_string())).unwrap()).await;
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    let run = server.bench.stage.fire(&TaskId::parse(answer["task_id"].as_str().unwrap()).unwrap()).await;
    assert_eq!(server.bench.outcome(&run).await.state, RunState::Succeeded);
    let callback = endpoint.received().into_iter().find(|request| request.path == "/cb").unwrap();
    for (name, value) in trace {
        assert_eq!(callback.headers[format!("x-easy-task-{name}")], value);
    }
    server.bench.stop().await;
}

/// Known defect of the old server: "Shared response object gave false heartbeats."
#[tokio::test]
async fn heartbeats_of_nodes_are_independent() {
    let server = start().await;
    let (healthy, ill) = (Endpoint::start().await, Endpoint::start().await);
    healthy.respond_with(200, DONE);
    ill.respond_with(200, r#"{"pong":false,"is_success":true}"#);
    for endpoint in [&healthy, &ill] {
        register(&server, endpoint, &json!({ "is_enable_health_check": true })).await;
    }
    let heartbeats = |endpoint: &Endpoint| endpoint.received().len() - callbacks(endpoint);
    until("each node was checked twice", async || heartbeats(&healthy) > 1 && heartbeats(&ill) > 1).await;
    for at in 0..6 {
        let run = fire(&server, &format!("n{at}")).await;
        assert_eq!(server.bench.outcome(&run).await.state, RunState::Succeeded);
    }
    assert_eq!((callbacks(&healthy), callbacks(&ill)), (6, 0));
    server.bench.stop().await;
}

#[tokio::test]
async fn a_triggered_run_has_a_run_number_of_its_own() {
    let (server, endpoint) = (start().await, Endpoint::start().await);
    endpoint.respond_with(200, LATER);
    register(&server, &endpoint, &json!({})).await;
    let first = fire(&server, "n").await;
    let stage = &server.bench.stage;
    until("the first run is delivered", async || callbacks(&endpoint) == 1).await;
    stage.clock.set(NOW.plus_ms(7));
    let triggered = stage.service.trigger(&first.task_id, None).await.unwrap();
    stage.rescue().await;
    until("the triggered run is delivered", async || callbacks(&endpoint) == 2).await;
    let bodies: Vec<Value> = endpoint
        .received()
        .iter()
        .filter(|request| request.path == "/cb")
        .map(|request| serde_json::from_str(&request.body).unwrap())
        .collect();
    let number = NOW.ms() + 7;
    assert_eq!((&bodies[0]["run_times"], &bodies[1]["run_times"]), (&json!(1), &json!(number)));
    for (run, number, extra) in [(&triggered, number, "triggered"), (&first, 1, "in time")] {
        let confirmation = json!({ "task_id": run.task_id.as_str(), "task_run_times": number, "is_success": true,
            "extra": extra });
        assert_eq!(server.request("/confirm_task", &confirmation).await["code"], 0);
        assert_eq!(stage.run(run).await.state, RunState::Succeeded);
    }
    let log = server.request("/task_log", &json!({ "task_id": first.task_id.as_str() })).await;
    assert_eq!(log["data"]["logs"][0]["run_times"], number);
    server.bench.stop().await;
}

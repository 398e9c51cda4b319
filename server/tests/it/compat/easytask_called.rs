//! Section 3 of the contract with the built-in worker and real callees: what goes over the wire, and when it is given up.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use taskcenter_server::compat::{Compat, Easytask};
use taskcenter_server::core::{Run, RunState, TaskId};
use taskcenter_server::ports::{RunFilter, RunPage};
use taskcenter_server::workers::settings::Settings;

use super::{Desk, Staffed};
use crate::service::NOW;
use crate::store::memory::MemoryFixture;
use crate::workers::callee::Callee;
use crate::workers::until;

pub fn settings(queues: &[&str]) -> Settings {
    crate::workers::settings(queues)
}

/// Nodes of one service that really listen.
pub struct Nodes {
    nodes: Vec<Callee>,
}

const DONE: &str = r#"{"pong":true,"is_success":true,"extra":"done"}"#;
const LATER: &str = r#"{"pong":true,"is_run_in_async":true}"#;

fn node(service: &str, callee: &Callee, changes: &Value) -> Value {
    let port: u16 = callee.address().rsplit_once(':').unwrap().1.parse().unwrap();
    let mut node = json!({ "name": service, "schema": "http", "host": "127.0.0.1", "port": port });
    node.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    node
}

impl Nodes {
    /// A service with one node that says yes.
    pub async fn start(on: &Desk, service: &str) -> Self {
        let callee = Callee::start().await;
        callee.says(200, DONE);
        let body = node(service, &callee, &json!({})).to_string();
        assert!(on.post("/add_task_server", &body).await.body.starts_with(r#"{"code":0"#));
        Self { nodes: vec![callee] }
    }

    /// The first run of a task, once it has ended.
    pub async fn ended(&self, on: &Staffed, id: &TaskId) -> Run {
        let filter = RunFilter { task_id: Some(id.clone()), ..RunFilter::default() };
        let page = RunPage { limit: 1, before: None };
        let run = on.bench.stage.store.list_runs(&filter, &page).await.unwrap().remove(0);
        let run = on.bench.in_state(&run, &[RunState::Succeeded, RunState::Dead]).await;
        assert!(self.nodes.iter().any(|node| node.calls() > 0));
        run
    }
}

/// A server with the front and the worker, in memory.
async fn staffed() -> Staffed {
    let fixture = MemoryFixture::open().await;
    let fronts = Compat { easytask: Easytask { enabled: true, ..Easytask::default() }, ..Compat::default() };
    Desk::on(&fixture, fronts).with_workers(settings(&["callback", "rpc"]))
}

async fn serve(on: &Staffed, callee: &Callee, changes: &Value) {
    let answer = on.ask("/add_task_server", &node("srv", callee, changes)).await;
    assert_eq!(answer["code"], 0, "{answer}");
}

/// Adds a task that is due, and fires it.
async fn fire(on: &Staffed, name: &str) -> Run {
    let task = json!({ "name": name, "srv_name": "srv", "callback_path": "/cb", "sched_mode": 2, "time_spec_at": 1,
        "biz_id": "b" });
    let answer = on.ask("/add_task", &task).await;
    let id = TaskId::parse(answer["task_id"].as_str().unwrap_or_else(|| panic!("{answer}"))).unwrap();
    on.bench.stage.fire(&id).await
}

fn callbacks(callee: &Callee) -> usize {
    callee.heard().iter().filter(|heard| heard.path == "/cb").count()
}

#[tokio::test]
async fn the_callback_time_out_holds_for_an_answer() {
    let (on, callee) = (staffed().await, Callee::start().await);
    callee.hold();
    serve(&on, &callee, &json!({ "callback_timeout_sec": 1 })).await;
    let run = fire(&on, "slow").await;
    let run = on.bench.outcome(&run).await;
    assert_eq!((run.state, run.reason.as_deref()), (RunState::Dead, Some("no answer within 1000 ms")));
    callee.let_go(1);
    on.bench.stop().await;
}

/// "Async tasks never expired": a confirmation has as long as the answer, though the worker's own lease would last longer.
#[tokio::test]
async fn the_callback_time_out_holds_for_a_confirmation() {
    let (on, callee) = (staffed().await, Callee::start().await);
    callee.says(200, LATER);
    serve(&on, &callee, &json!({ "callback_timeout_sec": 5 })).await;
    let run = fire(&on, "unconfirmed").await;
    let stage = &on.bench.stage;
    let until_then = Some(NOW.plus_ms(5_000));
    until("it has five seconds", async || stage.run(&run).await.attention_at == until_then).await;
    stage.clock.set(NOW.plus_ms(4_999));
    stage.rescue().await;
    assert_eq!(stage.run(&run).await.state, RunState::Leased);
    // It is called once more, for nobody can tell whether it got lost; then it has failed.
    stage.clock.set(NOW.plus_ms(5_000));
    stage.rescue().await;
    until("it is called again", async || callbacks(&callee) == 2).await;
    let until_then = Some(NOW.plus_ms(10_000));
    until("it has five seconds more", async || stage.run(&run).await.attention_at == until_then).await;
    stage.clock.set(NOW.plus_ms(10_000));
    stage.rescue().await;
    assert_eq!(stage.run(&run).await.state, RunState::Dead);
    assert_eq!(callbacks(&callee), 2);
    on.bench.stop().await;
}

#[tokio::test]
async fn trace_headers_arrive_with_the_callback() {
    let (on, callee) = (staffed().await, Callee::start().await);
    callee.says(200, DONE);
    serve(&on, &callee, &json!({})).await;
    let trace = [("trace-id", "t-1"), ("span-id", "s-1"), ("parent-span-id", "p-1")];
    let mut request = Request::post("/add_task");
    for (name, value) in trace {
        request = request.header(format!("x-easy-task-{name}"), value);
    }
    let task =
        json!({ "name": "n", "srv_name": "srv", "callback_path": "/cb", "sched_mode": 2, "time_spec_at": 1 });
    let answer = on.send(request.body(Body::from(task.to_string())).unwrap()).await;
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    let run = on.bench.stage.fire(&TaskId::parse(answer["task_id"].as_str().unwrap()).unwrap()).await;
    assert_eq!(on.bench.outcome(&run).await.state, RunState::Succeeded);
    let heard = callee.heard().into_iter().find(|heard| heard.path == "/cb").unwrap();
    for (name, value) in trace {
        assert_eq!(heard.headers[format!("x-easy-task-{name}")], value);
    }
    on.bench.stop().await;
}

/// "Shared response object gave false heartbeats."
#[tokio::test]
async fn heartbeats_of_nodes_are_not_mixed_up() {
    let on = staffed().await;
    let (well, ill) = (Callee::start().await, Callee::start().await);
    well.says(200, DONE);
    ill.says(200, r#"{"pong":false,"is_success":true}"#);
    for callee in [&well, &ill] {
        serve(&on, callee, &json!({ "is_enable_health_check": true })).await;
    }
    let beats = |callee: &Callee| callee.heard().len() - callbacks(callee);
    until("each was asked twice", async || beats(&well) > 1 && beats(&ill) > 1).await;
    for at in 0..6 {
        let run = fire(&on, &format!("n{at}")).await;
        assert_eq!(on.bench.outcome(&run).await.state, RunState::Succeeded);
    }
    assert_eq!((callbacks(&well), callbacks(&ill)), (6, 0));
    on.bench.stop().await;
}

#[tokio::test]
async fn a_run_by_hand_has_a_number_of_its_own() {
    let (on, callee) = (staffed().await, Callee::start().await);
    callee.says(200, LATER);
    serve(&on, &callee, &json!({})).await;
    let first = fire(&on, "n").await;
    let stage = &on.bench.stage;
    until("the first is called", async || callbacks(&callee) == 1).await;
    stage.clock.set(NOW.plus_ms(7));
    let by_hand = stage.service.trigger(&first.task_id, None).await.unwrap();
    stage.rescue().await;
    until("the other is called", async || callbacks(&callee) == 2).await;
    let bodies: Vec<Value> = callee
        .heard()
        .iter()
        .filter(|heard| heard.path == "/cb")
        .map(|heard| serde_json::from_str(&heard.body).unwrap())
        .collect();
    let number = NOW.ms() + 7;
    assert_eq!((&bodies[0]["run_times"], &bodies[1]["run_times"]), (&json!(1), &json!(number)));
    for (run, number, extra) in [(&by_hand, number, "by hand"), (&first, 1, "in time")] {
        let word = json!({ "task_id": run.task_id.as_str(), "task_run_times": number, "is_success": true,
            "extra": extra });
        assert_eq!(on.ask("/confirm_task", &word).await["code"], 0);
        assert_eq!(stage.run(run).await.state, RunState::Succeeded);
    }
    let log = on.ask("/task_log", &json!({ "task_id": first.task_id.as_str() })).await;
    assert_eq!(log["data"]["logs"][0]["run_times"], number);
    on.bench.stop().await;
}

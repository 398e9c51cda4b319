//! Callbacks to named services.

use serde_json::{Value, json};
use taskcenter_server::core::callee::{Callee as Service, CalleeNode, HealthCheck, SigningSecret};
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::{Run, RunState};
use taskcenter_server::engine::service::{Report, ServiceError};
use taskcenter_server::workers::sign;

use super::callee::{Callee, Heard};
use super::{Bench, message, settings, stage, until};
use crate::service::{NOW, Stage};

const CALLBACK: &str = "callback";
const SECRET: &str = "a secret of sixteen bytes and more";

fn service(nodes: &[&Callee]) -> Service {
    let node = |callee: &&Callee| CalleeNode { url: callee.url.clone(), weight: 1, health_check: false };
    Service { name: "shop".to_owned(), nodes: nodes.iter().map(node).collect(), ..Service::default() }
}

async fn put(bench: &Bench, service: &Service) {
    bench.stage.service.put_callee(service, false).await.unwrap();
}

fn job(changes: &Value) -> Value {
    let mut job = json!({"service": "shop", "path": "/orders", "body": "{\"id\":7}", "retry_after_ms": []});
    job.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    job
}

pub async fn a_callback_goes_round_the_nodes_of_its_service(stage: Stage) {
    let bench = Bench::on(stage, settings(&[CALLBACK]));
    let nodes = [Callee::start().await, Callee::start().await];
    put(&bench, &service(&[&nodes[0], &nodes[1]])).await;
    for _ in 0..4 {
        assert_eq!(message(&bench.work(CALLBACK, &job(&json!({"routing": "round_robin"}))).await), "done");
    }
    assert_eq!((nodes[0].calls(), nodes[1].calls()), (2, 2));
    let heard = nodes[0].heard().remove(0);
    assert_eq!((heard.path.as_str(), heard.body.as_str()), ("/orders", "{\"id\":7}"));
    assert!(heard.headers.get("x-taskcenter-token").is_none(), "nobody is to confirm it");
    bench.stop().await;
}

fn header(heard: &Heard, name: &str) -> String {
    heard.headers[name].to_str().unwrap().to_owned()
}

pub async fn a_callback_is_signed(stage: Stage) {
    let (bench, node) = (Bench::on(stage, settings(&[CALLBACK])), Callee::start().await);
    let secret = SigningSecret::new(SECRET);
    put(&bench, &Service { secret: secret.clone(), ..service(&[&node]) }).await;
    let run = bench.work(CALLBACK, &job(&json!({}))).await;
    assert_eq!(run.state, RunState::Succeeded);
    let heard = node.heard().remove(0);
    let at: i64 = header(&heard, sign::TIMESTAMP).parse().unwrap();
    let wanted = sign::signature(&secret, at, run.id.as_str(), 1, &heard.body).unwrap();
    assert_eq!(header(&heard, sign::SIGNATURE), wanted);
    assert_eq!(header(&heard, "x-taskcenter-run-id"), run.id.as_str());
    assert!(at > 1_700_000_000, "it is the time of day");
    bench.stop().await;
}

/// What the service says of the callback that it heard.
async fn confirm(stage: &Stage, run: &Run, heard: &Heard) -> Result<Run, ServiceError> {
    let report = Report {
        attempt: header(heard, "x-taskcenter-attempt").parse().unwrap(),
        token: header(heard, "x-taskcenter-token"),
        outcome: Outcome::Succeeded { result: Some("{\"message\":\"confirmed\"}".to_owned()) },
        message: None,
    };
    stage.service.report(&run.id, &report).await
}

/// Accepted, and kept for an hour.
async fn accepted(bench: &Bench, node: &Callee) -> Run {
    put(bench, &service(&[node])).await;
    node.says(202, "");
    let asynchronous = job(&json!({"mode": "async", "confirm_within_ms": 3_600_000}));
    let run = bench.fire(CALLBACK, &asynchronous).await;
    let kept = NOW.ms() + 3_600_000;
    until("it is kept", async || bench.stage.run(&run).await.attention_at.is_some_and(|at| at.ms() == kept))
        .await;
    bench.stage.run(&run).await
}

pub async fn an_accepted_callback_is_confirmed_over_the_api(stage: Stage) {
    let (bench, node) = (Bench::on(stage, settings(&[CALLBACK])), Callee::start().await);
    let run = accepted(&bench, &node).await;
    assert_eq!(run.state, RunState::Leased);
    // Long after the call's own time, and after the worker that made it has gone.
    let stage = bench.stop().await;
    stage.clock.set(run.attention_at.unwrap().plus_ms(-1));
    stage.rescue().await;
    assert_eq!(stage.run(&run).await.state, RunState::Leased);
    let confirmed = confirm(&stage, &run, &node.heard()[0]).await.unwrap();
    assert_eq!(message(&confirmed), "confirmed");
    assert_eq!(
        confirm(&stage, &run, &node.heard()[0]).await.unwrap().state,
        RunState::Succeeded,
        "the same again"
    );
}

pub async fn a_confirmation_after_its_time_is_refused_and_the_callback_made_again(stage: Stage) {
    let (bench, node) = (Bench::on(stage, settings(&[CALLBACK])), Callee::start().await);
    let run = accepted(&bench, &node).await;
    bench.stage.clock.set(run.attention_at.unwrap());
    bench.stage.rescue().await;
    bench.stage.rescue().await;
    until("it is called again", async || node.calls() == 2).await;
    let heard = node.heard();
    let late = confirm(&bench.stage, &run, &heard[0]).await;
    assert!(matches!(late, Err(ServiceError::Stale(_))), "{late:?}");
    assert_eq!(message(&confirm(&bench.stage, &run, &heard[1]).await.unwrap()), "confirmed");
    bench.stop().await;
}

#[tokio::test]
async fn a_service_that_is_not_there_is_said_to_be_missing() {
    let bench = Bench::on(stage().await, settings(&[CALLBACK]));
    let run = bench.work(CALLBACK, &job(&json!({}))).await;
    assert_eq!((run.state, run.reason.as_deref()), (RunState::Dead, Some("there is no service \"shop\"")));
    bench.stop().await;
}

#[tokio::test]
async fn a_node_that_dies_is_left_out_and_comes_back_when_it_answers() {
    let bench = Bench::on(stage().await, settings(&[CALLBACK]));
    let (lives, dies) = (Callee::start().await, Callee::start().await);
    let address = dies.address();
    let health = Some(HealthCheck { path: "/health".to_owned(), interval_ms: Some(20) });
    put(&bench, &Service { health, ..service(&[&dies, &lives]) }).await;
    until("both are looked after", async || !dies.heard().is_empty() && !lives.heard().is_empty()).await;
    drop(dies);
    // Round and round: a call that meets the dead node fails, until it is out.
    let whole_round = async || {
        let rounds =
            [bench.work(CALLBACK, &job(&json!({}))).await, bench.work(CALLBACK, &job(&json!({}))).await];
        rounds.iter().all(|run| run.state == RunState::Succeeded)
    };
    until("it is left out", &whole_round).await;
    for _ in 0..4 {
        assert!(whole_round().await, "it stays out");
    }
    let back = Callee::at(&address).await;
    until("it is asked again", async || back.heard().len() > 1).await;
    until("it is called again", async || {
        bench.work(CALLBACK, &job(&json!({}))).await;
        back.calls() > 0
    })
    .await;
    bench.stop().await;
}

#[tokio::test]
async fn easytasks_heartbeat_takes_a_node_out_and_in() {
    let bench = Bench::on(stage().await, settings(&[CALLBACK]));
    let node = Callee::start().await;
    let mut easy = service(&[&node]);
    easy.heartbeat_body = r#"{"cmd":0}"#.to_owned();
    easy.nodes[0].health_check = true;
    node.says(200, r#"{"pong":false}"#);
    put(&bench, &easy).await;
    let easy = job(&json!({"reply": "easytask", "body": "{\"cmd\":1}"}));
    until("it is out", async || {
        let run = bench.work(CALLBACK, &easy).await;
        run.reason.is_some_and(|reason| reason.contains("no node of the service"))
    })
    .await;
    assert!(node.heard().iter().any(|heard| heard.path == "/" && heard.body == r#"{"cmd":0}"#));
    node.says(200, r#"{"pong":true,"is_success":true,"extra":"hello"}"#);
    until("it is in", async || bench.work(CALLBACK, &easy).await.state == RunState::Succeeded).await;
    let heard = node.heard();
    let heard = heard.iter().rfind(|heard| heard.path == "/orders").unwrap();
    let body: Value = serde_json::from_str(&heard.body).unwrap();
    assert!(body["cmd"] == 1 && body["task_id"].is_string() && body["run_times"] == 1, "{body}");
    bench.stop().await;
}

#[tokio::test]
async fn fail_over_takes_the_next_node_where_nothing_was_sent() {
    let bench = Bench::on(stage().await, settings(&[CALLBACK]));
    let (dead, alive) = (Callee::start().await, Callee::start().await);
    let service = service(&[&dead, &alive]);
    drop(dead);
    put(&bench, &service).await;
    let failing_over = job(&json!({"routing": "fail_over"}));
    until("its socket is closed", async || {
        bench.work(CALLBACK, &failing_over).await.state == RunState::Succeeded
    })
    .await;
    let before = alive.calls();
    alive.says(500, "no");
    let run = bench.work(CALLBACK, &failing_over).await;
    assert_eq!((run.state, run.reason.as_deref()), (RunState::Dead, Some("answered 500: no")));
    assert_eq!(alive.calls(), before + 1, "what was answered is not asked of another");
    bench.stop().await;
}

#[tokio::test]
async fn the_least_busy_node_is_called() {
    let bench = Bench::on(stage().await, settings(&[CALLBACK]));
    let nodes = [Callee::start().await, Callee::start().await];
    put(&bench, &service(&[&nodes[0], &nodes[1]])).await;
    for node in &nodes {
        node.hold();
    }
    let mut runs = Vec::new();
    for calls in 1..=4 {
        runs.push(bench.fire(CALLBACK, &job(&json!({"routing": "least_busy", "timeout_ms": 60_000}))).await);
        until("it is called", async || nodes[0].calls() + nodes[1].calls() == calls).await;
    }
    assert_eq!((nodes[0].calls(), nodes[1].calls()), (2, 2));
    for node in &nodes {
        node.let_go(1_000);
    }
    for run in &runs {
        assert_eq!(bench.outcome(run).await.state, RunState::Succeeded);
    }
    bench.stop().await;
}

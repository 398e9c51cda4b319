//! Callbacks to named services.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use taskcenter_server::core::callback_service::{
    CallbackService as Service, HealthCheck, ServiceNode, SigningSecret,
};
use taskcenter_server::core::retry::RetryPolicy;
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Run, RunState};
use taskcenter_server::engine::service::{NodeCondition, Report, ServiceError};
use taskcenter_server::workers::directory::Directory;
use taskcenter_server::workers::local::LocalApi;
use taskcenter_server::workers::settings::Settings;
use taskcenter_server::workers::sign;

use super::endpoint::{Endpoint, Received};
use super::{Bench, TRACE, message, settings, stage, until};
use crate::service::{NOW, Stage};

const CALLBACK: &str = "callback";
const SECRET: &str = "a secret of sixteen bytes and more";

fn service(nodes: &[&Endpoint]) -> Service {
    let node =
        |endpoint: &&Endpoint| ServiceNode { url: endpoint.url.clone(), weight: 1, health_check: false };
    Service { name: "shop".to_owned(), nodes: nodes.iter().map(node).collect(), ..Service::default() }
}

async fn put(bench: &Bench, service: &Service) {
    bench.stage.service.put_callback_service(service, false).await.unwrap();
}

fn job(changes: &Value) -> Value {
    let mut job = json!({"service": "shop", "path": "/orders", "body": "{\"id\":7}", "retry_after_ms": []});
    job.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    job
}

pub async fn callbacks_alternate_between_the_nodes_of_a_service(stage: Stage) {
    let bench = Bench::on(stage, settings(&[CALLBACK]));
    let nodes = [Endpoint::start().await, Endpoint::start().await];
    put(&bench, &service(&[&nodes[0], &nodes[1]])).await;
    for _ in 0..4 {
        assert_eq!(message(&bench.work(CALLBACK, &job(&json!({"routing": "round_robin"}))).await), "done");
    }
    assert_eq!((nodes[0].calls(), nodes[1].calls()), (2, 2));
    let received = nodes[0].received().remove(0);
    assert_eq!((received.path.as_str(), received.body.as_str()), ("/orders", "{\"id\":7}"));
    assert_eq!(
        (header(&received, "traceparent"), header(&received, "x-mine")),
        (TRACE.into(), "task".into())
    );
    assert!(
        received.headers.get("x-taskcenter-token").is_none(),
        "a synchronous callback has no token for a confirmation"
    );
    bench.stop().await;
}

fn header(received: &Received, name: &str) -> String {
    received.headers[name].to_str().unwrap().to_owned()
}

pub async fn a_callback_is_signed(stage: Stage) {
    let (bench, node) = (Bench::on(stage, settings(&[CALLBACK])), Endpoint::start().await);
    let secret = SigningSecret::new(SECRET);
    put(&bench, &Service { secret: secret.clone(), ..service(&[&node]) }).await;
    let run = bench.work(CALLBACK, &job(&json!({}))).await;
    assert_eq!(run.state, RunState::Succeeded);
    let received = node.received().remove(0);
    let at: i64 = header(&received, sign::TIMESTAMP).parse().unwrap();
    let wanted = sign::signature(&secret, at, run.id.as_str(), 1, &received.body).unwrap();
    assert_eq!(header(&received, sign::SIGNATURE), wanted);
    assert_eq!(header(&received, "x-taskcenter-run-id"), run.id.as_str());
    assert!(at > 1_700_000_000, "the timestamp is wall-clock time");
    bench.stop().await;
}

/// Confirms a callback as its service does.
async fn confirm(stage: &Stage, run: &Run, received: &Received) -> Result<Run, ServiceError> {
    let report = Report {
        attempt: header(received, "x-taskcenter-attempt").parse().unwrap(),
        token: header(received, "x-taskcenter-token"),
        outcome: Outcome::Succeeded { result: Some("{\"message\":\"confirmed\"}".to_owned()) },
        message: None,
        started_at: None,
    };
    stage.service.report(&run.id, &report).await
}

/// Makes a callback that the service accepts and may confirm within an hour.
async fn accepted(bench: &Bench, node: &Endpoint) -> Run {
    put(bench, &service(&[node])).await;
    node.respond_with(202, "");
    let asynchronous = job(&json!({"mode": "async", "confirm_within_ms": 3_600_000}));
    let run = bench.fire(CALLBACK, &asynchronous).await;
    let deadline = NOW.ms() + 3_600_000;
    until("the run is leased until the deadline of the confirmation", async || {
        bench.stage.run(&run).await.attention_at.is_some_and(|at| at.ms() == deadline)
    })
    .await;
    bench.stage.run(&run).await
}

pub async fn an_accepted_callback_is_confirmed_over_the_api(stage: Stage) {
    let (bench, node) = (Bench::on(stage, settings(&[CALLBACK])), Endpoint::start().await);
    let run = accepted(&bench, &node).await;
    assert_eq!(run.state, RunState::Leased);
    // The confirmation arrives long after the timeout of the call, when the worker has stopped.
    let stage = bench.stop().await;
    stage.clock.set(run.attention_at.unwrap().plus_ms(-1));
    stage.rescue().await;
    assert_eq!(stage.run(&run).await.state, RunState::Leased);
    let confirmed = confirm(&stage, &run, &node.received()[0]).await.unwrap();
    assert_eq!(message(&confirmed), "confirmed");
    assert_eq!(
        confirm(&stage, &run, &node.received()[0]).await.unwrap().state,
        RunState::Succeeded,
        "a repeated confirmation succeeds"
    );
}

pub async fn a_late_confirmation_is_refused_and_the_callback_is_repeated(stage: Stage) {
    let (bench, node) = (Bench::on(stage, settings(&[CALLBACK])), Endpoint::start().await);
    let run = accepted(&bench, &node).await;
    bench.stage.clock.set(run.attention_at.unwrap());
    bench.stage.rescue().await;
    bench.stage.rescue().await;
    until("the service is called again", async || node.calls() == 2).await;
    let received = node.received();
    let late = confirm(&bench.stage, &run, &received[0]).await;
    assert!(matches!(late, Err(ServiceError::Stale(_))), "{late:?}");
    assert_eq!(message(&confirm(&bench.stage, &run, &received[1]).await.unwrap()), "confirmed");
    bench.stop().await;
}

/// Waits until the run waits after this number of leases.
async fn waiting(bench: &Bench, run: &Run, leases: u32) -> Run {
    until("the run waits", async || {
        let run = bench.stage.run(run).await;
        run.state == RunState::Retrying && run.claim == leases + 1
    })
    .await;
    bench.stage.run(run).await
}

/// Advances the clock to the next delivery of a run that waits.
async fn resume(bench: &Bench, waiting: &Run) {
    bench.stage.clock.set(waiting.attention_at.unwrap());
    bench.stage.rescue().await;
}

#[tokio::test]
async fn a_callback_waits_for_a_node_and_costs_no_attempt() {
    let bench = Bench::on(stage().await, settings(&[CALLBACK]));
    let run = bench.fire(CALLBACK, &job(&json!({}))).await;
    let first = waiting(&bench, &run, 1).await;
    assert_eq!(first.reason.as_deref(), Some("unknown service \"shop\""));
    assert_eq!(first.attention_at, Some(NOW.plus_ms(1_000)));
    put(&bench, &service(&[])).await;
    resume(&bench, &first).await;
    let second = waiting(&bench, &run, 2).await;
    assert_eq!(second.reason.as_deref(), Some("cannot connect: no node of the service \"shop\" answers"));
    let node = Endpoint::start().await;
    let address = node.address();
    put(&bench, &service(&[&node])).await;
    drop(node);
    until("the node is stopped", async || tokio::net::TcpStream::connect(&address).await.is_err()).await;
    resume(&bench, &second).await;
    let third = waiting(&bench, &run, 3).await;
    assert!(third.reason.as_deref().is_some_and(|why| why.starts_with("cannot connect")), "{third:?}");
    assert_eq!(third.attention_at, Some(NOW.plus_ms(7_000)));
    let node = Endpoint::at(&address).await;
    resume(&bench, &third).await;
    let run = bench.in_state(&run, &[RunState::Succeeded, RunState::Dead]).await;
    assert_eq!((run.state, run.attempt, node.calls()), (RunState::Succeeded, 1, 1));
    bench.stop().await;
}

#[tokio::test]
async fn a_node_that_stops_gets_no_calls_until_it_answers_health_checks() {
    let bench = Bench::on(stage().await, settings(&[CALLBACK]));
    let (running, stopping) = (Endpoint::start().await, Endpoint::start().await);
    let address = stopping.address();
    let health = Some(HealthCheck { path: "/health".to_owned(), interval_ms: Some(20) });
    put(&bench, &Service { health, ..service(&[&stopping, &running]) }).await;
    until("both nodes are checked", async || {
        !stopping.received().is_empty() && !running.received().is_empty()
    })
    .await;
    drop(stopping);
    // The nodes take turns. Calls to the stopped node fail until its health check fails.
    let whole_round = async || {
        let rounds =
            [bench.work(CALLBACK, &job(&json!({}))).await, bench.work(CALLBACK, &job(&json!({}))).await];
        rounds.iter().all(|run| run.state == RunState::Succeeded)
    };
    until("the stopped node gets no calls", &whole_round).await;
    let condition = async || {
        let callee = bench.stage.service.callback_service("shop").await.unwrap().unwrap();
        let health = bench.stage.service.callback_health().await.unwrap();
        [0, 1].map(|at| match health.of(&callee, &callee.nodes[at]) {
            NodeCondition::Down { node, .. } => node.why.clone(),
            other => format!("{other:?}"),
        })
    };
    until("the stopped node is reported", async || condition().await[0].contains("cannot connect")).await;
    assert_eq!(condition().await[1], "Up");
    for _ in 0..4 {
        assert!(whole_round().await, "the stopped node still gets no calls");
    }
    let back = Endpoint::at(&address).await;
    until("the node is checked again", async || back.received().len() > 1).await;
    until("the service is called again", async || {
        bench.work(CALLBACK, &job(&json!({}))).await;
        back.calls() > 0
    })
    .await;
    until("no node is reported", async || condition().await[0] == "Up").await;
    bench.stop().await;
}

/// Number of health checks that the node received.
fn health_checks(node: &Endpoint) -> usize {
    node.received().iter().filter(|request| request.path == "/health").count()
}

#[tokio::test]
async fn a_node_that_stops_gets_no_calls_after_two_health_checks() {
    let bench = Bench::on(stage().await, settings(&[CALLBACK]));
    let (running, stopping) = (Endpoint::start().await, Endpoint::start().await);
    let address = stopping.address();
    let health = Some(HealthCheck { path: "/health".to_owned(), interval_ms: Some(20) });
    put(&bench, &Service { health, ..service(&[&stopping, &running]) }).await;
    until("both nodes are checked", async || health_checks(&stopping) > 0 && health_checks(&running) > 0)
        .await;
    drop(stopping);
    until("the node is stopped", async || tokio::net::TcpStream::connect(&address).await.is_err()).await;
    // The pass in progress may have checked the node before it stopped. When the fourth pass begins, two
    // more have ended.
    let enough = health_checks(&running) + 4;
    until("two passes have ended", async || health_checks(&running) >= enough).await;
    for _ in 0..4 {
        let run = bench.work(CALLBACK, &job(&json!({}))).await;
        assert_eq!(run.state, RunState::Succeeded, "no callback reaches the stopped node: {:?}", run.reason);
    }
    let back = Endpoint::at(&address).await;
    // The second check begins after the first has ended.
    until("the node has answered a check", async || health_checks(&back) > 1).await;
    for _ in 0..2 {
        assert_eq!(bench.work(CALLBACK, &job(&json!({}))).await.state, RunState::Succeeded);
    }
    assert_eq!(back.calls(), 1, "the node gets calls again");
    bench.stop().await;
}

/// The interval begins at the end of a pass, and each service has passes of its own.
#[tokio::test]
async fn a_pass_begins_after_the_previous_one_and_waits_for_no_other_service() {
    assert_eq!(Settings::default().callback.health_interval_ms, 5_000);
    let bench = Bench::on(stage().await, settings(&[CALLBACK]));
    let health = || Some(HealthCheck { path: "/health".to_owned(), interval_ms: Some(20) });
    let (blocked, healthy) = (Endpoint::start().await, Endpoint::start().await);
    blocked.block();
    put(&bench, &Service { health: health(), name: "blocked".to_owned(), ..service(&[&blocked]) }).await;
    until("the check of the blocked service has begun", async || health_checks(&blocked) == 1).await;
    put(&bench, &Service { health: health(), ..service(&[&healthy]) }).await;
    until("the other service is checked repeatedly", async || health_checks(&healthy) > 10).await;
    assert_eq!(health_checks(&blocked), 1, "the pass of the blocked service has not ended");
    blocked.release(1_000);
    until("the next pass has begun", async || health_checks(&blocked) > 1).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_callback_that_fails_on_one_node_is_retried_on_another_by_the_tasks_policy() {
    let bench = Bench::on(stage().await, settings(&[CALLBACK]));
    let (failing, healthy) = (Endpoint::start().await, Endpoint::start().await);
    failing.respond_with(500, "no");
    put(&bench, &service(&[&failing, &healthy])).await;
    let run = bench.work(CALLBACK, &job(&json!({"retry_after_ms": [60_000]}))).await;
    assert_eq!((run.state, run.attention_at), (RunState::Retrying, Some(NOW.plus_ms(60_000))));
    let run = bench.retry(&run).await;
    assert_eq!((run.state, run.attempt), (RunState::Succeeded, 2));
    assert_eq!((failing.calls(), healthy.calls()), (1, 1));
    bench.stop().await;
}

/// A directory that fails this number of times.
struct FailingDirectory {
    failures: AtomicUsize,
    api: LocalApi,
}

#[async_trait::async_trait]
impl Directory for FailingDirectory {
    async fn find(&self, name: &str) -> Result<Option<Service>, String> {
        let fails = self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |failures| failures.checked_sub(1))
            .is_ok();
        if fails { Err("the store is unavailable".to_owned()) } else { self.api.find(name).await }
    }

    async fn all(&self) -> Result<Vec<Service>, String> {
        self.api.all().await
    }
}

#[tokio::test]
async fn a_failed_lookup_of_a_service_costs_no_attempt() {
    let stage = stage().await;
    let api = LocalApi::new(&stage.service);
    let directory = FailingDirectory { failures: AtomicUsize::new(2), api };
    let (bench, node) = (Bench::with(stage, settings(&[CALLBACK]), directory), Endpoint::start().await);
    put(&bench, &service(&[&node])).await;
    let retry = Some(RetryPolicy::doubling(1, 0, 0));
    let task = Submission {
        queue: Some(CALLBACK.to_owned()),
        retry,
        ..Submission::named("shop.task", job(&json!({})).to_string())
    };
    let id = bench.stage.submit(task).await;
    let run = bench.stage.fire(&id).await;
    for leases in 1..=2 {
        let waiting = waiting(&bench, &run, leases).await;
        resume(&bench, &waiting).await;
    }
    let run = bench.in_state(&run, &[RunState::Succeeded, RunState::Dead]).await;
    assert_eq!((run.state, run.attempt, run.claim), (RunState::Succeeded, 1, 4), "{:?}", run.reason);
    assert_eq!(node.calls(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_legacy_heartbeat_disables_and_enables_a_node() {
    let bench = Bench::on(stage().await, settings(&[CALLBACK]));
    let node = Endpoint::start().await;
    let mut easytask = service(&[&node]);
    easytask.heartbeat_body = r#"{"cmd":0}"#.to_owned();
    easytask.nodes[0].health_check = true;
    node.respond_with(200, r#"{"pong":false}"#);
    put(&bench, &easytask).await;
    let job = job(&json!({"reply": "easytask", "body": "{\"cmd\":1}"}));
    until("the node gets no calls", async || {
        let run = bench.work(CALLBACK, &job).await;
        run.reason.is_some_and(|reason| reason.contains("no node of the service"))
    })
    .await;
    assert!(node.received().iter().any(|request| request.path == "/" && request.body == r#"{"cmd":0}"#));
    node.respond_with(200, r#"{"pong":true,"is_success":true,"extra":"hello"}"#);
    until("the node gets calls", async || bench.work(CALLBACK, &job).await.state == RunState::Succeeded)
        .await;
    let received = node.received();
    let received = received.iter().rfind(|request| request.path == "/orders").unwrap();
    let body: Value = serde_json::from_str(&received.body).unwrap();
    assert!(body["cmd"] == 1 && body["task_id"].is_string() && body["run_times"] == 1, "{body}");
    bench.stop().await;
}

#[tokio::test]
async fn fail_over_uses_the_next_node_if_nothing_was_sent() {
    let bench = Bench::on(stage().await, settings(&[CALLBACK]));
    let (dead, alive) = (Endpoint::start().await, Endpoint::start().await);
    let service = service(&[&dead, &alive]);
    drop(dead);
    put(&bench, &service).await;
    let failing_over = job(&json!({"routing": "fail_over"}));
    until("the socket of the stopped node is closed", async || {
        bench.work(CALLBACK, &failing_over).await.state == RunState::Succeeded
    })
    .await;
    let before = alive.calls();
    alive.respond_with(500, "no");
    let run = bench.work(CALLBACK, &failing_over).await;
    assert_eq!((run.state, run.reason.as_deref()), (RunState::Dead, Some("answered 500: no")));
    assert_eq!(alive.calls(), before + 1, "an answered call is not repeated on another node");
    bench.stop().await;
}

#[tokio::test]
async fn the_least_busy_node_is_called() {
    let bench = Bench::on(stage().await, settings(&[CALLBACK]));
    let nodes = [Endpoint::start().await, Endpoint::start().await];
    put(&bench, &service(&[&nodes[0], &nodes[1]])).await;
    for node in &nodes {
        node.block();
    }
    let mut runs = Vec::new();
    for calls in 1..=4 {
        runs.push(bench.fire(CALLBACK, &job(&json!({"routing": "least_busy", "timeout_ms": 60_000}))).await);
        until("a node is called", async || nodes[0].calls() + nodes[1].calls() == calls).await;
    }
    assert_eq!((nodes[0].calls(), nodes[1].calls()), (2, 2));
    for node in &nodes {
        node.release(1_000);
    }
    for run in &runs {
        assert_eq!(bench.outcome(run).await.state, RunState::Succeeded);
    }
    bench.stop().await;
}

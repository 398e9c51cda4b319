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
use taskcenter_server::engine::service::{Report, ServiceError};
use taskcenter_server::workers::directory::Directory;
use taskcenter_server::workers::inside::Inside;
use taskcenter_server::workers::settings::Settings;
use taskcenter_server::workers::sign;

use super::callee::{Callee, Heard};
use super::{Bench, message, settings, stage, until};
use crate::service::{NOW, Stage};

const CALLBACK: &str = "callback";
const SECRET: &str = "a secret of sixteen bytes and more";

fn service(nodes: &[&Callee]) -> Service {
    let node = |callee: &&Callee| ServiceNode { url: callee.url.clone(), weight: 1, health_check: false };
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

/// Looks at the node's health that were begun.
fn beats(node: &Callee) -> usize {
    node.heard().iter().filter(|heard| heard.path == "/health").count()
}

#[tokio::test]
async fn a_node_that_dies_is_out_within_two_heartbeats_and_back_when_it_answers() {
    let bench = Bench::on(stage().await, settings(&[CALLBACK]));
    let (lives, dies) = (Callee::start().await, Callee::start().await);
    let address = dies.address();
    let health = Some(HealthCheck { path: "/health".to_owned(), interval_ms: Some(20) });
    put(&bench, &Service { health, ..service(&[&dies, &lives]) }).await;
    until("both are looked after", async || beats(&dies) > 0 && beats(&lives) > 0).await;
    drop(dies);
    until("it is dead", async || tokio::net::TcpStream::connect(&address).await.is_err()).await;
    // The pass that is under way may have asked it before; two more come to their end before the fourth begins.
    let heartbeats = beats(&lives) + 4;
    until("two heartbeats have passed", async || beats(&lives) >= heartbeats).await;
    for _ in 0..4 {
        let run = bench.work(CALLBACK, &job(&json!({}))).await;
        assert_eq!(run.state, RunState::Succeeded, "no callback meets it: {:?}", run.reason);
    }
    let back = Callee::at(&address).await;
    // The second one begins when the first has told.
    until("it has answered", async || beats(&back) > 1).await;
    for _ in 0..2 {
        assert_eq!(bench.work(CALLBACK, &job(&json!({}))).await.state, RunState::Succeeded);
    }
    assert_eq!(back.calls(), 1, "it has its turn again");
    bench.stop().await;
}

/// The pause begins when the last pass has ended, and each service has passes of its own.
#[tokio::test]
async fn a_pass_begins_after_the_last_one_has_ended_and_waits_for_no_other_service() {
    assert_eq!(Settings::default().callback.health_interval_ms, 5_000);
    let bench = Bench::on(stage().await, settings(&[CALLBACK]));
    let health = || Some(HealthCheck { path: "/health".to_owned(), interval_ms: Some(20) });
    let (hangs, well) = (Callee::start().await, Callee::start().await);
    hangs.hold();
    put(&bench, &Service { health: health(), name: "hangs".to_owned(), ..service(&[&hangs]) }).await;
    until("it hangs", async || beats(&hangs) == 1).await;
    put(&bench, &Service { health: health(), ..service(&[&well]) }).await;
    until("others are asked again and again", async || beats(&well) > 10).await;
    assert_eq!(beats(&hangs), 1, "its pass is under way still");
    hangs.let_go(1_000);
    until("the next pass has begun", async || beats(&hangs) > 1).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_callback_that_fails_on_one_node_is_retried_on_another_by_the_tasks_policy() {
    let bench = Bench::on(stage().await, settings(&[CALLBACK]));
    let (fails, well) = (Callee::start().await, Callee::start().await);
    fails.says(500, "no");
    put(&bench, &service(&[&fails, &well])).await;
    let run = bench.work(CALLBACK, &job(&json!({"retry_after_ms": [60_000]}))).await;
    assert_eq!((run.state, run.attention_at), (RunState::Retrying, Some(NOW.plus_ms(60_000))));
    let run = bench.again(&run).await;
    assert_eq!((run.state, run.attempt), (RunState::Succeeded, 2));
    assert_eq!((fails.calls(), well.calls()), (1, 1));
    bench.stop().await;
}

/// Cannot be asked for so many times.
struct OutOfOrder {
    left: AtomicUsize,
    inside: Inside,
}

#[async_trait::async_trait]
impl Directory for OutOfOrder {
    async fn find(&self, name: &str) -> Result<Option<Service>, String> {
        let fails =
            self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if fails { Err("the store is away".to_owned()) } else { self.inside.find(name).await }
    }

    async fn all(&self) -> Result<Vec<Service>, String> {
        self.inside.all().await
    }
}

#[tokio::test]
async fn a_service_that_cannot_be_looked_up_costs_no_attempt() {
    let stage = stage().await;
    let inside = Inside::new(&stage.service);
    let directory = OutOfOrder { left: AtomicUsize::new(2), inside };
    let (bench, node) = (Bench::with(stage, settings(&[CALLBACK]), directory), Callee::start().await);
    put(&bench, &service(&[&node])).await;
    let retry = Some(RetryPolicy { max_attempts: 1, backoff_ms: 0, max_backoff_ms: 0 });
    let task = Submission {
        queue: Some(CALLBACK.to_owned()),
        retry,
        ..Submission::named("shop.task", job(&json!({})).to_string())
    };
    let id = bench.stage.submit(task).await;
    let run = bench.stage.fire(&id).await;
    let run = bench.in_state(&run, &[RunState::Succeeded, RunState::Dead, RunState::Retrying]).await;
    assert_eq!((run.state, run.attempt, run.claim), (RunState::Succeeded, 1, 4), "{:?}", run.reason);
    assert_eq!(node.calls(), 1);
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

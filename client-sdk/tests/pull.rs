//! Consumers on the pull transport: over HTTP, and with paused time directly on the fake queues.

mod fake_server;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake_server::{FakeQueues, FakeServer};
use serde_json::json;
use taskcenter_client::transport::pull::{Pull, PullConfig};
use taskcenter_client::wire::{ReportedOutcome, property};
use taskcenter_client::{
    Consumer, ConsumerBuilder, Context, HandlerError, MAX_RESULT_BYTES, MAX_RESULT_DEPTH, ResultError,
};
use tokio::sync::Semaphore;
use tokio::time::{interval, timeout};

const DEADLINE: Duration = Duration::from_mins(1);
const LEASE: Duration = Duration::from_secs(30);

/// Waits until the condition holds. With paused time, the wait takes no real time.
async fn until(condition: &str, mut holds: impl FnMut() -> bool) {
    let mut ticks = interval(Duration::from_millis(2));
    let waited = timeout(DEADLINE, async {
        while !holds() {
            ticks.tick().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not in time: {condition}"));
}

/// Lets time pass, with all timers that expire in it.
async fn advance(time: Duration) {
    let _ = timeout(time, pending::<()>()).await;
}

/// State of the handlers: counters, and an optional gate that handlers wait at.
#[derive(Default)]
struct Scene {
    started: AtomicUsize,
    running: AtomicUsize,
    max_running: AtomicUsize,
    gate: Option<Semaphore>,
}

impl Scene {
    fn gated() -> Arc<Self> {
        Arc::new(Self { gate: Some(Semaphore::new(0)), ..Self::default() })
    }

    fn open(&self, handlers: usize) {
        self.gate.as_ref().unwrap().add_permits(handlers);
    }

    fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    async fn pass(&self) -> Result<(), HandlerError> {
        self.started.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.max_running.fetch_max(running, Ordering::SeqCst);
        if let Some(gate) = &self.gate {
            gate.acquire().await?.forget();
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

async fn act_on(ctx: Context<Arc<Scene>>, action: String) -> Result<(), HandlerError> {
    ctx.state().pass().await?;
    match action.as_str() {
        "result" => Ok(ctx.set_result(&json!({"closed": [ctx.task_id(), ctx.attempt()]}))?),
        "later" if ctx.attempt() == 1 => Err(HandlerError::retry_after(Duration::from_millis(40), "busy")),
        "ok" | "later" => Ok(()),
        "dead" => Err(HandlerError::dead_letter("no such order")),
        "skip" => Err(HandlerError::skip("paid already")),
        "panic" => panic!("out of range"),
        other => Err(other.into()),
    }
}

fn builder(scene: &Arc<Scene>) -> ConsumerBuilder<Arc<Scene>> {
    Consumer::builder().state(Arc::clone(scene)).on_text("t", act_on)
}

/// Returns a builder on the fake queues without HTTP, for paused time.
fn pulling(scene: &Arc<Scene>, queues: &FakeQueues, config: PullConfig) -> ConsumerBuilder<Arc<Scene>> {
    builder(scene).transport(Pull::new(queues.clone(), config))
}

fn config() -> PullConfig {
    PullConfig { worker: "me".into(), ..PullConfig::default() }
}

/// Returns the outcomes and messages of the reports of a run.
fn reports(queues: &FakeQueues, id: &str) -> Vec<(ReportedOutcome, Option<String>)> {
    queues.run(id).reports.into_iter().map(|report| (report.outcome, report.message)).collect()
}

fn reported(outcome: ReportedOutcome, message: &str) -> (ReportedOutcome, Option<String>) {
    (outcome, Some(message.to_owned()))
}

#[tokio::test]
async fn every_outcome_reaches_the_server() {
    let (queues, scene) = (FakeQueues::default(), Arc::default());
    let server = FakeServer::start(&queues).await;
    for action in ["ok", "result", "later", "dead", "skip", "panic", "no"] {
        queues.add(action, "t", action);
    }
    let consumer = builder(&scene).connect(&server.url("worker=me")).unwrap().start().unwrap();
    until("all runs have ended", || {
        queues.count("ready") + queues.count("leased") + queues.count("retrying") == 0
    })
    .await;
    consumer.shutdown().await.unwrap();

    let states = ["ok", "result", "later", "dead", "skip", "panic", "no"].map(|id| queues.run(id).state);
    assert_eq!(states, ["succeeded", "succeeded", "succeeded", "dead", "skipped", "dead", "dead"]);
    assert_eq!(queues.run("result").result, Some(json!({"closed": ["task-of-result", 1]})));
    assert_eq!((queues.run("ok").result, queues.run("ok").worker.as_str()), (None, "me"));
    let busy = &queues.run("later").reports[0];
    assert_eq!((busy.outcome, busy.retry_after_ms), (ReportedOutcome::Failed, Some(40)));
    assert_eq!(queues.run("later").attempt, 2);
    assert_eq!(reports(&queues, "dead"), [reported(ReportedOutcome::Dead, "no such order")]);
    assert_eq!(reports(&queues, "skip"), [reported(ReportedOutcome::Skipped, "paid already")]);
    let panicked = reported(ReportedOutcome::Failed, "the handler panicked: out of range");
    assert_eq!(reports(&queues, "panic"), [panicked.clone(), panicked.clone(), panicked]);
}

#[tokio::test]
async fn a_refused_token_ends_the_consumer_after_its_running_handlers() {
    let (queues, scene) = (FakeQueues::default(), Scene::gated());
    let server = FakeServer::start(&queues).await;
    queues.faults(|faults| faults.no_wait = true);
    queues.add("running", "t", "ok");
    let consumer = builder(&scene).connect(&server.url("worker=me")).unwrap().start().unwrap();
    until("the handler runs", || scene.started() == 1).await;
    let mut ended = tokio::spawn(consumer.run_until(pending::<()>()));

    queues.faults(|faults| faults.denied = true);
    let requests = queues.leases().len();
    until("the server has refused a request", || queues.leases().len() > requests).await;
    assert!(futures_util::poll!(&mut ended).is_pending(), "a handler is still running");
    scene.open(1);
    let error = ended.await.unwrap().unwrap_err();
    assert_eq!(queues.run("running").state, "succeeded");
    assert!(error.to_string().starts_with("the pull transport failed: the server answered 401"), "{error}");
    assert_eq!(format!("{error:?}"), error.to_string(), "main prints the `Debug` form");
}

#[tokio::test]
async fn a_refusal_of_a_proxy_does_not_end_the_consumer() {
    let proxy = axum::Router::new().fallback(|| async { (axum::http::StatusCode::FORBIDDEN, "no") });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    let proxy = proxy.layer(axum::middleware::map_response(move |answer: axum::response::Response| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { answer }
    }));
    tokio::spawn(async move { axum::serve(listener, proxy).await });
    let scene = Arc::default();
    let consumer = builder(&scene).connect(&format!("http://{address}")).unwrap().start().unwrap();
    until("the consumer has retried", || served.load(Ordering::SeqCst) > 1).await;
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_pulled_delivery_has_the_same_context_as_one_of_a_broker() {
    async fn check(ctx: Context, _: String) -> Result<(), HandlerError> {
        let seen =
            (ctx.run_id(), ctx.task_id(), ctx.tag(), ctx.attempt(), ctx.claim(), ctx.scheduled_at_ms());
        assert_eq!(seen, (Some("r"), "task-of-r", "t", 1, 1, Some(0)));
        assert_eq!((ctx.message_id(), ctx.delivery_attempt()), ("r-1", 1));
        assert_eq!(ctx.property(property::ACK), Some(property::ACK_WANTED));
        assert_eq!(ctx.headers().iter().collect::<Vec<_>>(), [(&"traceparent".to_owned(), &"00".to_owned())]);
        assert_eq!(ctx.labels().iter().collect::<Vec<_>>(), [(&"team".to_owned(), &"pay \"1\"".to_owned())]);
        let too_long = "x".repeat(MAX_RESULT_BYTES);
        assert!(
            ctx.set_result(&too_long).is_err() && ctx.set_result(&"y".repeat(MAX_RESULT_BYTES - 2)).is_ok()
        );
        // Alternating objects and arrays, because both count as levels.
        let nested = |levels| {
            (0..levels)
                .fold(json!(1), |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({"a": inner}) })
        };
        let refused = ctx.set_result(&nested(MAX_RESULT_DEPTH + 1)).unwrap_err();
        assert!(
            matches!(refused, ResultError::TooDeep(65)) && refused.to_string().contains("64"),
            "{refused}"
        );
        assert!(
            ctx.set_result(&nested(MAX_RESULT_DEPTH)).is_ok()
                && ctx.set_result(&"y".repeat(MAX_RESULT_BYTES - 2)).is_ok()
        );
        Ok(())
    }
    let queues = FakeQueues::default();
    queues.add("r", "t", "");
    queues.change("r", |run| drop(run.headers.insert("traceparent".into(), "00".into())));
    queues.change("r", |run| drop(run.labels.insert("team".into(), "pay \"1\"".into())));
    let server = FakeServer::start(&queues).await;
    let consumer = Consumer::builder().on_text("t", check).connect(&server.url("")).unwrap().start().unwrap();
    until("the run has ended", || queues.run("r").state != "ready" && queues.run("r").state != "leased")
        .await;
    assert_eq!(reports(&queues, "r"), [(ReportedOutcome::Succeeded, None)]);
    assert_eq!(queues.run("r").result.unwrap().as_str().unwrap().len(), MAX_RESULT_BYTES - 2);
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_long_handler_keeps_its_lease() {
    let (queues, scene) = (FakeQueues::default(), Scene::gated());
    let server = FakeServer::start(&queues).await;
    queues.add("1", "t", "ok");
    queues.add("2", "t", "ok");
    let consumer = builder(&scene).connect(&server.url("lease_ms=900")).unwrap().start().unwrap();
    // Five renewals take five thirds of the lease.
    until("the leases are renewed", || queues.renewals().len() >= 5).await;
    assert_eq!((scene.started(), queues.count("leased"), queues.renewals()[4]), (2, 2, 2));
    scene.open(2);
    until("the run has ended", || queues.count("succeeded") == 2).await;
    assert_eq!(queues.run("1").attempt, 1);
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_consumer_waits_for_an_unreachable_server_at_the_start_and_later() {
    let (queues, scene) = (FakeQueues::default(), Arc::default());
    let address = FakeServer::unused_address();
    queues.add("1", "t", "ok");
    let consumer = builder(&scene).connect(&format!("http://{address}")).unwrap().start().unwrap();
    advance(Duration::from_millis(100)).await;
    let server = FakeServer::start_at(address, &queues).await;
    until("the first run has ended", || queues.count("succeeded") == 1).await;

    drop(server);
    queues.add("2", "t", "ok");
    advance(Duration::from_millis(100)).await;
    assert_eq!(queues.run("2").state, "ready");
    let _node = FakeServer::start_at(address, &queues).await;
    until("the second run has ended", || queues.count("succeeded") == 2).await;
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_outcome_is_reported_after_a_restart_of_the_server() {
    let (queues, scene) = (FakeQueues::default(), Scene::gated());
    let server = FakeServer::start(&queues).await;
    queues.add("1", "t", "ok");
    let consumer = builder(&scene).connect(&server.url("")).unwrap().start().unwrap();
    until("the handler has started", || scene.started() == 1).await;
    let address = server.address;
    drop(server);
    scene.open(1);
    until("the handler has ended", || scene.running.load(Ordering::SeqCst) == 0).await;
    let _node = FakeServer::start_at(address, &queues).await;
    until("the run is settled", || queues.count("succeeded") == 1).await;
    assert_eq!(scene.started(), 1);
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_outcome_whose_answer_was_lost_is_repeated_and_counts_once() {
    let (queues, scene) = (FakeQueues::default(), Arc::default());
    queues.faults(|faults| faults.lost_settlements = 3);
    let server = FakeServer::start(&queues).await;
    queues.add("1", "t", "ok");
    queues.add("2", "t", "later");
    let consumer = builder(&scene).connect(&server.url("")).unwrap().start().unwrap();
    until("both runs have ended", || queues.count("succeeded") == 2).await;
    consumer.shutdown().await.unwrap();
    assert!(queues.settlements().len() >= 4);
    assert_eq!((queues.run("1").reports.len(), queues.run("2").reports.len()), (1, 2));
    assert_eq!(scene.started(), 3);
}

#[tokio::test]
async fn a_lease_request_whose_answer_was_lost_is_repeated_and_costs_no_attempt() {
    let (queues, scene) = (FakeQueues::default(), Arc::default());
    queues.faults(|faults| faults.lost_leases = 2);
    let server = FakeServer::start(&queues).await;
    queues.add("1", "t", "ok");
    queues.add("2", "t", "ok");
    let consumer = builder(&scene).connect(&server.url("")).unwrap().start().unwrap();
    until("both runs have ended", || queues.count("succeeded") == 2).await;
    consumer.shutdown().await.unwrap();
    let ids: Vec<_> = queues.leases().into_iter().map(|lease| lease.request_id.unwrap()).collect();
    assert_eq!((&ids[0], &ids[0]), (&ids[1], &ids[2]), "a lost request keeps its id");
    assert!(!ids[3..].contains(&ids[0]), "an answered request has another id");
    let runs = ["1", "2"].map(|id| queues.run(id));
    assert_eq!(runs.map(|run| (run.attempt, run.claim)), [(1, 1), (1, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_know_request_ids_is_asked_without() {
    let (queues, scene) = (FakeQueues::default(), Arc::default());
    queues.faults(|faults| faults.no_request_ids = true);
    queues.add("1", "t", "ok");
    let consumer = pulling(&scene, &queues, config()).start().unwrap();
    until("the run has ended", || queues.count("succeeded") == 1).await;
    consumer.shutdown().await.unwrap();
    let with_id = queues.leases().iter().filter(|lease| lease.request_id.is_some()).count();
    assert_eq!(with_id, 1);
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_of_a_run_cancels_and_then_drops_its_handler() {
    let queues = FakeQueues::default();
    queues.add("1", "t", "x");
    queues.change("1", |run| run.max_runtime_ms = Some(40_000));
    let (told, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |ctx: Context, _: String| {
        let told = told.clone();
        async move {
            ctx.cancelled().await;
            told.send(())?;
            pending::<Result<(), HandlerError>>().await
        }
    };
    let pull = Pull::new(queues.clone(), config());
    let consumer = Consumer::builder().handler_timeout(Duration::from_mins(2));
    let consumer = consumer.on_text("t", handler).transport(pull).start().unwrap();
    advance(Duration::from_secs(39)).await;
    assert!(seen.try_recv().is_err(), "the run has one second left");
    until("the handler is cancelled", || seen.try_recv().is_ok()).await;
    until("the attempt has failed", || !queues.run("1").reports.is_empty()).await;
    let message = "the handler exceeded its time limit of 40s";
    assert_eq!(reports(&queues, "1")[0], reported(ReportedOutcome::Failed, message));
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn many_runs_share_requests_and_no_more_are_handled_than_allowed() {
    const RUNS: usize = 3_000;
    let (queues, scene) = (FakeQueues::default(), Arc::default());
    let server = FakeServer::start(&queues).await;
    for number in 0..RUNS {
        queues.add(&format!("{number:05}"), "t", "ok");
    }
    let consumer = builder(&scene).concurrency(100).connect(&server.url("")).unwrap().start().unwrap();
    until("all runs have ended", || queues.count("succeeded") == RUNS).await;
    consumer.shutdown().await.unwrap();
    let (leases, settlements) = (queues.leases(), queues.settlements());
    assert_eq!(settlements.iter().sum::<usize>(), RUNS);
    assert!(leases.len() < RUNS / 5, "{} leases", leases.len());
    assert!(settlements.len() < RUNS / 5, "{} settlements", settlements.len());
    // One for each handler, and at most eight ahead.
    assert!(leases.iter().all(|lease| (1..=900).contains(&lease.limit)));
    assert!(scene.max_running.load(Ordering::SeqCst) <= 100);
}

#[tokio::test(start_paused = true)]
async fn fast_handlers_lease_ahead_and_runs_that_then_wait_return_to_their_queue() {
    let (queues, scene) = (FakeQueues::default(), Scene::gated());
    for number in 0..300 {
        queues.add(&format!("{number:05}"), "t", "ok");
    }
    let consumer = pulling(&scene, &queues, config()).concurrency(2).start().unwrap();
    for _ in 0..50 {
        scene.open(2);
        advance(Duration::from_millis(1)).await;
    }
    until("the handlers have become slow", || queues.count("succeeded") == 100).await;
    assert!(queues.leases().iter().any(|lease| lease.limit > 2), "fast handlers lease ahead");
    advance(Duration::from_secs(5)).await;
    assert_eq!((queues.count("leased"), queues.count("ready"), scene.started()), (2, 198, 102));
    scene.open(300);
    until("all runs have ended", || queues.count("succeeded") == 300).await;
    assert!((0..300).all(|number| queues.run(&format!("{number:05}")).attempt <= 2));
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_more_runs_are_leased_than_handlers_are_free() {
    let (queues, scene) = (FakeQueues::default(), Scene::gated());
    for id in ["1", "2", "3", "4", "5"] {
        queues.add(id, "t", "ok");
    }
    let consumer = pulling(&scene, &queues, config()).concurrency(2).start().unwrap();
    until("two handlers have started", || scene.started() == 2).await;
    advance(Duration::from_secs(100)).await;
    assert_eq!((queues.count("leased"), queues.count("ready")), (2, 3));
    scene.open(1);
    until("a third handler has started", || scene.started() == 3).await;
    assert_eq!(queues.count("ready"), 2);
    scene.open(4);
    until("all runs have ended", || queues.count("succeeded") == 5).await;
    assert_eq!(scene.max_running.load(Ordering::SeqCst), 2);
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_releases_runs_that_have_not_started_and_waits_for_the_others() {
    let (queues, scene) = (FakeQueues::default(), Scene::gated());
    for id in ["1", "2", "3"] {
        queues.add(id, "t", "result");
    }
    let config = PullConfig { max_in_flight: Some(10), ..config() };
    let consumer = pulling(&scene, &queues, config).concurrency(1).start().unwrap();
    until("all runs are leased", || queues.count("leased") == 3).await;
    let stopped = tokio::spawn(consumer.shutdown());
    until("two runs are released", || queues.count("ready") == 2).await;
    assert!(!stopped.is_finished(), "a handler is still running");
    queues.add("4", "t", "ok");
    scene.open(1);
    stopped.await.unwrap().unwrap();
    assert_eq!((queues.count("succeeded"), queues.count("ready"), scene.started()), (1, 3, 1));
    for run in ["1", "2", "3"].map(|id| queues.run(id)) {
        let outcome =
            if run.state == "ready" { ReportedOutcome::Released } else { ReportedOutcome::Succeeded };
        assert_eq!((run.attempt, run.reports[0].outcome, run.reports.len()), (1, outcome, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_exceeds_the_drain_time_fails() {
    let (queues, scene) = (FakeQueues::default(), Scene::gated());
    queues.add("1", "t", "ok");
    let consumer = pulling(&scene, &queues, config()).drain_for(Duration::from_mins(1)).start().unwrap();
    until("the handler has started", || scene.started() == 1).await;
    consumer.shutdown().await.unwrap();
    let why = "the worker was shut down before the handler ended";
    assert_eq!(reports(&queues, "1"), [reported(ReportedOutcome::Failed, why)]);
    assert!(queues.renewals().len() >= 5, "the lease is renewed during the drain time");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_an_unreachable_server() {
    let (queues, scene) = (FakeQueues::default(), Scene::gated());
    queues.add("1", "t", "ok");
    queues.add("2", "t", "ok");
    let config = PullConfig { max_in_flight: Some(10), ..config() };
    let consumer = pulling(&scene, &queues, config).concurrency(1).start().unwrap();
    until("both runs are leased", || queues.count("leased") == 2).await;
    queues.faults(|faults| faults.down = true);
    let stopped = tokio::spawn(timeout(Duration::from_secs(40), consumer.shutdown()));
    scene.open(1);
    stopped.await.unwrap().expect("the shutdown ends in time").unwrap();
    assert_eq!(reports(&queues, "1"), []);
}

#[tokio::test(start_paused = true)]
async fn runs_that_are_leased_during_the_shutdown_are_released() {
    let (queues, scene) = (FakeQueues::default(), Arc::default());
    let consumer = pulling(&scene, &queues, config()).start().unwrap();
    until("the lease request waits at the server", || !queues.leases().is_empty()).await;
    let stopped = tokio::spawn(consumer.shutdown());
    tokio::task::yield_now().await;
    queues.add("1", "t", "ok");
    stopped.await.unwrap().unwrap();
    assert_eq!(reports(&queues, "1"), [(ReportedOutcome::Released, None)]);
    assert_eq!((queues.run("1").state, scene.started()), ("ready", 0));
}

#[tokio::test(start_paused = true)]
async fn a_handler_with_a_lost_lease_continues_and_its_outcome_is_refused() {
    let (queues, scene, other) = (FakeQueues::default(), Scene::gated(), Scene::gated());
    queues.add("1", "t", "ok");
    let consumer = pulling(&scene, &queues, config()).start().unwrap();
    until("the handler has started", || scene.started() == 1).await;
    queues.faults(|faults| faults.down = true);
    advance(LEASE).await;
    queues.faults(|faults| faults.down = false);
    let rescuer = pulling(&other, &queues, PullConfig { worker: "other".into(), ..config() });
    let rescuer = rescuer.start().unwrap();
    until("another worker has the run", || other.started() + scene.started() == 2).await;
    advance(LEASE).await;
    scene.open(2);
    other.open(1);
    until("the run has ended", || queues.count("succeeded") == 1).await;
    consumer.shutdown().await.unwrap();
    rescuer.shutdown().await.unwrap();
    let run = queues.run("1");
    assert_eq!((run.attempt, run.reports.len(), run.reports[0].attempt), (2, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_told_that_its_lease_is_lost() {
    let queues = FakeQueues::default();
    queues.add("1", "t", "x");
    let (told, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |ctx: Context, _: String| {
        let told = told.clone();
        async move {
            let attempt = ctx.attempt();
            ctx.cancelled().await;
            told.send(attempt)?;
            Ok::<_, HandlerError>(())
        }
    };
    let pull = Pull::new(queues.clone(), config());
    let consumer = Consumer::builder().on_text("t", handler).transport(pull).start().unwrap();
    until("the handler has started", || queues.run("1").state == "leased").await;
    queues.faults(|faults| faults.down = true);
    advance(LEASE).await;
    queues.faults(|faults| faults.down = false);
    assert_eq!(seen.recv().await, Some(1), "the first attempt has lost its lease");
    let is_second = |run: fake_server::Run| (run.attempt, run.state) == (2, "leased");
    until("the second attempt has started", || is_second(queues.run("1"))).await;
    consumer.shutdown().await.unwrap();
    assert_eq!(seen.recv().await, Some(2), "the shutdown cancels the second attempt");
    assert_eq!(queues.run("1").state, "succeeded");
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_told_that_a_user_has_cancelled_its_run() {
    let queues = FakeQueues::default();
    queues.add("1", "t", "x");
    let handler = async |ctx: Context, _: String| {
        ctx.set_progress(42, "420 of 1000 rows");
        ctx.cancelled().await;
        Err::<(), _>(HandlerError::from("half of the rows"))
    };
    let pull = Pull::new(queues.clone(), config());
    let consumer = Consumer::builder().on_text("t", handler).transport(pull).start().unwrap();
    until("the handler has started", || queues.run("1").state == "leased").await;
    queues.change("1", |run| run.cancel_requested = true);
    until("the handler has stopped", || !queues.run("1").reports.is_empty()).await;
    assert_eq!(reports(&queues, "1")[0], reported(ReportedOutcome::Failed, "half of the rows"));
    let progress = queues.run("1").progress.unwrap();
    assert_eq!((progress.percent, progress.text.as_str()), (42, "420 of 1000 rows"));
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_dropped_after_the_end_of_its_lease() {
    let (queues, scene) = (FakeQueues::default(), Arc::default());
    queues.faults(|faults| faults.settle_down = true);
    queues.add("1", "t", "ok");
    let consumer = pulling(&scene, &queues, config()).drop_duplicates(10).start().unwrap();
    advance(2 * LEASE).await;
    queues.faults(|faults| faults.settle_down = false);
    until("the run is retried", || queues.count("succeeded") == 1).await;
    assert!(queues.run("1").attempt > 1);
    assert_eq!(scene.started(), 1, "the run had already succeeded in this process");
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_the_server_refuses_does_not_fail_the_others() {
    let (queues, scene) = (FakeQueues::default(), Scene::gated());
    queues.faults(|faults| faults.refused_message = Some("poison".into()));
    for id in 0..20 {
        queues.add(&format!("{id}"), "t", if id == 7 { "poison" } else { "ok" });
    }
    let consumer = pulling(&scene, &queues, config()).start().unwrap();
    until("all handlers have started", || scene.started() == 20).await;
    scene.open(20);
    until("the other runs have ended", || queues.count("succeeded") == 19).await;
    assert_eq!(queues.run("7").state, "leased");
    drop(consumer);
}

#[tokio::test(start_paused = true)]
async fn a_run_without_a_handler_fails_with_the_reason() {
    let (queues, scene) = (FakeQueues::default(), Arc::default());
    queues.add_to("mixed", "1", "t", "ok");
    queues.add_to("mixed", "2", "strange", "ok");
    let config = PullConfig { queues: vec!["mixed".into()], ..config() };
    let consumer = pulling(&scene, &queues, config).start().unwrap();
    until("the run is dead", || queues.count("dead") == 1 && queues.count("succeeded") == 1).await;
    let why = reported(ReportedOutcome::Failed, "the worker has no handler for the tag");
    assert_eq!(reports(&queues, "2"), [why.clone(), why.clone(), why]);
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_default_queues_are_the_tags_of_the_handlers() {
    let requested_queues = async |builder: ConsumerBuilder<Arc<Scene>>, queues: &FakeQueues| {
        let consumer = builder.start().unwrap();
        until("runs are requested", || !queues.leases().is_empty()).await;
        consumer.shutdown().await.unwrap();
        queues.leases().remove(0).queues
    };
    let (queues, scene) = (FakeQueues::default(), Arc::default());
    let several = pulling(&scene, &queues, config()).on_text("b || a", act_on);
    assert_eq!(requested_queues(several, &queues).await, ["a", "b", "t"]);
    let queues = FakeQueues::default();
    let all = pulling(&scene, &queues, config()).on_text("*", act_on);
    assert_eq!(requested_queues(all, &queues).await, ["*"]);
    let queues = FakeQueues::default();
    let named = PullConfig { queues: vec!["q".into()], ..config() };
    assert_eq!(requested_queues(pulling(&scene, &queues, named), &queues).await, ["q"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_or_does_not_wait_gets_few_lease_requests() {
    let queues = FakeQueues::default();
    queues.faults(|faults| faults.no_wait = true);
    let consumer = pulling(&Arc::default(), &queues, config()).start().unwrap();
    advance(Duration::from_mins(1)).await;
    let without_wait = queues.leases().len();
    assert!((60..150).contains(&without_wait), "{without_wait} lease requests in a minute");
    queues.faults(|faults| faults.down = true);
    advance(Duration::from_mins(1)).await;
    let failing = queues.leases().len() - without_wait;
    assert!((6..25).contains(&failing), "{failing} lease requests in a minute");
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn runs_beyond_the_requested_limit_are_released() {
    let (queues, scene) = (FakeQueues::default(), Scene::gated());
    queues.faults(|faults| faults.extra_runs = 1);
    queues.add("1", "t", "ok");
    queues.add("2", "t", "ok");
    let consumer = pulling(&scene, &queues, config()).concurrency(1).start().unwrap();
    until("one run is released", || queues.count("ready") == 1).await;
    assert_eq!((scene.started(), queues.count("leased")), (1, 1));
    scene.open(2);
    until("both runs have ended", || queues.count("succeeded") == 2).await;
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_harness_records_the_reports_of_a_pull_consumer() {
    let harness = builder(&Arc::default()).connect("http://127.0.0.1:1").unwrap().harness().unwrap();
    let delivered = harness.deliver("t").body("result").ack("token").await;
    let result = Some(json!({"closed": ["task-1", 1]}));
    assert_eq!(delivered.result, result);
    assert_eq!(harness.reports()[0].1.result, result);
    let failed = harness.deliver("t").body("no").ack("token").await;
    assert_eq!((failed.result, harness.reports().len()), (None, 2));
}

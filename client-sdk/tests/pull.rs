//! Consumers on the server's queues: over HTTP, and on paused time against the same queues without it.

mod board;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use board::{Board, Node};
use serde_json::json;
use taskcenter_client::transport::pull::{Pull, PullConfig};
use taskcenter_client::wire::{ReportedOutcome, property};
use taskcenter_client::{
    Consumer, ConsumerBuilder, Context, HandlerError, MAX_RESULT_BYTES, MAX_RESULT_DEPTH, ResultError,
};
use tokio::sync::Semaphore;
use tokio::time::{interval, timeout};

const PATIENCE: Duration = Duration::from_mins(1);
const LEASE: Duration = Duration::from_secs(30);

/// Waits until it holds. The time that passes is paused time where a test pauses it.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let mut turn = interval(Duration::from_millis(2));
    let looked = timeout(PATIENCE, async {
        while !holds() {
            turn.tick().await;
        }
    });
    looked.await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Lets time go by, with all that happens in it.
async fn let_pass(time: Duration) {
    let _ = timeout(time, pending::<()>()).await;
}

/// Handlers that count, and that wait where their data says so.
#[derive(Default)]
struct Scene {
    begun: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
    gate: Option<Semaphore>,
}

impl Scene {
    fn gated() -> Arc<Self> {
        Arc::new(Self { gate: Some(Semaphore::new(0)), ..Self::default() })
    }

    fn open(&self, handlers: usize) {
        self.gate.as_ref().unwrap().add_permits(handlers);
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    async fn pass(&self) -> Result<(), HandlerError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        if let Some(gate) = &self.gate {
            gate.acquire().await?.forget();
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

async fn obey(ctx: Context<Arc<Scene>>, wish: String) -> Result<(), HandlerError> {
    ctx.state().pass().await?;
    match wish.as_str() {
        "result" => Ok(ctx.set_result(&json!({"closed": [ctx.task_id(), ctx.attempt()]}))?),
        "later" if ctx.attempt() == 1 => Err(HandlerError::retry_after(Duration::from_millis(40), "busy")),
        "ok" | "later" => Ok(()),
        "dead" => Err(HandlerError::dead_letter("hopeless")),
        "skip" => Err(HandlerError::skip("paid already")),
        "panic" => panic!("the fuse blew"),
        other => Err(other.into()),
    }
}

fn builder(scene: &Arc<Scene>) -> ConsumerBuilder<Arc<Scene>> {
    Consumer::builder().state(Arc::clone(scene)).on_text("t", obey)
}

/// On the board itself, where time can be paused.
fn pulling(scene: &Arc<Scene>, board: &Board, config: PullConfig) -> ConsumerBuilder<Arc<Scene>> {
    builder(scene).transport(Pull::new(board.clone(), config))
}

fn config() -> PullConfig {
    PullConfig { worker: "me".into(), ..PullConfig::default() }
}

/// What was told of a run, with the messages.
fn told(board: &Board, id: &str) -> Vec<(ReportedOutcome, Option<String>)> {
    board.run(id).told.into_iter().map(|report| (report.outcome, report.message)).collect()
}

fn said(outcome: ReportedOutcome, message: &str) -> (ReportedOutcome, Option<String>) {
    (outcome, Some(message.to_owned()))
}

#[tokio::test]
async fn every_outcome_reaches_the_server() {
    let (board, scene) = (Board::default(), Arc::default());
    let node = Node::start(&board).await;
    for wish in ["ok", "result", "later", "dead", "skip", "panic", "no"] {
        board.put(wish, "t", wish);
    }
    let consumer = builder(&scene).connect(&node.url("worker=me")).unwrap().start().unwrap();
    until("all have ended", || board.count("ready") + board.count("leased") + board.count("retrying") == 0)
        .await;
    consumer.shutdown().await.unwrap();

    let states = ["ok", "result", "later", "dead", "skip", "panic", "no"].map(|id| board.run(id).state);
    assert_eq!(states, ["succeeded", "succeeded", "succeeded", "dead", "skipped", "dead", "dead"]);
    assert_eq!(board.run("result").result, Some(json!({"closed": ["task-of-result", 1]})));
    assert_eq!((board.run("ok").result, board.run("ok").worker.as_str()), (None, "me"));
    let busy = &board.run("later").told[0];
    assert_eq!((busy.outcome, busy.retry_after_ms), (ReportedOutcome::Failed, Some(40)));
    assert_eq!(board.run("later").attempt, 2);
    assert_eq!(told(&board, "dead"), [said(ReportedOutcome::Dead, "hopeless")]);
    assert_eq!(told(&board, "skip"), [said(ReportedOutcome::Skipped, "paid already")]);
    let panicked = said(ReportedOutcome::Failed, "the handler panicked: the fuse blew");
    assert_eq!(told(&board, "panic"), [panicked.clone(), panicked.clone(), panicked]);
}

#[tokio::test]
async fn a_handler_is_told_what_a_brokers_would_be() {
    async fn check(ctx: Context, _: String) -> Result<(), HandlerError> {
        let seen =
            (ctx.run_id(), ctx.task_id(), ctx.tag(), ctx.attempt(), ctx.claim(), ctx.scheduled_at_ms());
        assert_eq!(seen, (Some("r"), "task-of-r", "t", 1, 1, Some(0)));
        assert_eq!((ctx.message_id(), ctx.delivery_attempt()), ("r-1", 1));
        assert_eq!(ctx.property(property::ACK), Some(property::ACK_WANTED));
        let long = "x".repeat(MAX_RESULT_BYTES);
        assert!(ctx.set_result(&long).is_err() && ctx.set_result(&"y".repeat(MAX_RESULT_BYTES - 2)).is_ok());
        // Objects and arrays in turn, as the server counts them.
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
    let board = Board::default();
    board.put("r", "t", "");
    let node = Node::start(&board).await;
    let consumer = Consumer::builder().on_text("t", check).connect(&node.url("")).unwrap().start().unwrap();
    until("it has ended", || board.run("r").state != "ready" && board.run("r").state != "leased").await;
    assert_eq!(told(&board, "r"), [(ReportedOutcome::Succeeded, None)]);
    assert_eq!(board.run("r").result.unwrap().as_str().unwrap().len(), MAX_RESULT_BYTES - 2);
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_long_handler_keeps_its_lease() {
    let (board, scene) = (Board::default(), Scene::gated());
    let node = Node::start(&board).await;
    board.put("1", "t", "ok");
    board.put("2", "t", "ok");
    let consumer = builder(&scene).connect(&node.url("lease_ms=900")).unwrap().start().unwrap();
    // Five thirds of the lease.
    until("it is renewed", || board.renewals().len() >= 5).await;
    assert_eq!((scene.begun(), board.count("leased"), board.renewals()[4]), (2, 2, 2));
    scene.open(2);
    until("it has ended", || board.count("succeeded") == 2).await;
    assert_eq!(board.run("1").attempt, 1);
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for_at_the_start_and_later() {
    let (board, scene) = (Board::default(), Arc::default());
    let address = Node::nowhere().await;
    board.put("1", "t", "ok");
    let consumer = builder(&scene).connect(&format!("http://{address}")).unwrap().start().unwrap();
    let_pass(Duration::from_millis(100)).await;
    let node = Node::start_at(address, &board).await;
    until("the first has ended", || board.count("succeeded") == 1).await;

    drop(node);
    board.put("2", "t", "ok");
    let_pass(Duration::from_millis(100)).await;
    assert_eq!(board.run("2").state, "ready");
    let _node = Node::start_at(address, &board).await;
    until("the second has ended", || board.count("succeeded") == 2).await;
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_handlers_outcome_outlives_the_server_that_it_came_from() {
    let (board, scene) = (Board::default(), Scene::gated());
    let node = Node::start(&board).await;
    board.put("1", "t", "ok");
    let consumer = builder(&scene).connect(&node.url("")).unwrap().start().unwrap();
    until("it has begun", || scene.begun() == 1).await;
    let address = node.address;
    drop(node);
    scene.open(1);
    until("the handler has ended", || scene.running.load(Ordering::SeqCst) == 0).await;
    let _node = Node::start_at(address, &board).await;
    until("it is settled", || board.count("succeeded") == 1).await;
    assert_eq!(scene.begun(), 1);
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_outcome_whose_answer_was_lost_is_repeated_and_counts_once() {
    let (board, scene) = (Board::default(), Arc::default());
    board.faults(|faults| faults.lost_settlements = 3);
    let node = Node::start(&board).await;
    board.put("1", "t", "ok");
    board.put("2", "t", "later");
    let consumer = builder(&scene).connect(&node.url("")).unwrap().start().unwrap();
    until("both have ended", || board.count("succeeded") == 2).await;
    consumer.shutdown().await.unwrap();
    assert!(board.settlements().len() >= 4);
    assert_eq!((board.run("1").told.len(), board.run("2").told.len()), (1, 2));
    assert_eq!(scene.begun(), 3);
}

#[tokio::test]
async fn many_runs_share_requests_and_no_more_are_handled_than_allowed() {
    const RUNS: usize = 3_000;
    let (board, scene) = (Board::default(), Arc::default());
    let node = Node::start(&board).await;
    for number in 0..RUNS {
        board.put(&format!("{number:05}"), "t", "ok");
    }
    let consumer = builder(&scene).concurrency(100).connect(&node.url("")).unwrap().start().unwrap();
    until("all have ended", || board.count("succeeded") == RUNS).await;
    consumer.shutdown().await.unwrap();
    let (leases, settlements) = (board.leases(), board.settlements());
    assert_eq!(settlements.iter().sum::<usize>(), RUNS);
    assert!(leases.len() < RUNS / 5, "{} leases", leases.len());
    assert!(settlements.len() < RUNS / 5, "{} settlements", settlements.len());
    assert!(leases.iter().all(|lease| (1..=100).contains(&lease.limit)));
    assert!(scene.most.load(Ordering::SeqCst) <= 100);
}

#[tokio::test(start_paused = true)]
async fn no_more_runs_are_held_than_there_are_free_handlers() {
    let (board, scene) = (Board::default(), Scene::gated());
    for id in ["1", "2", "3", "4", "5"] {
        board.put(id, "t", "ok");
    }
    let consumer = pulling(&scene, &board, config()).concurrency(2).start().unwrap();
    until("two have begun", || scene.begun() == 2).await;
    let_pass(Duration::from_secs(100)).await;
    assert_eq!((board.count("leased"), board.count("ready")), (2, 3));
    scene.open(1);
    until("a third has begun", || scene.begun() == 3).await;
    assert_eq!(board.count("ready"), 2);
    scene.open(4);
    until("all have ended", || board.count("succeeded") == 5).await;
    assert_eq!(scene.most.load(Ordering::SeqCst), 2);
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_gives_back_what_has_not_begun_and_waits_for_what_has() {
    let (board, scene) = (Board::default(), Scene::gated());
    for id in ["1", "2", "3"] {
        board.put(id, "t", "result");
    }
    let config = PullConfig { max_in_flight: Some(10), ..config() };
    let consumer = pulling(&scene, &board, config).concurrency(1).start().unwrap();
    until("all are held", || board.count("leased") == 3).await;
    let stopped = tokio::spawn(consumer.shutdown());
    until("two are given back", || board.count("ready") == 2).await;
    assert!(!stopped.is_finished(), "a handler still runs");
    board.put("4", "t", "ok");
    scene.open(1);
    stopped.await.unwrap().unwrap();
    assert_eq!((board.count("succeeded"), board.count("ready"), scene.begun()), (1, 3, 1));
    for run in ["1", "2", "3"].map(|id| board.run(id)) {
        let outcome =
            if run.state == "ready" { ReportedOutcome::Released } else { ReportedOutcome::Succeeded };
        assert_eq!((run.attempt, run.told[0].outcome, run.told.len()), (1, outcome, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_outlasts_the_drain_time_counts_as_failed() {
    let (board, scene) = (Board::default(), Scene::gated());
    board.put("1", "t", "ok");
    let consumer = pulling(&scene, &board, config()).drain_for(Duration::from_mins(1)).start().unwrap();
    until("it has begun", || scene.begun() == 1).await;
    consumer.shutdown().await.unwrap();
    let why = "the worker was shut down before the handler had ended";
    assert_eq!(told(&board, "1"), [said(ReportedOutcome::Failed, why)]);
    assert!(board.renewals().len() >= 5, "it was renewed while it was waited for");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_a_server_that_is_away() {
    let (board, scene) = (Board::default(), Scene::gated());
    board.put("1", "t", "ok");
    board.put("2", "t", "ok");
    let config = PullConfig { max_in_flight: Some(10), ..config() };
    let consumer = pulling(&scene, &board, config).concurrency(1).start().unwrap();
    until("both are held", || board.count("leased") == 2).await;
    board.faults(|faults| faults.down = true);
    let stopped = tokio::spawn(timeout(Duration::from_secs(40), consumer.shutdown()));
    scene.open(1);
    stopped.await.unwrap().expect("it ends").unwrap();
    assert_eq!(told(&board, "1"), []);
}

#[tokio::test(start_paused = true)]
async fn what_a_lease_brings_after_the_shutdown_is_given_back() {
    let (board, scene) = (Board::default(), Arc::default());
    let consumer = pulling(&scene, &board, config()).start().unwrap();
    until("it waits at the server", || !board.leases().is_empty()).await;
    let stopped = tokio::spawn(consumer.shutdown());
    tokio::task::yield_now().await;
    board.put("1", "t", "ok");
    stopped.await.unwrap().unwrap();
    assert_eq!(told(&board, "1"), [(ReportedOutcome::Released, None)]);
    assert_eq!((board.run("1").state, scene.begun()), ("ready", 0));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_lost_goes_on_and_its_outcome_is_refused() {
    let (board, scene, other) = (Board::default(), Scene::gated(), Scene::gated());
    board.put("1", "t", "ok");
    let consumer = pulling(&scene, &board, config()).start().unwrap();
    until("it has begun", || scene.begun() == 1).await;
    board.faults(|faults| faults.down = true);
    let_pass(LEASE).await;
    board.faults(|faults| faults.down = false);
    let rescuer = pulling(&other, &board, PullConfig { worker: "other".into(), ..config() });
    let rescuer = rescuer.start().unwrap();
    until("another has it", || other.begun() + scene.begun() == 2).await;
    let_pass(LEASE).await;
    scene.open(2);
    other.open(1);
    until("it has ended", || board.count("succeeded") == 1).await;
    consumer.shutdown().await.unwrap();
    rescuer.shutdown().await.unwrap();
    let run = board.run("1");
    assert_eq!((run.attempt, run.told.len(), run.told[0].attempt), (2, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_given_up_when_its_lease_has_run_out() {
    let (board, scene) = (Board::default(), Arc::default());
    board.faults(|faults| faults.no_settling = true);
    board.put("1", "t", "ok");
    let consumer = pulling(&scene, &board, config()).drop_duplicates(10).start().unwrap();
    let_pass(2 * LEASE).await;
    board.faults(|faults| faults.no_settling = false);
    until("it has come again", || board.count("succeeded") == 1).await;
    assert!(board.run("1").attempt > 1);
    assert_eq!(scene.begun(), 1, "it had succeeded here before");
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_the_server_does_not_take_costs_the_others_nothing() {
    let (board, scene) = (Board::default(), Scene::gated());
    board.faults(|faults| faults.poison = Some("poison".into()));
    for id in 0..20 {
        board.put(&format!("{id}"), "t", if id == 7 { "poison" } else { "ok" });
    }
    let consumer = pulling(&scene, &board, config()).start().unwrap();
    until("all have begun", || scene.begun() == 20).await;
    scene.open(20);
    until("the others have ended", || board.count("succeeded") == 19).await;
    assert_eq!(board.run("7").state, "leased");
    drop(consumer);
}

#[tokio::test(start_paused = true)]
async fn a_run_without_a_handler_fails_and_says_why() {
    let (board, scene) = (Board::default(), Arc::default());
    board.put_in("mixed", "1", "t", "ok");
    board.put_in("mixed", "2", "strange", "ok");
    let config = PullConfig { queues: vec!["mixed".into()], ..config() };
    let consumer = pulling(&scene, &board, config).start().unwrap();
    until("it is given up", || board.count("dead") == 1 && board.count("succeeded") == 1).await;
    let why = said(ReportedOutcome::Failed, "the worker has no handler for the tag");
    assert_eq!(told(&board, "2"), [why.clone(), why.clone(), why]);
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn tags_are_queues() {
    let asked = async |builder: ConsumerBuilder<Arc<Scene>>, board: &Board| {
        let consumer = builder.start().unwrap();
        until("it asks", || !board.leases().is_empty()).await;
        consumer.shutdown().await.unwrap();
        board.leases().remove(0).queues
    };
    let (board, scene) = (Board::default(), Arc::default());
    let several = pulling(&scene, &board, config()).on_text("b || a", obey);
    assert_eq!(asked(several, &board).await, ["a", "b", "t"]);
    let board = Board::default();
    let all = pulling(&scene, &board, config()).on_text("*", obey);
    assert_eq!(asked(all, &board).await, ["*"]);
    let board = Board::default();
    let named = PullConfig { queues: vec!["q".into()], ..config() };
    assert_eq!(asked(pulling(&scene, &board, named), &board).await, ["q"]);
}

#[tokio::test(start_paused = true)]
async fn a_hasty_or_failing_server_is_not_asked_all_the_time() {
    let board = Board::default();
    board.faults(|faults| faults.hasty = true);
    let consumer = pulling(&Arc::default(), &board, config()).start().unwrap();
    let_pass(Duration::from_mins(1)).await;
    let hasty = board.leases().len();
    assert!((60..150).contains(&hasty), "{hasty} leases in a minute");
    board.faults(|faults| faults.down = true);
    let_pass(Duration::from_mins(1)).await;
    let failing = board.leases().len() - hasty;
    assert!((6..25).contains(&failing), "{failing} leases in a minute");
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn runs_beyond_those_asked_for_are_given_back() {
    let (board, scene) = (Board::default(), Scene::gated());
    board.faults(|faults| faults.excess = 1);
    board.put("1", "t", "ok");
    board.put("2", "t", "ok");
    let consumer = pulling(&scene, &board, config()).concurrency(1).start().unwrap();
    until("one is given back", || board.count("ready") == 1).await;
    assert_eq!((scene.begun(), board.count("leased")), (1, 1));
    scene.open(2);
    until("both have ended", || board.count("succeeded") == 2).await;
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_harness_records_what_pull_would_report() {
    let harness = builder(&Arc::default()).connect("http://127.0.0.1:1").unwrap().harness().unwrap();
    let delivered = harness.deliver("t").body("result").ack("token").await;
    let result = Some(json!({"closed": ["task-1", 1]}));
    assert_eq!(delivered.result, result);
    assert_eq!(harness.reports()[0].1.result, result);
    let failed = harness.deliver("t").body("no").ack("token").await;
    assert_eq!((failed.result, harness.reports().len()), (None, 2));
}

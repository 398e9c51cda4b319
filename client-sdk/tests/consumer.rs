//! A running consumer on the memory transport: limits, shutdown, failed transports.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use taskcenter_client::tag::Subscription;
use taskcenter_client::transport::memory::{MemorySender, MemoryTransport, Unsettled};
use taskcenter_client::wire::property;
use taskcenter_client::{
    Consumer, Context, Deliver, Delivery, HandlerError, Outcome, StartError, Transport, TransportError,
    Verdict,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// State of a handler that reports its start and then waits for a permit.
struct Gate {
    started: mpsc::UnboundedSender<String>,
    open: Semaphore,
}

async fn pass(ctx: Context<Arc<Gate>>, name: String) -> Result<(), HandlerError> {
    ctx.state().started.send(name)?;
    ctx.state().open.acquire().await?.forget();
    Ok(())
}

struct Scene {
    gate: Arc<Gate>,
    started: mpsc::UnboundedReceiver<String>,
    sender: MemorySender,
    consumer: Consumer,
}

fn scene(concurrency: usize, drain: Duration) -> Scene {
    let (started_sender, started) = mpsc::unbounded_channel();
    let gate = Arc::new(Gate { started: started_sender, open: Semaphore::new(0) });
    let (sender, transport) = MemoryTransport::channel(16);
    let builder = Consumer::builder().state(Arc::clone(&gate)).on_text("t", pass).drop_duplicates(10);
    let consumer = builder.concurrency(concurrency).drain_for(drain).transport(transport).start().unwrap();
    Scene { gate, started, sender, consumer }
}

fn message(tag: &str, body: &'static str) -> Delivery {
    Delivery { tag: tag.into(), body: Bytes::from(body), delivery_attempt: 1, ..Delivery::default() }
}

const LONG: Duration = Duration::from_hours(1);

/// Runs all tasks that are ready: paused time advances only when no task is ready.
async fn settle() {
    let _ = tokio::time::timeout(Duration::from_millis(1), pending::<()>()).await;
}

#[tokio::test(start_paused = true)]
async fn the_concurrency_limits_the_running_handlers() {
    let mut scene = scene(2, LONG);
    let mut receipts = Vec::new();
    for name in ["1", "2", "3", "4"] {
        receipts.push(scene.sender.send(message("t", name)).await.unwrap());
    }
    settle().await;
    assert_eq!(scene.started.len(), 2, "the limit is two");
    scene.gate.open.add_permits(1);
    settle().await;
    assert_eq!(scene.started.len(), 3, "one slot is free");
    scene.gate.open.add_permits(3);
    for receipt in receipts {
        assert_eq!(receipt.verdict().await, Ok(Verdict::Ack));
    }
    assert_eq!(scene.started.recv().await.as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_running_handlers_and_releases_the_others() {
    let mut scene = scene(1, LONG);
    let running = scene.sender.send(message("t", "running")).await.unwrap();
    assert_eq!(scene.started.recv().await.as_deref(), Some("running"));
    let waiting = scene.sender.send(message("t", "waiting")).await.unwrap();
    settle().await;

    let stopped = tokio::spawn(scene.consumer.shutdown());
    assert_eq!(waiting.verdict().await, Ok(Verdict::Release));
    settle().await;
    assert!(!stopped.is_finished(), "a handler is still running");
    assert!(scene.sender.send(message("t", "late")).await.is_err());

    scene.gate.open.add_permits(1);
    assert_eq!(running.verdict().await, Ok(Verdict::Ack));
    stopped.await.unwrap().unwrap();
    assert!(scene.started.try_recv().is_err(), "no handler starts after the shutdown");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_releases_a_duplicate_that_waits() {
    let mut scene = scene(2, LONG);
    let run = |body| {
        let properties = [(property::RUN_ID.to_owned(), "run".to_owned())].into();
        Delivery { properties, ..message("t", body) }
    };
    let running = scene.sender.send(run("running")).await.unwrap();
    assert_eq!(scene.started.recv().await.as_deref(), Some("running"));
    let duplicate = scene.sender.send(run("duplicate")).await.unwrap();
    settle().await;

    let stopped = tokio::spawn(scene.consumer.shutdown());
    assert_eq!(duplicate.verdict().await, Ok(Verdict::Release));
    scene.gate.open.add_permits(1);
    assert_eq!(running.verdict().await, Ok(Verdict::Ack));
    stopped.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_exceeds_the_drain_time_is_interrupted() {
    let mut scene = scene(1, Duration::from_secs(30));
    let stuck = scene.sender.send(message("t", "stuck")).await.unwrap();
    scene.started.recv().await.unwrap();
    let stopped = tokio::spawn(scene.consumer.shutdown());
    tokio::time::advance(Duration::from_secs(29)).await;
    assert!(!stopped.is_finished());
    assert_eq!(stuck.verdict().await, Ok(Verdict::Retry { after: None }));
    stopped.await.unwrap().unwrap();
    assert_eq!(Arc::strong_count(&scene.gate), 1, "the handler and its state are dropped");
}

#[tokio::test(start_paused = true)]
async fn a_signal_ends_a_consumer_and_so_does_dropping_it() {
    let by_signal = scene(1, LONG);
    assert_eq!(by_signal.consumer.run_until(async { "enough" }).await.unwrap(), "enough");
    assert!(by_signal.sender.send(message("t", "x")).await.is_err());

    let dropped = scene(1, LONG);
    drop(dropped.consumer);
    settle().await;
    assert!(dropped.sender.send(message("t", "x")).await.is_err());
}

#[tokio::test]
async fn a_message_outside_the_subscription_is_settled_without_a_handler() {
    let mut scene = scene(1, LONG);
    let receipt = scene.sender.send(message("other", "x")).await.unwrap();
    assert_eq!(receipt.verdict().await, Ok(Verdict::Ack));
    assert!(scene.started.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_no_consumer_takes_is_unsettled() {
    let (sender, transport) = MemoryTransport::channel(1);
    let receipt = sender.send(message("t", "x")).await.unwrap();
    drop(transport);
    assert_eq!(receipt.verdict().await, Err(Unsettled));
}

#[tokio::test]
async fn the_end_of_the_transport_ends_the_consumer_with_an_error() {
    let scene = scene(1, LONG);
    drop(scene.sender);
    let error = scene.consumer.run_until(pending::<()>()).await.unwrap_err();
    assert!(error.to_string().contains("ended without a shutdown"), "{error}");
}

struct FailedTransport;

#[async_trait]
impl Transport for FailedTransport {
    async fn run(
        &self,
        _subscription: Subscription,
        _sink: Arc<dyn Deliver>,
        _shutdown: CancellationToken,
    ) -> Result<(), TransportError> {
        Err(TransportError::new("test", "no name server"))
    }
}

#[tokio::test]
async fn a_failed_transport_ends_the_consumer_with_its_error() {
    let handler = |_, _, _| async { Ok::<_, HandlerError>(()) };
    let consumer = Consumer::builder().on_raw("t", handler).transport(FailedTransport).start().unwrap();
    let error = consumer.run_until(pending::<()>()).await.unwrap_err();
    assert_eq!(error.to_string(), "the test transport failed: no name server");
}

#[tokio::test]
async fn a_consumer_without_a_transport_does_not_start() {
    let handler = |_, _, _| async { Ok::<_, HandlerError>(()) };
    let error = Consumer::builder().on_raw("t", handler).start().err().unwrap();
    assert!(matches!(error, StartError::NoTransport));
}

/// Sends one message and returns its verdict.
async fn handle(builder: taskcenter_client::ConsumerBuilder<()>, messages: &[&'static str]) -> Vec<Verdict> {
    let (sender, transport) = MemoryTransport::channel(16);
    let consumer = builder.transport(transport).start().unwrap();
    let mut receipts = Vec::new();
    for tag in messages {
        receipts.push(sender.send(message(tag, "\"x\"")).await.unwrap());
    }
    let mut verdicts = Vec::new();
    for receipt in receipts {
        verdicts.push(receipt.verdict().await.unwrap());
    }
    consumer.shutdown().await.unwrap();
    verdicts
}

#[tokio::test(start_paused = true)]
#[allow(clippy::disallowed_methods, reason = "the time is paused")]
async fn a_handler_is_told_of_its_time_limit_and_then_dropped() {
    async fn obey(ctx: Context, _: String) -> Result<(), HandlerError> {
        ctx.cancelled().await;
        assert!(ctx.is_cancelled());
        Ok(())
    }
    async fn ignore(_: Context, _: String) -> Result<(), HandlerError> {
        pending().await
    }
    let builder = Consumer::builder().handler_timeout(Duration::from_mins(1));
    let builder = builder.on("obey", obey).on("ignore", ignore).handler_timeout(Duration::from_secs(5));
    let started = tokio::time::Instant::now();
    assert_eq!(handle(builder, &["ignore"]).await, [Verdict::Retry { after: None }]);
    assert_eq!(started.elapsed().as_secs(), 6, "its own limit and the grace period");
    let builder = Consumer::builder().handler_timeout(Duration::from_mins(1)).on("obey", obey);
    assert_eq!(handle(builder, &["obey"]).await, [Verdict::Ack]);
    assert_eq!(started.elapsed().as_secs(), 66);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_cancels_the_context_of_running_handlers() {
    async fn obey(ctx: Context, _: String) -> Result<(), HandlerError> {
        ctx.cancelled().await;
        Err(HandlerError::retry_after(Duration::from_secs(9), "stopped"))
    }
    let (sender, transport) = MemoryTransport::channel(1);
    let consumer = Consumer::builder().on("t", obey).transport(transport).start().unwrap();
    let receipt = sender.send(message("t", "\"x\"")).await.unwrap();
    settle().await;
    consumer.shutdown().await.unwrap();
    assert_eq!(receipt.verdict().await, Ok(Verdict::Retry { after: Some(Duration::from_secs(9)) }));
}

#[tokio::test(start_paused = true)]
async fn a_handler_at_its_own_limit_does_not_block_the_others() {
    let gate = Arc::new(Semaphore::new(0));
    let (waiting, entered) = (Arc::clone(&gate), Arc::new(Semaphore::new(0)));
    let count = Arc::clone(&entered);
    let slow = move |_: Context, _: String| {
        let (gate, count) = (Arc::clone(&waiting), Arc::clone(&count));
        async move {
            count.add_permits(1);
            gate.acquire().await?.forget();
            Ok::<_, HandlerError>(())
        }
    };
    let fast = |_: Context, _: String| async { Ok::<_, HandlerError>(()) };
    let builder = Consumer::builder().concurrency(2).on("slow", slow).handler_concurrency(1).on("fast", fast);
    let (sender, transport) = MemoryTransport::channel(16);
    let consumer = builder.transport(transport).start().unwrap();
    let first = sender.send(message("slow", "\"x\"")).await.unwrap();
    let second = sender.send(message("slow", "\"x\"")).await.unwrap();
    settle().await;
    assert_eq!(entered.available_permits(), 1);
    let receipt = sender.send(message("fast", "\"x\"")).await.unwrap();
    assert_eq!(receipt.verdict().await, Ok(Verdict::Ack));
    gate.add_permits(2);
    assert_eq!((first.verdict().await, second.verdict().await), (Ok(Verdict::Ack), Ok(Verdict::Ack)));
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_blocking_handler_runs_on_a_thread_of_its_own() {
    #[allow(clippy::needless_pass_by_value, reason = "a handler owns its arguments")]
    fn work(ctx: Context, text: String) -> Result<(), HandlerError> {
        assert_eq!((std::thread::current().name(), ctx.tag()), (Some("taskcenter-handler"), text.as_str()));
        match text.as_str() {
            "panic" => panic!("out of range"),
            "no" => Err("no".into()),
            _ => Ok(()),
        }
    }
    let harness = Consumer::builder().on_blocking("*", work).harness().unwrap();
    let outcome = async |tag: &str| harness.deliver(tag).json(&tag).await.outcome;
    assert_eq!(outcome("ok").await, Outcome::Succeeded);
    let failed = |message: &str| Outcome::Failed { message: message.to_owned(), retry_after: None };
    assert_eq!(outcome("no").await, failed("no"));
    assert_eq!(outcome("panic").await, failed("the handler panicked: out of range"));
}

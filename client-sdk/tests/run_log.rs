//! Lines of handlers: batches, repetitions, refusals and the order of lines and outcome, with paused time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use taskcenter_client::resources::LogBatch;
use taskcenter_client::transport::memory::{MemorySender, MemoryTransport};
use taskcenter_client::wire::{OutcomeReport, property};
use taskcenter_client::{
    Consumer, Context, Delivery, HandlerError, LogLevel, ReportError, Reporter, Verdict,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// What a reporter got, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    Log { id: String, lines: Vec<String> },
    Report,
}

#[derive(Default)]
struct Center {
    calls: Mutex<Vec<Call>>,
    /// Errors of the next appends, last one first.
    errors: Mutex<Vec<ReportError>>,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Center>);

impl Recorder {
    fn calls(&self) -> Vec<Call> {
        self.0.calls.lock().unwrap().clone()
    }

    /// Returns the lines of each batch.
    fn batches(&self) -> Vec<Vec<String>> {
        let lines = |call| if let Call::Log { lines, .. } = call { Some(lines) } else { None };
        self.calls().into_iter().filter_map(lines).collect()
    }

    fn fail(&self, errors: Vec<ReportError>) {
        *self.0.errors.lock().unwrap() = errors;
    }
}

#[async_trait]
impl Reporter for Recorder {
    async fn report(&self, _: &str, _: OutcomeReport) -> Result<(), ReportError> {
        self.0.calls.lock().unwrap().push(Call::Report);
        Ok(())
    }

    async fn append_log(&self, run_id: &str, batch: LogBatch) -> Result<(), ReportError> {
        assert_eq!((run_id, batch.attempt, batch.token.as_str()), ("run-1", 2, "token-1"));
        let lines = batch.lines.into_iter().map(|line| line.text).collect();
        self.0.calls.lock().unwrap().push(Call::Log { id: batch.batch_id, lines });
        self.0.errors.lock().unwrap().pop().map_or(Ok(()), Err)
    }
}

async fn talk(ctx: Context<Arc<Semaphore>>, (): ()) -> Result<(), HandlerError> {
    ctx.info("begins");
    ctx.log(LogLevel::Warn, format!("run {}", ctx.run_id().unwrap()));
    ctx.state().acquire().await?.forget();
    ctx.error("ends");
    Ok(())
}

/// A consumer whose handler waits at the gate between its lines.
fn consumer(recorder: &Recorder, gate: &Arc<Semaphore>) -> (MemorySender, Consumer) {
    let (sender, transport) = MemoryTransport::channel(1);
    let builder = Consumer::builder().state(Arc::clone(gate)).on("t", talk).report_to(recorder.clone());
    (sender, builder.transport(transport).start().unwrap())
}

fn message(ack: bool) -> Delivery {
    let mut properties =
        vec![(property::RUN_ID, "run-1"), (property::ATTEMPT, "2"), (property::TOKEN, "token-1")];
    properties.extend(ack.then_some((property::ACK, property::ACK_WANTED)));
    let properties: HashMap<_, _> =
        properties.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Delivery { tag: "t".into(), body: Bytes::from("null"), properties, ..Delivery::default() }
}

fn undelivered() -> ReportError {
    ReportError::Undelivered("error of the test".to_owned())
}

#[tokio::test(start_paused = true)]
async fn lines_are_sent_while_the_handler_runs_and_before_the_outcome() {
    let (recorder, gate) = (Recorder::default(), Arc::new(Semaphore::new(0)));
    let (sender, consumer) = consumer(&recorder, &gate);
    let receipt = sender.send(message(true)).await.unwrap();
    sleep(Duration::from_millis(150)).await;
    assert!(recorder.calls().is_empty(), "lines wait for others");
    sleep(Duration::from_millis(100)).await;
    assert_eq!(recorder.batches(), [["begins", "run run-1"]]);
    gate.add_permits(1);
    assert_eq!(receipt.verdict().await, Ok(Verdict::Ack));
    let calls = recorder.calls();
    assert!(
        matches!(&calls[1..], [Call::Log { lines, .. }, Call::Report] if lines == &["ends"]),
        "{calls:?}"
    );
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_batch_keeps_its_id_until_the_server_has_it() {
    let (recorder, gate) = (Recorder::default(), Arc::new(Semaphore::new(1)));
    recorder.fail(vec![undelivered(), undelivered()]);
    let (sender, consumer) = consumer(&recorder, &gate);
    sender.send(message(true)).await.unwrap().verdict().await.unwrap();
    let calls = recorder.calls();
    assert_eq!(calls.len(), 4, "{calls:?}");
    assert!(calls[0] == calls[1] && calls[1] == calls[2] && calls[3] == Call::Report, "{calls:?}");
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_server_delays_the_outcome_by_at_most_a_second() {
    let (recorder, gate) = (Recorder::default(), Arc::new(Semaphore::new(1)));
    recorder.fail(vec![undelivered(); 1_000]);
    let (sender, consumer) = consumer(&recorder, &gate);
    let receipt = sender.send(message(true)).await.unwrap();
    #[allow(clippy::disallowed_methods, reason = "the paused clock of the test")]
    let start = Instant::now();
    assert_eq!(receipt.verdict().await, Ok(Verdict::Ack), "the run does not fail");
    assert!(start.elapsed() <= Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(recorder.calls().last(), Some(&Call::Report));
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn refused_lines_are_dropped_and_do_not_fail_the_run() {
    let (recorder, gate) = (Recorder::default(), Arc::new(Semaphore::new(0)));
    recorder.fail(vec![ReportError::Refused("409".to_owned())]);
    let (sender, consumer) = consumer(&recorder, &gate);
    let receipt = sender.send(message(true)).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    gate.add_permits(1);
    assert_eq!(receipt.verdict().await, Ok(Verdict::Ack));
    assert_eq!((recorder.batches().len(), recorder.calls().len()), (1, 2), "no further batch is sent");
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_without_ack_has_a_log() {
    let (recorder, gate) = (Recorder::default(), Arc::new(Semaphore::new(1)));
    let (sender, consumer) = consumer(&recorder, &gate);
    sender.send(message(false)).await.unwrap().verdict().await.unwrap();
    assert_eq!(recorder.batches(), [["begins", "run run-1", "ends"]]);
    assert_eq!(recorder.calls().len(), 1, "no outcome is reported");
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_harness_collects_the_lines_without_a_reporter() {
    let gate = Arc::new(Semaphore::new(1));
    let harness = Consumer::builder().state(gate).on("t", talk).harness().unwrap();
    harness.deliver("t").json(&()).await;
    let lines: Vec<_> = harness.log().into_iter().map(|(run, line)| (run, line.level, line.text)).collect();
    let line = |level, text: &str| ("run-1".to_owned(), level, text.to_owned());
    let expected =
        [line(LogLevel::Info, "begins"), line(LogLevel::Warn, "run run-1"), line(LogLevel::Error, "ends")];
    assert_eq!(lines, expected);
    assert_eq!(harness.log()[0].1.at.as_millisecond(), taskcenter_client::HARNESS_EPOCH_MS);
}

//! The handlers, each with its own way to behave, and the consumers that call them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::Deserialize;
use taskcenter_client::resources::{LeaseRequest, LeasedRun, SettleRequest, Settlement};
use taskcenter_client::rocketmq::{RocketMq, RocketMqConfig};
use taskcenter_client::wire::{OutcomeReport, ReportedOutcome};
use taskcenter_client::{Consumer, Context, HandlerError, TaskCenter};
use tokio::task::JoinHandle;

use crate::evidence::{Delivery, Recorder};
use crate::time;

/// The queue of the workers that are made with the SDK.
pub const SDK_QUEUE: &str = "pull";
/// The queue of a worker that speaks to the API itself, and so knows which outcomes were acknowledged.
pub const RAW_QUEUE: &str = "raw";
/// The queue of a worker that takes runs and never says a word again.
pub const SILENT_QUEUE: &str = "silent";

/// Names of tasks whose handlers misbehave.
pub mod mood {
    /// Takes longer than an attempt may, the first time.
    pub const SLOW: &str = "slow";
    /// Never comes back, the first time.
    pub const HANGS: &str = "hangs";
    /// Panics every time.
    pub const PANICS: &str = "panics";
    /// Fails twice.
    pub const FLAKY: &str = "flaky";
    /// Its data is not what the handler takes.
    pub const POISON: &str = "poison";
}

/// What a handler says when it panics on purpose; the hook that prints panics leaves it out.
pub const ON_PURPOSE: &str = "on purpose";

/// Where a handler sits, and whom it tells.
pub struct Seat {
    recorder: Arc<Recorder>,
    on_bus: bool,
}

type Shared = Arc<Seat>;

fn delivery(ctx: &Context<Shared>, data: &str) -> Delivery {
    Delivery {
        run_id: ctx.run_id().unwrap_or_default().to_owned(),
        task_id: ctx.task_id().to_owned(),
        data: data.to_owned(),
        attempt: i64::from(ctx.attempt()),
        claim: ctx.claim() as i64,
        scheduled_at: ctx.scheduled_at_ms().unwrap_or_default(),
        arrived_at: time::now_ms(),
        message_id: ctx.message_id().to_owned(),
        on_bus: ctx.state().on_bus,
    }
}

async fn handle(ctx: Context<Shared>, data: String) -> Result<(), HandlerError> {
    let (recorder, delivery) = (Arc::clone(&ctx.state().recorder), delivery(&ctx, &data));
    let first = ctx.attempt() == 1;
    match ctx.tag() {
        mood::SLOW if first => {
            time::pass(4_000).await;
            recorder.handle(delivery);
        }
        mood::HANGS if first => {
            recorder.tried(delivery);
            std::future::pending::<()>().await;
        }
        mood::PANICS => {
            recorder.tried(delivery);
            panic!("{ON_PURPOSE}");
        }
        mood::FLAKY if ctx.attempt() < 3 => {
            recorder.tried(delivery);
            return Err("not yet".into());
        }
        _ => {
            recorder.handle(delivery);
        }
    }
    Ok(())
}

/// What poison is not.
#[derive(Deserialize)]
struct Order {
    _id: u64,
}

async fn never(_: Context<Shared>, _: Order) -> Result<(), HandlerError> {
    Err("poison reached its handler".into())
}

/// Where the consumers of a stage find what they consume.
pub struct Place {
    pub namesrv: String,
    pub topic: String,
    pub front: String,
}

fn seat(recorder: &Arc<Recorder>, on_bus: bool) -> Shared {
    Arc::new(Seat { recorder: Arc::clone(recorder), on_bus })
}

/// A consumer of every message on the bus, which reports where that is asked for.
pub fn on_bus(place: &Place, recorder: &Arc<Recorder>) -> Result<Consumer> {
    let config = RocketMqConfig::new(&place.namesrv, &place.topic, format!("{}_inbox", place.topic));
    let builder =
        Consumer::builder().state(seat(recorder, true)).on_text("*", handle).on(mood::POISON, never);
    let builder = builder.concurrency(64).drain_for(Duration::from_secs(1));
    Ok(builder.report_to(TaskCenter::new(&place.front)?).transport(RocketMq::new(config)).start()?)
}

/// A worker on the queues, made with the SDK.
pub fn on_queue(front: &str, name: &str, queues: &str, recorder: &Arc<Recorder>) -> Result<Consumer> {
    let builder =
        Consumer::builder().state(seat(recorder, false)).on_text("*", handle).on(mood::POISON, never);
    let builder = builder.concurrency(16).drain_for(Duration::from_secs(1));
    Ok(builder.connect(&format!("{front}?worker={name}&queues={queues}&lease_ms=3000"))?.start()?)
}

/// A worker that speaks to the API itself.
pub fn raw(front: &str, queue: &'static str, recorder: &Arc<Recorder>) -> Result<JoinHandle<()>> {
    let client = hasty(front)?;
    let recorder = Arc::clone(recorder);
    Ok(tokio::spawn(async move {
        let mut turn = time::ticks(20);
        loop {
            turn.tick().await;
            let Ok(leased) = client.lease(&ask(queue)).await else { continue };
            if queue == SILENT_QUEUE {
                leased.runs.iter().for_each(|run| recorder.tried(taken(run)));
                continue;
            }
            for run in &leased.runs {
                recorder.handle(taken(run));
            }
            settle(&client, leased.runs, &recorder).await;
        }
    }))
}

/// A client that repeats nothing by itself: what is repeated is then known.
pub fn hasty(front: &str) -> Result<TaskCenter> {
    let builder = TaskCenter::builder(front).retries(0, Duration::from_millis(1));
    Ok(builder.timeout(Duration::from_secs(5)).build()?)
}

fn ask(queue: &str) -> LeaseRequest {
    LeaseRequest {
        worker: "raw".to_owned(),
        queues: vec![queue.to_owned()],
        limit: 20,
        lease_ms: 2_000,
        wait_ms: 500,
    }
}

fn taken(run: &LeasedRun) -> Delivery {
    Delivery {
        run_id: run.run_id.clone(),
        task_id: run.task_id.clone(),
        data: run.data.clone(),
        attempt: i64::from(run.attempt),
        claim: i64::from(run.claim),
        scheduled_at: run.scheduled_at.as_millisecond(),
        arrived_at: time::now_ms(),
        message_id: String::new(),
        on_bus: false,
    }
}

async fn settle(client: &TaskCenter, runs: Vec<LeasedRun>, recorder: &Recorder) {
    if runs.is_empty() {
        return;
    }
    let outcomes = runs.iter().map(|run| Settlement {
        run_id: run.run_id.clone(),
        report: OutcomeReport {
            attempt: run.attempt,
            token: run.token.clone(),
            outcome: ReportedOutcome::Succeeded,
            message: None,
            retry_after_ms: None,
            result: None,
        },
    });
    let Ok(answers) = client.settle(&SettleRequest { outcomes: outcomes.collect() }).await else { return };
    let done = answers.results.into_iter().filter(|answer| answer.status == 200).map(|answer| answer.run_id);
    recorder.get().acknowledged_outcomes.extend(done);
}

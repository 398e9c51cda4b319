//! Handlers with different behavior, and the consumers that call them.

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

/// Queue of the workers that use the SDK.
pub const SDK_QUEUE: &str = "pull";
/// Queue of a worker that calls the API directly, and so knows which outcomes the server
/// acknowledged.
pub const RAW_QUEUE: &str = "raw";
/// Queue of a worker that leases runs and never reports.
pub const SILENT_QUEUE: &str = "silent";

/// Names of tasks with special handlers.
pub mod behavior {
    /// The first attempt takes longer than allowed.
    pub const SLOW: &str = "slow";
    /// The first attempt never ends.
    pub const HANGS: &str = "hangs";
    /// Every attempt panics.
    pub const PANICS: &str = "panics";
    /// The first two attempts fail.
    pub const FLAKY: &str = "flaky";
    /// The handler cannot decode the data.
    pub const POISON: &str = "poison";
}

/// Message of an intended panic. The panic hook does not print it.
pub const INTENDED_PANIC: &str = "on purpose";

/// State of the handlers.
pub struct HandlerState {
    recorder: Arc<Recorder>,
    on_bus: bool,
}

type Shared = Arc<HandlerState>;

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
        behavior::SLOW if first => {
            time::sleep(4_000).await;
            recorder.handle(delivery);
        }
        behavior::HANGS if first => {
            recorder.handle_without_effect(delivery);
            std::future::pending::<()>().await;
        }
        behavior::PANICS => {
            recorder.handle_without_effect(delivery);
            panic!("{INTENDED_PANIC}");
        }
        behavior::FLAKY if ctx.attempt() < 3 => {
            recorder.handle_without_effect(delivery);
            return Err("not yet".into());
        }
        _ => {
            recorder.handle(delivery);
        }
    }
    Ok(())
}

/// Data that the handler of poison tasks expects.
#[derive(Deserialize)]
struct Order {
    _id: u64,
}

async fn unreachable_handler(_: Context<Shared>, _: Order) -> Result<(), HandlerError> {
    Err("poison reached its handler".into())
}

/// Addresses for the consumers of a stage.
pub struct Addresses {
    pub namesrv: String,
    pub topic: String,
    pub server_url: String,
}

fn state(recorder: &Arc<Recorder>, on_bus: bool) -> Shared {
    Arc::new(HandlerState { recorder: Arc::clone(recorder), on_bus })
}

/// Starts a consumer of all messages on the bus. It reports outcomes.
pub fn on_bus(place: &Addresses, recorder: &Arc<Recorder>) -> Result<Consumer> {
    let config = RocketMqConfig::new(&place.namesrv, &place.topic, format!("{}_inbox", place.topic));
    let builder = Consumer::builder()
        .state(state(recorder, true))
        .on_text("*", handle)
        .on(behavior::POISON, unreachable_handler);
    let builder = builder.concurrency(64).drain_for(Duration::from_secs(1));
    Ok(builder.report_to(TaskCenter::new(&place.server_url)?).transport(RocketMq::new(config)).start()?)
}

/// Starts a worker on the queues with the SDK.
pub fn on_queue(server_url: &str, name: &str, queues: &str, recorder: &Arc<Recorder>) -> Result<Consumer> {
    let builder = Consumer::builder()
        .state(state(recorder, false))
        .on_text("*", handle)
        .on(behavior::POISON, unreachable_handler);
    let builder = builder.concurrency(16).drain_for(Duration::from_secs(1));
    Ok(builder.connect(&format!("{server_url}?worker={name}&queues={queues}&lease_ms=3000"))?.start()?)
}

/// Starts a worker that calls the API directly.
pub fn raw(server_url: &str, queue: &'static str, recorder: &Arc<Recorder>) -> Result<JoinHandle<()>> {
    let client = client_without_retries(server_url)?;
    let recorder = Arc::clone(recorder);
    Ok(tokio::spawn(async move {
        let mut turn = time::ticks(20);
        loop {
            turn.tick().await;
            let Ok(leased) = client.lease(&lease_request(queue)).await else { continue };
            if queue == SILENT_QUEUE {
                leased.runs.iter().for_each(|run| recorder.handle_without_effect(leased_delivery(run)));
                continue;
            }
            for run in &leased.runs {
                recorder.handle(leased_delivery(run));
            }
            settle(&client, leased.runs, &recorder).await;
        }
    }))
}

/// Returns a client without automatic retries: the harness must know each try.
pub fn client_without_retries(server_url: &str) -> Result<TaskCenter> {
    let builder = TaskCenter::builder(server_url).retries(0, Duration::from_millis(1));
    Ok(builder.timeout(Duration::from_secs(5)).build()?)
}

fn lease_request(queue: &str) -> LeaseRequest {
    LeaseRequest {
        worker: "raw".to_owned(),
        queues: vec![queue.to_owned()],
        limit: 20,
        lease_ms: 2_000,
        wait_ms: 500,
        request_id: None,
    }
}

fn leased_delivery(run: &LeasedRun) -> Delivery {
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
            started_at: None,
        },
    });
    let Ok(answers) = client.settle(&SettleRequest { outcomes: outcomes.collect() }).await else { return };
    let done = answers.results.into_iter().filter(|answer| answer.status == 200).map(|answer| answer.run_id);
    recorder.get().acknowledged_outcomes.extend(done);
}

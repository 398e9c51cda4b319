//! Tasks and consumer of `dev --demo`.

use std::time::Duration;

use taskcenter_client::resources::{ScheduleSpec, TaskSpec};
use taskcenter_client::{Consumer, Context, HandlerError, TaskCenter};

use super::exit::{Failure, error_chain};
use super::{output, table, time};

const ONCE: &str = "demo.once";
const LOOP: &str = "demo.loop";
const CRON: &str = "demo.cron";
const ONCE_DELAY_MS: u64 = 3_000;
const LOOP_PERIOD_MS: i64 = 2_000;
const LOOP_FIRES: u64 = 10;
const CRON_EXPRESSION: &str = "*/5 * * * * *";
/// The cron task outlives the demo, so its fires are limited.
const CRON_FIRES: u64 = 120;
/// Maximum time for a delivery in progress when the demo stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Starts a consumer that prints each delivery of the demo tasks.
pub fn start_consumer(address: &str) -> Result<Consumer, Failure> {
    let failed = |error: &(dyn std::error::Error + 'static)| Failure::Failed(error_chain(error));
    let consumer = Consumer::builder()
        .on_text(&[ONCE, LOOP, CRON].join(" || "), print_delivery)
        .drain_for(DRAIN)
        .connect(&format!("{address}?worker=demo"))
        .map_err(|error| failed(&error))?;
    consumer.start().map_err(|error| failed(&error))
}

async fn print_delivery(delivery: Context, data: String) -> Result<(), HandlerError> {
    let late = delivery.lateness().unwrap_or_default().as_millis();
    let (at, tag) = (time::format_time_of_day(time::now()), delivery.tag());
    // A closed terminal is no reason to deliver the run again.
    let _ = output::print_line(format_args!(
        "{at}  delivered {tag:9}  {late:>3} ms late  {}",
        table::truncate(&data)
    ));
    Ok(())
}

/// Creates the demo tasks. Live tasks of an earlier start are found by their dedup keys.
pub async fn create_tasks(api: &TaskCenter, address: &str) -> Result<(), Failure> {
    for task in tasks() {
        let task = api.create_task(&task).await.map_err(|error| Failure::from_call(&error, address))?;
        output::print_line(format_args!("created {}  {}", task.name, task.id))?;
    }
    Ok(())
}

fn tasks() -> [TaskSpec; 3] {
    let task = |name: &str, data: &str| TaskSpec {
        name: name.to_owned(),
        data: data.to_owned(),
        dedup_key: Some(name.to_owned()),
        ..TaskSpec::default()
    };
    let once = TaskSpec { delay_ms: Some(ONCE_DELAY_MS), ..task(ONCE, "once, after 3 seconds") };
    let every = ScheduleSpec::Every { period_ms: LOOP_PERIOD_MS };
    let every =
        TaskSpec { schedule: every, max_fires: Some(LOOP_FIRES), ..task(LOOP, "every 2 seconds, 10 times") };
    let cron = ScheduleSpec::cron(CRON_EXPRESSION, None);
    let cron =
        TaskSpec { schedule: cron, max_fires: Some(CRON_FIRES), ..task(CRON, "by cron, every 5 seconds") };
    [once, every, cron]
}

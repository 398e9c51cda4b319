//! `dev --demo`: something to look at.

use std::time::Duration;

use taskcenter_client::resources::{ScheduleSpec, TaskSpec};
use taskcenter_client::{Consumer, Context, HandlerError, TaskCenter};

use super::exit::{Failure, chain};
use super::{out, table, when};

const ONCE: &str = "demo.once";
const LOOP: &str = "demo.loop";
const CRON: &str = "demo.cron";
const ONCE_AFTER_MS: u64 = 3_000;
const LOOP_PERIOD_MS: i64 = 2_000;
const LOOP_TIMES: u64 = 10;
const CRON_EXPRESSION: &str = "*/5 * * * * *";
/// The cron task stays when the demo ends. It is not to fire for ever where nobody looks.
const CRON_TIMES: u64 = 120;
/// How long a delivery that is being printed may take when the demo ends.
const DRAIN: Duration = Duration::from_secs(5);

/// Consumes and prints what the demo's tasks deliver.
pub fn consume(address: &str) -> Result<Consumer, Failure> {
    let failed = |error: &(dyn std::error::Error + 'static)| Failure::Failed(chain(error));
    let consumer = Consumer::builder()
        .on_text(&[ONCE, LOOP, CRON].join(" || "), print)
        .drain_for(DRAIN)
        .connect(&format!("{address}?worker=demo"))
        .map_err(|error| failed(&error))?;
    consumer.start().map_err(|error| failed(&error))
}

async fn print(delivery: Context, data: String) -> Result<(), HandlerError> {
    let late = delivery.lateness().unwrap_or_default().as_millis();
    let (at, tag) = (when::local_time(when::now()), delivery.tag());
    // A terminal that is gone is no reason to deliver again.
    let _ = out::line(format_args!("{at}  delivered {tag:9}  {late:>3} ms late  {}", table::short(&data)));
    Ok(())
}

/// Creates the demo's tasks, unless those of an earlier start are still live.
pub async fn create(calls: &TaskCenter, address: &str) -> Result<(), Failure> {
    for task in tasks() {
        let created = calls.create_task(&task).await.map_err(|error| Failure::of_call(&error, address))?;
        out::line(format_args!("demo: task {} is {}", created.name, created.id))?;
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
    let once = TaskSpec { delay_ms: Some(ONCE_AFTER_MS), ..task(ONCE, "once, after three seconds") };
    let every = ScheduleSpec::Every { period_ms: LOOP_PERIOD_MS };
    let every = TaskSpec {
        schedule: every,
        max_fires: Some(LOOP_TIMES),
        ..task(LOOP, "every two seconds, ten times")
    };
    let cron = ScheduleSpec::Cron { cron: CRON_EXPRESSION.to_owned(), zone: None };
    let cron =
        TaskSpec { schedule: cron, max_fires: Some(CRON_TIMES), ..task(CRON, "by cron, every five seconds") };
    [once, every, cron]
}

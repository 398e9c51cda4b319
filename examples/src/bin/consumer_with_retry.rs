//! Charges a card after two failed attempts: the handler returns `retry_after`, the consumer
//! reports the outcome to the server, and the server starts the next attempt.
//!
//! Without arguments, the program uses the server that `taskcenter dev` starts.
//! `examples/src/lib.rs` lists the arguments.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskcenter_client::{Consumer, Context, HandlerError, NewTask, TaskCenter, json};
use taskcenter_examples::{Failure, HandledTasks, Settings, now_sec, wait_until_handled};
use tokio::sync::mpsc;

#[derive(Serialize, Deserialize)]
struct Charge {
    order: i64,
    cents: u32,
}

async fn charge(ctx: Context<HandledTasks>, charge: Charge) -> Result<(), HandlerError> {
    let late = ctx.lateness().unwrap_or_default();
    println!(
        "attempt {}: charging {} cents for order {}, {late:?} late",
        ctx.attempt(),
        charge.cents,
        charge.order
    );
    if charge.cents == 0 {
        return Err(HandlerError::skip("the amount is 0"));
    }
    if ctx.attempt() < 3 {
        return Err(HandlerError::retry_after(Duration::from_secs(1), "the bank is busy"));
    }
    ctx.state().send(ctx.task_id().to_owned())?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let settings = Settings::read();
    let center = TaskCenter::new(settings.server.as_str())?;
    let (sender, mut handled_tasks) = mpsc::unbounded_channel();
    let consumer = Consumer::builder()
        .state(sender)
        .on("example.charge", charge)
        .concurrency(4)
        .drop_duplicates(10_000)
        .connect(&settings.connection("example-charge"))?
        .start()?;

    let payload = json(&Charge { order: now_sec(), cents: 1_250 })?;
    let task = NewTask::once("example.charge", payload).at(now_sec() + 3).ack(Duration::from_secs(10));
    let task_id = center.add_task(task).await?;
    println!("task {task_id} created: the charge is due in 3 s");

    Ok(consumer.run_until(wait_until_handled(1, &task_id, &mut handled_tasks)).await??)
}

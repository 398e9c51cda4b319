//! Charges a card whose bank is busy at first: the handler asks for another attempt, and the server, which is told
//! every outcome, publishes it.
//!
//! Without arguments it uses the server that `taskcenter dev` starts; the library says what else there is.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskcenter_client::{Consumer, Context, HandlerError, NewTask, TaskCenter, json};
use taskcenter_examples::{Failure, Settings, Told, handled, now_sec};
use tokio::sync::mpsc;

#[derive(Serialize, Deserialize)]
struct Charge {
    order: i64,
    cents: u32,
}

async fn charge(ctx: Context<Told>, charge: Charge) -> Result<(), HandlerError> {
    let late = ctx.lateness().unwrap_or_default();
    println!(
        "attempt {} to charge {} cents for order {}, {late:?} late",
        ctx.attempt(),
        charge.cents,
        charge.order
    );
    if charge.cents == 0 {
        return Err(HandlerError::skip("nothing to pay"));
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
    let (tell, mut told) = mpsc::unbounded_channel();
    let consumer = Consumer::builder()
        .state(tell)
        .on("example.charge", charge)
        .concurrency(4)
        .drop_duplicates(10_000)
        .connect(&settings.connection("example-charge"))?
        .start()?;

    let payload = json(&Charge { order: now_sec(), cents: 1_250 })?;
    let task = NewTask::once("example.charge", payload).at(now_sec() + 3).ack(Duration::from_secs(10));
    let task_id = center.add_task(task).await?;
    println!("a charge is due in 3 s: task {task_id}");

    Ok(consumer.run_until(handled(1, &task_id, &mut told)).await??)
}

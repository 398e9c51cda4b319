//! Closes an order that nobody has paid in time: a task that fires once.
//!
//! Without arguments it uses the server that `taskcenter dev` starts; the library says what else there is.

use serde::{Deserialize, Serialize};
use taskcenter_client::{Consumer, Context, HandlerError, NewTask, TaskCenter, json};
use taskcenter_examples::{Failure, Settings, Told, handled, now_sec};
use tokio::sync::mpsc;

#[derive(Serialize, Deserialize)]
struct Order {
    id: i64,
}

async fn close_order(ctx: Context<Told>, order: Order) -> Result<(), HandlerError> {
    println!("order {} closed, {:?} late", order.id, ctx.lateness().unwrap_or_default());
    ctx.state().send(ctx.task_id().to_owned())?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let settings = Settings::read();
    let (tell, mut told) = mpsc::unbounded_channel();
    let consumer = Consumer::builder()
        .state(tell)
        .on("example.order.close", close_order)
        .connect(&settings.connection("example-order-close"))?
        .start()?;

    let order = Order { id: now_sec() };
    let close = NewTask::once("example.order.close", json(&order)?).at(now_sec() + 3);
    let task_id = TaskCenter::new(settings.server)?.add_task(close).await?;
    println!("order {} is closed in 3 s unless it is paid: task {task_id}", order.id);

    Ok(consumer.run_until(handled(1, &task_id, &mut told)).await??)
}

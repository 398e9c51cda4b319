//! Closes an order after a delay: a task that fires once.
//!
//! Without arguments, the program uses the server that `taskcenter dev` starts.
//! `examples/src/lib.rs` lists the arguments.

use serde::{Deserialize, Serialize};
use taskcenter_client::{Consumer, Context, HandlerError, NewTask, TaskCenter, json};
use taskcenter_examples::{Failure, HandledTasks, Settings, now_sec, wait_until_handled};
use tokio::sync::mpsc;

#[derive(Serialize, Deserialize)]
struct Order {
    id: i64,
}

async fn close_order(ctx: Context<HandledTasks>, order: Order) -> Result<(), HandlerError> {
    println!("order {} closed, {:?} late", order.id, ctx.lateness().unwrap_or_default());
    ctx.state().send(ctx.task_id().to_owned())?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let settings = Settings::read();
    let (sender, mut handled_tasks) = mpsc::unbounded_channel();
    let consumer = Consumer::builder()
        .state(sender)
        .on("example.order.close", close_order)
        .connect(&settings.connection("example-order-close"))?
        .start()?;

    let order = Order { id: now_sec() };
    let close = NewTask::once("example.order.close", json(&order)?).at(now_sec() + 3);
    let task_id = TaskCenter::new(settings.server)?.add_task(close).await?;
    println!("task {task_id} created: order {} will be closed in 3 s", order.id);

    Ok(consumer.run_until(wait_until_handled(1, &task_id, &mut handled_tasks)).await??)
}

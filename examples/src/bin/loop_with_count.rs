//! Reminds three times, two seconds apart: a task on a fixed grid with a count.
//!
//! Without arguments it uses the server that `taskcenter dev` starts; the library says what else there is.

use taskcenter_client::{Consumer, Context, HandlerError, NewTask, TaskCenter};
use taskcenter_examples::{Failure, Settings, Told, handled, now_sec};
use tokio::sync::mpsc;

async fn remind(ctx: Context<Told>, whom: String) -> Result<(), HandlerError> {
    let due = ctx.scheduled_at_ms().unwrap_or_default();
    println!("{whom} reminded, due at {due}, {:?} late", ctx.lateness().unwrap_or_default());
    ctx.state().send(ctx.task_id().to_owned())?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let settings = Settings::read();
    let (tell, mut told) = mpsc::unbounded_channel();
    let consumer = Consumer::builder()
        .state(tell)
        .on_text("example.remind", remind)
        .connect(&settings.connection("example-remind"))?
        .start()?;

    let reminder = NewTask::every("example.remind", format!("reader {}", now_sec()), 2).times(3);
    let task_id = TaskCenter::new(settings.server)?.add_task(reminder.start_at(now_sec() + 3)).await?;
    println!("three reminders are due: task {task_id}");

    Ok(consumer.run_until(handled(3, &task_id, &mut told)).await??)
}

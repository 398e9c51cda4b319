//! Sends three reminders, two seconds apart: a task on a fixed grid with a maximum number of fires.
//!
//! Without arguments, the program uses the server that `taskcenter dev` starts.
//! `examples/src/lib.rs` lists the arguments.

use taskcenter_client::{Consumer, Context, HandlerError, NewTask, TaskCenter};
use taskcenter_examples::{Failure, HandledTasks, Settings, now_sec, wait_until_handled};
use tokio::sync::mpsc;

async fn remind(ctx: Context<HandledTasks>, recipient: String) -> Result<(), HandlerError> {
    let due = ctx.scheduled_at_ms().unwrap_or_default();
    println!("reminder to {recipient}, due at {due} ms, {:?} late", ctx.lateness().unwrap_or_default());
    ctx.state().send(ctx.task_id().to_owned())?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let settings = Settings::read();
    let (sender, mut handled_tasks) = mpsc::unbounded_channel();
    let consumer = Consumer::builder()
        .state(sender)
        .on_text("example.remind", remind)
        .connect(&settings.connection("example-remind"))?
        .start()?;

    let reminder = NewTask::every("example.remind", format!("reader {}", now_sec()), 2).times(3);
    let task_id = TaskCenter::new(settings.server)?.add_task(reminder.start_at(now_sec() + 3)).await?;
    println!("task {task_id} created: the first of three reminders is due in 3 s");

    Ok(consumer.run_until(wait_until_handled(3, &task_id, &mut handled_tasks)).await??)
}

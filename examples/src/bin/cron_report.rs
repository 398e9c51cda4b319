//! Writes a report every two seconds, by a cron expression, and deletes the task after three
//! reports.
//!
//! Without arguments, the program uses the server that `taskcenter dev` starts.
//! `examples/src/lib.rs` lists the arguments.

use taskcenter_client::{Consumer, Context, HandlerError, NewTask, TaskCenter};
use taskcenter_examples::{Failure, HandledTasks, Settings, now_sec, wait_until_handled};
use tokio::sync::mpsc;

async fn report(ctx: Context<HandledTasks>, subject: String) -> Result<(), HandlerError> {
    println!("report on {subject}, {:?} late", ctx.lateness().unwrap_or_default());
    ctx.state().send(ctx.task_id().to_owned())?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let settings = Settings::read();
    let (sender, mut handled_tasks) = mpsc::unbounded_channel();
    let consumer = Consumer::builder()
        .state(sender)
        .on_text("example.report", report)
        .connect(&settings.connection("example-report"))?
        .start()?;

    // With six fields, the first one is seconds. Every day at 8:00 in Shanghai is "TZ=Asia/Shanghai
    // 0 8 * * *".
    let center = TaskCenter::new(settings.server)?;
    let subject = format!("sales {}", now_sec());
    let task_id = center.add_task(NewTask::cron("example.report", subject, "*/2 * * * * *")).await?;
    println!("task {task_id} created: a report is due every 2 s");

    let written = consumer.run_until(wait_until_handled(3, &task_id, &mut handled_tasks)).await;
    let deleted = center.delete_tasks([&task_id]).await?;
    println!("{} task deleted", deleted.len());
    Ok(written??)
}

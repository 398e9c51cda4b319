//! Writes a report by a cron expression, until it is told to stop.
//!
//! Without arguments it uses the server that `taskcenter dev` starts; the library says what else there is.

use taskcenter_client::{Consumer, Context, HandlerError, NewTask, TaskCenter};
use taskcenter_examples::{Failure, Settings, Told, handled, now_sec};
use tokio::sync::mpsc;

async fn report(ctx: Context<Told>, subject: String) -> Result<(), HandlerError> {
    println!("report on {subject}, {:?} late", ctx.lateness().unwrap_or_default());
    ctx.state().send(ctx.task_id().to_owned())?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let settings = Settings::read();
    let (tell, mut told) = mpsc::unbounded_channel();
    let consumer = Consumer::builder()
        .state(tell)
        .on_text("example.report", report)
        .connect(&settings.connection("example-report"))?
        .start()?;

    // Six fields begin with seconds: every other second. Every day at eight in Shanghai would be
    // "TZ=Asia/Shanghai 0 8 * * *".
    let center = TaskCenter::new(settings.server)?;
    let subject = format!("sales {}", now_sec());
    let task_id = center.add_task(NewTask::cron("example.report", subject, "*/2 * * * * *")).await?;
    println!("a report every other second: task {task_id}");

    let written = consumer.run_until(handled(3, &task_id, &mut told)).await;
    let deleted = center.delete_tasks([&task_id]).await?;
    println!("no more reports: {} task deleted", deleted.len());
    Ok(written??)
}

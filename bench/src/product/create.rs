//! Works that create tasks.

use std::time::Instant;

use anyhow::{Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use taskcenter_client::TaskCenter;
use taskcenter_client::resources::TaskSpec;

use super::{BATCHES_AT_ONCE, CLIENTS};
use crate::figures::Figures;

/// Name of the tasks that never become due during a benchmark.
pub const PENDING: &str = "pending";
const MANY: usize = 100;
/// Maximum number of tasks in a request.
const BATCH: usize = 1_000;
const DAY_MS: i64 = 86_400_000;

/// Creates one task a request.
pub async fn one_a_request(client: &TaskCenter, count: usize) -> Result<Figures> {
    let start_at = Timestamp::now() + SignedDuration::from_hours(240);
    let creations = (0..count)
        .map(|order| async move { client.create_task(&task(PENDING, order, start_at)).await.map(drop) });
    let start = Instant::now();
    let () = stream::iter(creations).buffer_unordered(CLIENTS).try_collect().await?;
    Ok(Figures::rate(count, start))
}

/// Creates 100 tasks a request.
pub async fn many_a_request(client: &TaskCenter, count: usize) -> Result<Figures> {
    let start_at = Timestamp::now() + SignedDuration::from_hours(240);
    let tasks = (0..count).map(|order| task(PENDING, order, start_at)).collect();
    let start = Instant::now();
    create(client, tasks, MANY).await?;
    Ok(Figures::rate(count, start))
}

/// Creates pending tasks. Their moments are spread over 10 days.
pub async fn fill(client: &TaskCenter, count: usize) -> Result<Figures> {
    let start_at = Timestamp::now() + SignedDuration::from_hours(240);
    let (start, spread) = (Instant::now(), 10 * DAY_MS / count.max(1) as i64);
    let batches = (0..count).step_by(BATCH).map(|first| async move {
        let orders = first..(first + BATCH).min(count);
        let at = |order: usize| start_at + SignedDuration::from_millis(order as i64 * spread);
        create_batch(client, &orders.map(|order| task(PENDING, order, at(order))).collect::<Vec<_>>()).await
    });
    let () = stream::iter(batches).buffer_unordered(BATCHES_AT_ONCE).try_collect().await?;
    Ok(Figures::rate(count, start))
}

/// Creates all tasks, `batch` a request.
pub async fn create(client: &TaskCenter, tasks: Vec<TaskSpec>, batch: usize) -> Result<()> {
    let batches = tasks.chunks(batch).map(|batch| create_batch(client, batch));
    stream::iter(batches).buffer_unordered(BATCHES_AT_ONCE).try_collect().await
}

async fn create_batch(client: &TaskCenter, tasks: &[TaskSpec]) -> Result<()> {
    let created = client.create_tasks(tasks).await?;
    let refused = created.results.iter().find(|result| result.status != 201);
    ensure!(refused.is_none(), "the server refused a task: {refused:?}");
    Ok(())
}

/// Returns a task for the bus with a small payload.
pub fn task(name: &str, order: usize, start_at: Timestamp) -> TaskSpec {
    TaskSpec {
        name: name.to_owned(),
        data: format!("{{\"order\":{order},\"at\":{}}}", start_at.as_millisecond()),
        start_at: Some(start_at),
        ..TaskSpec::default()
    }
}

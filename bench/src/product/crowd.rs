//! One-shot tasks beside a crowd of tasks that are due every second.

use std::sync::atomic::Ordering;

use anyhow::{Result, ensure};
use jiff::{SignedDuration, Timestamp};
use taskcenter_client::TaskCenter;
use taskcenter_client::resources::{ScheduleSpec, TaskSpec};

use super::Consume;
use super::consume::{create_in_time, crowd_of, measure, queued, soon, wait_for};
use super::create::task;
use crate::figures::Figures;

/// One-shot tasks, and the time between two of them.
const ONE_SHOTS: usize = 200;
const EVERY_MS: i64 = 100;
/// Time of the crowd before the first one-shot task, and after the last one.
const MARGIN: SignedDuration = SignedDuration::from_secs(3);

/// Measures how late one-shot tasks are beside `count` tasks with the expression `* * * * * *`, and which part of the
/// runs of the crowd was handled meanwhile.
pub async fn beside(client: &TaskCenter, work: &Consume) -> Result<Figures> {
    let count = work.target.count;
    measure(client, work, async |name, seen| {
        let begin = soon(count + ONE_SHOTS)?;
        let first = begin + MARGIN;
        let last = first + SignedDuration::from_millis(ONE_SHOTS as i64 * EVERY_MS);
        let crowd = (0..count).map(|order| TaskSpec {
            schedule: ScheduleSpec::cron("* * * * * *", None),
            end_at: Some(last + MARGIN),
            ..task(&crowd_of(name), order, begin)
        });
        let one_shots = (0..ONE_SHOTS)
            .map(|order| task(name, order, first + SignedDuration::from_millis(order as i64 * EVERY_MS)));
        let tasks = one_shots.chain(crowd).map(|task| queued(work, task)).collect();
        create_in_time(client, tasks, begin).await?;
        sleep_until(first).await;
        let before = seen.crowd.load(Ordering::SeqCst);
        sleep_until(last).await;
        let handled = seen.crowd.load(Ordering::SeqCst) - before;
        wait_for(&seen.count, ONE_SHOTS).await?;
        let mut late = seen.late_ms();
        ensure!(late[0] >= 0.0, "a run was {} ms early", -late[0]);
        let seconds = ONE_SHOTS as f64 * EVERY_MS as f64 / 1e3;
        let figures = Figures::default().with("per_s", handled as f64 / seconds);
        Ok(figures.with_percentiles("", &mut late))
    })
    .await
}

async fn sleep_until(at: Timestamp) {
    let wait = at.duration_since(Timestamp::now()).unsigned_abs();
    if at > Timestamp::now() {
        tokio::time::sleep(wait).await;
    }
}

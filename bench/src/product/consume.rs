//! Works whose runs are handled.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use jiff::Timestamp;
use taskcenter_client::resources::{Concurrency, ConcurrencyScope, TaskSpec};
use taskcenter_client::{Consumer, Context, HandlerError, TaskCenter};

use super::Consume;
use super::create::{create, task};
use super::stages::stages;
use super::tabs::Tabs;
use crate::figures::{Figures, now_ms, percentile};

const CONCURRENCY: usize = 64;
/// Maximum of a concurrency limit: more runs than the handlers work on, so that a run is always ready for them.
const MAX_STARTED: u32 = 4 * CONCURRENCY as u32;
const WARM_UP: &str = "warm-up";
const BATCH: usize = 1_000;
/// Maximum time without a handled run.
const STALLED_AFTER: Duration = Duration::from_mins(1);

/// Returns the name of the tasks of the crowd, whose runs the consumer handles too.
pub fn crowd_of(name: &str) -> String {
    format!("{name}-crowd")
}

/// Runs that the handler has seen.
#[derive(Default)]
pub struct Seen {
    pub count: AtomicUsize,
    warm: AtomicUsize,
    /// Runs of the crowd.
    pub crowd: AtomicUsize,
    /// Handled after the nominal moment, in milliseconds.
    late_ms: Mutex<Vec<f64>>,
}

impl Seen {
    pub fn late_ms(&self) -> Vec<f64> {
        let mut late = self.late_ms.lock().unwrap_or_else(PoisonError::into_inner).clone();
        late.sort_by(f64::total_cmp);
        late
    }
}

async fn handle(context: Context<Arc<Seen>>, body: String) -> Result<(), HandlerError> {
    let (seen, now) = (context.state(), now_ms());
    if body == WARM_UP {
        seen.warm.fetch_add(1, Ordering::SeqCst);
        return Ok(());
    }
    let late = now - context.scheduled_at_ms().unwrap_or_default() as f64;
    seen.late_ms.lock().unwrap_or_else(PoisonError::into_inner).push(late);
    seen.count.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

async fn handle_crowd(context: Context<Arc<Seen>>, _body: String) -> Result<(), HandlerError> {
    context.state().crowd.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

/// Creates tasks that are due at once, and handles their runs. All tasks share `limits` concurrency limits.
pub async fn run(client: &TaskCenter, work: &Consume, limits: usize) -> Result<Figures> {
    let count = work.target.count;
    let of_queue = Concurrency::new(MAX_STARTED, ConcurrencyScope::Queue);
    let of_all = Concurrency::new(MAX_STARTED, ConcurrencyScope::All).with_key("bench");
    let concurrency: Vec<Concurrency> = [of_queue, of_all].into_iter().take(limits).collect();
    measure(client, work, async |name, seen| {
        let now = Timestamp::now();
        let limited = |task| TaskSpec { concurrency: concurrency.clone(), ..task };
        let tasks = (0..count).map(|order| queued(work, limited(task(name, order, now)))).collect();
        let start = Instant::now();
        create(client, tasks, 100).await?;
        wait_for(&seen.count, count).await?;
        Ok(Figures::rate(count, start))
    })
    .await
}

/// Handles tasks that are all due in one millisecond.
pub async fn burst(client: &TaskCenter, work: &Consume) -> Result<Figures> {
    let count = work.target.count;
    measure(client, work, async |name, seen| {
        let due = soon(count)?;
        let tasks = (0..count).map(|order| queued(work, task(name, order, due))).collect();
        create_in_time(client, tasks, due).await?;
        wait_for(&seen.count, count).await?;
        let late = seen.late_ms();
        let (first, last) = (percentile(&late, 0.0), percentile(&late, 1.0));
        let figures = Figures::default().with("per_s", count as f64 / last * 1e3);
        let settled = stages(client, name, count, work.connect.is_none()).await?.last_settled_ms();
        let figures =
            figures.with("first_ms", first).with("p50_ms", percentile(&late, 0.5)).with("last_ms", last);
        Ok(settled.into_iter().fold(figures, |figures, settled| figures.with("settled_ms", settled)))
    })
    .await
}

/// Handles tasks that are all due in one millisecond, while pages of the console are open.
pub async fn burst_watched(client: &TaskCenter, work: &Consume) -> Result<Figures> {
    let mut tabs = Tabs::open(&work.target.url).await?;
    let figures = burst(client, work).await?;
    Ok(figures.with("refreshes", tabs.refreshes()? as f64))
}

/// Handles tasks that are due at a steady rate. `count` is the number of tasks.
pub async fn steady(client: &TaskCenter, work: &Consume, rate: usize) -> Result<Figures> {
    let count = work.target.count;
    measure(client, work, async |name, seen| {
        let first = soon(count)?;
        let at = |order: usize| {
            Timestamp::from_millisecond(first.as_millisecond() + (order * 1_000 / rate) as i64)
        };
        let tasks: Result<Vec<TaskSpec>, jiff::Error> =
            (0..count).map(|order| Ok(queued(work, task(name, order, at(order)?)))).collect();
        create_in_time(client, tasks?, first).await?;
        wait_for(&seen.count, count).await?;
        let mut late = seen.late_ms();
        ensure!(late[0] >= 0.0, "a run was {} ms early", -late[0]);
        let figures = Figures::default().with_percentiles("", &mut late);
        Ok(stages(client, name, count, work.connect.is_none()).await?.add_to(figures))
    })
    .await
}

/// Runs `work` between the start and the stop of a consumer. The consumer is warm: it has handled a run.
pub async fn measure<W>(client: &TaskCenter, work: &Consume, body: W) -> Result<Figures>
where
    W: for<'a> AsyncFnOnce(&'a str, &'a Seen) -> Result<Figures>,
{
    let name = format!("bench-{}", std::process::id());
    let seen = Arc::new(Seen::default());
    let connect = connection(work, &name);
    let consumer = Consumer::builder()
        .state(Arc::clone(&seen))
        .on_text(&name, handle)
        .on_text(&crowd_of(&name), handle_crowd)
        .concurrency(CONCURRENCY)
        .connect(&connect)?
        .start()?;
    warm_up(client, work, &name, &seen).await?;
    let figures = body(&name, &seen).await;
    consumer.shutdown().await?;
    figures
}

fn connection(work: &Consume, name: &str) -> String {
    work.connect.clone().unwrap_or_else(|| format!("{}?queues={name},{}", work.target.url, crowd_of(name)))
}

/// Creates runs until one arrives: a new topic gets its consumers some seconds after its first message.
async fn warm_up(client: &TaskCenter, work: &Consume, name: &str, seen: &Seen) -> Result<()> {
    for _ in 0..STALLED_AFTER.as_secs() {
        let task = TaskSpec { data: WARM_UP.to_owned(), ..task(name, 0, Timestamp::now()) };
        create(client, vec![queued(work, task)], 1).await?;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if seen.warm.load(Ordering::SeqCst) > 0 {
                // The messages of earlier tries arrive with this one.
                tokio::time::sleep(Duration::from_millis(500)).await;
                return Ok(());
            }
        }
    }
    bail!("no run arrived within {} s", STALLED_AFTER.as_secs())
}

/// Puts the task into a queue, unless the consumer is on the bus.
pub fn queued(work: &Consume, task: TaskSpec) -> TaskSpec {
    TaskSpec { queue: work.connect.is_none().then(|| task.name.clone()), ..task }
}

/// Returns a whole second before which `count` tasks can be created. Other systems have no finer moments.
pub fn soon(count: usize) -> Result<Timestamp, jiff::Error> {
    Timestamp::from_second((now_ms() / 1e3) as i64 + 5 + count as i64 / 5_000)
}

pub async fn create_in_time(client: &TaskCenter, tasks: Vec<TaskSpec>, due: Timestamp) -> Result<()> {
    create(client, tasks, BATCH).await?;
    let slack = due.as_millisecond() as f64 - now_ms();
    ensure!(slack > 0.0, "the tasks were created {} ms after they were due: use fewer tasks", -slack);
    Ok(())
}

pub async fn wait_for(seen: &AtomicUsize, count: usize) -> Result<()> {
    let (mut before, mut changed) = (0, Instant::now());
    loop {
        let now = seen.load(Ordering::SeqCst);
        if now >= count {
            return Ok(());
        }
        if now > before {
            (before, changed) = (now, Instant::now());
        }
        ensure!(changed.elapsed() < STALLED_AFTER, "only {now} of {count} runs arrived");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

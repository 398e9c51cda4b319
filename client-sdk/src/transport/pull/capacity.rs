//! How many runs the worker may lease: one for each free handler, and some ahead.
//!
//! A lease request takes about as long as a batch of short handlers, and the server stores a large batch
//! in little more time than a small one. So the worker leases ahead as many runs as its handlers have
//! lately finished within [`AHEAD`]. Long handlers finish few runs in that time, so their runs are not
//! taken away from other workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::clock::monotonic;
use crate::resources::MAX_BATCH;

/// Time within which a run that was leased ahead starts, if the handlers stay as fast as they were.
const AHEAD: Duration = Duration::from_millis(50);
/// Shortest time over which the speed of the handlers is measured.
const MEASURED: Duration = Duration::from_millis(10);
/// Maximum number of runs ahead, per handler.
const MAX_AHEAD: usize = 8;
/// Longest wait of a leased run for a handler. Then the handlers have become slow, and another worker may
/// be free.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// Maximum number of runs whose outcome report is in progress, in addition to those that are
/// handled.
const MAX_UNSETTLED: usize = MAX_BATCH;

/// Capacity of a worker.
pub(super) struct Capacity {
    /// One permit per run without an outcome.
    running: Arc<Semaphore>,
    /// One permit per run that is not settled.
    unsettled: Arc<Semaphore>,
    /// One permit per handler. `None`: the number of runs is fixed, and the runs wait without a limit.
    handlers: Option<Arc<Semaphore>>,
    concurrency: usize,
    /// Number of runs that handlers have finished.
    finished: Arc<AtomicU64>,
}

/// A handler that has a run, until the outcome is known.
pub(super) struct Handler {
    _permit: OwnedSemaphorePermit,
    finished: Arc<AtomicU64>,
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.finished.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reserved capacity for runs.
pub(super) struct Reserved {
    running: OwnedSemaphorePermit,
    unsettled: OwnedSemaphorePermit,
}

/// Measures the speed of the handlers between two lease requests.
pub(super) struct Speed {
    since: Instant,
    finished: u64,
    /// Number of permits for runs beyond the concurrency.
    ahead: usize,
}

impl Capacity {
    /// Creates the capacity of a worker with so many handlers. `fixed` is the number of runs without an
    /// outcome, if the user has set it.
    pub(super) fn new(concurrency: usize, fixed: Option<usize>) -> Self {
        let most = Semaphore::MAX_PERMITS / (2 * MAX_AHEAD);
        let concurrency = fixed.unwrap_or(concurrency).clamp(1, most);
        Self {
            running: Arc::new(Semaphore::new(concurrency)),
            unsettled: Arc::new(Semaphore::new(concurrency * (1 + MAX_AHEAD) + MAX_UNSETTLED)),
            handlers: fixed.is_none().then(|| Arc::new(Semaphore::new(concurrency))),
            concurrency,
            finished: Arc::default(),
        }
    }

    /// Waits for capacity for at least one run, and reserves all that is free. While many runs wait for a
    /// handler, waits until half of them have one.
    pub(super) async fn reserve(&self, speed: &mut Speed) -> Reserved {
        loop {
            let least = (speed.ahead / 2).clamp(1, MAX_BATCH);
            let mut running = acquire(&self.running, least).await;
            // After the wait, because the handlers may have become slow meanwhile.
            self.adapt(speed, &mut running);
            if running.num_permits() == 0 {
                continue;
            }
            let mut unsettled = acquire(&self.unsettled, running.num_permits()).await;
            let free = self.running.available_permits().min(self.unsettled.available_permits());
            let more = free.min(MAX_BATCH - running.num_permits());
            // These calls do not wait, because only the lease loop acquires permits.
            running.merge(acquire(&self.running, more).await);
            unsettled.merge(acquire(&self.unsettled, more).await);
            return Reserved { running, unsettled };
        }
    }

    /// Sets the number of runs ahead by the speed of the handlers since the last measurement. Takes
    /// permits off `held` if there are too many.
    fn adapt(&self, speed: &mut Speed, held: &mut OwnedSemaphorePermit) {
        let (now, finished) = (monotonic(), self.finished.load(Ordering::Relaxed));
        let time = now.saturating_duration_since(speed.since);
        if self.handlers.is_none() || time < MEASURED {
            return;
        }
        let number = finished.saturating_sub(speed.finished);
        (speed.since, speed.finished) = (now, finished);
        let wanted = (number as f64 * AHEAD.div_duration_f64(time)) as usize;
        let wanted = wanted.min(self.concurrency * MAX_AHEAD);
        let mut ahead = speed.ahead;
        if wanted > ahead {
            self.running.add_permits(wanted - ahead);
            ahead = wanted;
        }
        ahead -= self.running.forget_permits(ahead - wanted);
        // The permits of leased runs are taken off by a later call.
        if let Some(surplus) = held.split((ahead - wanted).min(held.num_permits())) {
            ahead -= surplus.num_permits();
            surplus.forget();
        }
        speed.ahead = ahead;
    }

    /// Waits for a handler of a leased run. An error says that the run must return to its queue.
    pub(super) async fn handler(&self) -> Result<Option<Handler>, ()> {
        let Some(handlers) = &self.handlers else { return Ok(None) };
        let permit = timeout(MAX_WAIT, acquire(handlers, 1)).await.map_err(drop)?;
        Ok(Some(Handler { _permit: permit, finished: Arc::clone(&self.finished) }))
    }

    /// Starts a measurement of the speed.
    pub(super) fn speed(&self) -> Speed {
        Speed { since: monotonic(), finished: self.finished.load(Ordering::Relaxed), ahead: 0 }
    }
}

impl Reserved {
    /// Returns the number of runs.
    pub(super) fn runs(&self) -> usize {
        self.running.num_permits()
    }

    /// Splits off the permits for one run: those of a run without an outcome, and of a run that is not
    /// settled. `None`: no capacity is left.
    pub(super) fn split_one(&mut self) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        Some((self.running.split(1)?, self.unsettled.split(1)?))
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, permits: usize) -> OwnedSemaphorePermit {
    let permits = u32::try_from(permits).unwrap_or(u32::MAX);
    let acquired = Arc::clone(semaphore).acquire_many_owned(permits).await;
    acquired.unwrap_or_else(|_| unreachable!("the semaphore is never closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Handles `number` runs within `time`.
    async fn handle(capacity: &Capacity, number: usize, time: Duration) {
        for _ in 0..number {
            drop(capacity.handler().await);
        }
        tokio::time::sleep(time).await;
    }

    #[tokio::test(start_paused = true)]
    async fn fast_handlers_lease_ahead_and_slow_ones_do_not() {
        let capacity = Capacity::new(10, None);
        let mut speed = capacity.speed();
        handle(&capacity, 1_000, Duration::from_millis(5)).await;
        assert_eq!(capacity.reserve(&mut speed).await.runs(), 10, "too short for a measurement");
        let mut speed = capacity.speed();
        handle(&capacity, 10, Duration::from_millis(10)).await;
        assert_eq!(capacity.reserve(&mut speed).await.runs(), 10 + 50);
        handle(&capacity, 1_000, Duration::from_millis(10)).await;
        assert_eq!(capacity.reserve(&mut speed).await.runs(), 10 + 10 * MAX_AHEAD);
        handle(&capacity, 10, Duration::from_secs(1)).await;
        assert_eq!(capacity.reserve(&mut speed).await.runs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn permits_of_leased_runs_are_taken_off_when_the_runs_end() {
        let capacity = Capacity::new(10, None);
        let mut speed = capacity.speed();
        handle(&capacity, 1_000, Duration::from_millis(10)).await;
        let leased = capacity.reserve(&mut speed).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let waits = timeout(Duration::from_secs(1), capacity.reserve(&mut speed)).await;
        assert!(waits.is_err(), "all runs are leased");
        drop(leased);
        assert_eq!(capacity.reserve(&mut speed).await.runs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_waits_for_long_returns_to_its_queue() {
        let capacity = Capacity::new(1, None);
        let handler = capacity.handler().await;
        assert!(matches!(handler, Ok(Some(_))));
        assert!(capacity.handler().await.is_err());
        let fixed = Capacity::new(1, Some(5));
        assert!(matches!(fixed.handler().await, Ok(None)));
        assert_eq!(fixed.reserve(&mut fixed.speed()).await.runs(), 5);
    }
}

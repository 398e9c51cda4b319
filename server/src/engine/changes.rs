//! Changes of tasks, runs, queues and operations, for those who watch them live.
//!
//! The feed is lossy: a viewer that misses changes gets `resync`, and reads the current state again. Without
//! viewers, a write costs one atomic load. The writes of a quarter of a second become one [`Tick`], which all
//! viewers share, so that neither the number of writes nor the number of viewers multiplies the memory.

mod pending;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};

use self::pending::Pending;
pub use self::pending::{Missed, Tick};
use crate::core::change::Change;
use crate::core::operation::Operation;
use crate::core::{Run, Task};
use crate::ports::Fired;

/// Time between two ticks.
pub const TICK: Duration = Duration::from_millis(250);
/// Ticks that a viewer may be behind. Together with the size of a tick, they bound the memory of all viewers.
pub const TICKS_KEPT: usize = 16;
/// How often the feed checks, without changes, that somebody still watches.
const IDLE: Duration = Duration::from_secs(1);
/// Default of the maximum number of viewers of a node.
pub const MAX_VIEWERS: usize = 1_000;

/// The feed of one node.
#[derive(Debug, Clone, Default)]
pub struct ChangeFeed(Arc<Feed>);

#[derive(Debug)]
struct Feed {
    viewers: AtomicUsize,
    max_viewers: AtomicUsize,
    /// Whether viewers of other nodes watch.
    is_watched_elsewhere: AtomicBool,
    is_running: AtomicBool,
    pending: Mutex<Pending>,
    /// Outside of the feed, so that the loop keeps no feed alive.
    changed: Arc<Notify>,
    ticks: broadcast::Sender<Arc<Tick>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            viewers: AtomicUsize::new(0),
            max_viewers: AtomicUsize::new(MAX_VIEWERS),
            is_watched_elsewhere: AtomicBool::new(false),
            is_running: AtomicBool::new(false),
            pending: Mutex::default(),
            changed: Arc::default(),
            ticks: broadcast::Sender::new(TICKS_KEPT),
        }
    }
}

impl Feed {
    fn is_watched(&self) -> bool {
        self.viewers.load(Ordering::Relaxed) > 0 || self.is_watched_elsewhere.load(Ordering::Relaxed)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // A panic in between would lose changes, and the feed may lose changes.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self) {
        let tick = std::mem::take(&mut *self.pending()).into_tick();
        if !tick.is_empty() {
            // An error means that the last viewer is going away.
            let _ = self.ticks.send(Arc::new(tick));
        }
    }
}

impl ChangeFeed {
    /// Returns whether there are viewers. Without viewers, changes are not collected.
    pub fn is_watched(&self) -> bool {
        self.0.is_watched()
    }

    /// Returns the number of viewers of this node.
    pub fn viewers(&self) -> usize {
        self.0.viewers.load(Ordering::Relaxed)
    }

    /// Sets the maximum number of viewers.
    pub fn limit_viewers(&self, most: usize) {
        self.0.max_viewers.store(most, Ordering::Relaxed);
    }

    /// Tells viewers that tasks have changed.
    pub fn tasks<'a>(&self, tasks: impl IntoIterator<Item = &'a Task>) {
        self.add(|pending| {
            tasks.into_iter().for_each(|task| pending.add(&task.name, || Change::of_task(task)));
        });
    }

    /// Tells viewers that runs have changed, and their queues.
    pub fn runs<'a>(&self, runs: impl IntoIterator<Item = &'a Run>) {
        self.add(|pending| runs.into_iter().for_each(|run| pending.add_run(run)));
    }

    /// Tells viewers of the runs that have fired.
    pub fn fired(&self, fired: &[Fired]) {
        self.runs(fired.iter().filter_map(|fired| match fired {
            Fired::Passed { run, .. } => Some(&**run),
            Fired::NotPassed | Fired::Unreadable => None,
        }));
    }

    /// Tells viewers that the log of a run has new lines.
    pub fn log(&self, run: &Run) {
        self.add(|pending| pending.add(&run.tag, || Change::of_log(run)));
    }

    /// Tells viewers that an operation has changed.
    pub fn operation(&self, operation: &Operation) {
        self.add(|pending| pending.add("", || Change::of_operation(operation)));
    }

    /// Passes on a tick of another node.
    pub fn pass_on(&self, tick: Tick) {
        let _ = self.0.ticks.send(Arc::new(tick));
    }

    /// Tells all viewers to read the current state again.
    pub fn resync(&self) {
        self.pass_on(Tick::resync());
    }

    fn add(&self, add: impl FnOnce(&mut Pending)) {
        if self.0.is_watched() {
            add(&mut self.0.pending());
            self.0.changed.notify_one();
        }
    }

    /// Watches from now on, until the value is dropped. `None`: as many viewers watch as are allowed. Must be
    /// called in a Tokio runtime.
    pub fn watch(&self) -> Option<Watched> {
        let max = self.0.max_viewers.load(Ordering::Relaxed);
        let one_more = |viewers| (viewers < max).then_some(viewers + 1);
        self.0.viewers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        let watched = Watched { feed: self.clone(), ticks: self.0.ticks.subscribe() };
        self.ensure_running();
        Some(watched)
    }

    /// Returns the ticks, but does not count as a viewer: without viewers, there are no ticks.
    pub fn ticks(&self) -> broadcast::Receiver<Arc<Tick>> {
        self.0.ticks.subscribe()
    }

    /// Sets whether viewers of other nodes watch. Must be called in a Tokio runtime.
    pub fn set_watched_elsewhere(&self, is_watched: bool) {
        self.0.is_watched_elsewhere.store(is_watched, Ordering::Relaxed);
        if is_watched {
            self.ensure_running();
        }
    }

    /// Returns whether viewers of other nodes watch.
    pub fn is_watched_elsewhere(&self) -> bool {
        self.0.is_watched_elsewhere.load(Ordering::Relaxed)
    }

    fn ensure_running(&self) {
        if !self.0.is_running.swap(true, Ordering::SeqCst) {
            tokio::spawn(run(Arc::downgrade(&self.0), Arc::clone(&self.0.changed)));
        }
    }
}

/// Sends ticks while somebody watches. The first change after a quiet time is sent at once.
async fn run(feed: Weak<Feed>, changed: Arc<Notify>) {
    loop {
        let has_changed = tokio::time::timeout(IDLE, changed.notified()).await.is_ok();
        {
            let Some(feed) = feed.upgrade() else { return };
            feed.flush();
            if !feed.is_watched() {
                feed.is_running.store(false, Ordering::SeqCst);
                // A viewer that came in between has found the loop running.
                if !feed.is_watched() || feed.is_running.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        }
        if has_changed {
            tokio::time::sleep(TICK).await;
        }
    }
}

/// One viewer of the feed.
#[derive(Debug)]
pub struct Watched {
    feed: ChangeFeed,
    ticks: broadcast::Receiver<Arc<Tick>>,
}

impl Watched {
    /// Waits for the next tick. A viewer that has missed ticks gets a tick that says so.
    pub async fn next(&mut self) -> Arc<Tick> {
        match self.ticks.recv().await {
            Ok(tick) => tick,
            Err(broadcast::error::RecvError::Lagged(_)) => Arc::new(Tick::resync()),
            // The feed outlives its viewers.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.feed.0.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;

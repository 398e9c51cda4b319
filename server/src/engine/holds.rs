//! The holds that this node knows. Every node reads them at least once a second, while its loops run or workers ask.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::core::Moment;
use crate::core::hold::{Hold, HoldScope};
use crate::core::wait_group::WaitGroup;
use crate::ports::{Records, Result};

/// Kind of the records of holds.
pub const KIND: &str = "hold";
/// Maximum number of holds.
pub const MAX_HOLDS: usize = 1_000;
/// Maximum number of records that are read. Nodes that add holds at the same time can exceed [`MAX_HOLDS`].
const MAX_READ: u32 = 2 * MAX_HOLDS as u32;
/// Age at which the known holds are read again, in milliseconds. No decision uses older ones.
const MAX_AGE_MS: i64 = 1_000;

/// The known holds, for the decisions of one node.
#[derive(Default)]
pub struct Holds {
    source: OnceLock<Arc<dyn Records>>,
    known: Mutex<Known>,
    /// One caller reads, while the others wait for the holds.
    read: tokio::sync::Mutex<()>,
    /// Groups that had runs when this node last looked.
    waiting: Mutex<BTreeSet<WaitGroup>>,
}

#[derive(Default)]
struct Known {
    holds: Arc<[Hold]>,
    /// When the read began, by the monotonic clock. `None`: no read has ended.
    read_at_ms: Option<i64>,
}

impl std::fmt::Debug for Holds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holds").finish_non_exhaustive()
    }
}

impl Holds {
    /// Sets where the holds are stored. Without a source, nothing is on hold.
    pub fn read_from(&self, records: Arc<dyn Records>) {
        // Later handles of the same node have the same records.
        let _ = self.source.set(records);
    }

    /// Returns the stored holds, as they were at most a second before `steady_ms`. Some may have ended.
    ///
    /// # Errors
    /// A port's error, if the known holds are older and the store does not answer. Then no decision is safe.
    pub async fn current(&self, steady_ms: i64) -> Result<Arc<[Hold]>> {
        if let Some(known) = self.known_at(steady_ms) {
            return Ok(known);
        }
        let _reading = self.read.lock().await;
        match self.known_at(steady_ms) {
            Some(known) => Ok(known),
            None => self.read_all(steady_ms).await,
        }
    }

    /// Reads the holds again.
    ///
    /// # Errors
    /// A port's error; the known holds stay.
    pub async fn refresh(&self, steady_ms: i64) -> Result<Arc<[Hold]>> {
        let _reading = self.read.lock().await;
        self.read_all(steady_ms).await
    }

    /// Notes that runs of a group may wait for the end of a hold.
    pub fn note_waiting(&self, group: WaitGroup) {
        self.waiting().insert(group);
    }

    /// Returns whether runs of a group may wait for the end of a hold.
    pub fn may_wait(&self, group: &WaitGroup) -> bool {
        self.waiting().contains(group)
    }

    /// Notes that no run of a group waits.
    pub fn note_empty(&self, group: &WaitGroup) {
        self.waiting().remove(group);
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeSet<WaitGroup>> {
        // Each change is one set operation, so a panic leaves the set consistent.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_at(&self, steady_ms: i64) -> Option<Arc<[Hold]>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |at: i64| steady_ms.saturating_sub(at) < MAX_AGE_MS;
        known.read_at_ms.is_some_and(is_fresh).then(|| Arc::clone(&known.holds))
    }

    async fn read_all(&self, steady_ms: i64) -> Result<Arc<[Hold]>> {
        let records = match self.source.get() {
            Some(source) => source.records(KIND, None, None, MAX_READ).await?,
            None => Vec::new(),
        };
        // An unreadable hold must not stop the other queues.
        let parsed = records.iter().filter_map(|record| {
            let hold = serde_json::from_str::<Hold>(&record.doc);
            hold.inspect_err(|error| tracing::error!(key = record.key, %error, "unreadable hold; ignored"))
                .ok()
        });
        let holds: Arc<[Hold]> = parsed.collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Known { holds: Arc::clone(&holds), read_at_ms: Some(steady_ms) };
        Ok(holds)
    }
}

/// Returns the hold whose end a run with this tag and queue must wait for: of its tag, or else of its queue.
pub fn find_for<'a>(holds: &'a [Hold], tag: &str, queue: Option<&str>, now: Moment) -> Option<&'a Hold> {
    let of_queue = || queue.and_then(|queue| find(holds, HoldScope::Queue, queue, now));
    find(holds, HoldScope::Tag, tag, now).or_else(of_queue)
}

/// Returns the hold that pauses a queue or a tag at `now`.
pub fn find<'a>(holds: &'a [Hold], scope: HoldScope, name: &str, now: Moment) -> Option<&'a Hold> {
    holds.iter().find(|hold| hold.covers(scope, name, now))
}

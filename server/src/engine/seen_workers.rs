//! The workers that lease through this node, by name.
//!
//! Only the list of workers depends on them. What a worker holds is in the store.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::core::Moment;

/// Maximum number of workers that a node remembers. Workers beyond it are not recorded.
const MAX_WORKERS: usize = 1_000;
/// Maximum number of queues that a node remembers of a worker.
const MAX_QUEUES: usize = 8;
/// Maximum number of workers that a node describes to others: those that asked last.
const MAX_DESCRIBED: usize = 100;
/// How long a node remembers a worker after its last request, in milliseconds.
const REMEMBERED_MS: i64 = 600_000;
/// Queue of a worker that leases from every queue with the name of its runs' tag.
pub const EVERY: &str = "*";

/// A worker, as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenWorker {
    pub name: String,
    /// Queues of its requests, at most [`MAX_QUEUES`].
    pub queues: Vec<String>,
    /// Number of its lease requests that wait now.
    pub waiting: u32,
    /// When it last asked for runs.
    pub last_at: Moment,
}

/// Lease requests by worker.
#[derive(Debug, Default)]
pub struct SeenWorkers(Mutex<HashMap<String, SeenWorker>>);

impl SeenWorkers {
    /// Records a lease request, which waits until the answer is dropped.
    pub fn enter(&self, name: &str, queues: &[String], now: Moment) -> Asking<'_> {
        let mut seen = self.lock();
        if seen.len() >= MAX_WORKERS && !seen.contains_key(name) {
            seen.retain(|_, worker| worker.is_remembered(now));
        }
        if seen.len() < MAX_WORKERS || seen.contains_key(name) {
            let new = || SeenWorker { name: name.to_owned(), queues: Vec::new(), waiting: 0, last_at: now };
            let worker = seen.entry(name.to_owned()).or_insert_with(new);
            if !worker.is_remembered(now) {
                worker.queues.clear();
            }
            worker.waiting += 1;
            worker.last_at = worker.last_at.max(now);
            worker.add_queues(queues);
        }
        Asking { workers: self, name: name.to_owned() }
    }

    /// Returns the workers that asked last, latest first.
    pub fn recent(&self, now: Moment) -> Vec<SeenWorker> {
        let mut recent: Vec<SeenWorker> =
            self.lock().values().filter(|w| w.is_remembered(now)).cloned().collect();
        recent.sort_by(|a, b| (b.last_at, &a.name).cmp(&(a.last_at, &b.name)));
        recent.truncate(MAX_DESCRIBED);
        recent
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, SeenWorker>> {
        // Each change leaves the map consistent, so a panic does, too.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SeenWorker {
    fn is_remembered(&self, now: Moment) -> bool {
        self.waiting > 0 || now < self.last_at.plus_ms(REMEMBERED_MS)
    }

    /// Adds the queues of a request. Some workers with one name send requests for different queues.
    fn add_queues(&mut self, queues: &[String]) {
        let every = [EVERY.to_owned()];
        let queues = if queues.is_empty() { &every } else { queues };
        for queue in queues {
            if self.queues.len() < MAX_QUEUES && !self.queues.contains(queue) {
                self.queues.push(queue.clone());
            }
        }
    }
}

/// A lease request that waits.
pub struct Asking<'a> {
    workers: &'a SeenWorkers,
    name: String,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(worker) = self.workers.lock().get_mut(&self.name) {
            worker.waiting = worker.waiting.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_sec(1_000);

    #[test]
    fn a_worker_is_remembered_while_it_waits_and_for_ten_minutes_after() {
        let workers = SeenWorkers::default();
        let asking = workers.enter("w", &["q".to_owned()], NOW);
        let later = NOW.plus_ms(REMEMBERED_MS);
        let seen = |waiting| SeenWorker { name: "w".into(), queues: vec!["q".into()], waiting, last_at: NOW };
        assert_eq!(workers.recent(later), [seen(1)]);
        drop(asking);
        assert_eq!(workers.recent(later.plus_ms(-1)), [seen(0)]);
        assert_eq!(workers.recent(later), []);
        drop(workers.enter("w", &[], later));
        assert_eq!(workers.recent(later)[0].queues, [EVERY]);
    }

    #[test]
    fn the_memory_and_the_description_are_bounded() {
        let workers = SeenWorkers::default();
        let queues: Vec<String> = (0..100).map(|n| format!("q{n}")).collect();
        for n in 0..2 * MAX_WORKERS as i64 {
            drop(workers.enter(&format!("w{n}"), &queues, NOW.plus_ms(n)));
        }
        assert_eq!(workers.lock().len(), MAX_WORKERS);
        let recent = workers.recent(NOW.plus_ms(2_000));
        assert_eq!((recent.len(), recent[0].queues.len()), (MAX_DESCRIBED, MAX_QUEUES));
        drop(workers.enter("late", &queues, NOW.plus_ms(2 * REMEMBERED_MS)));
        assert_eq!(workers.lock().len(), 1, "the others asked too long ago");
    }
}

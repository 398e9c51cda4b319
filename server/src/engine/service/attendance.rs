//! Which queues workers lease from through this node.
//!
//! The answers explain why a run waits. Nothing else depends on them: other nodes have their own.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::Service;
use crate::core::Moment;

/// Maximum number of queues that a node remembers. Queues beyond it are not recorded.
const MAX_QUEUES: usize = 10_000;
/// Time after its last request in which a worker counts as present.
const PRESENT_MS: i64 = 60_000;
/// Key of the workers that lease from every queue with the name of its runs' tag.
const EVERY: &str = "";

/// The workers of one queue, as this node sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attendance {
    /// Number of lease requests that wait now.
    pub waiting: u32,
    /// When a worker last asked for runs. `None`: never since this node started.
    pub last_asked_at: Option<Moment>,
    /// When this node was first asked.
    pub observed_since: Moment,
}

impl Attendance {
    /// Returns whether a worker takes runs from the queue.
    pub fn is_attended(&self, now: Moment) -> bool {
        self.waiting > 0 || self.last_asked_at.is_some_and(|at| now < at.plus_ms(PRESENT_MS))
    }
}

/// Lease requests by queue.
#[derive(Debug, Default)]
pub struct QueueAttendance {
    observed_since: OnceLock<Moment>,
    queues: Mutex<HashMap<String, Asked>>,
}

#[derive(Debug)]
struct Asked {
    waiting: u32,
    last_at: Moment,
}

impl QueueAttendance {
    /// Records a lease request, which waits until the answer is dropped.
    pub fn enter(&self, queues: &[String], now: Moment) -> Waiting<'_> {
        self.observed_since.get_or_init(|| now);
        let names = if queues.is_empty() { vec![EVERY.to_owned()] } else { queues.to_vec() };
        let mut recorded = self.lock();
        if recorded.len() + names.len() > MAX_QUEUES {
            recorded.retain(|_, asked| asked.waiting > 0);
        }
        for name in &names {
            if recorded.len() >= MAX_QUEUES && !recorded.contains_key(name) {
                continue;
            }
            let asked = recorded.entry(name.clone()).or_insert(Asked { waiting: 0, last_at: now });
            asked.waiting += 1;
            asked.last_at = now.max(asked.last_at);
        }
        Waiting { attendance: self, names }
    }

    fn of(&self, queue: &str, now: Moment) -> Attendance {
        let observed_since = *self.observed_since.get_or_init(|| now);
        let recorded = self.lock();
        let asked = [queue, EVERY].into_iter().filter_map(|name| recorded.get(name));
        let none = Attendance { waiting: 0, last_asked_at: None, observed_since };
        asked.fold(none, |sum, asked| Attendance {
            waiting: sum.waiting + asked.waiting,
            last_asked_at: sum.last_asked_at.max(Some(asked.last_at)),
            ..sum
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Asked>> {
        // Each change leaves the map consistent, so a panic does, too.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lease request that waits.
pub struct Waiting<'a> {
    attendance: &'a QueueAttendance,
    names: Vec<String>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut recorded = self.attendance.lock();
        for name in &self.names {
            if let Some(asked) = recorded.get_mut(name) {
                asked.waiting = asked.waiting.saturating_sub(1);
            }
        }
    }
}

impl Service {
    /// Returns the workers of a queue, as this node sees them.
    pub fn attendance(&self, queue: &str) -> Attendance {
        self.shared.attendance.of(queue, self.now())
    }

    /// Returns the number of runs of a queue that workers leased through this node in the last minute.
    pub fn leases_per_minute(&self, queue: &str) -> u64 {
        self.shared.metrics.leases_per_minute(queue, self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_sec(1_000);

    #[test]
    fn a_queue_is_attended_while_a_request_waits_and_for_a_minute_after() {
        let attendance = QueueAttendance::default();
        let waiting = attendance.enter(&["a".to_owned(), "b".to_owned()], NOW);
        let later = NOW.plus_ms(PRESENT_MS);
        assert!(attendance.of("a", NOW).is_attended(later) && attendance.of("b", NOW).is_attended(later));
        assert!(!attendance.of("c", NOW).is_attended(later));
        drop(waiting);
        assert!(
            attendance.of("a", NOW).is_attended(later.plus_ms(-1))
                && !attendance.of("a", NOW).is_attended(later)
        );
        assert_eq!(attendance.of("a", NOW).last_asked_at, Some(NOW));
        let _every = attendance.enter(&[], later);
        assert!(attendance.of("c", NOW).is_attended(later), "a worker of every queue");
    }

    #[test]
    fn the_memory_is_bounded() {
        let attendance = QueueAttendance::default();
        for n in 0..3 * MAX_QUEUES {
            drop(attendance.enter(&[format!("q{n}")], NOW));
        }
        assert!(attendance.lock().len() <= MAX_QUEUES);
        let held: Vec<_> = (0..MAX_QUEUES).map(|n| format!("h{n}")).collect();
        let _held = attendance.enter(&held, NOW);
        drop(attendance.enter(&["more".to_owned()], NOW));
        assert!(attendance.lock().len() <= MAX_QUEUES);
    }
}

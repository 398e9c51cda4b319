//! The near future in memory: the tasks whose next moment comes within seconds, in the order of those moments.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::core::Moment;
use crate::core::task::{Task, TaskId};

/// A step that a task has taken: its revision and the moment.
type Step = (u32, Moment);

/// The tasks that are due soon. Filled by scans, emptied by the dispatcher; what it holds is a hint, the store decides.
#[derive(Default)]
pub struct Window {
    inner: Mutex<Inner>,
    earlier: Notify,
}

#[derive(Default)]
struct Inner {
    due: BTreeMap<(Moment, TaskId), Task>,
    place: HashMap<TaskId, Moment>,
    busy: HashSet<TaskId>,
    // A scan may bring back a task as it was before its last step. So steps are kept, with their numbers, as long as a scan runs that
    // began before them.
    stepped: HashMap<TaskId, (Step, u64)>,
    steps: u64,
    // How many steps had been taken when each running scan began, and how many scans began there.
    scans: BTreeMap<u64, usize>,
}

/// A scan that runs. It ends when this is dropped, which is to be after its find was offered.
pub struct Scan<'a> {
    window: &'a Window,
    began_at: u64,
}

impl Drop for Scan<'_> {
    fn drop(&mut self) {
        self.window.lock().scan_ends(self.began_at);
    }
}

impl Window {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change below is complete before it can panic.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A scan begins: what it brings is judged by the steps that are taken from here on. Several may run at the same time.
    #[must_use = "the scan lasts as long as this"]
    pub fn scan_begins(&self) -> Scan<'_> {
        let mut inner = self.lock();
        let began_at = inner.steps;
        *inner.scans.entry(began_at).or_default() += 1;
        Scan { window: self, began_at }
    }

    /// Adds what a scan has found.
    pub fn offer(&self, tasks: Vec<Task>) {
        let mut inner = self.lock();
        let head = inner.head();
        for task in tasks {
            inner.offer(task);
        }
        if inner.head() != head {
            self.earlier.notify_one();
        }
    }

    /// Takes up to `limit` tasks that are due at `now`. Each must be given back by [`Window::done`].
    pub fn take_due(&self, now: Moment, limit: usize) -> Vec<Task> {
        let mut inner = self.lock();
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some(entry) = inner.due.first_entry()
            && entry.key().0 <= now
        {
            let task = entry.remove();
            inner.place.remove(&task.id);
            inner.busy.insert(task.id.clone());
            taken.push(task);
        }
        taken
    }

    /// The task that was taken has stepped over `step`, or was not able to; `next` is what it is now, if it is due again.
    pub fn done(&self, id: &TaskId, step: Option<Step>, next: Option<Task>) {
        let mut inner = self.lock();
        inner.busy.remove(id);
        if let Some(step) = step {
            inner.steps += 1;
            let number = inner.steps;
            inner.stepped.insert(id.clone(), (step, number));
        }
        let head = inner.head();
        if let Some(task) = next {
            inner.offer(task);
        }
        if inner.head() != head {
            self.earlier.notify_one();
        }
    }

    /// Forgets what belongs to other shards.
    pub fn keep_shards(&self, shards: &[u16]) {
        let mut inner = self.lock();
        let Inner { due, place, .. } = &mut *inner;
        due.retain(|(_, id), _| shards.contains(&id.shard()));
        place.retain(|id, _| shards.contains(&id.shard()));
    }

    /// The earliest moment it holds.
    pub fn head(&self) -> Option<Moment> {
        self.lock().head()
    }

    /// How many tasks wait in it.
    pub fn len(&self) -> usize {
        self.lock().due.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whoever waits for the earliest moment is to look at it again.
    pub fn look_again(&self) {
        self.earlier.notify_one();
    }

    /// Returns when the earliest moment has changed.
    pub async fn earlier(&self) {
        self.earlier.notified().await;
    }
}

impl Inner {
    fn head(&self) -> Option<Moment> {
        self.due.keys().next().map(|(moment, _)| *moment)
    }

    fn offer(&mut self, task: Task) {
        let Some(due) = task.next_due_at else { return };
        if self.busy.contains(&task.id) || self.has_stepped_over(&task.id, (task.rev, due)) {
            return;
        }
        if let Some(old) = self.place.insert(task.id.clone(), due) {
            self.due.remove(&(old, task.id.clone()));
        }
        self.due.insert((due, task.id.clone()), task);
    }

    fn has_stepped_over(&self, id: &TaskId, step: Step) -> bool {
        self.stepped.get(id).is_some_and(|(last, _)| step <= *last)
    }

    /// Forgets the steps that no running scan can have missed.
    fn scan_ends(&mut self, began_at: u64) {
        let oldest = |scans: &BTreeMap<u64, usize>| scans.keys().next().copied();
        let before = oldest(&self.scans);
        if let Some(count) = self.scans.get_mut(&began_at) {
            *count -= 1;
            if *count == 0 {
                self.scans.remove(&began_at);
            }
        }
        let after = oldest(&self.scans);
        if after == before {
            return;
        }
        // What has been taken since the last scan began is kept for one more: a store that has just lost its primary may be read as it
        // was a moment ago.
        let oldest = after.unwrap_or(began_at);
        self.stepped.retain(|_, (_, number)| *number > oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Schedule;
    use crate::core::submission::Submission;

    fn task(n: u128, due_ms: i64) -> Task {
        let submission = Submission {
            schedule: Schedule::Every { period_ms: 10 },
            start_at: Some(Moment::from_ms(due_ms)),
            ..Submission::named("tag", "")
        };
        submission.accept(TaskId::new(uuid::Uuid::from_u128(n)), Moment::from_ms(0)).unwrap()
    }

    fn ids(tasks: &[Task]) -> Vec<&str> {
        tasks.iter().map(|task| &task.id.as_str()[31..]).collect()
    }

    #[test]
    fn gives_out_what_is_due_in_order_and_once() {
        let window = Window::default();
        window.offer(vec![task(1, 30), task(2, 10), task(3, 20)]);
        assert_eq!(ids(&window.take_due(Moment::from_ms(20), 9)), ["2", "3"]);
        assert!(window.take_due(Moment::from_ms(20), 9).is_empty());
        window.offer(vec![task(2, 10)]);
        assert!(window.take_due(Moment::from_ms(20), 9).is_empty(), "it is busy");
    }

    #[test]
    fn a_scan_that_began_before_a_step_brings_nothing_back() {
        let window = Window::default();
        window.offer(vec![task(1, 10)]);
        let taken = window.take_due(Moment::from_ms(10), 9);
        let scan = window.scan_begins();
        window.done(&taken[0].id, Some((1, Moment::from_ms(10))), None);
        window.offer(vec![task(1, 10)]);
        assert!(window.is_empty(), "as it was before its step");
        window.offer(vec![task(1, 20)]);
        assert_eq!(window.head(), Some(Moment::from_ms(20)), "its next moment is news");
        drop(scan);
        drop(window.scan_begins());
        assert!(window.lock().stepped.is_empty(), "nobody can have missed it");
    }

    #[test]
    fn a_scan_that_others_overtake_brings_nothing_back_either() {
        let window = Window::default();
        window.offer(vec![task(1, 10), task(2, 10)]);
        let taken = window.take_due(Moment::from_ms(10), 9);
        let hinted = window.scan_begins();
        window.done(&taken[0].id, Some((1, Moment::from_ms(10))), None);
        for _ in 0..3 {
            drop(window.scan_begins());
        }
        window.offer(vec![task(1, 10)]);
        assert!(window.is_empty(), "it was read before its step");
        let regular = window.scan_begins();
        window.done(&taken[1].id, Some((1, Moment::from_ms(10))), None);
        drop(hinted);
        window.offer(vec![task(2, 10)]);
        assert!(window.is_empty(), "the other scan still runs");
        drop(regular);
        drop(window.scan_begins());
        assert!(window.lock().stepped.is_empty());
    }

    #[test]
    fn a_task_that_moved_stands_once() {
        let window = Window::default();
        window.offer(vec![task(1, 10)]);
        window.offer(vec![task(1, 40)]);
        assert_eq!((window.len(), window.head()), (1, Some(Moment::from_ms(40))));
    }

    #[test]
    fn lost_shards_are_forgotten() {
        let window = Window::default();
        window.offer(vec![task(1, 10), task(2, 10)]);
        window.keep_shards(&[task(2, 10).id.shard()]);
        assert_eq!(ids(&window.take_due(Moment::from_ms(10), 9)), ["2"]);
    }

    #[tokio::test]
    async fn an_earlier_moment_wakes_the_dispatcher() {
        let window = Window::default();
        window.offer(vec![task(1, 50)]);
        window.earlier().await;
        window.offer(vec![task(2, 10)]);
        window.earlier().await;
        assert_eq!(window.head(), Some(Moment::from_ms(10)));
    }
}

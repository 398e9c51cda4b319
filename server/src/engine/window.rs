//! The tasks that are due within seconds, in memory, ordered by their next moment.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::core::Moment;
use crate::core::task::{Task, TaskId};

/// A step of a task over a moment: the task's revision and the moment.
type Step = (u32, Moment);

/// The tasks that are due soon. Scans fill the window and the dispatcher empties it. Its content is a hint;
/// the store decides.
#[derive(Default)]
pub struct Window {
    inner: Mutex<Inner>,
    head_changed: Notify,
}

#[derive(Default)]
struct Inner {
    due: BTreeMap<(Moment, TaskId), Task>,
    place: HashMap<TaskId, Moment>,
    busy: HashSet<TaskId>,
    // A scan may return a task as it was before its last step. So the last steps are kept, each with its
    // number, while a scan runs that began before the step.
    stepped: HashMap<TaskId, (Step, u64)>,
    steps: u64,
    // The number of steps at the start of each running scan, with the number of scans that started there.
    scans: BTreeMap<u64, usize>,
}

/// A running scan. Drop it after its tasks were offered.
pub struct Scan<'a> {
    window: &'a Window,
    began_at: u64,
}

impl Drop for Scan<'_> {
    fn drop(&mut self) {
        self.window.lock().end_scan(self.began_at);
    }
}

impl Window {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change below is complete before it can panic.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Begins a scan. While the scan runs, the window ignores an offered task that was read before
    /// the latest step of this task. Several scans may run at the same time.
    #[must_use = "the scan ends when this is dropped"]
    pub fn begin_scan(&self) -> Scan<'_> {
        let mut inner = self.lock();
        let began_at = inner.steps;
        *inner.scans.entry(began_at).or_default() += 1;
        Scan { window: self, began_at }
    }

    /// Adds the tasks that a scan has read.
    pub fn offer(&self, tasks: Vec<Task>) {
        let mut inner = self.lock();
        let head = inner.head();
        for task in tasks {
            inner.offer(task);
        }
        if inner.head() != head {
            self.head_changed.notify_one();
        }
    }

    /// Takes up to `limit` tasks that are due at `now`. Each must be returned with [`Window::done`].
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

    /// Returns a task that was taken. `step` is the step that the task has made, if any; `next` is the task
    /// after it, if it is due again.
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
            self.head_changed.notify_one();
        }
    }

    /// Removes the tasks of all other shards.
    pub fn keep_shards(&self, shards: &[u16]) {
        let mut inner = self.lock();
        let Inner { due, place, .. } = &mut *inner;
        due.retain(|(_, id), _| shards.contains(&id.shard()));
        place.retain(|id, _| shards.contains(&id.shard()));
    }

    /// Returns the earliest moment in the window.
    pub fn head(&self) -> Option<Moment> {
        self.lock().head()
    }

    /// Returns the number of tasks that wait in the window.
    pub fn len(&self) -> usize {
        self.lock().due.len()
    }

    /// Returns the number of tasks that were taken and not returned.
    pub fn busy(&self) -> usize {
        self.lock().busy.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the dispatcher look at the earliest moment again.
    pub fn look_again(&self) {
        self.head_changed.notify_one();
    }

    /// Waits until the earliest moment has changed.
    pub async fn head_changed(&self) {
        self.head_changed.notified().await;
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

    /// Ends a scan, and forgets the steps that every running scan has seen.
    fn end_scan(&mut self, began_at: u64) {
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
        // Steps since the start of the last scan are kept for one more scan: a store that has just lost its
        // primary may return tasks as they were a moment ago.
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
    fn due_tasks_are_taken_in_order_and_once() {
        let window = Window::default();
        window.offer(vec![task(1, 30), task(2, 10), task(3, 20)]);
        assert_eq!(ids(&window.take_due(Moment::from_ms(20), 9)), ["2", "3"]);
        assert!(window.take_due(Moment::from_ms(20), 9).is_empty());
        window.offer(vec![task(2, 10)]);
        assert!(window.take_due(Moment::from_ms(20), 9).is_empty(), "the task is busy");
    }

    #[test]
    fn a_scan_that_began_before_a_step_offers_nothing_old() {
        let window = Window::default();
        window.offer(vec![task(1, 10)]);
        let taken = window.take_due(Moment::from_ms(10), 9);
        let scan = window.begin_scan();
        window.done(&taken[0].id, Some((1, Moment::from_ms(10))), None);
        window.offer(vec![task(1, 10)]);
        assert!(window.is_empty(), "the task is as it was before its step");
        window.offer(vec![task(1, 20)]);
        assert_eq!(window.head(), Some(Moment::from_ms(20)), "its next moment is new");
        drop(scan);
        drop(window.begin_scan());
        assert!(window.lock().stepped.is_empty(), "no scan can have missed the step");
    }

    #[test]
    fn a_scan_that_outlasts_others_offers_nothing_old_either() {
        let window = Window::default();
        window.offer(vec![task(1, 10), task(2, 10)]);
        let taken = window.take_due(Moment::from_ms(10), 9);
        let hinted = window.begin_scan();
        window.done(&taken[0].id, Some((1, Moment::from_ms(10))), None);
        for _ in 0..3 {
            drop(window.begin_scan());
        }
        window.offer(vec![task(1, 10)]);
        assert!(window.is_empty(), "the task was read before its step");
        let regular = window.begin_scan();
        window.done(&taken[1].id, Some((1, Moment::from_ms(10))), None);
        drop(hinted);
        window.offer(vec![task(2, 10)]);
        assert!(window.is_empty(), "the other scan still runs");
        drop(regular);
        drop(window.begin_scan());
        assert!(window.lock().stepped.is_empty());
    }

    #[test]
    fn a_task_that_moved_is_in_the_window_once() {
        let window = Window::default();
        window.offer(vec![task(1, 10)]);
        window.offer(vec![task(1, 40)]);
        assert_eq!((window.len(), window.head()), (1, Some(Moment::from_ms(40))));
    }

    #[test]
    fn tasks_of_lost_shards_are_removed() {
        let window = Window::default();
        window.offer(vec![task(1, 10), task(2, 10)]);
        window.keep_shards(&[task(2, 10).id.shard()]);
        assert_eq!(ids(&window.take_due(Moment::from_ms(10), 9)), ["2"]);
    }

    #[tokio::test]
    async fn an_earlier_moment_wakes_the_dispatcher() {
        let window = Window::default();
        window.offer(vec![task(1, 50)]);
        window.head_changed().await;
        window.offer(vec![task(2, 10)]);
        window.head_changed().await;
        assert_eq!(window.head(), Some(Moment::from_ms(10)));
    }
}

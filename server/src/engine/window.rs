//! The tasks that are due within seconds, in memory, ordered by their next moment.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use super::fair_queue::FairQueue;
use crate::core::Moment;
use crate::core::task::{Task, TaskId};

/// A step of a task over a moment: the task's revision and the nominal moment.
type Step = (u32, Moment);

/// How a task is handed over. The two lanes do not wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Into a queue of the store.
    Queue,
    /// As a message on the bus.
    Bus,
}

impl Lane {
    pub const ALL: [Self; 2] = [Self::Queue, Self::Bus];

    fn of(task: &Task) -> Self {
        if task.queue.is_some() { Self::Queue } else { Self::Bus }
    }
}

/// The tasks that are due soon. Scans fill the window and the dispatcher empties it. Its content is a hint;
/// the store decides.
#[derive(Default)]
pub struct Window {
    inner: Mutex<Inner>,
    head_changed: [Notify; 2],
}

#[derive(Default)]
struct Inner {
    due: [FairQueue; 2],
    place: HashMap<TaskId, Place>,
    busy: HashSet<TaskId>,
    // A scan may return a task as it was before its last step. So the last steps are kept, each with its
    // number, while a scan runs that began before the step.
    stepped: HashMap<TaskId, (Step, u64)>,
    // Number of offers and steps.
    events: u64,
    // The number of events at the start of each running scan, with the number of scans that started there.
    scans: BTreeMap<u64, usize>,
}

/// Where a task waits.
struct Place {
    lane: Lane,
    tag: String,
    due: Moment,
    /// Number of the event that offered the task.
    offered: u64,
}

/// A running scan. Drop it after its tasks were offered.
pub struct Scan<'a> {
    window: &'a Window,
    began_at: u64,
}

impl Scan<'_> {
    /// Adds the tasks that the scan has read: all tasks of `shards` that are due before `until`, and maybe
    /// further ones. Removes those that the window knew before the scan, and that are no longer due: they
    /// were deleted, paused or changed.
    pub fn offer(&self, tasks: Vec<Task>, shards: &[u16], until: Moment) {
        let read: HashSet<TaskId> = tasks.iter().map(|task| task.id.clone()).collect();
        self.window.change(|inner| {
            let is_gone = |(id, place): &(&TaskId, &Place)| {
                let was_known = place.offered <= self.began_at;
                was_known && place.due < until && shards.contains(&id.shard()) && !read.contains(*id)
            };
            let gone: Vec<TaskId> = inner.place.iter().filter(is_gone).map(|(id, _)| id.clone()).collect();
            gone.iter().for_each(|id| inner.remove(id));
            tasks.into_iter().for_each(|task| inner.offer(task));
        });
    }
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

    /// Changes the content, and wakes the dispatcher of each lane whose earliest moment has changed.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let heads = Lane::ALL.map(|lane| inner.due[lane as usize].head());
        let changed = change(&mut inner);
        for lane in Lane::ALL {
            if inner.due[lane as usize].head() != heads[lane as usize] {
                self.head_changed[lane as usize].notify_one();
            }
        }
        changed
    }

    /// Begins a scan. While the scan runs, the window ignores an offered task that was read before
    /// the latest step of this task. Several scans may run at the same time.
    #[must_use = "the scan ends when this is dropped"]
    pub fn begin_scan(&self) -> Scan<'_> {
        let mut inner = self.lock();
        let began_at = inner.events;
        *inner.scans.entry(began_at).or_default() += 1;
        Scan { window: self, began_at }
    }

    /// Adds tasks.
    pub fn offer(&self, tasks: Vec<Task>) {
        self.change(|inner| tasks.into_iter().for_each(|task| inner.offer(task)));
    }

    /// Takes up to `limit` tasks of a lane that are due at `now`, in turn by tag. Each must be returned
    /// with [`Window::done`].
    pub fn take_due(&self, lane: Lane, now: Moment, limit: usize) -> Vec<Task> {
        let mut inner = self.lock();
        let taken = inner.due[lane as usize].take_due(now, limit);
        for task in &taken {
            inner.place.remove(&task.id);
            inner.busy.insert(task.id.clone());
        }
        taken
    }

    /// Returns a task that was taken. `step` is the step that the task has made, if any; `next` is the task
    /// after it, if it is due again soon.
    pub fn done(&self, id: &TaskId, step: Option<Step>, next: Option<Task>) {
        self.change(|inner| {
            inner.busy.remove(id);
            if let Some(step) = step {
                inner.events += 1;
                let number = inner.events;
                inner.stepped.insert(id.clone(), (step, number));
            }
            next.into_iter().for_each(|task| inner.offer(task));
        });
    }

    /// Removes the tasks of all other shards.
    pub fn keep_shards(&self, shards: &[u16]) {
        let mut inner = self.lock();
        let others = inner.place.keys().filter(|id| !shards.contains(&id.shard()));
        let others: Vec<TaskId> = others.cloned().collect();
        others.iter().for_each(|id| inner.remove(id));
    }

    /// Returns the earliest moment of a lane.
    pub fn head(&self, lane: Lane) -> Option<Moment> {
        self.lock().due[lane as usize].head()
    }

    /// Returns the number of tasks that wait in the window.
    pub fn len(&self) -> usize {
        self.lock().place.len()
    }

    /// Returns the number of tasks that were taken and not returned.
    pub fn busy(&self) -> usize {
        self.lock().busy.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the dispatcher look at the earliest moments again.
    pub fn look_again(&self) {
        self.head_changed.iter().for_each(Notify::notify_one);
    }

    /// Waits until the earliest moment of a lane has changed.
    pub async fn head_changed(&self, lane: Lane) {
        self.head_changed[lane as usize].notified().await;
    }
}

impl Inner {
    fn offer(&mut self, task: Task) {
        let (Some(due), Some(nominal)) = (task.next_due_at, task.nominal_due()) else { return };
        if self.busy.contains(&task.id) || self.has_stepped_over(&task.id, (task.rev, nominal)) {
            return;
        }
        self.remove(&task.id);
        self.events += 1;
        let lane = Lane::of(&task);
        let place = Place { lane, tag: task.name.clone(), due, offered: self.events };
        self.place.insert(task.id.clone(), place);
        self.due[lane as usize].insert(due, task);
    }

    fn remove(&mut self, id: &TaskId) {
        if let Some(Place { lane, tag, due, .. }) = self.place.remove(id) {
            self.due[lane as usize].remove(&tag, due, id);
        }
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
        assert_eq!(ids(&window.take_due(Lane::Bus, Moment::from_ms(20), 9)), ["2", "3"]);
        assert!(window.take_due(Lane::Bus, Moment::from_ms(20), 9).is_empty());
        window.offer(vec![task(2, 10)]);
        assert!(window.take_due(Lane::Bus, Moment::from_ms(20), 9).is_empty(), "the task is busy");
    }

    #[test]
    fn a_scan_that_began_before_a_step_offers_nothing_old() {
        let window = Window::default();
        window.offer(vec![task(1, 10)]);
        let taken = window.take_due(Lane::Bus, Moment::from_ms(10), 9);
        let scan = window.begin_scan();
        window.done(&taken[0].id, Some((1, Moment::from_ms(10))), None);
        window.offer(vec![task(1, 10)]);
        assert!(window.is_empty(), "the task is as it was before its step");
        window.offer(vec![task(1, 20)]);
        assert_eq!(window.head(Lane::Bus), Some(Moment::from_ms(20)), "its next moment is new");
        drop(scan);
        drop(window.begin_scan());
        assert!(window.lock().stepped.is_empty(), "no scan can have missed the step");
    }

    #[test]
    fn a_scan_that_outlasts_others_offers_nothing_old_either() {
        let window = Window::default();
        window.offer(vec![task(1, 10), task(2, 10)]);
        let taken = window.take_due(Lane::Bus, Moment::from_ms(10), 9);
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
        assert_eq!((window.len(), window.head(Lane::Bus)), (1, Some(Moment::from_ms(40))));
    }

    #[test]
    fn tasks_of_lost_shards_are_removed() {
        let window = Window::default();
        window.offer(vec![task(1, 10), task(2, 10)]);
        window.keep_shards(&[task(2, 10).id.shard()]);
        assert_eq!(ids(&window.take_due(Lane::Bus, Moment::from_ms(10), 9)), ["2"]);
    }

    #[tokio::test]
    async fn an_earlier_moment_wakes_the_dispatcher() {
        let window = Window::default();
        window.offer(vec![task(1, 50)]);
        window.head_changed(Lane::Bus).await;
        window.offer(vec![task(2, 10)]);
        window.head_changed(Lane::Bus).await;
        assert_eq!(window.head(Lane::Bus), Some(Moment::from_ms(10)));
    }

    #[test]
    fn a_task_that_a_scan_no_longer_finds_is_removed() {
        let window = Window::default();
        window.offer(vec![task(1, 10), task(2, 10), task(3, 40)]);
        let scan = window.begin_scan();
        window.offer(vec![task(4, 10)]);
        let shards: Vec<u16> = (0..crate::core::task::SHARDS).collect();
        scan.offer(vec![task(2, 10)], &shards, Moment::from_ms(40));
        let left = window.take_due(Lane::Bus, Moment::from_ms(50), 9);
        assert_eq!(ids(&left), ["2", "4", "3"], "task 4 is newer than the scan, task 3 was not read");
    }

    #[tokio::test]
    async fn the_lanes_do_not_wait_for_each_other() {
        let window = Window::default();
        let queued = Task { queue: Some("q".to_owned()), ..task(2, 20) };
        window.offer(vec![task(1, 10)]);
        window.head_changed(Lane::Bus).await;
        window.offer(vec![queued]);
        window.head_changed(Lane::Queue).await;
        assert_eq!(ids(&window.take_due(Lane::Queue, Moment::from_ms(20), 9)), ["2"]);
        assert_eq!(window.len(), 1);
        let moved = Task { queue: Some("q".to_owned()), ..task(1, 10) };
        window.offer(vec![moved]);
        assert_eq!((window.head(Lane::Bus), window.len()), (None, 1));
    }
}

//! Builders of tasks to create.

use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;

use crate::wire::{AddTask, task_type};

/// Marks a task that fires once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Once {}
/// Marks a task that fires on a grid of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {}
/// Marks a task that fires by a cron expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cron {}

/// Schedules that go on, and so can be counted.
pub trait Repeating {}
impl Repeating for Every {}
impl Repeating for Cron {}

/// A task to be created by [`TaskCenter::add_task`](crate::TaskCenter::add_task).
///
/// ```
/// use std::time::Duration;
/// use taskcenter_client::{NewTask, json, wire::AddTask};
///
/// let close = NewTask::once("order.close", json(&42)?).at(1_900_000_000).ack(Duration::from_secs(30));
/// let report = NewTask::cron("report", "daily", "TZ=Asia/Shanghai 0 8 * * *").dedup_key("daily-report");
/// assert_eq!(AddTask::from(close).start_time, 1_900_000_000);
/// assert_eq!(AddTask::from(report).task_type, 3);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a task is created by `TaskCenter::add_task`"]
pub struct NewTask<K> {
    request: AddTask,
    schedule: PhantomData<K>,
}

/// A payload as the text that [`NewTask`] takes.
///
/// # Errors
/// When the payload cannot be written as JSON, such as a map with keys that are no text.
pub fn json<T: Serialize + ?Sized>(payload: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string(payload)
}

impl NewTask<Once> {
    /// A task that fires once: at [`at`](Self::at), or at once.
    pub fn once(name: impl Into<String>, data: impl Into<String>) -> Self {
        Self::new(name, data, task_type::ONCE)
    }

    /// The moment to fire at, in Unix seconds. A past one fires at once.
    pub fn at(mut self, unix_sec: i64) -> Self {
        self.request.start_time = unix_sec;
        self
    }
}

impl NewTask<Every> {
    /// A task that fires at its start (now, unless [`start_at`](NewTask::start_at) says otherwise) and then every
    /// `secs` seconds on a fixed grid.
    pub fn every(name: impl Into<String>, data: impl Into<String>, secs: u32) -> Self {
        let mut task = Self::new(name, data, task_type::EVERY);
        task.request.loop_time = i64::from(secs);
        task
    }
}

impl NewTask<Cron> {
    /// A task that fires at each match of a cron expression: 5 fields, or 6 with leading seconds; `@daily` and its kin,
    /// `@every 1h30m`; a `TZ=Area/City` prefix.
    pub fn cron(name: impl Into<String>, data: impl Into<String>, expression: impl Into<String>) -> Self {
        let mut task = Self::new(name, data, task_type::CRON);
        task.request.crontab = expression.into();
        task
    }
}

impl<K: Repeating> NewTask<K> {
    /// How many times to fire in all; without this there is no end.
    pub fn times(mut self, fires: u32) -> Self {
        self.request.loop_count = i64::from(fires);
        self
    }

    /// No fire before this moment, in Unix seconds. A loop starts its grid there.
    pub fn start_at(mut self, unix_sec: i64) -> Self {
        self.request.start_time = unix_sec;
        self
    }
}

impl<K> NewTask<K> {
    fn new(name: impl Into<String>, data: impl Into<String>, task_type: i32) -> Self {
        let request = AddTask { name: name.into(), data: data.into(), task_type, ..AddTask::default() };
        Self { request, schedule: PhantomData }
    }

    /// No fire after this moment, in Unix seconds.
    pub fn end_at(mut self, unix_sec: i64) -> Self {
        self.request.end_time = unix_sec;
        self
    }

    /// Has the server wait for an outcome report of each attempt, for `max_runtime` (whole seconds, rounded up), and own
    /// the retries. The consumer must [report](crate::ConsumerBuilder::report_to).
    pub fn ack(mut self, max_runtime: Duration) -> Self {
        let secs = max_runtime.as_secs() + u64::from(max_runtime.subsec_nanos() > 0);
        self.request.ack = true;
        self.request.max_runtime = i64::try_from(secs).unwrap_or(i64::MAX);
        self
    }

    /// Identifies the task in place of (name, data): while a task with this key is live, creating it again returns it.
    pub fn dedup_key(mut self, key: impl Into<String>) -> Self {
        self.request.dedup_key = Some(key.into());
        self
    }
}

impl<K> From<NewTask<K>> for AddTask {
    fn from(task: NewTask<K>) -> Self {
        task.request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_says_its_grid_count_and_bounds() {
        let request: AddTask = NewTask::every("tick", "d", 60).times(3).start_at(100).end_at(900).into();
        assert_eq!((request.task_type, request.loop_time, request.loop_count), (task_type::EVERY, 60, 3));
        assert_eq!((request.start_time, request.end_time), (100, 900));
    }

    #[test]
    fn a_part_of_a_second_of_runtime_counts_as_one() {
        let request: AddTask = NewTask::once("n", "d").ack(Duration::from_millis(1_001)).into();
        assert!(request.ack);
        assert_eq!(request.max_runtime, 2);
    }
}

//! Builder of tasks for the legacy v1 API.

use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;

use crate::wire::{AddTask, task_type};

/// Marks a [`NewTask`] that fires once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Once {}
/// Marks a [`NewTask`] that fires on a fixed grid of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {}
/// Marks a [`NewTask`] that fires by a cron expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cron {}

/// Schedules with more than one fire: [`Every`] and [`Cron`].
pub trait Repeating {}
impl Repeating for Every {}
impl Repeating for Cron {}

/// A task to create with [`TaskCenter::add_task`](crate::TaskCenter::add_task), through the legacy
/// v1 API.
///
/// Instants are Unix seconds. [`TaskSpec`](crate::resources::TaskSpec) is the form for the resource
/// API, with milliseconds, queues and retry policies.
///
/// ```
/// use std::time::Duration;
/// use taskcenter_client::{NewTask, json, wire::AddTask};
///
/// let close = NewTask::once("order.close", json(&42)?).at(1_900_000_000);
/// let close = close.ack(Duration::from_secs(30));
/// let report = NewTask::cron("report", "daily", "TZ=Asia/Shanghai 0 8 * * *");
/// let report = report.dedup_key("daily-report");
/// assert_eq!(AddTask::from(close).start_time, 1_900_000_000);
/// assert_eq!(AddTask::from(report).task_type, 3);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "pass the task to `TaskCenter::add_task`"]
pub struct NewTask<K> {
    request: AddTask,
    schedule: PhantomData<K>,
}

/// Encodes a payload as JSON, for the `data` of a task.
///
/// # Errors
/// An error if the payload has no JSON form, such as a map whose keys are not strings.
pub fn json<T: Serialize + ?Sized>(payload: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string(payload)
}

impl NewTask<Once> {
    /// Creates a task that fires once. Default: immediately.
    pub fn once(name: impl Into<String>, data: impl Into<String>) -> Self {
        Self::new(name, data, task_type::ONCE)
    }

    /// Sets the moment of the fire, in Unix seconds. A past moment fires immediately.
    pub fn at(mut self, unix_sec: i64) -> Self {
        self.request.start_time = unix_sec;
        self
    }
}

impl NewTask<Every> {
    /// Creates a task that fires at its start and then every `secs` seconds (at least 1), on a
    /// fixed grid. Default start: now.
    pub fn every(name: impl Into<String>, data: impl Into<String>, secs: u32) -> Self {
        let mut task = Self::new(name, data, task_type::EVERY);
        task.request.loop_time = i64::from(secs);
        task
    }
}

impl NewTask<Cron> {
    /// Creates a task that fires at each match of a cron expression: 5 fields, or 6 with leading
    /// seconds; a macro such as `@daily` or `@every 1h30m`. The prefix `TZ=Area/City` sets the time
    /// zone. Default: the time zone of the server.
    pub fn cron(name: impl Into<String>, data: impl Into<String>, expression: impl Into<String>) -> Self {
        let mut task = Self::new(name, data, task_type::CRON);
        task.request.crontab = expression.into();
        task
    }
}

impl<K: Repeating> NewTask<K> {
    /// Sets the maximum number of fires. 0 or no call: unlimited.
    pub fn times(mut self, fires: u32) -> Self {
        self.request.loop_count = i64::from(fires);
        self
    }

    /// Sets the earliest moment of the first fire, in Unix seconds. The grid of
    /// [`every`](NewTask::every) starts there. Default: now.
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

    /// Sets the latest moment that fires, in Unix seconds. Default: no end.
    pub fn end_at(mut self, unix_sec: i64) -> Self {
        self.request.end_time = unix_sec;
        self
    }

    /// Makes the server wait for an outcome report of each attempt, and retry failed attempts.
    /// Default: the server does not wait.
    ///
    /// An attempt without a report fails after `max_runtime`. The SDK rounds `max_runtime` up to
    /// whole seconds. Bounds: 1 s to 366 days; zero means 60 s. The consumer must [report
    /// outcomes](crate::ConsumerBuilder::report_to). The legacy v1 API, which the SDK uses here, ignores
    /// this setting unless the server has `compat.taskcenter.wait_for_reports`.
    pub fn ack(mut self, max_runtime: Duration) -> Self {
        let secs = max_runtime.as_secs() + u64::from(max_runtime.subsec_nanos() > 0);
        self.request.ack = true;
        self.request.max_runtime = i64::try_from(secs).unwrap_or(i64::MAX);
        self
    }

    /// Sets the deduplication key, 1 to 256 bytes: at most one live task per name and key. If a
    /// live task has the same name and key, a create returns the id of that task. Default: the
    /// server compares name and data.
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
    fn a_repeating_task_has_a_period_a_count_and_bounds() {
        let request: AddTask = NewTask::every("tick", "d", 60).times(3).start_at(100).end_at(900).into();
        assert_eq!((request.task_type, request.loop_time, request.loop_count), (task_type::EVERY, 60, 3));
        assert_eq!((request.start_time, request.end_time), (100, 900));
    }

    #[test]
    fn max_runtime_is_rounded_up_to_seconds() {
        let request: AddTask = NewTask::once("n", "d").ack(Duration::from_millis(1_001)).into();
        assert!(request.ack);
        assert_eq!(request.max_runtime, 2);
    }
}

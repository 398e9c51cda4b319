//! A task as it is handed in, and the rules that it must meet.

use super::cron::{CronRule, InvalidCron};
use super::retry::{MAX_ATTEMPTS, RetryPolicy};
use super::tag::{self, InvalidTag};
use super::task::{Task, TaskId, TaskState, explicit_key, pair_key};
use super::{Moment, Schedule};

/// Longest `data` in bytes. The broker takes 4 MiB with properties; this leaves room for them.
pub const MAX_DATA_BYTES: usize = 4 * 1024 * 1024 - 64 * 1024;
/// Longest time that an outcome may be waited for, in seconds: a year.
pub const MAX_RUNTIME_SEC: u64 = 366 * 86_400;
/// The last instant that a calendar reaches, in seconds (9999-12-31).
pub const LAST_SEC: i64 = Moment::NEVER.sec();
const MAX_KEY_BYTES: usize = 256;

/// A task as it is handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Name, and tag of its messages.
    pub name: String,
    /// What is sent.
    pub data: String,
    /// When it is due.
    pub schedule: Schedule,
    /// Not before.
    pub start_at: Option<Moment>,
    /// Not after.
    pub end_at: Option<Moment>,
    /// Fires in all.
    pub max_fires: Option<u64>,
    /// Whether an outcome is waited for.
    pub ack: bool,
    /// How long, in seconds.
    pub max_runtime_sec: Option<u64>,
    /// The queue in which its runs wait for workers; `None`: the bus.
    pub queue: Option<String>,
    /// When failed attempts are tried again; `None`: as the server is set.
    pub retry: Option<RetryPolicy>,
    /// What tells it from another one.
    pub dedup: Dedup,
}

/// What tells a duplicate: of the live tasks with the same key there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dedup {
    /// Its name and data (v1 contract, "Duplicate").
    Pair,
    /// A key of the caller's own.
    Key(String),
    /// Nothing: every submission is another task.
    Nothing,
}

/// Why a submission is refused. Each one stands for a field; the text is for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubmission {
    /// The name cannot be a tag.
    #[error(transparent)]
    Name(#[from] InvalidTag),
    /// Over [`MAX_DATA_BYTES`].
    #[error("data should be at most {MAX_DATA_BYTES} bytes, and has {0}")]
    DataTooLong(usize),
    /// The expression cannot be read.
    #[error("{0}")]
    Cron(#[from] InvalidCron),
    /// A period of nothing, or one beyond any calendar.
    #[error("the period should be above 0 and below {LAST_SEC} seconds")]
    Period,
    /// The start lies beyond the calendar.
    #[error("start_time should be a unix time in seconds")]
    Start,
    /// The end has passed.
    #[error("end_time should be later than now")]
    EndPassed,
    /// Nothing lies between start and end.
    #[error("end_time should not be before start_time")]
    EndBeforeStart,
    /// No match before the end.
    #[error("the schedule has no moment before end_time")]
    NeverDue,
    /// Not between 1 and [`MAX_RUNTIME_SEC`].
    #[error("max_runtime should be between 1 and {MAX_RUNTIME_SEC} seconds")]
    MaxRuntime,
    /// As many as that have fired already.
    #[error("max_fires should be above {0}, the fires so far")]
    MaxFiresReached(u64),
    /// The name of a queue follows the rules of a tag.
    #[error("{}", .0.to_string().replacen("name", "queue", 1))]
    Queue(InvalidTag),
    /// A policy without attempts, or with endless ones.
    #[error("retry should have max_attempts between 1 and {MAX_ATTEMPTS} and pauses up to a year")]
    Retry,
    /// Empty or too long.
    #[error("dedup_key should have between 1 and {MAX_KEY_BYTES} bytes")]
    DedupKey,
}

impl Submission {
    /// A one-shot that is due at once, to be completed by whoever asks.
    pub fn named(name: impl Into<String>, data: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            data: data.into(),
            schedule: Schedule::Once,
            start_at: None,
            end_at: None,
            max_fires: None,
            ack: false,
            max_runtime_sec: None,
            queue: None,
            retry: None,
            dedup: Dedup::Pair,
        }
    }

    /// Checks every rule and turns the submission into the task to store.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn accept(self, id: TaskId, now: Moment) -> Result<Task, InvalidSubmission> {
        self.check_fields()?;
        self.check_times(now)?;
        let dedup_key = match &self.dedup {
            Dedup::Pair => Some(pair_key(&self.name, &self.data)),
            Dedup::Key(key) => Some(explicit_key(&self.name, key)),
            Dedup::Nothing => None,
        };
        let mut task = Task {
            id,
            name: self.name,
            data: self.data,
            schedule: self.schedule,
            start_at: self.start_at,
            end_at: self.end_at,
            max_fires: self.max_fires,
            ack: self.ack,
            max_runtime_sec: self.max_runtime_sec,
            queue: self.queue,
            retry: self.retry,
            created_at: now,
            anchored_at: now,
            rev: 1,
            state: TaskState::Active,
            next_due_at: None,
            last_due_at: None,
            fired_count: 0,
            dedup_key,
            past: Vec::new(),
            hidden: false,
        };
        task.next_due_at = Some(task.first_due().ok_or(InvalidSubmission::NeverDue)?);
        Ok(task)
    }

    fn check_fields(&self) -> Result<(), InvalidSubmission> {
        tag::check(&self.name)?;
        if self.data.len() > MAX_DATA_BYTES {
            return Err(InvalidSubmission::DataTooLong(self.data.len()));
        }
        match &self.schedule {
            Schedule::Once => {}
            Schedule::Every { period_ms } if (1..LAST_SEC * 1000).contains(period_ms) => {}
            Schedule::Every { .. } => return Err(InvalidSubmission::Period),
            Schedule::Cron { expression, zone } => drop(CronRule::parse(expression, zone)?),
        }
        if self.max_runtime_sec.is_some_and(|sec| !(1..=MAX_RUNTIME_SEC).contains(&sec)) {
            return Err(InvalidSubmission::MaxRuntime);
        }
        if let Some(queue) = &self.queue {
            tag::check(queue).map_err(InvalidSubmission::Queue)?;
        }
        if self.retry.is_some_and(|retry| !retry.is_valid()) {
            return Err(InvalidSubmission::Retry);
        }
        match &self.dedup {
            Dedup::Key(key) if !(1..=MAX_KEY_BYTES).contains(&key.len()) => Err(InvalidSubmission::DedupKey),
            _ => Ok(()),
        }
    }

    fn check_times(&self, now: Moment) -> Result<(), InvalidSubmission> {
        if self.start_at.is_some_and(|start| !(0..=LAST_SEC).contains(&start.sec())) {
            return Err(InvalidSubmission::Start);
        }
        match (self.start_at, self.end_at) {
            (_, Some(end)) if end < now => Err(InvalidSubmission::EndPassed),
            (Some(start), Some(end)) if end < start => Err(InvalidSubmission::EndBeforeStart),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_sec(1_000);

    fn once() -> Submission {
        Submission::named("order.close", "42")
    }

    fn accept(submission: Submission) -> Result<Task, InvalidSubmission> {
        submission.accept(TaskId::new(uuid::Uuid::nil()), NOW)
    }

    #[test]
    fn a_one_shot_is_due_at_its_start_or_at_once() {
        let due = |start_at| accept(Submission { start_at, ..once() }).unwrap().next_due_at;
        assert_eq!(due(None), Some(NOW));
        assert_eq!(due(Some(Moment::from_sec(10))), Some(NOW), "a past start");
        assert_eq!(due(Some(Moment::from_sec(2_000))), Some(Moment::from_sec(2_000)));
    }

    #[test]
    fn a_loop_fires_loop_count_times_on_its_grid() {
        let task = accept(Submission {
            schedule: Schedule::Every { period_ms: 7_000 },
            max_fires: Some(3),
            ..once()
        })
        .unwrap();
        let mut due = task.next_due_at;
        let mut fired = Vec::new();
        while let Some(moment) = due {
            fired.push(moment.since(NOW));
            due = task.due_after(moment, fired.len() as u64);
        }
        assert_eq!(fired, [0, 7_000, 14_000]);
    }

    #[test]
    fn nothing_fires_before_the_start_or_after_the_end() {
        let task = accept(Submission {
            schedule: Schedule::Cron { expression: "* * * * * *".into(), zone: "UTC".into() },
            start_at: Some(Moment::from_ms(1_002_500)),
            end_at: Some(Moment::from_sec(1_004)),
            ..once()
        })
        .unwrap();
        assert_eq!(task.next_due_at, Some(Moment::from_sec(1_003)));
        assert_eq!(
            task.due_after(Moment::from_sec(1_003), 1),
            Some(Moment::from_sec(1_004)),
            "the end itself counts"
        );
        assert_eq!(task.due_after(Moment::from_sec(1_004), 2), None);
    }

    #[test]
    fn every_broken_rule_is_named() {
        let refused = |submission| accept(submission).unwrap_err();
        assert_eq!(
            refused(Submission { name: " ".into(), ..once() }),
            InvalidSubmission::Name(InvalidTag::Empty)
        );
        assert_eq!(
            refused(Submission { data: "x".repeat(MAX_DATA_BYTES + 1), ..once() }),
            InvalidSubmission::DataTooLong(MAX_DATA_BYTES + 1)
        );
        let every = |period_ms| Submission { schedule: Schedule::Every { period_ms }, ..once() };
        assert_eq!(refused(every(0)), InvalidSubmission::Period);
        assert_eq!(refused(every(-1)), InvalidSubmission::Period);
        assert_eq!(refused(every(i64::MAX)), InvalidSubmission::Period);
        let window = |start: i64, end: i64| Submission {
            start_at: Some(Moment::from_sec(start)),
            end_at: Some(Moment::from_sec(end)),
            ..once()
        };
        assert_eq!(refused(window(0, 999)), InvalidSubmission::EndPassed);
        assert_eq!(refused(window(3_000, 2_000)), InvalidSubmission::EndBeforeStart);
        assert_eq!(refused(window(-5, 2_000)), InvalidSubmission::Start);
        let never = Submission {
            schedule: Schedule::Cron { expression: "0 0 1 1 *".into(), zone: "UTC".into() },
            end_at: Some(Moment::from_sec(2_000)),
            ..once()
        };
        assert_eq!(refused(never), InvalidSubmission::NeverDue);
        assert_eq!(refused(Submission { max_runtime_sec: Some(0), ..once() }), InvalidSubmission::MaxRuntime);
        assert_eq!(
            refused(Submission { dedup: Dedup::Key(String::new()), ..once() }),
            InvalidSubmission::DedupKey
        );
    }

    #[test]
    fn the_pair_key_keeps_name_and_data_apart() {
        assert_ne!(pair_key("ab", "c"), pair_key("a", "bc"));
        assert_eq!(pair_key("ab", "c"), pair_key("ab", "c"));
        assert_ne!(explicit_key("a", "b"), pair_key("a", "b"));
    }
}

//! The definition of a task as a client submits it, and its validation.

mod invalid;

pub use invalid::InvalidSubmission;

use super::calendar::InvalidCalendars;
use super::concurrency;
use super::conflict::OnConflict;
use super::headers::{self, Headers};
use super::labels::{self, Labels};
use super::retry::RetryPolicy;
use super::tag;
use super::task::{Task, TaskId, TaskState, explicit_key, pair_key};
use super::timing::Timing;
use super::{Moment, Schedule};

/// Longest `data`, in bytes. The broker accepts 4 MiB including properties; 64 KiB are left for
/// those.
pub const MAX_DATA_BYTES: usize = 4 * 1024 * 1024 - 64 * 1024;
/// Longest wait for an outcome, in seconds: a year.
pub const MAX_RUNTIME_SEC: u64 = 366 * 86_400;
/// Maximum timeout of a call or callback of the built-in workers, in milliseconds: a day.
pub const MAX_CALL_MS: u64 = 86_400_000;
/// Maximum timeout of a script, in milliseconds: a week.
pub const MAX_SCRIPT_MS: u64 = 7 * 86_400_000;
/// Last instant that every store can represent, in seconds (9999-12-31).
pub const LAST_SEC: i64 = Moment::NEVER.sec();
/// Maximum of `start_within_ms`: a year.
pub const MAX_START_WITHIN_MS: u64 = 366 * 86_400_000;
const MAX_KEY_BYTES: usize = 256;

/// Definition of a task as a client submits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Name, which is also the tag of the task's messages.
    pub name: String,
    /// Payload.
    pub data: String,
    /// Headers that every delivery carries.
    pub headers: Headers,
    /// Labels, which the runs carry.
    pub labels: Labels,
    pub schedule: Schedule,
    /// Earliest moment of the first fire. Default: now.
    pub start_at: Option<Moment>,
    /// Latest moment of a fire. Default: none.
    pub end_at: Option<Moment>,
    /// Maximum number of fires. Default: unlimited.
    pub max_fires: Option<u64>,
    /// Whether the server waits for an outcome report of each run.
    pub ack: bool,
    /// Longest wait for an outcome, in seconds, up to [`MAX_RUNTIME_SEC`].
    pub max_runtime_sec: Option<u64>,
    /// Milliseconds after its moment within which the first attempt of a run must start, up to
    /// [`MAX_START_WITHIN_MS`]. `None`: no limit.
    pub start_within_ms: Option<u64>,
    /// Queue in which runs wait for workers. `None`: runs are published on the bus.
    pub queue: Option<String>,
    /// Retry policy. `None`: the server's default.
    pub retry: Option<RetryPolicy>,
    /// Rules about how the moments fire.
    pub timing: Timing,
    pub dedup: Dedup,
    /// What happens if a live task has the key. The stored task does not have the field.
    pub on_conflict: OnConflict,
}

/// Deduplication: at most one live task has a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dedup {
    /// The key is derived from name and data (v1 contract, "Duplicate").
    Pair,
    /// The client gives the key.
    Key(String),
    /// No deduplication: every submission creates a task.
    Nothing,
}

impl Submission {
    /// Returns a one-shot task that is due at once. Callers set the other fields.
    pub fn named(name: impl Into<String>, data: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            data: data.into(),
            headers: Headers::new(),
            labels: Labels::new(),
            schedule: Schedule::Once,
            start_at: None,
            end_at: None,
            max_fires: None,
            ack: false,
            max_runtime_sec: None,
            start_within_ms: None,
            queue: None,
            retry: None,
            timing: Timing::default(),
            dedup: Dedup::Pair,
            on_conflict: OnConflict::Return,
        }
    }

    /// Validates the definition and returns the task to store.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn accept(self, id: TaskId, now: Moment) -> Result<Task, InvalidSubmission> {
        self.check_fields()?;
        self.check_times(now)?;
        // Every field is named, so that a new one cannot be forgotten.
        let Self {
            name,
            data,
            headers,
            labels,
            schedule,
            start_at,
            end_at,
            max_fires,
            ack,
            max_runtime_sec,
            start_within_ms,
            queue,
            retry,
            timing,
            dedup,
            on_conflict: _,
        } = self;
        let dedup_key = match dedup {
            Dedup::Pair => Some(pair_key(&name, &data)),
            Dedup::Key(key) => Some(explicit_key(&name, &key)),
            Dedup::Nothing => None,
        };
        let mut task = Task {
            id,
            name,
            data,
            headers,
            labels,
            schedule,
            start_at,
            end_at,
            max_fires,
            ack,
            max_runtime_sec,
            start_within_ms,
            queue,
            retry,
            timing,
            created_at: now,
            anchored_at: now,
            rev: 1,
            state: TaskState::Active,
            next_due_at: None,
            nominal_at: None,
            last_due_at: None,
            fired_count: 0,
            dedup_key,
            past: Vec::new(),
            hidden: false,
            stands_for: None,
            write_id: None,
            created_by: None,
            quota_token: None,
            revised: None,
        };
        let first = task.first_due();
        if first.is_none() && !task.waits_from_start() {
            return Err(InvalidSubmission::NeverDue);
        }
        (task.nominal_at, task.next_due_at) = task.places(first);
        Ok(task)
    }

    /// Returns the definition that creates this task: the base of an edit.
    pub fn of(task: &Task) -> Self {
        let own_key = explicit_key(&task.name, "");
        let dedup = match &task.dedup_key {
            None => Dedup::Nothing,
            Some(key) => key.strip_prefix(&own_key).map_or(Dedup::Pair, |key| Dedup::Key(key.to_owned())),
        };
        Self {
            name: task.name.clone(),
            data: task.data.clone(),
            headers: task.headers.clone(),
            labels: task.labels.clone(),
            schedule: task.schedule.clone(),
            start_at: task.start_at,
            end_at: task.end_at,
            max_fires: task.max_fires,
            ack: task.ack,
            max_runtime_sec: task.max_runtime_sec,
            start_within_ms: task.start_within_ms,
            queue: task.queue.clone(),
            retry: task.retry.clone(),
            timing: task.timing.clone(),
            dedup,
            on_conflict: OnConflict::Return,
        }
    }

    fn check_fields(&self) -> Result<(), InvalidSubmission> {
        tag::check(&self.name)?;
        if self.data.len() > MAX_DATA_BYTES {
            return Err(InvalidSubmission::DataTooLong(self.data.len()));
        }
        headers::check(&self.headers)?;
        labels::check(&self.labels)?;
        match &self.schedule {
            Schedule::Once => {}
            Schedule::Every { period_ms } if (1..LAST_SEC * 1000).contains(period_ms) => {}
            Schedule::Every { .. } => return Err(InvalidSubmission::Period),
            Schedule::Cron { expression, zone, options } => {
                drop(Schedule::check_cron(expression, zone, options)?);
            }
        }
        if self.max_runtime_sec.is_some_and(|sec| !(1..=MAX_RUNTIME_SEC).contains(&sec)) {
            return Err(InvalidSubmission::MaxRuntime);
        }
        if self.start_within_ms.is_some_and(|ms| !(1..=MAX_START_WITHIN_MS).contains(&ms)) {
            return Err(InvalidSubmission::StartWithin);
        }
        if let Some(queue) = &self.queue {
            tag::check(queue).map_err(InvalidSubmission::Queue)?;
        }
        self.retry.as_ref().map_or(Ok(()), RetryPolicy::validate)?;
        self.timing.validate()?;
        self.check_calendars()?;
        self.check_admission()?;
        match &self.dedup {
            Dedup::Key(key) if !(1..=MAX_KEY_BYTES).contains(&key.len()) => Err(InvalidSubmission::DedupKey),
            Dedup::Nothing if self.on_conflict != OnConflict::Return => {
                Err(InvalidSubmission::ConflictWithoutKey)
            }
            _ => Ok(()),
        }
    }

    fn check_calendars(&self) -> Result<(), InvalidSubmission> {
        let Some(calendars) = &self.timing.calendars else { return Ok(()) };
        if self.schedule == Schedule::Once {
            let message = "calendars limit a repeating schedule: use `every` or `cron`, or remove calendars";
            return Err(InvalidCalendars { field: "calendars", message: message.to_owned() }.into());
        }
        Ok(calendars.check()?)
    }

    fn check_admission(&self) -> Result<(), InvalidSubmission> {
        let Timing { overlap, concurrency, rate, .. } = &self.timing;
        concurrency::validate(concurrency, self.queue.is_some())?;
        rate.as_ref().map_or(Ok(()), |rate| rate.validate(self.queue.is_some()))?;
        let needs_outcome = overlap.map(|_| "overlap").or((!concurrency.is_empty()).then_some("concurrency"));
        match needs_outcome {
            Some(field) if self.queue.is_none() && !self.ack => Err(InvalidSubmission::WithoutOutcome(field)),
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
    use crate::core::tag::InvalidTag;

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
        assert_eq!(due(Some(Moment::from_sec(10))), Some(NOW), "a start in the past");
        assert_eq!(due(Some(Moment::from_sec(2_000))), Some(Moment::from_sec(2_000)));
    }

    #[test]
    fn a_periodic_task_fires_max_fires_times_on_its_grid() {
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
            schedule: Schedule::cron("* * * * * *", "UTC"),
            start_at: Some(Moment::from_ms(1_002_500)),
            end_at: Some(Moment::from_sec(1_004)),
            ..once()
        })
        .unwrap();
        assert_eq!(task.next_due_at, Some(Moment::from_sec(1_003)));
        assert_eq!(
            task.due_after(Moment::from_sec(1_003), 1),
            Some(Moment::from_sec(1_004)),
            "the end is inclusive"
        );
        assert_eq!(task.due_after(Moment::from_sec(1_004), 2), None);
    }

    #[test]
    fn every_broken_rule_has_its_own_error() {
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
            schedule: Schedule::cron("0 0 1 1 *", "UTC"),
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
    fn the_definition_of_a_task_creates_the_task_again() {
        for dedup in [Dedup::Pair, Dedup::Key("k|k".into()), Dedup::Nothing] {
            let headers = Headers::from([("traceparent".into(), "00".into())]);
            let labels = Labels::from([("team".into(), "pay".into())]);
            let definition = Submission { dedup, headers, labels, ack: true, max_fires: Some(3), ..once() };
            assert_eq!(Submission::of(&accept(definition.clone()).unwrap()), definition);
        }
    }

    #[test]
    fn the_pair_key_separates_name_and_data() {
        assert_ne!(pair_key("ab", "c"), pair_key("a", "bc"));
        assert_eq!(pair_key("ab", "c"), pair_key("ab", "c"));
        assert_ne!(explicit_key("a", "b"), pair_key("a", "b"));
    }
}

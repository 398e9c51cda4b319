//! Ports: the interfaces to stores, brokers, locks and clocks, with one closed error type.
//!
//! Every adapter must fulfil every method. `tests/` has one conformance suite per port.

mod alerts;
mod attached;
mod fire;
mod log;

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

pub use self::alerts::AlertSink;
pub use self::attached::Attached;
pub use self::fire::{Fire, Fired, fire_in_two_steps};
pub use self::log::{AppendedLog, MAX_LOG_PART_BYTES};
pub use crate::core::advance::Advance;
use crate::core::audit::{AuditEntry, AuditPage, AuditSelection};
use crate::core::rate::{Permits, RateLimit};
use crate::core::run::{FairnessKey, LeaseSlots, LeasedRun, OpenRun, RunMark};
use crate::core::run_log::{LogBatch, LogPart};
use crate::core::task::TaskId;
use crate::core::wait_group::WaitGroup;
use crate::core::{Moment, Run, RunId, RunState, Task, TaskState};

/// Error of a port. Each variant names the back end.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The back end was unreachable or did not answer in time. A write may have happened: repeat
    /// the same write.
    #[error("{0} is unavailable")]
    Unavailable(&'static str, #[source] BoxError),
    /// The back end interrupted a read that exceeded its time limit.
    #[error("{0} interrupted a query that took too long")]
    Interrupted(&'static str, #[source] BoxError),
    /// The back end refused the operation. Repeating it does not help.
    #[error("{0} refused the operation")]
    Refused(&'static str, #[source] BoxError),
    /// The back end has no space left. Nothing was written, and no acknowledged write is lost.
    #[error("{0} is full")]
    Full(&'static str, #[source] BoxError),
    /// This release cannot read a stored record.
    #[error("{0} holds a record that cannot be read")]
    Corrupt(&'static str, #[source] BoxError),
}

/// Cause of a [`PortError`].
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Result of a port's method.
pub type Result<T> = std::result::Result<T, PortError>;

impl PortError {
    /// Returns the same error for another item of a batch. The cause is kept as text.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        self.with_cause(self.cause())
    }

    /// Returns whether some rows of a batch may have caused the error, so that the other rows can
    /// succeed without them.
    pub fn is_about_rows(&self) -> bool {
        matches!(self, Self::Refused(..) | Self::Corrupt(..))
    }

    /// Returns the same error with `context` before its cause.
    #[must_use]
    pub fn in_context(&self, context: &str) -> Self {
        self.with_cause(format!("{context}: {}", self.cause()))
    }

    fn cause(&self) -> String {
        std::error::Error::source(self).map_or_else(|| self.to_string(), ToString::to_string)
    }

    fn with_cause(&self, cause: String) -> Self {
        match self {
            Self::Unavailable(name, _) => Self::Unavailable(name, cause.into()),
            Self::Interrupted(name, _) => Self::Interrupted(name, cause.into()),
            Self::Refused(name, _) => Self::Refused(name, cause.into()),
            Self::Full(name, _) => Self::Full(name, cause.into()),
            Self::Corrupt(name, _) => Self::Corrupt(name, cause.into()),
        }
    }
}

/// Result of inserting a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InsertedTask {
    /// The task is stored.
    New,
    /// Another live task has the deduplication key.
    Existing(TaskId),
}

/// Result of inserting a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InsertedRun {
    /// The run is stored.
    New,
    /// The moment already has another row. The stored row decides.
    Existing(Box<Run>),
    /// The moment already has a row, which this release cannot read.
    Unreadable,
}

/// The rows with the wanted ids, in any order. A row that does not exist is in neither list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T, Id> {
    pub rows: Vec<T>,
    /// Ids of rows that exist, but that this release cannot read.
    pub unreadable: Vec<Id>,
}

impl<T, Id> Default for Found<T, Id> {
    fn default() -> Self {
        Self { rows: Vec::new(), unreadable: Vec::new() }
    }
}

/// The first rows of a query. Unreadable rows are skipped, and do not count towards its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<T> {
    pub rows: Vec<T>,
    /// Whether the limit or [`MAX_RESULT_BYTES`] has cut the result.
    pub more: bool,
}

/// Order of due tasks by their next moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Earliest,
    Latest,
}

/// The unreadable rows that a store has met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRows {
    pub count: usize,
    /// Kind and id of one of the rows, such as `task 0192...`.
    pub example: String,
}

impl InsertedRun {
    /// Returns the result where a row with the run's id is already stored. An equal row is this
    /// very insert, whose answer was lost.
    pub fn from_stored(stored: Run, run: &Run) -> Self {
        if stored == *run { Self::New } else { Self::Existing(Box::new(stored)) }
    }
}

/// Result of replacing a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplacedTask {
    /// The new task is stored.
    Done,
    /// The task has changed since it was read. Read it again and decide again.
    Moved,
    /// Another live task has the new deduplication key.
    KeyHeld(TaskId),
    /// A row with the id of [`Attached::answer`] is stored: an equal request has its answer. Nothing changed.
    Answered,
}

impl ReplacedTask {
    /// Returns the result where the stored task has not the expected position. A task with the same
    /// write id is this very replacement, whose answer was lost. Equal content proves nothing:
    /// another caller may have written the same.
    pub fn from_stored(stored: Option<&Task>, task: &Task) -> Self {
        let stored = stored.and_then(|stored| stored.write_id.as_ref());
        if stored.is_some() && stored == task.write_id.as_ref() { Self::Done } else { Self::Moved }
    }
}

/// A cancelled or deleted task, in the answer to [`Store::cancel_tasks`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    pub id: TaskId,
    /// Whether this call cancelled the task, or hid it if the call hides tasks. `false`: another
    /// call did so before.
    pub is_new: bool,
}

/// Filter of a task listing. `None` matches everything. A listing never contains hidden tasks, and
/// contains cancelled tasks only if `state` is `cancelled`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFilter {
    pub name: Option<String>,
    pub state: Option<TaskState>,
    /// Label as [text](crate::core::labels::text). A store reads the tasks with the label by an index, also
    /// with a `state`; it checks `name` row by row.
    pub label: Option<String>,
}

/// Filter of a run listing. `None` matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    pub task_id: Option<TaskId>,
    pub tag: Option<String>,
    pub state: Option<RunState>,
    /// Label as [text](crate::core::labels::text). A store reads the runs with the label by an index, also
    /// with a `state`; it checks `task_id` and `tag` row by row.
    pub label: Option<String>,
}

/// A page of runs, latest `scheduled_at` first, then greatest id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPage {
    /// Maximum number of rows.
    pub limit: u32,
    /// Last row of the page before. `None`: the first page.
    pub before: Option<(Moment, RunId)>,
}

/// Number of open runs of a queue, by state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRow {
    pub queue: String,
    /// Runs that wait for admission.
    pub held: u64,
    /// Runs that wait for a worker.
    pub ready: u64,
    /// Runs that workers have leased.
    pub leased: u64,
    /// Runs that wait for their next attempt.
    pub retrying: u64,
    /// Earliest `scheduled_at` of the runs in `ready`.
    pub oldest_ready_at: Option<Moment>,
}

impl QueueRow {
    /// States whose runs are counted.
    pub const STATES: [RunState; 4] = [RunState::Held, RunState::Ready, RunState::Leased, RunState::Retrying];

    /// Returns a queue without runs.
    pub fn empty(queue: String) -> Self {
        Self { queue, held: 0, ready: 0, leased: 0, retrying: 0, oldest_ready_at: None }
    }

    /// Adds runs in a state, the earliest of which has the moment `oldest`. Returns `false`, and adds
    /// nothing, for a state that is not counted.
    pub fn add(&mut self, state: RunState, runs: u64, oldest: Moment) -> bool {
        match state {
            RunState::Ready => {
                self.ready += runs;
                self.oldest_ready_at = Some(self.oldest_ready_at.map_or(oldest, |at| at.min(oldest)));
            }
            RunState::Held => self.held += runs,
            RunState::Leased => self.leased += runs,
            RunState::Retrying => self.retrying += runs,
            _ => return false,
        }
        true
    }
}

/// What a request with an idempotency key creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// Idempotency key, unique among all records.
    pub key: String,
    /// Digest of the request.
    pub fingerprint: String,
    /// Ids that the request assigns.
    pub ids: Vec<String>,
    /// When the request arrived.
    pub at: Moment,
}

impl IdempotencyRecord {
    /// Returns whether `stored` was written by the insert of this record. Each request draws its own
    /// ids, so they identify the write.
    pub fn has_written(&self, stored: &Self) -> bool {
        stored.ids == self.ids
    }
}

/// Result of inserting a request with an idempotency key.
#[derive(Debug)]
pub enum InsertedRequest {
    /// The record is stored. One result per task, in order.
    New(Vec<Result<InsertedTask>>),
    /// Another request has stored this record under the key. Nothing was inserted.
    Known(IdempotencyRecord),
}

/// Backlog of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BacklogRow {
    pub tag: String,
    /// Moments that are due and not handed over: overdue tasks, and due runs in `firing` or
    /// `retrying`.
    pub due: u64,
    /// Runs that were handed over to the bus (`fired`) or to a worker (`leased`), and have no
    /// outcome yet.
    pub unreported: u64,
    /// Runs in `ready`, which wait for a worker.
    pub ready: u64,
    /// Runs in `held`, which wait for admission.
    pub held: u64,
}

impl BacklogRow {
    /// Returns the row of a tag, which is empty if it is new.
    pub fn of(rows: &mut BTreeMap<String, Self>, tag: String) -> &mut Self {
        rows.entry(tag.clone()).or_insert(Self { tag, due: 0, unreported: 0, ready: 0, held: 0 })
    }
}

/// Number of runs of a tag that ended in one state on one day. A day is given as midnight of the
/// local date, in UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeCount {
    pub tag: String,
    pub state: RunState,
    pub runs: u64,
}

/// A page of tasks, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Maximum number of rows.
    pub limit: u32,
    /// Last id of the page before. `None`: the first page.
    pub before: Option<TaskId>,
}

/// Size at which a store ends a result, in bytes: thousands of rows of 4 MiB would not fit into
/// memory. Callers request the rest with another call.
pub const MAX_RESULT_BYTES: usize = 64 * 1024 * 1024;
/// How long a store keeps counters of minutes, in milliseconds: 2 days.
pub const MINUTES_KEPT_MS: i64 = 2 * 86_400_000;
/// How long a store keeps counters of days, in milliseconds: 400 days.
pub const DAYS_KEPT_MS: i64 = 400 * 86_400_000;

/// The ledger: tasks, runs and counters. A write that returns is durable, and acknowledged by a
/// majority of the replicas.
#[async_trait]
pub trait Store: Send + Sync {
    /// Stores tasks, each independently. Returns one result per task, in order. Repeating the call
    /// with the same ids changes nothing.
    async fn insert_tasks(&self, tasks: Vec<Task>) -> Vec<Result<InsertedTask>>;
    /// Stores the record and the tasks of a request with an idempotency key. If the key exists,
    /// stores nothing and returns the stored record. The record is durable before any of the tasks
    /// is: after an interruption, a repeated request finds the ids of the missing tasks. Repeating
    /// the call with the same record, after a lost answer, inserts the tasks again, as
    /// [`insert_tasks`](Self::insert_tasks) does.
    async fn insert_request(&self, record: &IdempotencyRecord, tasks: &[Task]) -> Result<InsertedRequest>;
    /// Returns a task, which may be a tombstone.
    async fn task(&self, id: &TaskId) -> Result<Option<Task>>;
    /// Returns the existing tasks with these ids, including tombstones.
    async fn tasks(&self, ids: &[TaskId]) -> Result<Found<Task, TaskId>>;
    /// Returns the matching tasks, newest first. A page of large tasks ends early, and unreadable
    /// rows are skipped: only an empty page means that no more tasks match.
    async fn list_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<Vec<Task>>;
    /// Returns the number of matching tasks of a page, without reading them: at most its limit, and unreadable
    /// tasks count.
    async fn count_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<u64>;
    /// Returns a task, and never an older version than the last acknowledged one. [`task`](Self::task)
    /// may return an older version for as long as a server that was replaced still answers.
    async fn latest_task(&self, id: &TaskId) -> Result<Option<Task>>;
    /// Returns the live task that has a deduplication key ([`Task::dedup_key`]), and never an older version than the
    /// last acknowledged one.
    async fn task_by_key(&self, key: &str) -> Result<Option<Task>>;
    /// Replaces a task by compare-and-set on its position when it was read ([`Task::position`]), and
    /// inserts the attached rows: all or nothing. An existing row with the id of `skipped` counts as a
    /// change of the task: `Moved`. An existing row with the id of `answer` means `Answered`.
    ///
    /// Each replacement needs its own [`Task::write_id`]. Repeating the call with the same tasks,
    /// after a lost answer, returns `Done` again.
    ///
    /// If the new task begins another definition ([`Task::begins_definition`]), the store keeps the definition of
    /// `read` ([`Task::as_defined`]) before the new one is acknowledged, at most
    /// [`MAX_PAST_DEFINITIONS`](crate::core::revision::MAX_PAST_DEFINITIONS) of them, and as long as the task.
    async fn replace_task(&self, read: &Task, task: &Task, rows: Attached<'_>) -> Result<ReplacedTask>;
    /// Returns the kept definitions of a task that began before the revision `before`, latest first. A page
    /// of large definitions ends early: only an empty page means that no more exist. A store may already
    /// have the current definition of the task, which belongs to a change that did not happen.
    async fn past_definitions(&self, id: &TaskId, before: u32, limit: u32) -> Result<Vec<Task>>;
    /// Turns tasks into tombstones ([`Task::tombstone`]). Returns those that are tombstones now,
    /// including those that were before: repeating the call, after a lost answer, returns the same
    /// ids. An unreadable task is passed over. With `rev`, only tasks with this revision change, by
    /// compare-and-set.
    async fn cancel_tasks(
        &self,
        ids: &[TaskId],
        rev: Option<u32>,
        hide: bool,
        now: Moment,
    ) -> Result<Vec<Tombstone>>;
    /// Returns at most `limit` active tasks of the shards whose next moment is at or before
    /// `until`, earliest or latest first.
    async fn due_tasks(&self, shards: &[u16], until: Moment, limit: u32, order: Order) -> Result<Head<Task>>;
    /// Stores runs without slots, each independently. Returns one result per run, in order.
    async fn insert_runs(&self, runs: &[Run]) -> Result<Vec<InsertedRun>>;
    /// Steps tasks past a moment ([`Task::stepped`]) by compare-and-set, and only if the store's
    /// own clock has reached the moment. Returns `true` for each task that has passed the moment at
    /// the expected revision, by this call or another one, and `false` for an unreadable task.
    async fn advance_tasks(&self, advances: &[Advance]) -> Result<Vec<bool>>;
    /// Fires moments: inserts the runs and advances the tasks ([`Advance::of`]). An existing row of a
    /// moment decides instead of the given one. Returns one result per moment, in order. Repeating
    /// the call, after a lost answer, finds the rows of the first call.
    async fn fire(&self, fires: Vec<Fire<'_>>) -> Result<Vec<Fired>> {
        fire_in_two_steps(self, fires).await
    }
    /// Returns whether [`fire`](Self::fire) is one write. Then a new run with a queue that needs no slot is stored in
    /// `ready` and is counted as a fire, and a moment that is not passed leaves no row.
    fn fires_in_one_write(&self) -> bool {
        false
    }
    async fn run(&self, id: &RunId) -> Result<Option<Run>>;
    /// Returns the existing runs with these ids.
    async fn runs(&self, ids: &[RunId]) -> Result<Found<Run, RunId>>;
    /// Returns at most `limit` runs of a task that have not ended, in ascending byte order of their
    /// ids, and after the id `after`. Fewer than `limit` runs mean that no more exist.
    async fn open_runs(&self, task_id: &TaskId, after: Option<&RunId>, limit: u32) -> Result<Vec<OpenRun>>;
    /// Returns the slots with these keys that runs have, with their runs ([`Run::slots`]), in any order. A key has
    /// at most [`MAX_SLOTS`](crate::core::concurrency::MAX_SLOTS) slots.
    async fn slots_in_use(&self, keys: &[String]) -> Result<Vec<(String, RunId)>>;
    /// Returns at most `limit` runs of a task that wait for admission, earliest `scheduled_at` first, then
    /// smallest id.
    async fn held_runs(&self, task_id: &TaskId, limit: u32) -> Result<Vec<OpenRun>>;
    /// Returns at most `limit` groups of runs that wait for admission ([`Run::wait_group`]), in ascending byte order of
    /// their names, and after the name `after`. With `key`, only groups that wait for its slots. The cost grows with
    /// the groups, not with their runs. Fewer than `limit` groups mean that no more exist.
    async fn held_groups(&self, key: Option<&str>, after: &str, limit: u32) -> Result<Vec<WaitGroup>>;
    /// Returns at most `limit` runs of a group that wait for admission, earliest `scheduled_at` first, then
    /// smallest id.
    async fn held_in_group(&self, group: &WaitGroup, limit: u32) -> Result<Vec<OpenRun>>;
    /// Returns the number of runs that wait for slots of a key, at most `limit`. The cost grows with the number.
    async fn count_held(&self, key: &str, limit: u32) -> Result<u64>;
    /// Takes up to `most` permits of a rate limit, as many as it has by the store's own clock, and none if it has fewer than
    /// `least` ([`RateLimit::take`]), in one atomic write. Permits of a lost answer stay taken: later runs wait longer.
    async fn take_permits(&self, limit: &RateLimit, least: u32, most: u32) -> Result<Permits>;
    /// Returns when a rate limit has its next permit. A moment in the past: it has one now.
    async fn next_permit(&self, limit: &RateLimit) -> Result<Moment>;
    /// Returns the matching runs, latest first. Pages end early as in
    /// [`list_tasks`](Self::list_tasks).
    async fn list_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<Run>>;
    /// Returns the number of matching runs of a page, as [`count_tasks`](Self::count_tasks).
    async fn count_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<u64>;
    /// Returns the `limit` latest runs of each task, latest `scheduled_at` first, then greatest id. One list
    /// per id, in order. The cost grows with the returned marks, not with the runs of the tasks: a store
    /// reads the marks from an index, and no row. Unreadable rows are included.
    async fn recent_runs(&self, tasks: &[TaskId], limit: u32) -> Result<Vec<Vec<RunMark>>>;
    /// Returns at most `limit` runs in `ready`, earliest `scheduled_at` first, then smallest id.
    /// They are in one of `queues`; if `queues` is empty, in any queue whose name equals the run's
    /// tag.
    async fn ready_runs(&self, queues: &[String], limit: u32) -> Result<Head<Run>>;
    /// Returns at most `limit` fairness keys of the runs that [`ready_runs`](Self::ready_runs) returns for `queues`, in
    /// ascending order, and after the key `after`. The cost grows with the keys, not with their runs. Fewer than
    /// `limit` keys mean that no more exist.
    async fn ready_keys(
        &self,
        queues: &[String],
        after: Option<&FairnessKey>,
        limit: u32,
    ) -> Result<Vec<FairnessKey>>;
    /// Returns at most `each` runs in `ready` of each key, in the order of `keys`. The runs of a key are ordered by
    /// `scheduled_at`, then by id. Fewer runs of a key are returned if they are large: all together have about
    /// [`MAX_RESULT_BYTES`].
    async fn ready_runs_of(&self, keys: &[FairnessKey], each: u32) -> Result<Vec<Run>>;
    /// Returns the leased runs of one lease request, by [`Run::lease_slot`].
    async fn runs_in_slots(&self, slots: &LeaseSlots) -> Result<Vec<Run>>;
    /// Returns at most `limit` leased runs without their payloads, latest `scheduled_at` first.
    async fn leased_runs(&self, limit: u32) -> Result<Head<LeasedRun>>;
    /// Returns the non-empty queues, by name. The cost grows with the runs in the queues, not with
    /// history.
    async fn queues(&self) -> Result<Vec<QueueRow>>;
    /// Replaces runs by compare-and-set: each run has the version at which it was read, and is
    /// stored with the next version. Returns `true` for each run that this call replaced. A run is not
    /// replaced if another run has its [`Run::lease_slot`] or one of its [`Run::slots`].
    async fn update_runs(&self, runs: &[Run]) -> Result<Vec<bool>>;
    /// Returns at most `limit` runs of the shards whose `attention_at` has come, longest overdue
    /// first. With `queued_only`, runs without a queue are excluded.
    async fn runs_needing_attention(
        &self,
        shards: &[u16],
        now: Moment,
        limit: u32,
        queued_only: bool,
    ) -> Result<Head<Run>>;
    /// Returns the record that is stored under a key.
    async fn idempotency_record(&self, key: &str) -> Result<Option<IdempotencyRecord>>;
    /// Adds fires per tag to the counters of the minute and of the UTC day of `at`.
    async fn count_fires(&self, at: Moment, fires: &[(String, u64)]) -> Result<()>;
    /// Returns fires per tag in the minute of `at`.
    async fn fires_in_minute(&self, at: Moment) -> Result<Vec<(String, u64)>>;
    /// Adds ended runs to the counters of a day.
    async fn count_outcomes(&self, day: Moment, counts: &[OutcomeCount]) -> Result<()>;
    /// Returns the runs that ended on a day, per tag and state.
    async fn outcomes_on(&self, day: Moment) -> Result<Vec<OutcomeCount>>;
    /// Returns the backlog at `now`, per tag. The cost grows with the backlog, not with history.
    async fn backlog(&self, now: Moment) -> Result<Vec<BacklogRow>>;
    /// Appends a batch to the log of a run, as one chunk after the last one, and removes the chunks that a
    /// bounded log does not keep ([`removed`](crate::core::run_log::removed)). Never writes the row of the
    /// run. Two concurrent appends are stored one after the other: a reader of the log never misses a
    /// chunk that was stored before one that it has read. A batch whose id is already stored changes
    /// nothing.
    async fn append_log(&self, batch: &LogBatch) -> Result<AppendedLog>;
    /// Returns the part of a log that begins with the line `from`, at most [`MAX_LOG_PART_BYTES`]. If
    /// the chunk of that line was removed, the part begins with the next chunk. An unknown run has an
    /// empty log.
    async fn log(&self, id: &RunId, from: u64) -> Result<LogPart>;
    /// Stores entries of the audit log, at most [`MAX_AUDIT_BATCH`](crate::core::audit::MAX_AUDIT_BATCH). Repeating the
    /// call changes nothing.
    async fn append_audit(&self, entries: &[AuditEntry]) -> Result<()>;
    /// Returns entries of the audit log, newest first. Fewer entries than the limit mean that no more exist.
    /// The cost grows with the returned entries.
    async fn audit(&self, selection: &AuditSelection, page: &AuditPage) -> Result<Vec<AuditEntry>>;
    /// Removes entries of the audit log that are older than [`AUDIT_KEPT_MS`](crate::core::audit::AUDIT_KEPT_MS) at
    /// `idempotency_before`, runs with their logs, and finished or cancelled tasks without open runs, that ended before
    /// `ended_before`; and idempotency records and unused rate limits from before `idempotency_before`. Returns the number
    /// of removed rows, at most about `limit`.
    async fn prune(&self, ended_before: Moment, idempotency_before: Moment, limit: u32) -> Result<u64>;
    /// Returns the unreadable rows that calls on this handle have met, without those that were
    /// repaired or removed since. `None`: every row was readable.
    async fn unreadable_rows(&self) -> Result<Option<UnreadableRows>>;
    /// Returns the time of the store's own clock.
    async fn now(&self) -> Result<Moment>;
    /// Closes the connections at the end of the process. Later calls fail.
    async fn close(&self) {}
}

/// A small document beside the ledger: an access token, a callback service, a user of a legacy API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Kind of the document, a constant of the program.
    pub kind: String,
    /// Identity within the kind, at most 512 bytes.
    pub key: String,
    /// Secondary key for [`Records::records`].
    pub index: Option<String>,
    /// The document as JSON, usually a few kilobytes and at most some 100 kilobytes.
    pub doc: String,
    /// Number of writes; each write is a compare-and-set on the version. 0: not stored yet.
    pub version: u64,
}

/// Documents that are few and rarely change. A write that returns is durable, and acknowledged by a
/// majority of the replicas.
#[async_trait]
pub trait Records: Send + Sync {
    async fn record(&self, kind: &str, key: &str) -> Result<Option<Record>>;
    /// Stores a document with the next version, if its version is the stored one; 0 requires that
    /// it is not stored. Returns `false`, and changes nothing, otherwise.
    async fn put_record(&self, record: &Record) -> Result<bool>;
    /// Removes a document with this version. Returns `true` if the document no longer exists, and
    /// `false` if it has another version.
    async fn remove_record(&self, record: &Record) -> Result<bool>;
    /// Returns at most `limit` documents of a kind and, if given, of an index, in ascending byte
    /// order of their keys, and after the key `after`.
    async fn records(
        &self,
        kind: &str,
        index: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Record>>;
}

/// A message for the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusMessage {
    /// Tag that consumers filter on.
    pub tag: String,
    /// Message key: the task's id.
    pub key: String,
    /// Payload, sent byte for byte.
    pub body: Vec<u8>,
    /// User properties.
    pub properties: Vec<(String, String)>,
}

/// The message broker.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Sends messages. Returns one result per message, in order; `Ok` only if the broker confirmed
    /// the send.
    async fn publish(&self, messages: Vec<BusMessage>) -> Vec<Result<()>>;
    /// Returns the number of waiting messages per consumer group of the topic.
    async fn lag(&self) -> Result<Vec<(String, u64)>>;
    /// Checks that the topic has a route and that its broker answers.
    async fn probe(&self) -> Result<()>;
    /// Closes the connection after pending sends.
    async fn close(&self);
}

/// Maximum number of descriptions of nodes in one answer.
pub const MAX_DESCRIPTIONS: usize = 256;

/// Leases that distribute the work. Correctness never depends on them: a lost, doubled or frozen
/// lease only costs time.
#[async_trait]
pub trait Lock: Send + Sync {
    /// Announces a node for `ttl_ms` milliseconds. Returns all announced nodes, including this one.
    async fn join(&self, node: &str, ttl_ms: u64) -> Result<Vec<String>>;
    /// Returns whether an announcement can be missing although its node lives, such as after a restart
    /// of the lock service.
    fn may_lose_announcements(&self) -> bool {
        true
    }
    /// Acquires or renews the leases of `shards` for `ttl_ms` milliseconds. Returns the shards that
    /// the node holds now.
    async fn acquire(&self, node: &str, shards: &[u16], ttl_ms: u64) -> Result<Vec<u16>>;
    /// Releases leases. With `leave`, also removes the node's announcement.
    async fn release(&self, node: &str, shards: &[u16], leave: bool) -> Result<()>;
    /// Publishes the description of a node for `ttl_ms` milliseconds, in place of the one before. It may be
    /// lost. At most some 100 KiB.
    async fn describe(&self, node: &str, description: &str, ttl_ms: u64) -> Result<()>;
    /// Returns the published descriptions, at most [`MAX_DESCRIPTIONS`], in any order.
    async fn descriptions(&self) -> Result<Vec<String>>;
    /// Sends a hint to every node that the shards have work within the window. A hint may be lost.
    async fn wake(&self, shards: &[u16]) -> Result<()>;
    /// Waits for the next hint, and returns its shards. Fails if the connection is lost; the next
    /// call connects again.
    async fn next_hint(&self) -> Result<Vec<u16>>;
    /// Announces for `ttl_ms` milliseconds that `node`, if given, has viewers of changes. Returns all announced
    /// nodes, in any order.
    async fn viewers(&self, node: Option<&str>, ttl_ms: u64) -> Result<Vec<String>>;
    /// Sends a message about changes to every node that listens. A message may be lost. At most some 100 KiB.
    async fn send_changes(&self, message: &str) -> Result<()>;
    /// Listens for messages about changes from now on, until the value is dropped. The end of the stream means
    /// that messages may have been lost.
    async fn changes(&self) -> Result<BoxStream<'static, String>>;
}

/// The wall clock, and a monotonic clock.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Returns the wall-clock time.
    fn now(&self) -> Moment;
    /// Returns milliseconds of the monotonic clock, since an arbitrary moment. If the wall clock
    /// moved by another amount, somebody set it.
    fn steady_ms(&self) -> i64;
    /// Returns at `at`, or later.
    async fn sleep_until(&self, at: Moment);
}

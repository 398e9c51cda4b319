//! What the engine needs from the world: a few small ports with one closed error type.
//!
//! A method stands here only if every adapter can honour it; `tests/` holds one conformance suite a port.

use async_trait::async_trait;

pub use crate::core::advance::Advance;
use crate::core::alert::AlertEvent;
use crate::core::run::OpenRun;
use crate::core::task::TaskId;
use crate::core::{Moment, Run, RunId, RunState, Task, TaskState};

/// What can go wrong behind a port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The back end could not be reached or did not answer in time. A write may or may not have happened: repeat the same one.
    #[error("{0} is unavailable")]
    Unavailable(&'static str, #[source] BoxError),
    /// The back end refused what it was asked; repeating it will not help.
    #[error("{0} refused the operation")]
    Refused(&'static str, #[source] BoxError),
    /// There is no room left. Nothing was written, and nothing that was acknowledged is lost.
    #[error("{0} is full")]
    Full(&'static str, #[source] BoxError),
    /// What is stored cannot be understood by this release.
    #[error("{0} holds a record that cannot be read")]
    Corrupt(&'static str, #[source] BoxError),
}

/// The cause behind a [`PortError`].
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A port's answer.
pub type Result<T> = std::result::Result<T, PortError>;

/// What became of a task that was to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InsertedTask {
    /// It is stored.
    New,
    /// A live task holds its dedup key: that one's id.
    Existing(TaskId),
}

/// What became of a run that was to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InsertedRun {
    /// It is stored.
    New,
    /// A row for that moment stands already, and it decides.
    Existing(Box<Run>),
}

/// What became of a change to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplacedTask {
    /// It stands as asked.
    Done,
    /// It has moved on since it was read: read it again and decide anew.
    Moved,
    /// Another live task holds the dedup key that it would have: that one's id.
    KeyHeld(TaskId),
}

/// Which tasks a listing holds. What is `None` does not matter; hidden tasks are never in it, and cancelled ones only where asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Of this name.
    pub name: Option<String>,
    /// In this state.
    pub state: Option<TaskState>,
}

/// Which runs a listing holds. What is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of this task.
    pub task_id: Option<TaskId>,
    /// With this tag.
    pub tag: Option<String>,
    /// In this state.
    pub state: Option<RunState>,
}

/// A page of runs: latest `scheduled_at` first (then greatest id), after `before` where given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPage {
    /// Rows at most.
    pub limit: u32,
    /// The last row of the page before.
    pub before: Option<(Moment, RunId)>,
}

/// What a queue holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRow {
    /// Its name.
    pub queue: String,
    /// Runs that wait for a worker.
    pub ready: u64,
    /// Runs that workers hold.
    pub leased: u64,
    /// Runs that wait for their next attempt.
    pub retrying: u64,
}

/// What a request with an idempotency key has set out to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// The key, unique among all that are remembered.
    pub key: String,
    /// A digest of the request.
    pub fingerprint: String,
    /// The ids that it gives out.
    pub ids: Vec<String>,
    /// When it came.
    pub at: Moment,
}

/// What stands between a task and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BacklogRow {
    /// The tag.
    pub tag: String,
    /// Moments due but not handed over: overdue tasks, and runs in `firing` or `retrying` whose time has come.
    pub due: u64,
    /// Handed over, over the bus (`fired`) or to a worker (`leased`), and still without the outcome that the server waits for.
    pub unreported: u64,
}

/// Runs of a tag that came to the same end on the same day. A day is named by its midnight as if it were in UTC, whatever zone it is a day of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeCount {
    /// The tag.
    pub tag: String,
    /// The state that they ended in.
    pub state: RunState,
    /// How many they are.
    pub runs: u64,
}

/// A page of a listing: newest first, after `before` where given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Rows at most.
    pub limit: u32,
    /// The last id of the page before.
    pub before: Option<TaskId>,
}

/// The ledger: tasks, runs and counters. Every write is durable and majority-acknowledged when it returns.
#[async_trait]
pub trait Store: Send + Sync {
    /// Stores tasks, each on its own; an answer for each, in order. Repeating it with the same ids changes nothing.
    async fn insert_tasks(&self, tasks: Vec<Task>) -> Vec<Result<InsertedTask>>;
    /// A task, tombstones included.
    async fn task(&self, id: &TaskId) -> Result<Option<Task>>;
    /// The tasks with these ids that exist, in any order, tombstones included.
    async fn tasks(&self, ids: &[TaskId]) -> Result<Vec<Task>>;
    /// The tasks that match, newest first. A page of large ones ends early, and rows that cannot be read are passed over: only an
    /// empty page says that there are no more.
    async fn list_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<Vec<Task>>;
    /// Replaces a task by compare-and-set on where it stood when it was read ([`Task::position`]). Repeating it with the same tasks, after
    /// the answer was lost, is `Done` as well.
    async fn replace_task(&self, read: &Task, task: &Task) -> Result<ReplacedTask>;
    /// Turns tasks into tombstones and frees their dedup keys, and with `hide` hides them; the ids of those that are tombstones now.
    /// One that was one before is among them, so that the same call again, after its answer was lost, has the same answer. With `rev`
    /// only those that stand at that revision, by compare-and-set; others are left as they are.
    async fn cancel_tasks(
        &self,
        ids: &[TaskId],
        rev: Option<u32>,
        hide: bool,
        now: Moment,
    ) -> Result<Vec<TaskId>>;
    /// Active tasks of the shards whose next moment is at or before `until`, soonest first; at most `limit`.
    async fn due_tasks(&self, shards: &[u16], until: Moment, limit: u32) -> Result<Vec<Task>>;
    /// Stores runs, each on its own; an answer for each, in order.
    async fn insert_runs(&self, runs: &[Run]) -> Result<Vec<InsertedRun>>;
    /// Steps tasks over a moment by compare-and-set, unless the store's own clock has not reached it. `true` for each task that
    /// has passed the moment at that revision, whoever moved it.
    async fn advance_tasks(&self, advances: &[Advance]) -> Result<Vec<bool>>;
    /// A run.
    async fn run(&self, id: &RunId) -> Result<Option<Run>>;
    /// The runs with these ids that exist, in any order.
    async fn runs(&self, ids: &[RunId]) -> Result<Vec<Run>>;
    /// The runs of a task that have not ended, by id in ascending order (as bytes); after an id where one is given; at most `limit`, and
    /// fewer only where there are no more.
    async fn open_runs(&self, task_id: &TaskId, after: Option<&RunId>, limit: u32) -> Result<Vec<OpenRun>>;
    /// The runs that match, latest first; pages as of [`list_tasks`](Self::list_tasks).
    async fn list_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<Run>>;
    /// Runs in `ready`, earliest `scheduled_at` first (then smallest id): of these queues, or of every queue that is named by its
    /// run's tag where `queues` is empty. At most `limit`.
    async fn ready_runs(&self, queues: &[String], limit: u32) -> Result<Vec<Run>>;
    /// What each queue holds, for those that hold anything, by name. Its cost grows with what they hold, not with history.
    async fn queues(&self) -> Result<Vec<QueueRow>>;
    /// Replaces runs by compare-and-set: each `run` carries the version that it was read at, and is stored with the next one.
    /// `true` for each that was replaced by this call.
    async fn update_runs(&self, runs: &[Run]) -> Result<Vec<bool>>;
    /// Runs of the shards whose `attention_at` has come, longest overdue first; at most `limit`. With `queued_only` those that need the
    /// bus are left out.
    async fn runs_needing_attention(
        &self,
        shards: &[u16],
        now: Moment,
        limit: u32,
        queued_only: bool,
    ) -> Result<Vec<Run>>;
    /// Stores what a request has set out to do, unless its key is known; what stands under the key now.
    async fn insert_idempotency_record(&self, request: &IdempotencyRecord) -> Result<IdempotencyRecord>;
    /// Adds to the fires of a tag in the minute and the UTC day of `at`.
    async fn count_fires(&self, at: Moment, fires: &[(String, u64)]) -> Result<()>;
    /// Fires by tag in the minute of `at`.
    async fn fires_in_minute(&self, at: Moment) -> Result<Vec<(String, u64)>>;
    /// Adds to the runs that came to an end on a day: by tag and by the state that they ended in.
    async fn count_outcomes(&self, day: Moment, ends: &[OutcomeCount]) -> Result<()>;
    /// The runs that came to an end on a day.
    async fn outcomes_on(&self, day: Moment) -> Result<Vec<OutcomeCount>>;
    /// What is waiting at `now`, by tag. Its cost grows with the backlog, not with history.
    async fn backlog(&self, now: Moment) -> Result<Vec<BacklogRow>>;
    /// Removes what ended before `ended_before`: runs, and finished or cancelled tasks without open runs; and what was remembered
    /// before `idempotency_before`. How many rows went; about `limit` at most.
    async fn prune(&self, ended_before: Moment, idempotency_before: Moment, limit: u32) -> Result<u64>;
    /// The store's own clock.
    async fn now(&self) -> Result<Moment>;
}

/// A small document beside the ledger: an access token, a service of a legacy front, a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it is a document of; a fixed word of the program.
    pub kind: String,
    /// Its identity within the kind, at most 512 bytes.
    pub key: String,
    /// What it can be found by, beside its key.
    pub index: Option<String>,
    /// The document, as JSON; at most a few kilobytes.
    pub doc: String,
    /// Counts the writes; each one is a compare-and-set on it. 0: not stored yet.
    pub version: u64,
}

/// Documents that are few and change seldom. Every write is durable and majority-acknowledged when it returns.
#[async_trait]
pub trait Records: Send + Sync {
    /// A document.
    async fn record(&self, kind: &str, key: &str) -> Result<Option<Record>>;
    /// Stores a document, with the next version, where it stands at its version (not at all for 0). `false`: it does not stand there, and
    /// nothing was changed; after a lost answer also where this very write was made.
    async fn put_record(&self, record: &Record) -> Result<bool>;
    /// Removes a document that stands at its version. `true` when it is gone, whoever removed it; `false`: it stands at another version.
    async fn remove_record(&self, record: &Record) -> Result<bool>;
    /// Documents of a kind, and of an index where one is given, by key in ascending order (as bytes); after a key where one is given; at
    /// most `limit`.
    async fn records(
        &self,
        kind: &str,
        index: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Record>>;
}

/// One message for the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusMessage {
    /// What consumers filter on.
    pub tag: String,
    /// The message's key: the task's id.
    pub key: String,
    /// The payload, byte for byte.
    pub body: Vec<u8>,
    /// User properties.
    pub properties: Vec<(String, String)>,
}

/// The message broker.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Sends messages; one answer each, in order. `Ok` only for a send that the broker confirmed.
    async fn publish(&self, messages: Vec<BusMessage>) -> Vec<Result<()>>;
    /// Messages that wait for each consumer group of the topic.
    async fn lag(&self) -> Result<Vec<(String, u64)>>;
    /// Asks for the topic's route and its broker's answer.
    async fn probe(&self) -> Result<()>;
    /// Ends the connection in order.
    async fn close(&self);
}

/// Leases that spread the work. Never what correctness rests on: one that is lost, doubled or frozen costs time only.
#[async_trait]
pub trait Lock: Send + Sync {
    /// Announces a node for `ttl_ms`; all nodes announced at the moment, itself included.
    async fn join(&self, node: &str, ttl_ms: u64) -> Result<Vec<String>>;
    /// Takes or renews leases for `ttl_ms`; the shards of `shards` that the node holds now.
    async fn acquire(&self, node: &str, shards: &[u16], ttl_ms: u64) -> Result<Vec<u16>>;
    /// Gives leases up, and with all of them the node's announcement where `leave` is set.
    async fn release(&self, node: &str, shards: &[u16], leave: bool) -> Result<()>;
    /// Tells every watcher that shards have work inside the window. A hint: it may be lost.
    async fn wake(&self, shards: &[u16]) -> Result<()>;
    /// Waits for the next hint; the shards it names. Errors when the connection is gone; call again to reconnect.
    async fn next_hint(&self) -> Result<Vec<u16>>;
}

/// The wall clock, and one beside it that nobody sets.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Moment;
    /// Milliseconds since some moment of the past, by the clock that nobody sets. Where the wall clock has moved by another amount, it
    /// was set.
    fn steady_ms(&self) -> i64;
    /// Returns at `at`, never before it.
    async fn sleep_until(&self, at: Moment);
}

/// Where alerts go. Telling never waits and never fails: a sink that cannot keep up loses events, and says so in the log.
pub trait AlertSink: Send + Sync {
    /// Takes the events of one look at the backlog.
    fn send(&self, events: &[AlertEvent]);
}

//! The resource API, `/v1`, as it goes over the wire.
//!
//! Instants are RFC 3339. What is absent is `null` or left out; a field that the API does not know is refused. Errors are
//! [`Problem`]s (RFC 9457) whose `code` is stable.

mod services;
mod tokens;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use services::{ServiceHealth, ServiceList, ServiceNode, ServiceResource, ServiceSpec};
pub use tokens::{IssuedToken, NewToken, TokenList, TokenResource};

use crate::wire::OutcomeReport;

/// Most tasks in one [`CreateTasks`], and most runs in one lease, renewal or settlement.
pub const MAX_BATCH: usize = 1_000;
/// Stands for every queue in [`LeaseRequest::queues`] that bears its runs' tag.
pub const EVERY_QUEUE: &str = "*";

/// When a task is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScheduleSpec {
    /// Once, at `start_at` or at once.
    Once {},
    /// At `start_at` (or at once) and then on a grid that never drifts.
    Every {
        /// Milliseconds between two moments, from 1.
        period_ms: i64,
    },
    /// At each match of a cron expression: 5 fields, 6 with leading seconds, `@daily` and its kin.
    Cron {
        /// The expression.
        cron: String,
        /// IANA time zone; left out: the server's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
    },
}

impl Default for ScheduleSpec {
    fn default() -> Self {
        Self::Once {}
    }
}

/// When failed attempts are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, the first included, before a run is dead.
    pub max_attempts: u32,
    /// Pause after the first failure, in milliseconds; each further one doubles it.
    pub backoff_ms: u64,
    /// Longest pause, in milliseconds.
    pub max_backoff_ms: u64,
}

/// A task to create, or the definition that an edit leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// Its name, which is the tag of its runs.
    pub name: String,
    /// What is delivered, byte for byte.
    #[serde(default)]
    pub data: String,
    /// When it is due; left out: once.
    #[serde(default)]
    pub schedule: ScheduleSpec,
    /// Not before. Excludes `delay_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Timestamp>,
    /// Not before so many milliseconds from now. Excludes `start_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Not after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_at: Option<Timestamp>,
    /// Fires in all; left out: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fires: Option<u64>,
    /// Whether the server waits for an outcome of what it publishes on the bus, and owns the retries. Runs in a queue always
    /// have one.
    #[serde(default)]
    pub ack: bool,
    /// How long it waits for one, in seconds; left out: 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runtime_sec: Option<u64>,
    /// The queue in which its runs wait for workers. Left out: the bus, or without one the queue with the task's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// When failed attempts are tried again; left out: as the server is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Of the live tasks of a name with the same key there is one; left out: every task is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
}

/// Body of `POST /v1/runs/{run_id}/confirm`: the word of whoever did a run's work, without the attempt's token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RunConfirmation {
    /// Whether it is done.
    pub succeeded: bool,
    /// A word for the person who reads the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Where it is done: what it gave back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
}

/// Body of `POST /v1/tasks` for several tasks at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateTasks {
    /// At most [`MAX_BATCH`], each on its own.
    pub tasks: Vec<TaskSpec>,
}

/// What became of one task of a [`CreateTasks`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedTask {
    /// 201: stored. 200: a live task with the key stood already, and is the one named. Otherwise as in `problem`.
    pub status: u16,
    /// The task's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Why it was not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Answer to [`CreateTasks`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedTasks {
    /// One a task, in order.
    pub results: Vec<CreatedTask>,
}

/// A task as it is shown. Its `ETag` is its `rev` in quotes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskResource {
    /// Its id.
    pub id: String,
    /// Its name, which is the tag of its runs.
    pub name: String,
    /// What is delivered.
    pub data: String,
    /// When it is due.
    pub schedule: ScheduleSpec,
    /// Not before.
    pub start_at: Option<Timestamp>,
    /// Not after.
    pub end_at: Option<Timestamp>,
    /// Fires in all.
    pub max_fires: Option<u64>,
    /// Whether an outcome is waited for on the bus.
    pub ack: bool,
    /// How long, in seconds.
    pub max_runtime_sec: Option<u64>,
    /// The queue of its runs; `null`: the bus.
    pub queue: Option<String>,
    /// When failed attempts are tried again; `null`: as the server is set.
    pub retry: Option<Retry>,
    /// Its own dedup key, if it was given one.
    pub dedup_key: Option<String>,
    /// `active`, `paused`, `finished` or `cancelled`.
    pub state: String,
    /// Counts its definitions, pauses and resumptions, from 1.
    pub rev: u32,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Its next moment.
    pub next_due_at: Option<Timestamp>,
    /// The last moment that fired or was skipped.
    pub last_due_at: Option<Timestamp>,
    /// Moments that fired.
    pub fired_count: u64,
}

/// Answer of `GET /v1/tasks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskList {
    /// Newest first.
    pub tasks: Vec<TaskResource>,
    /// The `cursor` of the next page; `null` on the last.
    pub next_cursor: Option<String>,
}

/// Answer to a change of a task: edit, pause, resume, cancel and delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangedTask {
    /// The task as it stands now.
    pub task: TaskResource,
    /// Runs of the old definition whose fire came first and which have not ended; at most 1,000.
    pub open_runs: Vec<String>,
    /// Whether there are more than these. The runs of the task are listed by their state.
    #[serde(default)]
    pub more_open_runs: bool,
}

/// A run as it is shown. Its token is not: whoever has that can report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunResource {
    /// Its id.
    pub run_id: String,
    /// The task.
    pub task_id: String,
    /// The task's name.
    pub tag: String,
    /// The queue; `null`: the bus.
    pub queue: Option<String>,
    /// The nominal moment; that of the call where it was fired by hand.
    pub scheduled_at: Timestamp,
    /// Whether it was fired by hand.
    pub triggered: bool,
    /// `firing`, `fired`, `ready`, `leased`, `retrying`, `succeeded`, `dead`, `skipped` or `cancelled`.
    pub state: String,
    /// Why, where a person would ask.
    pub reason: Option<String>,
    /// The attempt, from 1.
    pub attempt: u32,
    /// How often a node or worker has taken it on.
    pub claim: u32,
    /// The worker that holds it.
    pub worker: Option<String>,
    /// When its lease, its pause or its outcome deadline runs out.
    pub attention_at: Option<Timestamp>,
    /// When its last attempt was handed over.
    pub fired_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What the handler gave back.
    pub result: Option<serde_json::Value>,
    /// Set where it stands for a stretch of skipped moments: up to this one.
    pub skipped_to: Option<Timestamp>,
    /// How many moments those are.
    pub skipped_count: Option<u64>,
}

/// Answer of `GET /v1/runs`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunList {
    /// Latest `scheduled_at` first.
    pub runs: Vec<RunResource>,
    /// The `cursor` of the next page; `null` on the last.
    pub next_cursor: Option<String>,
}

/// What a queue holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueueResource {
    /// Its name.
    pub queue: String,
    /// Runs that wait for a worker.
    pub ready: u64,
    /// Runs that workers hold.
    pub leased: u64,
    /// Runs that wait for their next attempt.
    pub retrying: u64,
}

/// Answer of `GET /v1/queues`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueueList {
    /// Those that hold anything, by name.
    pub queues: Vec<QueueResource>,
}

/// Body of `POST /v1/users`: a person who signs in to the fronts for older systems' clients.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UserSpec {
    /// What the person signs in as: 1 to 128 bytes.
    pub name: String,
    /// 6 to 1,024 bytes. Only a digest is kept.
    pub password: String,
    /// Whether the person may assign tasks of the claim board to others.
    #[serde(default)]
    pub senior: bool,
}

impl std::fmt::Debug for UserSpec {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserSpec")
            .field("name", &self.name)
            .field("senior", &self.senior)
            .finish_non_exhaustive()
    }
}

/// A person who signs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserResource {
    /// The name.
    pub name: String,
    /// Whether the person may assign tasks of the claim board to others.
    pub senior: bool,
}

/// Answer of `GET /v1/users`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserList {
    /// Everybody, by name.
    pub users: Vec<UserResource>,
}

/// Body of `POST /v1/runs/lease`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// Who asks, for people to read: 1 to 128 bytes.
    pub worker: String,
    /// Which queues, at least one; a run waits in the queue with its tag's name unless its task says otherwise. `["*"]`: every queue
    /// that is named by its runs' tag.
    pub queues: Vec<String>,
    /// Runs at most, 1 to [`MAX_BATCH`]; left out: 1.
    #[serde(default = "one")]
    pub limit: u32,
    /// How long the worker is trusted with them unless it renews, 1,000 to 86,400,000 ms; left out: 30,000.
    #[serde(default = "half_a_minute")]
    pub lease_ms: u64,
    /// How long to wait where nothing is ready, in ms. The server may answer sooner, with nothing.
    #[serde(default)]
    pub wait_ms: u64,
}

const fn one() -> u32 {
    1
}

const fn half_a_minute() -> u64 {
    30_000
}

/// A run that a worker holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeasedRun {
    /// The run.
    pub run_id: String,
    /// Its task.
    pub task_id: String,
    /// The task's name.
    pub tag: String,
    /// The queue.
    pub queue: String,
    /// What is delivered.
    pub data: String,
    /// The nominal moment.
    pub scheduled_at: Timestamp,
    /// The how-manieth fire of its task it is, from 1; 0 for one by hand.
    #[serde(default)]
    pub number: u64,
    /// The attempt, from 1.
    pub attempt: u32,
    /// An epoch that a handler may fence on.
    pub claim: u32,
    /// Proves that the attempt is this worker's.
    pub token: String,
    /// When the lease runs out.
    pub lease_until: Timestamp,
}

/// Answer to a [`LeaseRequest`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeasedRuns {
    /// Earliest `scheduled_at` first; empty where nothing came in time.
    pub runs: Vec<LeasedRun>,
}

/// An attempt that a worker holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The run.
    pub run_id: String,
    /// The attempt.
    pub attempt: u32,
    /// Its token.
    pub token: String,
}

/// Body of `POST /v1/runs/renew`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// At most [`MAX_BATCH`].
    pub runs: Vec<Held>,
    /// How long from now; as in [`LeaseRequest`].
    #[serde(default = "half_a_minute")]
    pub lease_ms: u64,
    /// Whether the lease ends then even where it would have lasted longer: the work is in somebody else's hands, who has that long. A
    /// renewal never shortens a lease otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hand_over: bool,
}

/// Body of `POST /v1/runs/settle`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SettleRequest {
    /// At most [`MAX_BATCH`].
    pub outcomes: Vec<Settlement>,
}

/// The outcome of one attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Settlement {
    /// The run.
    pub run_id: String,
    /// What is said of it.
    #[serde(flatten)]
    pub report: OutcomeReport,
}

/// What became of one run of a renewal or settlement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunAnswer {
    /// The run.
    pub run_id: String,
    /// 200, or as in `problem`: 409 means that the attempt is no longer the caller's, and that nothing was changed.
    pub status: u16,
    /// Where the run stands now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// When the lease runs out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Timestamp>,
    /// Why nothing was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Answer to a renewal or settlement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunAnswers {
    /// One a run, in order.
    pub results: Vec<RunAnswer>,
}

/// Answer of `GET /v1/schedule/next`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NextMoments {
    /// The moments to come, soonest first.
    pub moments: Vec<Timestamp>,
}

/// What waits for one tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TagStat {
    /// The tag.
    pub tag: String,
    /// Fires in the current minute.
    pub fires_this_minute: u64,
    /// Moments due but not handed over.
    pub due: u64,
    /// Handed over, and still without the outcome that the server waits for.
    pub unreported: u64,
}

/// Answer of `GET /v1/stat`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stat {
    /// By tag, for those with anything to tell.
    pub tags: Vec<TagStat>,
    /// By queue, for those that hold anything.
    pub queues: Vec<QueueResource>,
}

/// An error, as RFC 9457 has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Problem {
    /// `about:blank`: the `code` tells the kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request, for a person.
    pub detail: String,
    /// Stable, for programs: see docs/api.md for the list.
    pub code: String,
    /// The field at fault, as a path such as `tasks[3].schedule.cron`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

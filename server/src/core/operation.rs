//! Operations: one action on many tasks or runs, with progress.

mod backfill;
mod canary;
mod item;
mod progress;
mod request;

use serde::{Deserialize, Serialize};

pub use self::backfill::Backfill;
pub use self::canary::{Canary, CanaryRun, CanaryState, MAX_CANARY};
pub use self::item::Item;
pub use self::progress::{Place, Plan, Verdict};
pub use self::request::{InvalidOperation, NewOperation};
use super::access::Grant;
use super::labels::Labels;
use super::task::{SHARDS, stable_hash};
use super::{Moment, RunState, TaskId, TaskState};

/// Maximum number of ids that an operation selects.
pub const MAX_IDS: usize = 1_000;
/// Maximum number of failures that an operation keeps.
pub const MAX_FAILURES: usize = 100;
/// Maximum length of a reason, in bytes.
pub const MAX_REASON_BYTES: usize = 500;
/// Maximum length of a patch as JSON, in bytes.
pub const MAX_PATCH_BYTES: usize = 16 * 1024;
/// Maximum of `rate_per_sec`.
pub const MAX_RATE_PER_SEC: u32 = 1_000;
/// Number of rows at which the count of a selection ends.
pub const COUNT_LIMIT: u64 = 10_000;

/// What an operation does to each item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Pauses tasks.
    Pause,
    /// Resumes paused tasks.
    Resume,
    /// Cancels tasks, which stay visible.
    Cancel,
    /// Deletes tasks.
    Delete,
    /// Triggers tasks.
    Trigger,
    /// Applies a patch to tasks.
    Edit,
    /// Gives dead runs another attempt.
    Redrive,
    /// Cancels runs.
    CancelRuns,
    /// Creates a run for each moment of a [`Backfill`].
    Backfill,
}

impl Action {
    /// The actions on a selection of tasks or runs. A backfill is created by its task.
    pub const ALL: [Self; 8] = [
        Self::Pause,
        Self::Resume,
        Self::Cancel,
        Self::Delete,
        Self::Trigger,
        Self::Edit,
        Self::Redrive,
        Self::CancelRuns,
    ];

    /// Returns the action as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Delete => "delete",
            Self::Trigger => "trigger",
            Self::Edit => "edit",
            Self::Redrive => "redrive",
            Self::CancelRuns => "cancel_runs",
            Self::Backfill => "backfill",
        }
    }

    /// Returns the action that [`as_str`](Self::as_str) spells as `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }

    /// Returns whether the items are runs. Otherwise they are tasks. The items of a backfill are its new runs.
    pub const fn is_for_runs(self) -> bool {
        matches!(self, Self::Redrive | Self::CancelRuns | Self::Backfill)
    }

    /// Returns the states of tasks that a filter can name.
    pub const fn task_states(self) -> &'static [TaskState] {
        use TaskState::{Active, Cancelled, Finished, Paused};
        match self {
            Self::Pause => &[Active],
            Self::Resume => &[Paused],
            Self::Cancel | Self::Edit => &[Active, Paused],
            Self::Trigger => &[Active, Paused, Finished],
            Self::Delete => &[Active, Paused, Finished, Cancelled],
            Self::Redrive | Self::CancelRuns | Self::Backfill => &[],
        }
    }

    /// Returns the states of tasks that a filter without a state selects. Finished tasks are history, so an
    /// operation on them is explicit, except a delete.
    pub const fn default_task_states(self) -> &'static [TaskState] {
        use TaskState::{Active, Finished, Paused};
        match self {
            Self::Trigger => &[Active, Paused],
            Self::Delete => &[Active, Paused, Finished],
            other => other.task_states(),
        }
    }

    /// Returns the states of runs that a filter can name.
    pub const fn run_states(self) -> &'static [RunState] {
        use RunState::{Dead, Fired, Firing, Held, Leased, Ready, Retrying};
        match self {
            Self::Redrive => &[Dead],
            Self::CancelRuns => &[Firing, Held, Fired, Ready, Leased, Retrying],
            _ => &[],
        }
    }

    /// Returns the states of runs that a filter without a state selects. Most `fired` runs have ended, so
    /// they must be selected explicitly: a search for the others would read history.
    pub const fn default_run_states(self) -> &'static [RunState] {
        use RunState::{Firing, Held, Leased, Ready, Retrying};
        match self {
            Self::CancelRuns => &[Firing, Held, Ready, Leased, Retrying],
            other => other.run_states(),
        }
    }
}

/// The items of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// The tasks or runs with these ids.
    Ids(Vec<String>),
    /// Tasks that existed when the operation was created, and match when the operation reaches them.
    Tasks {
        name: Option<String>,
        /// `None`: [`Action::default_task_states`].
        state: Option<TaskState>,
        /// Labels that must all match.
        #[serde(default, skip_serializing_if = "Labels::is_empty")]
        labels: Labels,
    },
    /// Runs that were due when the operation was created, and match when the operation reaches them.
    Runs {
        task_id: Option<TaskId>,
        tag: Option<String>,
        /// `None`: [`Action::default_run_states`].
        state: Option<RunState>,
        /// Labels that must all match.
        #[serde(default, skip_serializing_if = "Labels::is_empty")]
        labels: Labels,
    },
    /// The moments of a schedule in a range.
    Moments(Box<Backfill>),
}

impl Selection {
    /// Returns the ids, if the selection is by ids.
    pub fn ids(&self) -> Option<&[String]> {
        match self {
            Self::Ids(ids) => Some(ids),
            Self::Tasks { .. } | Self::Runs { .. } | Self::Moments(_) => None,
        }
    }
}

/// State of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Items remain.
    Running,
    /// The canary has failed: the operation waits for a user.
    Held,
    /// Every item was processed.
    Completed,
    /// A user has ended the operation.
    Aborted,
    /// The operation ended early: its creator has lost the rights.
    Failed,
}

impl OperationState {
    /// Returns the state as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Held => "held",
            Self::Completed => "completed",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
        }
    }
}

/// A number of rows, counted up to [`COUNT_LIMIT`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub rows: u64,
    /// Whether there are more rows.
    pub more: bool,
}

impl Count {
    /// Returns the sum of two counts.
    #[must_use]
    pub fn plus(self, rows: u64) -> Self {
        let sum = self.rows + rows;
        Self { rows: sum.min(COUNT_LIMIT), more: self.more || sum > COUNT_LIMIT }
    }

    /// Returns the sum of two counts that may both have ended early.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let sum = self.plus(other.rows);
        Self { more: sum.more || other.more, ..sum }
    }
}

/// The caller that created an operation, and whose rights hold for each item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Creator {
    pub id: String,
    pub name: String,
    pub request_id: String,
    /// The rights at creation. A token's current rights replace them.
    pub grant: Grant,
}

/// An item that could not be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub id: String,
    pub error: String,
}

impl Failure {
    /// Longest error, in bytes.
    pub const MAX_ERROR_BYTES: usize = 300;

    /// Returns a failure, with an error of bounded length.
    pub fn new(id: &str, error: &str) -> Self {
        let error = error[..error.floor_char_boundary(Self::MAX_ERROR_BYTES)].to_owned();
        Self { id: id.to_owned(), error }
    }
}

/// A stored operation. Its document is the checkpoint: an interrupted operation continues here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// UUID of version 7 in hexadecimal digits. Tasks with a greater id are not selected.
    pub id: String,
    pub action: Action,
    pub selection: Selection,
    /// JSON merge patch: of the task for [`Action::Edit`], of the payload for [`Action::Redrive`].
    pub patch: Option<String>,
    /// Human-readable reason, if any.
    pub reason: Option<String>,
    /// Maximum number of items per second. `None`: unlimited.
    pub rate_per_sec: Option<u32>,
    /// The first runs of a redrive. `None`: all runs are redriven without a wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// Number of selected rows at creation.
    pub expected: Count,
    pub created_at: Moment,
    pub creator: Creator,
    pub state: OperationState,
    /// Why the operation failed, or is held.
    pub message: Option<String>,
    pub ended_at: Option<Moment>,
    /// Where the selection continues.
    pub place: Place,
    /// Items to process next, in any order. The items before them are done.
    pub batch: Vec<Item>,
    /// Earliest moment of the next batch.
    pub next_at: Moment,
    /// Number of items that were found so far.
    pub matched: u64,
    /// Number of items that are as the operation wants them.
    pub done: u64,
    /// Number of items that could not be changed.
    pub failed: u64,
    /// Number of items whose state no longer allowed the action.
    pub skipped: u64,
    /// The first failures, at most [`MAX_FAILURES`].
    pub failures: Vec<Failure>,
}

impl Operation {
    /// Returns an operation that has not started.
    pub fn new(id: String, new: NewOperation, expected: Count, creator: Creator, now: Moment) -> Self {
        let NewOperation { action, selection, patch, reason, rate_per_sec, canary } = new;
        Self {
            id,
            action,
            selection,
            patch,
            reason,
            rate_per_sec,
            canary: canary.map(Canary::new),
            expected,
            created_at: now,
            creator,
            state: OperationState::Running,
            message: None,
            ended_at: None,
            place: Place::default(),
            batch: Vec::new(),
            next_at: now,
            matched: 0,
            done: 0,
            failed: 0,
            skipped: 0,
            failures: Vec::new(),
        }
    }

    /// Returns the shard whose node carries the operation out.
    pub fn shard(&self) -> u16 {
        (stable_hash(self.id.as_bytes()) % u64::from(SHARDS)) as u16
    }

    /// Returns whether the operation processes items.
    pub fn is_running(&self) -> bool {
        self.state == OperationState::Running
    }

    /// Returns whether a user must decide how the operation continues.
    pub fn is_held(&self) -> bool {
        self.state == OperationState::Held
    }

    /// Returns whether the operation has ended.
    pub fn has_ended(&self) -> bool {
        !self.is_running() && !self.is_held()
    }
}

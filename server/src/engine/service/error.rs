//! The errors of the commands.

use super::PortError;
use crate::core::RunState;
use crate::core::access::{InvalidToken, Scope};
use crate::core::alert::InvalidSilence;
use crate::core::calendar::InvalidCalendar;
use crate::core::hold::InvalidHold;
use crate::core::operation::InvalidOperation;
use crate::core::quota::QuotaExceeded;
use crate::core::submission::InvalidSubmission;
use crate::core::task::{TaskId, TaskState};
use crate::core::task_change::CannotChange;
use crate::core::user::InvalidUser;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The submission breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidSubmission),
    /// The new token breaks a rule.
    #[error(transparent)]
    Token(#[from] InvalidToken),
    /// The user breaks a rule.
    #[error(transparent)]
    User(#[from] InvalidUser),
    /// The new operation breaks a rule.
    #[error(transparent)]
    Operation(#[from] InvalidOperation),
    /// The new silence breaks a rule.
    #[error(transparent)]
    Silence(#[from] InvalidSilence),
    /// The new hold breaks a rule.
    #[error(transparent)]
    Hold(#[from] InvalidHold),
    /// A quota of the caller's token refuses the tasks. Nothing was created.
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// Too many operations run. Nothing was stored.
    #[error("too many operations run: wait until one has ended, or abort one")]
    TooManyOperations,
    /// The caller lacks a right.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// There is no such thing, or the caller may not see it.
    #[error("not found")]
    NotFound,
    /// The task has ended.
    #[error(transparent)]
    Over(#[from] TaskOver),
    /// The task's revision is not the one that the caller named.
    #[error("the task is at revision {0} now")]
    RevisionMoved(u32),
    /// Another live task holds the dedup key.
    #[error(
        "task {0} has the same dedup key, or the same name and data: edit or cancel this task, use another dedup_key, \
         or create with on_conflict \"replace\""
    )]
    KeyHeld(TaskId),
    /// The idempotency key was used with another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// Too many login attempts of this name or from this address. The password was not checked.
    #[error("too many login attempts: try again in {retry_after_sec} s")]
    TooManyAttempts {
        /// Seconds until the next attempt is allowed.
        retry_after_sec: u64,
    },
    /// As many live views are open as the node allows.
    #[error("too many viewers watch events of this node: close some, or raise server.max_viewers")]
    TooManyViewers,
    /// The calendar breaks a rule.
    #[error(transparent)]
    Calendar(#[from] InvalidCalendar),
    /// Live tasks have the calendar.
    #[error("the calendar is in use by {}", named(.tasks, *.more))]
    CalendarInUse {
        tasks: Vec<TaskId>,
        /// Whether further tasks have the calendar.
        more: bool,
    },
    /// As many silences exist as are allowed.
    #[error("1000 silences exist: remove one first")]
    TooManySilences,
    /// As many holds exist as are allowed.
    #[error("1000 holds exist: remove one first")]
    TooManyHolds,
    /// The run's state does not allow the command.
    #[error("the run is {}", .0.as_str())]
    RunState(RunState),
    /// The attempt is not the current one, or its run has ended. Nothing was changed.
    #[error("stale: {0}")]
    Stale(#[from] Stale),
    /// A port failed. The command may or may not have been carried out.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The result of a command.
pub type Result<T> = std::result::Result<T, ServiceError>;

/// The right that a caller lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// A scope.
    #[error("the caller lacks the scope {}", .0.as_str())]
    Scope(Scope),
    /// A tag outside of the caller's limits.
    #[error("the token is limited to other tags than {0:?}")]
    Tag(String),
    /// The caller is limited to tags, and the command cannot apply the limit.
    #[error("the command needs a token that is not limited to tags")]
    Limited,
}

/// Why a task counts as ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TaskOver {
    /// The task is finished or cancelled.
    #[error("the task is {}", .0.as_str())]
    Ended(TaskState),
    /// The task of the run was deleted.
    #[error("the run's task is deleted")]
    Deleted,
}

/// Why an attempt is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// The current attempt is another one, or has another token.
    #[error("attempt {current} is the current one, with another token")]
    Attempt { current: u32 },
    /// The run is no longer in the worker's hands.
    #[error("the run is {}", .0.as_str())]
    Run(RunState),
}

/// Returns the tasks that prevent a delete, and what to do.
fn named(tasks: &[TaskId], more: bool) -> String {
    let ids: Vec<&str> = tasks.iter().map(TaskId::as_str).collect();
    let more = if more { " and further tasks" } else { "" };
    format!("task {}{more}: cancel the tasks, or give them other calendars", ids.join(", "))
}

impl From<CannotChange> for ServiceError {
    fn from(why: CannotChange) -> Self {
        match why {
            CannotChange::Invalid(invalid) => Self::Invalid(invalid),
            CannotChange::Over(state) => Self::Over(TaskOver::Ended(state)),
        }
    }
}

//! The audit log: one line for every change that somebody asked for. It says who, what, on which ids, and how it ended; never what
//! the change holds.

use super::access::caller;
use super::{PortError, Result, ServiceError};

/// Ids that one line names at most.
const MOST_IDS: usize = 1_000;
/// Documents whose changes somebody decides on: a service that is called, a person, a type, a task of the board and who has it, a service
/// that fills the board. The others are the fronts' own book-keeping, or secrets by their very key.
const TOLD_KINDS: [&str; 5] = ["service", "user", "easytask_pull.type", "taskdash.task", "taskdash.service"];

/// What was asked for. The words stand in `docs/access.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Tasks are created.
    TaskCreate,
    /// A task is given another definition.
    TaskEdit,
    /// A task is held.
    TaskPause,
    /// A task goes on.
    TaskResume,
    /// A task is ended.
    TaskCancel,
    /// Tasks are ended and hidden.
    TaskDelete,
    /// A task is fired by hand.
    TaskTrigger,
    /// A run is called off.
    RunCancel,
    /// A dead run is brought back.
    RunRetry,
    /// Somebody says how a run's work ended.
    RunConfirm,
    /// A token is made.
    TokenIssue,
    /// A token is ended.
    TokenRevoke,
    /// A document of a legacy front is written: a service, a person.
    RecordPut,
    /// A document of a legacy front is removed.
    RecordRemove,
}

impl Change {
    /// As the log writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TaskCreate => "task.create",
            Self::TaskEdit => "task.edit",
            Self::TaskPause => "task.pause",
            Self::TaskResume => "task.resume",
            Self::TaskCancel => "task.cancel",
            Self::TaskDelete => "task.delete",
            Self::TaskTrigger => "task.trigger",
            Self::RunCancel => "run.cancel",
            Self::RunRetry => "run.retry",
            Self::RunConfirm => "run.confirm",
            Self::TokenIssue => "token.issue",
            Self::TokenRevoke => "token.revoke",
            Self::RecordPut => "record.put",
            Self::RecordRemove => "record.remove",
        }
    }
}

/// Writes the line of a change with its answer. What the node does of its own accord is no change that anybody asked for.
pub(super) fn told<'a, T>(change: Change, ids: impl IntoIterator<Item = &'a str>, answer: &Result<T>) {
    let outcome = answer.as_ref().map_or_else(word_of, |_| "done");
    line(change, ids, outcome);
}

/// The line of a change of several things, each on its own: what was done, and how much was refused.
pub(super) fn told_of_several<'a>(change: Change, done: impl IntoIterator<Item = &'a str>, refused: usize) {
    line(change, done, &if refused == 0 { "done".to_owned() } else { format!("{refused} refused") });
}

/// The line of a document beside the ledger, where it is of a kind that people change: what became of it in a word, or why nothing did.
pub(super) fn told_of_record(
    change: Change,
    kind: &str,
    key: &str,
    outcome: std::result::Result<&str, &ServiceError>,
) {
    if TOLD_KINDS.contains(&kind) {
        let outcome = match outcome {
            Ok(word) => word,
            Err(error) => word_of(error),
        };
        line(change, [kind, key], outcome);
    }
}

fn line<'a>(change: Change, ids: impl IntoIterator<Item = &'a str>, outcome: &str) {
    let caller = caller();
    if caller.id == "node" || !tracing::enabled!(target: "audit", tracing::Level::INFO) {
        return;
    }
    let ids = ids.into_iter().take(MOST_IDS).collect::<Vec<_>>().join(" ");
    tracing::info!(
        target: "audit",
        caller = caller.id,
        name = caller.name,
        request_id = caller.request_id,
        change = change.word(),
        ids,
        outcome,
        "audit"
    );
}

/// A refusal in one word; its text may hold what the caller sent.
fn word_of(error: &ServiceError) -> &'static str {
    match error {
        ServiceError::Invalid(_) | ServiceError::Token(_) => "invalid",
        ServiceError::NotFound => "not found",
        ServiceError::Over(_) => "over",
        ServiceError::RevisionMoved(_) => "revision moved",
        ServiceError::KeyHeld(_) => "duplicate",
        ServiceError::KeyReused => "key reused",
        ServiceError::RunState(_) => "run state",
        ServiceError::Stale(_) => "stale",
        ServiceError::Forbidden(_) => "forbidden",
        ServiceError::Port(PortError::Unavailable(..)) => "unknown: the store is unavailable",
        ServiceError::Port(_) => "failed",
    }
}

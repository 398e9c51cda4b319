//! The audit log: one line for each change that a caller asks for.
//!
//! A line has the caller, the change, the ids and the outcome. It never contains payloads.

use super::record_kind::RecordKind;
use super::{Caller, PortError, Result, ServiceError};

/// Maximum number of ids in one line.
const MAX_IDS: usize = 1_000;

/// A change that a caller asks for. `docs/access.md` lists the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditAction {
    TaskCreate,
    TaskEdit,
    TaskPause,
    TaskResume,
    TaskCancel,
    TaskDelete,
    TaskTrigger,
    RunCancel,
    /// A dead run gets another attempt.
    RunRetry,
    /// A caller confirms a run's outcome.
    RunConfirm,
    TokenIssue,
    TokenRevoke,
    /// An action on many tasks or runs. Each item has a line of its own.
    OperationCreate,
    OperationAbort,
    OperationContinue,
    /// An operation has ended by itself.
    OperationEnd,
    /// A document is written, such as a callback service or a user.
    RecordPut,
    /// A document is removed.
    RecordRemove,
    /// A test message is sent to an alert channel.
    AlertTest,
}

impl AuditAction {
    /// Returns the word in the log.
    pub const fn as_str(self) -> &'static str {
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
            Self::OperationCreate => "operation.create",
            Self::OperationAbort => "operation.abort",
            Self::OperationContinue => "operation.continue",
            Self::OperationEnd => "operation.end",
            Self::RecordPut => "record.put",
            Self::RecordRemove => "record.remove",
            Self::AlertTest => "alert.test",
        }
    }
}

/// Records a change with its outcome.
pub fn record<'a, T>(
    caller: &Caller,
    action: AuditAction,
    ids: impl IntoIterator<Item = &'a str>,
    answer: &Result<T>,
) {
    write(caller, action, ids, answer.as_ref().map_or_else(outcome_of, |_| "done"));
}

/// Records a change with this outcome.
pub fn record_outcome<'a>(
    caller: &Caller,
    action: AuditAction,
    ids: impl IntoIterator<Item = &'a str>,
    outcome: &str,
) {
    write(caller, action, ids, outcome);
}

/// Records a change of several things: the ids of those that were changed, and how many were refused.
pub fn record_batch<'a>(
    caller: &Caller,
    action: AuditAction,
    done: impl IntoIterator<Item = &'a str>,
    refused: usize,
) {
    let outcome = if refused == 0 { "done".to_owned() } else { format!("{refused} refused") };
    write(caller, action, done, &outcome);
}

/// Records a change of a document, if its kind is audited.
pub fn record_document(
    caller: &Caller,
    action: AuditAction,
    kind: RecordKind,
    key: &str,
    outcome: std::result::Result<&str, &ServiceError>,
) {
    if kind.is_audited() {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => outcome_of(error),
        };
        write(caller, action, [kind.name(), key], outcome);
    }
}

/// Writes the line. The node's own work is not audited.
fn write<'a>(caller: &Caller, action: AuditAction, ids: impl IntoIterator<Item = &'a str>, outcome: &str) {
    if caller.is_node() || !tracing::enabled!(target: "audit", tracing::Level::INFO) {
        return;
    }
    let ids = ids.into_iter().take(MAX_IDS).collect::<Vec<_>>().join(" ");
    tracing::info!(
        target: "audit",
        caller = caller.id,
        name = caller.name,
        request_id = caller.request_id,
        change = action.as_str(),
        ids,
        outcome,
        "audit"
    );
}

/// Returns a refusal as a short word. The error's text may hold what the caller sent.
fn outcome_of(error: &ServiceError) -> &'static str {
    match error {
        ServiceError::Invalid(_)
        | ServiceError::Token(_)
        | ServiceError::Operation(_)
        | ServiceError::Silence(_) => "invalid",
        ServiceError::TooManyOperations => "too many operations",
        ServiceError::NotFound => "not found",
        ServiceError::Over(_) => "over",
        ServiceError::RevisionMoved(_) => "revision moved",
        ServiceError::KeyHeld(_) => "duplicate",
        ServiceError::KeyReused => "key reused",
        ServiceError::RunState(_) => "run state",
        ServiceError::Stale(_) => "stale",
        ServiceError::Forbidden(_) => "forbidden",
        ServiceError::TooManyAttempts { .. } => "too many attempts",
        ServiceError::TooManySilences => "too many silences",
        ServiceError::TooManyViewers => "too many viewers",
        ServiceError::Port(PortError::Unavailable(..)) => "unknown: the store is unavailable",
        ServiceError::Port(_) => "failed",
    }
}

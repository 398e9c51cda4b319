//! The audit log: one line for each change that a caller asks for.
//!
//! A line has the caller, the change, the ids and the outcome. It never contains payloads.

use super::record_kind::RecordKind;
use super::{Caller, PortError, Result, Service, ServiceError};
use crate::core::Moment;
use crate::core::audit::MAX_AUDIT_BATCH;

/// Maximum number of ids in one line.
const MAX_IDS: usize = 1_000;

/// A change that a caller asks for. `docs/access.md` lists the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// A person signs in to the console.
    SessionOpen,
    /// The rights of a caller do not allow a request.
    AccessDeny,
}

impl AuditAction {
    pub const ALL: [Self; 21] = [
        Self::TaskCreate,
        Self::TaskEdit,
        Self::TaskPause,
        Self::TaskResume,
        Self::TaskCancel,
        Self::TaskDelete,
        Self::TaskTrigger,
        Self::RunCancel,
        Self::RunRetry,
        Self::RunConfirm,
        Self::TokenIssue,
        Self::TokenRevoke,
        Self::OperationCreate,
        Self::OperationAbort,
        Self::OperationContinue,
        Self::OperationEnd,
        Self::RecordPut,
        Self::RecordRemove,
        Self::AlertTest,
        Self::SessionOpen,
        Self::AccessDeny,
    ];

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
            Self::SessionOpen => "session.open",
            Self::AccessDeny => "access.deny",
        }
    }
}

impl std::fmt::Display for AuditAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A change for the stored log.
pub(super) struct Recorded<'a> {
    pub action: AuditAction,
    pub ids: Vec<&'a str>,
    pub detail: &'a str,
    pub outcome: &'a str,
}

impl Recorded<'_> {
    /// Returns the changed objects, each with more about its change.
    pub(super) fn objects(&self) -> Vec<(String, String)> {
        let plain = |id: &&str| ((*id).to_owned(), self.detail.to_owned());
        match (self.action, self.ids.as_slice()) {
            (AuditAction::TaskCreate | AuditAction::TaskDelete, ids) => {
                ids.iter().take(MAX_AUDIT_BATCH).map(plain).collect()
            }
            (AuditAction::RecordPut | AuditAction::RecordRemove, ids) => {
                vec![(ids.join(" "), self.detail.to_owned())]
            }
            (_, [object, more @ ..]) if self.detail.is_empty() => {
                vec![((*object).to_owned(), more.join(" "))]
            }
            (_, [object, ..]) => vec![plain(object)],
            (_, []) => vec![(String::new(), self.detail.to_owned())],
        }
    }
}

impl Service {
    /// Records a change with its outcome, in the log and in the store.
    pub(super) async fn record_change<'a, T>(
        &self,
        action: AuditAction,
        ids: impl IntoIterator<Item = &'a str>,
        answer: &Result<T>,
    ) {
        self.record_with(action, ids, "", answer).await;
    }

    /// Same as [`record_change`](Self::record_change), with more about the change for the stored entry.
    pub(super) async fn record_with<'a, T>(
        &self,
        action: AuditAction,
        ids: impl IntoIterator<Item = &'a str>,
        detail: &str,
        answer: &Result<T>,
    ) {
        let outcome = answer.as_ref().map_or_else(outcome_of, |_| "done");
        self.keep(&Recorded { action, ids: ids.into_iter().collect(), detail, outcome }).await;
    }

    /// Records a change with this outcome.
    pub(super) async fn record_outcome<'a>(
        &self,
        action: AuditAction,
        ids: impl IntoIterator<Item = &'a str>,
        outcome: &str,
    ) {
        self.keep(&Recorded { action, ids: ids.into_iter().collect(), detail: "", outcome }).await;
    }

    /// Records a change of several things: the ids of those that were changed, and how many were refused.
    pub(super) async fn record_batch<'a>(
        &self,
        action: AuditAction,
        done: impl IntoIterator<Item = &'a str>,
        refused: usize,
    ) {
        let outcome = if refused == 0 { "done".to_owned() } else { format!("{refused} refused") };
        self.record_outcome(action, done, &outcome).await;
    }

    /// Records a change of a document, if its kind is audited.
    pub(super) async fn record_document(
        &self,
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
            self.record_outcome(action, [kind.name(), key], outcome).await;
        }
    }

    /// Stores that the rights of the caller do not allow a request to a route. The log has a line already.
    pub async fn store_denial(&self, route: &str, why: &str) {
        let action = AuditAction::AccessDeny;
        self.store_audit(
            &self.caller,
            &Recorded { action, ids: vec![route], detail: why, outcome: "denied" },
        )
        .await;
    }

    async fn keep(&self, recorded: &Recorded<'_>) {
        write(&self.caller, recorded);
        self.store_audit(&self.caller, recorded).await;
    }

    /// Records a change of one object in an entry with this id. A repeated call stores nothing else.
    pub(super) async fn keep_as(&self, recorded: &Recorded<'_>, at: Moment, id: String) -> Result<()> {
        write(&self.caller, recorded);
        let mut entries = self.entries(&self.caller, recorded, at);
        entries.truncate(1);
        entries.iter_mut().for_each(|entry| entry.id.clone_from(&id));
        self.append_audit(&entries).await
    }
}

/// Writes the line. The node's own work is not audited.
fn write(caller: &Caller, recorded: &Recorded<'_>) {
    if caller.is_node() || !tracing::enabled!(target: "audit", tracing::Level::INFO) {
        return;
    }
    let ids = recorded.ids[..recorded.ids.len().min(MAX_IDS)].join(" ");
    tracing::info!(
        target: "audit",
        caller = caller.id,
        name = caller.name,
        request_id = caller.request_id,
        change = recorded.action.as_str(),
        ids,
        outcome = recorded.outcome,
        "audit"
    );
}

/// Returns a refusal as a short word. The error's text may hold what the caller sent.
fn outcome_of(error: &ServiceError) -> &'static str {
    match error {
        ServiceError::Invalid(_)
        | ServiceError::Token(_)
        | ServiceError::User(_)
        | ServiceError::Operation(_)
        | ServiceError::Silence(_)
        | ServiceError::Hold(_)
        | ServiceError::Calendar(_) => "invalid",
        ServiceError::CalendarInUse { .. } => "in use",
        ServiceError::Quota(_) => "quota",
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
        ServiceError::TooManyHolds => "too many holds",
        ServiceError::TooManyViewers => "too many viewers",
        ServiceError::Port(PortError::Unavailable(..)) => "unknown: the store is unavailable",
        ServiceError::Port(_) => "failed",
    }
}

//! The ends of operations in the audit log.
//!
//! The index of an ended operation says that its end is not in the log yet. The entry has an id that depends only on
//! the operation, so an entry that is repeated after a lost answer or a crash is stored once.

use super::audit::{AuditAction, Recorded};
use super::caller::Front;
use super::operations::{KIND, key_of};
use super::{Caller, Result, Service, ServiceError};
use crate::core::access::Scope;
use crate::core::audit::id_at;
use crate::core::operation::Operation;

impl Service {
    /// Adds the end of an operation to the audit log, in the name of its creator.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error. The operation keeps its place among those whose end is not in
    /// the log.
    pub async fn record_operation_end(&self, operation: &Operation) -> Result<()> {
        self.require_unlimited(Scope::Admin)?;
        self.record_end(operation).await
    }

    /// Same as [`record_operation_end`](Self::record_operation_end). After a failure, the loop repeats the entry.
    pub(super) async fn try_record_end(&self, operation: &Operation) {
        if let Err(error) = self.record_end(operation).await {
            tracing::warn!(operation = operation.id, %error, "end of an operation not in the audit log yet");
        }
    }

    async fn record_end(&self, operation: &Operation) -> Result<()> {
        let creator = &operation.creator;
        let (name, request_id) = (creator.name.clone(), creator.request_id.clone());
        let caller = Caller {
            name,
            request_id,
            front: Front::Operation,
            ..Caller::new(&creator.id, creator.grant.clone())
        };
        let ids = vec![operation.id.as_str(), operation.action.as_str()];
        let action = AuditAction::OperationEnd;
        let recorded = Recorded { action, ids, detail: "", outcome: operation.state.as_str() };
        let ended_at = operation.ended_at.unwrap_or_else(|| self.now());
        let entry_id = id_at(ended_at, &operation.id);
        self.for_caller(caller).keep_as(&recorded, ended_at, entry_id).await?;
        self.leave_index(operation).await
    }

    async fn leave_index(&self, operation: &Operation) -> Result<()> {
        let leave = |stored: Option<Operation>| {
            Ok((stored.filter(Operation::has_ended).map(|ended| (ended, None)), ()))
        };
        self.change_document::<Operation, _, ServiceError>(KIND, &key_of(&operation.id), leave).await
    }
}

//! Commands of operations: preview, create, show, list, abort.
//!
//! `operation_steps` carries operations out. A limited caller sees only the operations that it created,
//! because the failures of another one may name other tags.

use super::audit::AuditAction;
use super::record_kind::RecordKind;
use super::{IdempotencyKey, Result, RunFilter, Service, ServiceError, TaskFilter, Wanted};
use crate::core::access::Scope;
use crate::core::operation::{
    Action, Count, Creator, InvalidOperation, NewOperation, Operation, OperationState, Selection,
};
use crate::core::submission::Submission;
use crate::core::{Moment, RunId, TaskId};

/// Kind of the documents. Operations have audit actions of their own.
pub(super) const KIND: RecordKind = RecordKind::internal("operation");
/// Index of the operations that run.
pub(super) const RUNNING: &str = "running";
/// Index of the operations that wait for a user.
const HELD: &str = "held";
/// Index of the ended operations whose end is not in the audit log yet.
pub(super) const ENDED: &str = "ended";
/// Maximum number of operations that run or are held at a time.
pub const MAX_RUNNING_OPERATIONS: usize = 100;
/// Number of operations that are kept; a prune removes ended ones beyond.
pub const MAX_OPERATIONS: usize = 1_000;
/// Operations read at a time.
const READ: u32 = 100;

/// Applies a JSON merge patch to the definition of a task. `http` has the implementation, because a patch has
/// the names of the API.
pub type PatchDefinition =
    fn(Submission, &str, &str, Moment) -> std::result::Result<Submission, InvalidOperation>;

/// Returns the key of an operation's document. The newest operation has the smallest key, so that a listing
/// starts with it.
pub(super) fn key_of(id: &str) -> String {
    let inverted = |digit: char| digit.to_digit(16).and_then(|value| char::from_digit(15 - value, 16));
    id.chars().map(|digit| inverted(digit).unwrap_or(digit)).collect()
}

/// Returns the index of an operation that changes. An ended one loses its index as soon as the audit log has the end.
pub(super) fn index_of(operation: &Operation) -> String {
    let index = match () {
        () if operation.has_ended() => ENDED,
        () if operation.is_held() => HELD,
        () => RUNNING,
    };
    index.to_owned()
}

impl Service {
    /// Returns the number of rows that an operation would select now, at most [`COUNT_LIMIT`].
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]; [`ServiceError::Operation`] names the broken rule; or a port's error.
    pub async fn preview_operation(&self, mut new: NewOperation) -> Result<Count> {
        self.require(Scope::TaskWrite)?;
        self.check_operation(&mut new)?;
        self.count_selection(new.action, &new.selection, self.now()).await
    }

    /// Creates an operation, which a loop of the engine carries out. A repeated request with the same key
    /// returns the first operation.
    ///
    /// # Errors
    /// As [`Service::preview_operation`]; [`ServiceError::TooManyOperations`]; [`ServiceError::KeyReused`].
    pub async fn create_operation(
        &self,
        new: NewOperation,
        key: Option<IdempotencyKey>,
    ) -> Result<Operation> {
        let action = new.action.as_str();
        let answer = self.create_allowed(new, key).await;
        // The first request with the key has its entry.
        if answer.as_ref().map_or(true, |(_, is_new)| *is_new) {
            let id = answer.iter().map(|(operation, _)| operation.id.as_str());
            self.record_change(AuditAction::OperationCreate, id.chain([action]), &answer).await;
        }
        answer.map(|(operation, _)| operation)
    }

    /// Returns the operation, and whether this call has created it.
    async fn create_allowed(
        &self,
        mut new: NewOperation,
        key: Option<IdempotencyKey>,
    ) -> Result<(Operation, bool)> {
        self.require(Scope::TaskWrite)?;
        self.check_operation(&mut new)?;
        let now = self.now();
        let expected = self.count_selection(new.action, &new.selection, now).await?;
        // A refused request stores nothing. One that is repeated after a lost answer finds its first id.
        let has_room = self.has_room_for_operation().await?;
        let id = match key {
            None if !has_room => None,
            key => self.keyed_mark("operation", key, has_room).await?,
        };
        let id = id.ok_or(ServiceError::TooManyOperations)?;
        let operation = Operation::new(id, new, expected, self.creator(), now);
        self.insert_operation(operation).await
    }

    async fn insert_operation(&self, operation: Operation) -> Result<(Operation, bool)> {
        let insert = |stored: Option<Operation>| {
            let is_new = stored.is_none();
            let next = is_new.then(|| (operation.clone(), Some(index_of(&operation))));
            Ok((next, (stored.unwrap_or_else(|| operation.clone()), is_new)))
        };
        let key = key_of(&operation.id);
        let (stored, is_new) = self.change_document::<Operation, _, ServiceError>(KIND, &key, insert).await?;
        self.shared.hints.operation();
        self.shared.hints.changes.operation(&stored);
        Ok((stored, is_new))
    }

    async fn has_room_for_operation(&self) -> Result<bool> {
        let (limit, mut open) = (MAX_RUNNING_OPERATIONS as u32, 0);
        for index in [RUNNING, HELD] {
            open += self.shared.ports.records.records(KIND.name(), Some(index), None, limit).await?.len();
        }
        Ok(open < MAX_RUNNING_OPERATIONS)
    }

    fn creator(&self) -> Creator {
        let caller = self.caller();
        Creator {
            id: caller.id.clone(),
            name: caller.name.clone(),
            request_id: caller.request_id.clone(),
            grant: caller.grant.clone(),
        }
    }

    fn check_operation(&self, new: &mut NewOperation) -> Result<()> {
        new.check()?;
        // The payloads that a redrive patches are known later.
        let Some(patch) = new.patch.as_ref().filter(|_| new.action == Action::Edit) else { return Ok(()) };
        // Finds unknown fields and wrong types. Rules that depend on the task are failures of items.
        self.patched(Submission::named("task", ""), patch)?;
        Ok(())
    }

    /// Returns a definition after a patch.
    pub(super) fn patched(
        &self,
        definition: Submission,
        patch: &str,
    ) -> std::result::Result<Submission, InvalidOperation> {
        let unsupported = || InvalidOperation::new("action", "this server cannot edit tasks in operations");
        let apply = self.shared.patch_definition.ok_or_else(unsupported)?;
        apply(definition, patch, self.time_zone(), self.now())
    }

    /// Counts the rows of a selection. Reads few of them if it is a filter.
    async fn count_selection(&self, action: Action, selection: &Selection, now: Moment) -> Result<Count> {
        let mut count = Count::default();
        match selection {
            Selection::Ids(ids) => return self.count_ids(action, ids).await,
            Selection::Moments(backfill) => return Ok(backfill.count()),
            Selection::Tasks { name, state, labels } => {
                for state in state_or(*state, action.default_task_states()) {
                    let filter = TaskFilter { name: name.clone(), state: Some(state), label: None };
                    let wanted = Wanted { filter, labels: labels.clone() };
                    count = count.and(self.count_tasks(&wanted).await?);
                }
            }
            Selection::Runs { task_id, tag, state, labels } => {
                for state in state_or(*state, action.default_run_states()) {
                    let (task_id, tag) = (task_id.clone(), tag.clone());
                    let filter = RunFilter { task_id, tag, state: Some(state), label: None };
                    let wanted = Wanted { filter, labels: labels.clone() };
                    count = count.and(self.count_runs(&wanted, Some(end_of(now))).await?);
                }
            }
        }
        Ok(count)
    }

    async fn count_ids(&self, action: Action, ids: &[String]) -> Result<Count> {
        let rows = if action.is_for_runs() {
            let ids: Vec<RunId> = ids.iter().map(RunId::from_text).collect();
            let runs = self.shared.ports.store.runs(&ids).await?.rows;
            runs.iter().filter(|run| self.allows_tag(&run.tag)).count()
        } else {
            let ids: Vec<TaskId> = ids.iter().filter_map(|id| TaskId::parse(id)).collect();
            let tasks = self.shared.ports.store.tasks(&ids).await?.rows;
            tasks.into_iter().filter(|task| !task.hidden && self.allows_tag(&task.name)).count()
        };
        Ok(Count { rows: rows as u64, more: false })
    }

    /// Returns an operation.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], or a port's error.
    pub async fn operation(&self, id: &str) -> Result<Operation> {
        self.require(Scope::TaskRead)?;
        // An id has the form of a task's id.
        let id = TaskId::parse(id).ok_or(ServiceError::NotFound)?;
        let operation = self.shared.read_document::<Operation>(KIND, &key_of(id.as_str())).await?;
        operation.filter(|operation| self.may_see(operation)).ok_or(ServiceError::NotFound)
    }

    /// Returns operations, newest first, and the id to continue with. `before`: the last operation of the page
    /// before.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn list_operations(
        &self,
        before: Option<&str>,
        limit: u32,
    ) -> Result<(Vec<Operation>, Option<String>)> {
        self.require(Scope::TaskRead)?;
        let mut found: Vec<Operation> = Vec::new();
        let mut after = before.map(key_of);
        loop {
            let read = READ.min(limit.saturating_add(1));
            let page = self.shared.ports.records.records(KIND.name(), None, after.as_deref(), read).await?;
            let Some(last) = page.last() else { return Ok((found, None)) };
            after = Some(last.key.clone());
            for record in page {
                // A document that this release cannot read, such as one of a newer release, hides no other.
                let Ok(operation) = super::records::parse::<Operation>(&record) else { continue };
                if found.len() >= limit as usize {
                    let next = found.last().map(|operation| operation.id.clone());
                    return Ok((found, next));
                }
                if self.may_see(&operation) {
                    found.push(operation);
                }
            }
        }
    }

    /// Ends an operation. An operation that has ended stays as it is. Items of the current batch may still be
    /// processed, for about a second.
    ///
    /// # Errors
    /// As [`Service::operation`].
    pub async fn abort_operation(&self, id: &str) -> Result<Operation> {
        let answer = self.abort(id).await;
        self.record_change(AuditAction::OperationAbort, [id], &answer).await;
        answer
    }

    async fn abort(&self, id: &str) -> Result<Operation> {
        self.require(Scope::TaskWrite)?;
        let operation = self.operation(id).await?;
        let now = self.now();
        let abort = |stored: Option<Operation>| {
            let mut operation = stored.ok_or(ServiceError::NotFound)?;
            if operation.has_ended() {
                return Ok((None, (operation, false)));
            }
            operation.end(OperationState::Aborted, None, now);
            Ok((Some((operation.clone(), Some(index_of(&operation)))), (operation, true)))
        };
        let key = key_of(&operation.id);
        let (aborted, ends_now) =
            self.change_document::<Operation, _, ServiceError>(KIND, &key, abort).await?;
        self.shared.hints.changes.operation(&aborted);
        if ends_now {
            self.try_record_end(&aborted).await;
        }
        Ok(aborted)
    }

    /// Continues an operation whose canary has failed, with the runs after the canary. Another operation stays as it
    /// is.
    ///
    /// # Errors
    /// As [`Service::operation`].
    pub async fn continue_operation(&self, id: &str) -> Result<Operation> {
        let answer = self.resume_held(id).await;
        self.record_change(AuditAction::OperationContinue, [id], &answer).await;
        answer
    }

    async fn resume_held(&self, id: &str) -> Result<Operation> {
        self.require(Scope::TaskWrite)?;
        let operation = self.operation(id).await?;
        let now = self.now();
        let resume = |stored: Option<Operation>| {
            let mut operation = stored.ok_or(ServiceError::NotFound)?;
            if !operation.is_held() {
                return Ok((None, operation));
            }
            operation.resume(now);
            Ok((Some((operation.clone(), Some(index_of(&operation)))), operation))
        };
        let key = key_of(&operation.id);
        crate::failpoint!("operation::before_continue");
        let continued = self.change_document::<Operation, _, ServiceError>(KIND, &key, resume).await;
        crate::failpoint!("operation::continued");
        let continued = continued?;
        self.shared.hints.operation();
        self.shared.hints.changes.operation(&continued);
        Ok(continued)
    }

    fn may_see(&self, operation: &Operation) -> bool {
        !self.caller.grant.is_limited() || operation.creator.id == self.caller.id
    }
}

/// Returns the id before which all tasks lie that existed when the operation with this id was created: the first
/// digits of both ids are the time.
pub(super) fn snapshot_of(operation_id: &str) -> Option<TaskId> {
    const TIME_DIGITS: usize = 12;
    TaskId::parse(&format!("{}{}", operation_id.get(..TIME_DIGITS)?, "f".repeat(32 - TIME_DIGITS)))
}

/// Returns the states to list, one after another: the given one, or the default ones.
pub(super) fn state_or<S: Copy>(state: Option<S>, default: &[S]) -> Vec<S> {
    state.map_or_else(|| default.to_vec(), |state| vec![state])
}

/// Returns the place before which all runs lie that were due at `now`.
pub(super) fn end_of(now: Moment) -> (Moment, RunId) {
    (now.plus_ms(1), RunId::from_text(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_operation_has_the_smallest_key() {
        let (old, new) = ("019aa4c81b7a7c3e8a51f3d6c2b90417", "019aa4c81b7b7c3e8a51f3d6c2b90417");
        assert!(key_of(new) < key_of(old));
        assert_eq!(key_of(&key_of(old)), old);
    }
}

//! Carries operations out, one batch at a time.
//!
//! The document of an operation is its checkpoint: the items of the current batch, and where the selection
//! continues. A step processes the batch, and stores the results together with the next batch. After a crash
//! between the two, the batch is processed again, so each action has one effect per item however often it is
//! repeated. Two nodes that process the same batch have no other effect than one.

use std::collections::HashSet;

use futures_util::StreamExt;

use super::caller::Front;
use super::operations::{ENDED, KIND, MAX_OPERATIONS, RUNNING, index_of, key_of};
use super::{Caller, PortError, Result, Service, ServiceError, definition};
use crate::core::access::Scope;
use crate::core::operation::{
    Action, Canary, CanaryRun, InvalidOperation, Item, Operation, OperationState, Selection, Verdict,
};
use crate::core::payload_patch;
use crate::core::run::PayloadChange;
use crate::core::{Moment, RunId, RunState, TaskId};

/// Number of items that are processed at the same time.
const PARALLEL: usize = 8;
/// Operations read at a time.
const READ: u32 = 100;
/// Time between two looks at the runs of a canary, in milliseconds.
const CANARY_POLL_MS: i64 = 1_000;

/// An operation of an index as the store returns it.
#[derive(Debug)]
pub struct RunningOperation {
    pub key: String,
    pub operation: Result<Operation>,
}

/// State of an operation after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The next batch is due at this moment.
    Next(Moment),
    Ended,
}

/// Why an item was not processed: the whole batch must wait.
type Interrupted = PortError;

/// The commands of the loop, which calls them as the node. Each item is processed with the rights of the creator.
impl Service {
    /// Returns the operations that run. A malformed document does not hide the others.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn running_operations(&self) -> Result<Vec<RunningOperation>> {
        self.require_unlimited(Scope::Admin)?;
        self.operations_at(RUNNING).await
    }

    /// Returns the ended operations whose end is not in the audit log yet.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn unrecorded_operations(&self) -> Result<Vec<RunningOperation>> {
        self.require_unlimited(Scope::Admin)?;
        self.operations_at(ENDED).await
    }

    async fn operations_at(&self, index: &str) -> Result<Vec<RunningOperation>> {
        let records = &self.shared.ports.records;
        let mut found = Vec::new();
        loop {
            let after = found.last().map(|running: &RunningOperation| running.key.as_str());
            let page = records.records(KIND.name(), Some(index), after, READ).await?;
            if page.is_empty() {
                return Ok(found);
            }
            found.extend(page.into_iter().map(|record| RunningOperation {
                operation: super::records::parse(&record),
                key: record.key,
            }));
        }
    }

    /// Processes the current batch of an operation, and stores the results with the next batch.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error: the results so far are stored, and the next call continues with the rest.
    pub async fn step_operation(&self, operation: &Operation, now: Moment) -> Result<Step> {
        self.require_unlimited(Scope::Admin)?;
        let acting = match self.acting_caller(operation, now).await? {
            Ok(caller) => self.for_caller(caller),
            Err(why) => {
                let fail = |stored: &mut Operation| {
                    stored.end(OperationState::Failed, Some(why.to_owned()), now);
                };
                return self.checkpoint(operation, fail).await;
            }
        };
        crate::failpoint!("operation::before_batch");
        let (results, interrupted) = acting.process_batch(operation).await;
        crate::failpoint!("operation::processed");
        if let Some(error) = interrupted {
            self.checkpoint(operation, |stored| stored.settle(&results, now)).await?;
            return Err(error.into());
        }
        let mut next = operation.clone();
        next.settle(&results, now);
        let judged = self.judge_canary(&next).await?;
        judged.iter().for_each(|(seen, judged)| next.judge(seen, judged));
        // A waiting or held operation takes no further items.
        let takes = next.is_running() && !next.waits_for_canary();
        let plan = if takes { Some(acting.plan(&next).await?) } else { None };
        let step = self.checkpoint(operation, |stored| {
            stored.settle(&results, now);
            judged.iter().for_each(|(seen, judged)| stored.judge(seen, judged));
            plan.iter().for_each(|plan| stored.take(plan, now));
        });
        Ok(later(step.await?, next.waits_for_canary().then(|| now.plus_ms(CANARY_POLL_MS))))
    }

    /// Looks at the runs of a canary for which the operation waits. Returns the canary before and after.
    async fn judge_canary(&self, operation: &Operation) -> Result<Option<(Canary, Canary)>> {
        let Some(seen) = operation.canary.as_ref().filter(|_| operation.waits_for_canary()) else {
            return Ok(None);
        };
        let ids: Vec<RunId> = seen.runs.iter().map(|item| RunId::from_text(&item.id)).collect();
        let mut runs: Vec<CanaryRun> = Vec::with_capacity(ids.len());
        for ids in ids.chunks(PARALLEL) {
            let found = self.shared.ports.store.runs(ids).await?.rows;
            runs.extend(found.into_iter().map(CanaryRun::from));
        }
        Ok(Some((seen.clone(), seen.judged(&runs))))
    }

    /// Returns the caller with the rights that the creator has now, or why there is none.
    async fn acting_caller(
        &self,
        operation: &Operation,
        now: Moment,
    ) -> Result<std::result::Result<Caller, &'static str>> {
        let creator = &operation.creator;
        let Some(grant) = self.rights_now(&creator.id, &creator.grant).await? else {
            return Ok(Err("the rights of its creator were revoked"));
        };
        if grant.has_expired(now) {
            return Ok(Err("the rights of its creator have expired"));
        }
        let (name, request_id) = (creator.name.clone(), creator.request_id.clone());
        let front = Front::Operation;
        Ok(Ok(Caller { name, request_id, front, ..Caller::new(&creator.id, grant) }))
    }

    async fn checkpoint(&self, operation: &Operation, change: impl Fn(&mut Operation)) -> Result<Step> {
        let key = key_of(&operation.id);
        let store = |stored: Option<Operation>| {
            let Some(before) = stored else { return Ok((None, (Step::Ended, None))) };
            let mut after = before.clone();
            change(&mut after);
            let step = if after.is_running() { Step::Next(after.next_at) } else { Step::Ended };
            if before == after {
                return Ok((None, (step, None)));
            }
            let has_ended = !before.has_ended() && after.has_ended();
            Ok((Some((after.clone(), Some(index_of(&after)))), (step, Some((after, has_ended)))))
        };
        crate::failpoint!("operation::before_checkpoint");
        let stored = self.change_document::<Operation, _, ServiceError>(KIND, &key, store).await;
        crate::failpoint!("operation::checkpoint");
        let (step, changed) = stored?;
        if let Some((operation, has_ended)) = changed {
            self.shared.hints.changes.operation(&operation);
            if has_ended {
                self.try_record_end(&operation).await;
            }
        }
        Ok(step)
    }

    /// Processes the items of the batch. Returns the results, and the error of a store that did not answer.
    async fn process_batch(&self, operation: &Operation) -> (Vec<(String, Verdict)>, Option<Interrupted>) {
        if operation.batch.is_empty() {
            return (Vec::new(), None);
        }
        if operation.action == Action::Delete {
            return self.delete_batch(operation).await;
        }
        let process = |item: Item| async move {
            let verdict = self.process(operation, &item).await;
            (item.id, verdict)
        };
        let items = futures_util::stream::iter(operation.batch.clone()).map(process);
        let results: Vec<_> = items.buffer_unordered(PARALLEL).collect().await;
        let (mut settled, mut interrupted) = (Vec::new(), None);
        for (id, verdict) in results {
            match verdict {
                Ok(verdict) => settled.push((id, verdict)),
                Err(error) => interrupted = Some(error),
            }
        }
        (settled, interrupted)
    }

    /// Deletes the tasks of the batch together: tasks with short periods fire faster than they are deleted one by
    /// one. A repeated delete succeeds again.
    async fn delete_batch(&self, operation: &Operation) -> (Vec<(String, Verdict)>, Option<Interrupted>) {
        let ids: Vec<TaskId> = operation.batch.iter().filter_map(|item| TaskId::parse(&item.id)).collect();
        let deleted: HashSet<String> = match self.delete(&ids).await {
            Ok(deleted) => deleted.into_iter().map(|task| task.id.to_string()).collect(),
            Err(error) => return same_for_all(operation, verdict(operation, Err(error))),
        };
        let result = |item: &Item| {
            let answer =
                if deleted.contains(&item.id) { Ok(Verdict::Done) } else { Err(ServiceError::NotFound) };
            Some((item.id.clone(), verdict(operation, answer).ok()?))
        };
        (operation.batch.iter().filter_map(result).collect(), None)
    }

    async fn process(&self, operation: &Operation, item: &Item) -> std::result::Result<Verdict, Interrupted> {
        let done = if operation.action.is_for_runs() {
            self.process_run(operation, item).await
        } else {
            self.process_task(operation, &item.id).await
        };
        verdict(operation, done)
    }

    async fn process_run(&self, operation: &Operation, item: &Item) -> Result<Verdict> {
        if let Selection::Moments(backfill) = &operation.selection {
            return self.backfill_moment(backfill, item).await;
        }
        let id = RunId::from_text(&item.id);
        if operation.action == Action::CancelRuns {
            return match self.cancel_run(&id).await {
                Err(ServiceError::RunState(RunState::Cancelled)) => Ok(Verdict::Done),
                answer => answer.map(|_| Verdict::Done),
            };
        }
        let version = item.version.ok_or(ServiceError::NotFound)?;
        let change = match &operation.patch {
            Some(patch) => self.patched_payload(&id, patch).await?,
            None => PayloadChange::default(),
        };
        let redriven = self.retry_run_at(&id, version, &change).await?;
        Ok(redriven.map_or(Verdict::Skipped, |_| Verdict::Done))
    }

    /// Returns the payload of a run after a patch. The payload belongs to the version that is redriven: a run whose
    /// payload changes has another version.
    async fn patched_payload(&self, id: &RunId, patch: &str) -> Result<PayloadChange> {
        let run = self.run(id).await?;
        let refused = |_| InvalidOperation::new("patch", "the payload is not a JSON object: no patch fits");
        let data = payload_patch::apply(&run.data, patch).map_err(refused)?;
        Ok(PayloadChange { data: Some(data), headers: None })
    }

    async fn process_task(&self, operation: &Operation, id: &str) -> Result<Verdict> {
        let id = &TaskId::parse(id).ok_or(ServiceError::NotFound)?;
        match operation.action {
            Action::Pause => drop(self.pause(id, None).await?),
            Action::Resume => drop(self.resume(id, None).await?),
            Action::Cancel => drop(self.cancel(id, None).await?),
            Action::Trigger => drop(self.trigger_with_mark(id, &operation.id).await?),
            Action::Edit => self.edit_with_patch(id, operation.patch.as_deref().unwrap_or("{}")).await?,
            // Deletes are processed as a batch, and the others are for runs.
            Action::Delete | Action::Redrive | Action::CancelRuns | Action::Backfill => {}
        }
        Ok(Verdict::Done)
    }

    /// Applies a patch to a task. A task that is as the patch wants it stays unchanged.
    async fn edit_with_patch(&self, id: &TaskId, patch: &str) -> Result<()> {
        loop {
            let task = self.shown_task(id).await?;
            let current = definition(&task);
            let next = self.patched(current.clone(), patch)?;
            if next == current {
                return Ok(());
            }
            match self.edit(id, task.rev, next).await {
                Err(ServiceError::RevisionMoved(_)) => {}
                answer => return answer.map(drop),
            }
        }
    }

    /// Removes ended operations that ended before a moment, and the oldest ended ones beyond
    /// [`MAX_OPERATIONS`].
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn prune_operations(&self, ended_before: Moment) -> Result<()> {
        self.require_unlimited(Scope::Admin)?;
        let (mut after, mut newer) = (None::<String>, 0);
        loop {
            let page = self.shared.ports.records.records(KIND.name(), None, after.as_deref(), READ).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.key.clone());
            for record in page {
                newer += 1;
                // A malformed document stays, for a repair.
                let Ok(operation) = super::records::parse::<Operation>(&record) else { continue };
                let is_old = operation.ended_at.is_some_and(|at| at < ended_before);
                if operation.has_ended() && (is_old || newer > MAX_OPERATIONS) {
                    crate::failpoint!("operation::before_remove");
                    self.shared.ports.records.remove_record(&record).await?;
                    crate::failpoint!("operation::removed");
                }
            }
        }
    }
}

/// Returns the step, no earlier than `least`.
fn later(step: Step, least: Option<Moment>) -> Step {
    match (step, least) {
        (Step::Next(at), Some(least)) => Step::Next(at.max(least)),
        (step, _) => step,
    }
}

/// Converts the answer of a command. An item of a filter whose state changed meanwhile is skipped; the user
/// named an item by its id, so there the refusal is a failure.
fn verdict(operation: &Operation, answer: Result<Verdict>) -> std::result::Result<Verdict, Interrupted> {
    let error = match answer {
        Ok(verdict) => return Ok(verdict),
        Err(error) => error,
    };
    let by_filter = operation.selection.ids().is_none();
    match error {
        ServiceError::NotFound | ServiceError::Over(_) | ServiceError::RunState(_) if by_filter => {
            Ok(Verdict::Skipped)
        }
        ServiceError::Port(
            error @ (PortError::Unavailable(..) | PortError::Interrupted(..) | PortError::Full(..)),
        ) => Err(error),
        ServiceError::Port(error) => {
            tracing::error!(operation = operation.id, %error, "an item of an operation failed");
            Ok(Verdict::Failed("internal error: the log of the server has the cause".to_owned()))
        }
        error => Ok(Verdict::Failed(error.to_string())),
    }
}

/// Returns the same result for each item of the batch.
fn same_for_all(
    operation: &Operation,
    verdict: std::result::Result<Verdict, Interrupted>,
) -> (Vec<(String, Verdict)>, Option<Interrupted>) {
    match verdict {
        Ok(verdict) => {
            let items = operation.batch.iter();
            (items.map(|item| (item.id.clone(), verdict.clone())).collect(), None)
        }
        Err(interrupted) => (Vec::new(), Some(interrupted)),
    }
}

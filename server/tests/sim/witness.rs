//! Decorators between the nodes and the back ends: they report every change to the checker when it
//! happens.

use std::sync::Arc;

use async_trait::async_trait;
use taskcenter_server::core::audit::{AuditEntry, AuditPage, AuditSelection};
use taskcenter_server::core::rate::{Permits, RateLimit};
use taskcenter_server::core::run::{FairnessKey, LeaseSlots, LeasedRun, OpenRun, RunMark};
use taskcenter_server::core::run_log::{LogBatch, LogPart};
use taskcenter_server::core::wait_group::WaitGroup;
use taskcenter_server::core::{Moment, Run, RunId, Task, TaskId};
use taskcenter_server::ports::{
    Advance, AppendedLog, Attached, BacklogRow, Bus, BusMessage, Fire, Fired, Found, Head, IdempotencyRecord,
    InsertedRequest, InsertedRun, InsertedTask, Order, OutcomeCount, Page, QueueRow, ReplacedTask, Result,
    RunFilter, RunPage, Store, TaskFilter, Tombstone, UnreadableRows, fire_in_two_steps,
};

use super::checker::Checker;
use super::life::Life;

/// Observed store. The inner store answers immediately, so that no other actor runs between a
/// change and its record.
pub struct WitnessStore {
    pub inner: Arc<dyn Store>,
    pub checker: Arc<Checker>,
}

impl WitnessStore {
    async fn observe_tasks<T>(&self, ids: &[TaskId], change: impl Future<Output = T>) -> T {
        let before = self.inner.tasks(ids).await.unwrap_or_default().rows;
        let answer = change.await;
        let after = self.inner.tasks(ids).await.unwrap_or_default().rows;
        self.checker.tasks_changed(ids, &before, &after);
        answer
    }

    async fn observe_runs<T>(&self, runs: &[Run], change: impl Future<Output = T>) -> T {
        let ids: Vec<RunId> = runs.iter().map(|run| run.id.clone()).collect();
        let before = self.inner.runs(&ids).await.unwrap_or_default().rows;
        let answer = change.await;
        let after = self.inner.runs(&ids).await.unwrap_or_default().rows;
        self.checker.runs_changed(&ids, &before, &after);
        answer
    }
}

#[async_trait]
impl Store for WitnessStore {
    async fn insert_tasks(&self, tasks: Vec<Task>) -> Vec<Result<InsertedTask>> {
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.clone()).collect();
        self.observe_tasks(&ids, self.inner.insert_tasks(tasks)).await
    }

    async fn insert_request(&self, record: &IdempotencyRecord, tasks: &[Task]) -> Result<InsertedRequest> {
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.clone()).collect();
        self.observe_tasks(&ids, self.inner.insert_request(record, tasks)).await
    }

    async fn task(&self, id: &TaskId) -> Result<Option<Task>> {
        self.inner.task(id).await
    }

    async fn tasks(&self, ids: &[TaskId]) -> Result<Found<Task, TaskId>> {
        self.inner.tasks(ids).await
    }

    async fn count_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<u64> {
        self.inner.count_tasks(filter, page).await
    }

    async fn list_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<Vec<Task>> {
        self.inner.list_tasks(filter, page).await
    }

    async fn latest_task(&self, id: &TaskId) -> Result<Option<Task>> {
        self.inner.latest_task(id).await
    }

    async fn task_by_key(&self, key: &str) -> Result<Option<Task>> {
        self.inner.task_by_key(key).await
    }

    async fn replace_task(&self, read: &Task, task: &Task, rows: Attached<'_>) -> Result<ReplacedTask> {
        // The row is recorded before the task, whose change refers to the row.
        let row = rows.skipped.map(std::slice::from_ref).unwrap_or_default();
        let replace = self.observe_runs(row, self.inner.replace_task(read, task, rows));
        self.observe_tasks(std::slice::from_ref(&task.id), replace).await
    }

    async fn past_definitions(&self, id: &TaskId, before: u32, limit: u32) -> Result<Vec<Task>> {
        self.inner.past_definitions(id, before, limit).await
    }

    async fn cancel_tasks(
        &self,
        ids: &[TaskId],
        rev: Option<u32>,
        hide: bool,
        now: Moment,
    ) -> Result<Vec<Tombstone>> {
        self.observe_tasks(ids, self.inner.cancel_tasks(ids, rev, hide, now)).await
    }

    async fn due_tasks(&self, shards: &[u16], until: Moment, limit: u32, order: Order) -> Result<Head<Task>> {
        self.inner.due_tasks(shards, until, limit, order).await
    }

    async fn insert_runs(&self, runs: &[Run]) -> Result<Vec<InsertedRun>> {
        self.observe_runs(runs, self.inner.insert_runs(runs)).await
    }

    async fn advance_tasks(&self, advances: &[Advance]) -> Result<Vec<bool>> {
        let ids: Vec<TaskId> = advances.iter().map(|advance| advance.task_id.clone()).collect();
        self.observe_tasks(&ids, self.inner.advance_tasks(advances)).await
    }

    async fn fire(&self, fires: Vec<Fire<'_>>) -> Result<Vec<Fired>> {
        if !self.fires_in_one_write() {
            return fire_in_two_steps(self, fires).await;
        }
        let tasks: Vec<TaskId> = fires.iter().map(|fire| fire.task.id.clone()).collect();
        let runs: Vec<Run> = fires.iter().map(|fire| fire.run.clone()).collect();
        // The rows are recorded before the tasks, whose changes refer to the rows.
        let fire = self.observe_runs(&runs, self.inner.fire(fires));
        let answer = self.observe_tasks(&tasks, fire).await;
        let ids: Vec<RunId> = runs.into_iter().map(|run| run.id).collect();
        self.checker.fired(&ids);
        answer
    }

    fn fires_in_one_write(&self) -> bool {
        self.inner.fires_in_one_write()
    }

    async fn run(&self, id: &RunId) -> Result<Option<Run>> {
        self.inner.run(id).await
    }

    async fn runs(&self, ids: &[RunId]) -> Result<Found<Run, RunId>> {
        self.inner.runs(ids).await
    }

    async fn recent_runs(&self, tasks: &[TaskId], limit: u32) -> Result<Vec<Vec<RunMark>>> {
        self.inner.recent_runs(tasks, limit).await
    }

    async fn leased_runs(&self, limit: u32) -> Result<Head<LeasedRun>> {
        self.inner.leased_runs(limit).await
    }

    async fn open_runs(&self, task_id: &TaskId, after: Option<&RunId>, limit: u32) -> Result<Vec<OpenRun>> {
        self.inner.open_runs(task_id, after, limit).await
    }

    async fn count_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<u64> {
        self.inner.count_runs(filter, page).await
    }

    async fn list_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<Run>> {
        self.inner.list_runs(filter, page).await
    }

    async fn ready_runs(&self, queues: &[String], limit: u32) -> Result<Head<Run>> {
        self.inner.ready_runs(queues, limit).await
    }

    async fn ready_keys(
        &self,
        queues: &[String],
        after: Option<&FairnessKey>,
        limit: u32,
    ) -> Result<Vec<FairnessKey>> {
        self.inner.ready_keys(queues, after, limit).await
    }

    async fn ready_runs_of(&self, keys: &[FairnessKey], each: u32) -> Result<Vec<Run>> {
        self.inner.ready_runs_of(keys, each).await
    }

    async fn runs_in_slots(&self, slots: &LeaseSlots) -> Result<Vec<Run>> {
        self.inner.runs_in_slots(slots).await
    }

    async fn slots_in_use(&self, keys: &[String]) -> Result<Vec<(String, RunId)>> {
        self.inner.slots_in_use(keys).await
    }

    async fn take_permits(&self, limit: &RateLimit, least: u32, most: u32) -> Result<Permits> {
        let permits = self.inner.take_permits(limit, least, most).await?;
        self.checker.permits_taken(limit, permits.granted);
        Ok(permits)
    }

    async fn next_permit(&self, limit: &RateLimit) -> Result<Moment> {
        self.inner.next_permit(limit).await
    }

    async fn held_runs(&self, task_id: &TaskId, limit: u32) -> Result<Vec<OpenRun>> {
        self.inner.held_runs(task_id, limit).await
    }

    async fn held_groups(&self, key: Option<&str>, after: &str, limit: u32) -> Result<Vec<WaitGroup>> {
        self.inner.held_groups(key, after, limit).await
    }

    async fn held_in_group(&self, group: &WaitGroup, limit: u32) -> Result<Vec<OpenRun>> {
        self.inner.held_in_group(group, limit).await
    }

    async fn count_held(&self, key: &str, limit: u32) -> Result<u64> {
        self.inner.count_held(key, limit).await
    }

    async fn queues(&self) -> Result<Vec<QueueRow>> {
        self.inner.queues().await
    }

    async fn update_runs(&self, runs: &[Run]) -> Result<Vec<bool>> {
        self.observe_runs(runs, self.inner.update_runs(runs)).await
    }

    async fn runs_needing_attention(
        &self,
        shards: &[u16],
        now: Moment,
        limit: u32,
        queued_only: bool,
    ) -> Result<Head<Run>> {
        self.inner.runs_needing_attention(shards, now, limit, queued_only).await
    }

    async fn idempotency_record(&self, key: &str) -> Result<Option<IdempotencyRecord>> {
        self.inner.idempotency_record(key).await
    }

    async fn count_fires(&self, at: Moment, fires: &[(String, u64)]) -> Result<()> {
        self.inner.count_fires(at, fires).await
    }

    async fn fires_in_minute(&self, at: Moment) -> Result<Vec<(String, u64)>> {
        self.inner.fires_in_minute(at).await
    }

    async fn count_outcomes(&self, day: Moment, counts: &[OutcomeCount]) -> Result<()> {
        self.inner.count_outcomes(day, counts).await
    }

    async fn outcomes_on(&self, day: Moment) -> Result<Vec<OutcomeCount>> {
        self.inner.outcomes_on(day).await
    }

    async fn backlog(&self, now: Moment) -> Result<Vec<BacklogRow>> {
        self.inner.backlog(now).await
    }

    async fn append_log(&self, batch: &LogBatch) -> Result<AppendedLog> {
        self.inner.append_log(batch).await
    }

    async fn log(&self, id: &RunId, from: u64) -> Result<LogPart> {
        self.inner.log(id, from).await
    }

    async fn append_audit(&self, entries: &[AuditEntry]) -> Result<()> {
        self.inner.append_audit(entries).await
    }

    async fn audit(&self, selection: &AuditSelection, page: &AuditPage) -> Result<Vec<AuditEntry>> {
        self.inner.audit(selection, page).await
    }

    async fn prune(&self, ended_before: Moment, idempotency_before: Moment, limit: u32) -> Result<u64> {
        self.inner.prune(ended_before, idempotency_before, limit).await
    }

    async fn unreadable_rows(&self) -> Result<Option<UnreadableRows>> {
        self.inner.unreadable_rows().await
    }

    async fn now(&self) -> Result<Moment> {
        self.inner.now().await
    }
}

/// Observed broker, for one life of a node.
pub struct WitnessBus {
    pub inner: Arc<dyn Bus>,
    pub life: Arc<Life>,
    pub checker: Arc<Checker>,
}

#[async_trait]
impl Bus for WitnessBus {
    async fn publish(&self, messages: Vec<BusMessage>) -> Vec<Result<()>> {
        for message in &messages {
            self.checker.published(message, &self.life);
        }
        self.inner.publish(messages).await
    }

    async fn lag(&self) -> Result<Vec<(String, u64)>> {
        self.inner.lag().await
    }

    async fn probe(&self) -> Result<()> {
        self.inner.probe().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

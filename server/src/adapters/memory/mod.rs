//! Store, records and bus in memory, for tests and the simulator. The content is lost at the end of
//! the process.

mod audit;
mod bus;
mod ledger;
mod lists;
mod records;
mod run_logs;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

pub use self::bus::MemoryBus;
use self::ledger::Ledger;
pub use self::records::MemoryRecords;
use crate::core::audit::{AuditEntry, AuditPage, AuditSelection};
use crate::core::rate::{Permits, RateLimit};
use crate::core::run::{FairnessKey, LeaseSlots, LeasedRun, OpenRun, RunMark};
use crate::core::run_log::{LogBatch, LogPart};
use crate::core::wait_group::WaitGroup;
use crate::core::{Moment, Run, RunId, Task, TaskId};
use crate::ports::{
    Advance, AppendedLog, Attached, BacklogRow, Clock, Fire, Fired, Found, Head, IdempotencyRecord,
    InsertedRequest, InsertedRun, InsertedTask, Order, OutcomeCount, Page, QueueRow, ReplacedTask, Result,
    RunFilter, RunPage, Store, TaskFilter, Tombstone, UnreadableRows, fire_in_two_steps,
};

/// The ledger in memory. Each call is atomic. Where the port leaves the order open, rows are
/// ordered by id, so that a simulated history can be replayed.
pub struct MemoryStore {
    ledger: Mutex<Ledger>,
    clock: Arc<dyn Clock>,
    fires_in_one_write: bool,
}

impl MemoryStore {
    /// Creates an empty ledger, which fires in two steps like MongoDB. `clock` is the store's own clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { ledger: Mutex::default(), clock, fires_in_one_write: false }
    }

    /// Creates an empty ledger, which fires in one write like SQLite.
    pub fn firing_in_one_write(clock: Arc<dyn Clock>) -> Self {
        Self { fires_in_one_write: true, ..Self::new(clock) }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // No change panics halfway.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn head<T>(rows: Vec<T>, limit: u32) -> Head<T> {
    let more = rows.len() >= limit as usize;
    Head { rows, more }
}

#[async_trait]
impl Store for MemoryStore {
    async fn insert_tasks(&self, tasks: Vec<Task>) -> Vec<Result<InsertedTask>> {
        let (mut ledger, now) = (self.ledger(), self.clock.now());
        tasks.into_iter().map(|task| Ok(ledger.insert_task(task, now))).collect()
    }

    async fn insert_request(&self, record: &IdempotencyRecord, tasks: &[Task]) -> Result<InsertedRequest> {
        let now = self.clock.now();
        Ok(self.ledger().insert_request(record, tasks, now))
    }

    async fn task(&self, id: &TaskId) -> Result<Option<Task>> {
        Ok(self.ledger().task(id).cloned())
    }

    async fn tasks(&self, ids: &[TaskId]) -> Result<Found<Task, TaskId>> {
        let mut ids = ids.to_vec();
        ids.sort();
        ids.dedup();
        let ledger = self.ledger();
        Ok(Found {
            rows: ids.iter().filter_map(|id| ledger.task(id).cloned()).collect(),
            unreadable: Vec::new(),
        })
    }

    async fn list_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<Vec<Task>> {
        Ok(self.ledger().list_tasks(filter, page))
    }

    async fn count_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<u64> {
        Ok(self.ledger().list_tasks(filter, page).len() as u64)
    }

    async fn latest_task(&self, id: &TaskId) -> Result<Option<Task>> {
        self.task(id).await
    }

    async fn task_by_key(&self, key: &str) -> Result<Option<Task>> {
        Ok(self.ledger().task_by_key(key).cloned())
    }

    async fn replace_task(&self, read: &Task, task: &Task, rows: Attached<'_>) -> Result<ReplacedTask> {
        let now = self.clock.now();
        Ok(self.ledger().replace_task(read, task, rows, now))
    }

    async fn past_definitions(&self, id: &TaskId, before: u32, limit: u32) -> Result<Vec<Task>> {
        Ok(self.ledger().past_definitions(id, before).take(limit as usize).cloned().collect())
    }

    async fn cancel_tasks(
        &self,
        ids: &[TaskId],
        rev: Option<u32>,
        hide: bool,
        now: Moment,
    ) -> Result<Vec<Tombstone>> {
        let mut ledger = self.ledger();
        Ok(ids.iter().filter_map(|id| ledger.cancel_task(id, rev, hide, now)).collect())
    }

    async fn due_tasks(&self, shards: &[u16], until: Moment, limit: u32, order: Order) -> Result<Head<Task>> {
        Ok(head(self.ledger().due_tasks(shards, until, limit, order), limit))
    }

    async fn insert_runs(&self, runs: &[Run]) -> Result<Vec<InsertedRun>> {
        let mut ledger = self.ledger();
        Ok(runs.iter().map(|run| ledger.insert_run(run)).collect())
    }

    async fn advance_tasks(&self, advances: &[Advance]) -> Result<Vec<bool>> {
        let (mut ledger, now) = (self.ledger(), self.clock.now());
        Ok(advances.iter().map(|advance| ledger.advance_task(advance, now)).collect())
    }

    async fn fire(&self, fires: Vec<Fire<'_>>) -> Result<Vec<Fired>> {
        if !self.fires_in_one_write {
            return fire_in_two_steps(self, fires).await;
        }
        let (mut ledger, now) = (self.ledger(), self.clock.now());
        Ok(fires.into_iter().map(|fire| ledger.fire(fire, now)).collect())
    }

    fn fires_in_one_write(&self) -> bool {
        self.fires_in_one_write
    }

    async fn run(&self, id: &RunId) -> Result<Option<Run>> {
        Ok(self.ledger().run(id).cloned())
    }

    async fn runs(&self, ids: &[RunId]) -> Result<Found<Run, RunId>> {
        let mut ids = ids.to_vec();
        ids.sort();
        ids.dedup();
        let ledger = self.ledger();
        Ok(Found {
            rows: ids.iter().filter_map(|id| ledger.run(id).cloned()).collect(),
            unreadable: Vec::new(),
        })
    }

    async fn open_runs(&self, task_id: &TaskId, after: Option<&RunId>, limit: u32) -> Result<Vec<OpenRun>> {
        Ok(self.ledger().open_runs(task_id, after, limit))
    }

    async fn slots_in_use(&self, keys: &[String]) -> Result<Vec<(String, RunId)>> {
        Ok(self.ledger().slots_in_use(keys))
    }

    async fn held_runs(&self, task_id: &TaskId, limit: u32) -> Result<Vec<OpenRun>> {
        Ok(self.ledger().held_runs(task_id, limit))
    }

    async fn held_groups(&self, key: Option<&str>, after: &str, limit: u32) -> Result<Vec<WaitGroup>> {
        Ok(self.ledger().held_groups(key, after, limit))
    }

    async fn count_held(&self, key: &str, limit: u32) -> Result<u64> {
        Ok(self.ledger().count_held(key, limit))
    }

    async fn held_in_group(&self, group: &WaitGroup, limit: u32) -> Result<Vec<OpenRun>> {
        Ok(self.ledger().held_in_group(group, limit))
    }

    async fn take_permits(&self, limit: &RateLimit, least: u32, most: u32) -> Result<Permits> {
        let now = self.clock.now();
        Ok(self.ledger().take_permits(limit, least, most, now))
    }

    async fn next_permit(&self, limit: &RateLimit) -> Result<Moment> {
        Ok(limit.next_at(self.ledger().rates.get(&limit.key).copied().unwrap_or(0)))
    }

    async fn recent_runs(&self, tasks: &[TaskId], limit: u32) -> Result<Vec<Vec<RunMark>>> {
        let ledger = self.ledger();
        Ok(tasks.iter().map(|task| ledger.recent_runs(task, limit)).collect())
    }

    async fn leased_runs(&self, limit: u32) -> Result<Head<LeasedRun>> {
        Ok(self.ledger().leased_runs(limit))
    }

    async fn list_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<Run>> {
        Ok(self.ledger().list_runs(filter, page))
    }

    async fn count_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<u64> {
        Ok(self.ledger().list_runs(filter, page).len() as u64)
    }

    async fn ready_runs(&self, queues: &[String], limit: u32) -> Result<Head<Run>> {
        Ok(head(self.ledger().ready_runs(queues, limit), limit))
    }

    async fn ready_keys(
        &self,
        queues: &[String],
        after: Option<&FairnessKey>,
        limit: u32,
    ) -> Result<Vec<FairnessKey>> {
        Ok(self.ledger().ready_keys(queues, after, limit))
    }

    async fn ready_runs_of(&self, keys: &[FairnessKey], each: u32) -> Result<Vec<Run>> {
        Ok(self.ledger().ready_runs_of(keys, each))
    }

    async fn runs_in_slots(&self, slots: &LeaseSlots) -> Result<Vec<Run>> {
        Ok(self.ledger().runs_in_slots(slots))
    }

    async fn queues(&self) -> Result<Vec<QueueRow>> {
        Ok(self.ledger().queues())
    }

    async fn update_runs(&self, runs: &[Run]) -> Result<Vec<bool>> {
        let mut ledger = self.ledger();
        Ok(runs.iter().map(|run| ledger.update_run(run)).collect())
    }

    async fn runs_needing_attention(
        &self,
        shards: &[u16],
        now: Moment,
        limit: u32,
        queued_only: bool,
    ) -> Result<Head<Run>> {
        Ok(head(self.ledger().runs_needing_attention(shards, now, limit, queued_only), limit))
    }

    async fn idempotency_record(&self, key: &str) -> Result<Option<IdempotencyRecord>> {
        Ok(self.ledger().idempotency_record(key))
    }

    async fn count_fires(&self, at: Moment, fires: &[(String, u64)]) -> Result<()> {
        self.ledger().count_fires(at, fires);
        Ok(())
    }

    async fn fires_in_minute(&self, at: Moment) -> Result<Vec<(String, u64)>> {
        Ok(self.ledger().fires_in_minute(at))
    }

    async fn count_outcomes(&self, day: Moment, counts: &[OutcomeCount]) -> Result<()> {
        self.ledger().count_outcomes(day, counts);
        Ok(())
    }

    async fn outcomes_on(&self, day: Moment) -> Result<Vec<OutcomeCount>> {
        Ok(self.ledger().outcomes_on(day))
    }

    async fn backlog(&self, now: Moment) -> Result<Vec<BacklogRow>> {
        Ok(self.ledger().backlog(now))
    }

    async fn append_log(&self, batch: &LogBatch) -> Result<AppendedLog> {
        Ok(self.ledger().append_log(batch))
    }

    async fn log(&self, id: &RunId, from: u64) -> Result<LogPart> {
        Ok(self.ledger().log(id, from))
    }

    async fn append_audit(&self, entries: &[AuditEntry]) -> Result<()> {
        self.ledger().append_audit(entries);
        Ok(())
    }

    async fn audit(&self, selection: &AuditSelection, page: &AuditPage) -> Result<Vec<AuditEntry>> {
        Ok(self.ledger().audit(selection, page))
    }

    async fn prune(&self, ended_before: Moment, idempotency_before: Moment, limit: u32) -> Result<u64> {
        self.ledger().expire_audit(idempotency_before);
        self.ledger().rates.retain(|_, tat_us| *tat_us >= idempotency_before.ms().saturating_mul(1_000));
        Ok(self.ledger().prune(ended_before, idempotency_before, limit as usize))
    }

    async fn unreadable_rows(&self) -> Result<Option<UnreadableRows>> {
        Ok(None)
    }

    async fn now(&self) -> Result<Moment> {
        Ok(self.clock.now())
    }
}

//! Stores with a deliberate defect, to test the checker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use taskcenter_server::core::admission::slot;
use taskcenter_server::core::audit::{AuditEntry, AuditPage, AuditSelection};
use taskcenter_server::core::concurrency::MAX_SLOTS;
use taskcenter_server::core::rate::{Permits, RateLimit};
use taskcenter_server::core::run::{FairnessKey, LeaseSlots, LeasedRun, OpenRun, RunMark};
use taskcenter_server::core::run_log::{LogBatch, LogPart};
use taskcenter_server::core::task::stable_hash;
use taskcenter_server::core::wait_group::{WaitGroup, is_of_hold};
use taskcenter_server::core::{Moment, Run, RunId, RunState, Task, TaskId};
use taskcenter_server::ports::{
    Advance, AppendedLog, Attached, BacklogRow, Fire, Fired, Found, Head, IdempotencyRecord, InsertedRequest,
    InsertedRun, InsertedTask, Order, OutcomeCount, Page, QueueRow, ReplacedTask, Result, RunFilter, RunPage,
    Store, TaskFilter, Tombstone, UnreadableRows, fire_in_two_steps,
};

/// Deliberate defect of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// An acknowledged task is not stored.
    DropsATask,
    /// A moment has a second row.
    DoublesARow,
    /// The store's clock is ahead, so that runs fire early.
    FiresEarly,
    /// An ended run becomes open again.
    ForcesATransition,
    /// A task advances without a check of its revision.
    IgnoresTheRevision,
    /// A run is written without a check of its version.
    IgnoresTheVersion,
    /// A write is acknowledged but not made.
    LosesAWrite,
    /// A success is acknowledged but not stored.
    LosesAnOutcome,
    /// A new definition of a task is acknowledged but not stored.
    LosesADefinition,
    /// The store panics inside a loop.
    Panics,
    /// A fire is not counted.
    MiscountsAFire,
    /// A due task is never found.
    ForgetsATask,
    /// A slot stays in use after the end of its run.
    LeaksASlot,
    /// A slot of a limit stays in use after the end of its run.
    LeaksASlotOfALimit,
    /// The slots of limits are given to any number of runs.
    ExceedsALimit,
    /// A hold ends at once.
    ForgetsAHold,
    /// Runs that wait for the end of a hold are never found.
    ForgetsHeldRuns,
    /// The store gives every permit of a rate limit that a node asks for.
    ExceedsARate,
    /// The record of a request with an idempotency key is found only by the insert of the same request.
    ForgetsARequest,
    /// A slot is given to several runs.
    SharesASlot,
    /// A fire in one write does not advance its task.
    ForgetsTheStep,
    /// A request to cancel a run is lost with the next write of the run.
    ForgetsACancelRequest,
}

/// Returns how far the store's clock is ahead.
pub fn store_ahead_ms(defect: Option<Defect>) -> i64 {
    if defect == Some(Defect::FiresEarly) { 1_500 } else { 0 }
}

/// Adds the defect to a store.
pub fn break_store(defect: Option<Defect>, store: Arc<dyn Store>) -> Arc<dyn Store> {
    match defect {
        Some(defect) => Arc::new(Broken { defect, calls: AtomicUsize::new(0), inner: store }),
        None => store,
    }
}

/// The defect shows at every 25th call.
const EVERY: usize = 25;

struct Broken {
    defect: Defect,
    calls: AtomicUsize,
    inner: Arc<dyn Store>,
}

impl Broken {
    fn shows(&self, defect: Defect) -> bool {
        self.defect == defect && self.calls.fetch_add(1, Ordering::Relaxed) % EVERY == EVERY - 1
    }

    /// Sets each run to its stored version, so that every write succeeds.
    async fn with_stored_versions(&self, runs: &[Run]) -> Result<Vec<Run>> {
        let mut current = Vec::with_capacity(runs.len());
        for run in runs {
            let stored = self.inner.run(&run.id).await?;
            current.push(Run { version: stored.map_or(run.version, |stored| stored.version), ..run.clone() });
        }
        Ok(current)
    }

    /// Sets each advance to the stored revision, so that every advance succeeds.
    async fn with_stored_revisions(&self, advances: &[Advance]) -> Result<Vec<Advance>> {
        let mut current = Vec::with_capacity(advances.len());
        for advance in advances {
            let stored = self.inner.task(&advance.task_id).await?;
            let rev = stored.map_or(advance.rev, |stored| stored.rev);
            current.push(Advance { rev, ..advance.clone() });
        }
        Ok(current)
    }

    /// Reopens an ended run of the task.
    async fn force(&self, task_id: &TaskId) {
        let filter = RunFilter {
            task_id: Some(task_id.clone()),
            state: Some(RunState::Succeeded),
            ..RunFilter::default()
        };
        let ended =
            self.inner.list_runs(&filter, &RunPage { limit: 1, before: None }).await.unwrap_or_default();
        for run in ended {
            let _ = self.inner.update_runs(&[Run { state: RunState::Fired, ..run }]).await;
        }
    }
}

/// Gives each run a slot that no other run asks for.
fn with_own_slots(runs: &[Run]) -> Vec<Run> {
    let own = |run: &Run| run.slots.iter().map(|slot| format!("{slot} {}", run.id)).collect();
    runs.iter().map(|run| Run { slots: own(run), ..run.clone() }).collect()
}

/// Gives each run slots of limits with numbers that no other run has.
fn with_own_numbers(runs: &[Run]) -> Vec<Run> {
    let own = |run: &Run, slot: &String| match slot.rsplit_once('#') {
        Some((key, _)) if slot.starts_with("limit:") => {
            format!("{key}#{}", stable_hash(run.id.as_str().as_bytes()) >> 33)
        }
        _ => slot.clone(),
    };
    runs.iter()
        .map(|run| Run { slots: run.slots.iter().map(|slot| own(run, slot)).collect(), ..run.clone() })
        .collect()
}

fn second_row(run: &Run) -> Run {
    Run { id: RunId::from_text(format!("{}-again", run.id)), ..run.clone() }
}

#[async_trait]
impl Store for Broken {
    async fn insert_tasks(&self, tasks: Vec<Task>) -> Vec<Result<InsertedTask>> {
        if self.shows(Defect::DropsATask) {
            return tasks.iter().map(|_| Ok(InsertedTask::New)).collect();
        }
        self.inner.insert_tasks(tasks).await
    }

    async fn insert_request(&self, record: &IdempotencyRecord, tasks: &[Task]) -> Result<InsertedRequest> {
        if self.shows(Defect::DropsATask) {
            let answer = self.inner.insert_request(record, &[]).await?;
            return Ok(match answer {
                InsertedRequest::New(_) => {
                    InsertedRequest::New(tasks.iter().map(|_| Ok(InsertedTask::New)).collect())
                }
                known @ InsertedRequest::Known(_) => known,
            });
        }
        self.inner.insert_request(record, tasks).await
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
        if self.shows(Defect::LosesADefinition) {
            return Ok(ReplacedTask::Done);
        }
        self.inner.replace_task(read, task, rows).await
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
        self.inner.cancel_tasks(ids, rev, hide, now).await
    }

    async fn due_tasks(&self, shards: &[u16], until: Moment, limit: u32, order: Order) -> Result<Head<Task>> {
        let mut due = self.inner.due_tasks(shards, until, limit, order).await?;
        if self.defect == Defect::ForgetsATask {
            due.rows.retain(|task| !task.id.as_str().ends_with('7'));
        }
        Ok(due)
    }

    async fn insert_runs(&self, runs: &[Run]) -> Result<Vec<InsertedRun>> {
        if self.shows(Defect::DoublesARow) {
            let again: Vec<Run> = runs.iter().map(second_row).collect();
            self.inner.insert_runs(&again).await?;
        }
        self.inner.insert_runs(runs).await
    }

    async fn advance_tasks(&self, advances: &[Advance]) -> Result<Vec<bool>> {
        let mut advances = advances.to_vec();
        if self.defect == Defect::IgnoresTheRevision {
            advances = self.with_stored_revisions(&advances).await?;
        }
        if self.shows(Defect::MiscountsAFire) {
            advances.iter_mut().for_each(|advance| advance.fires = false);
        }
        self.inner.advance_tasks(&advances).await
    }

    async fn fire(&self, fires: Vec<Fire<'_>>) -> Result<Vec<Fired>> {
        if !self.fires_in_one_write() {
            return fire_in_two_steps(self, fires).await;
        }
        if !self.shows(Defect::ForgetsTheStep) {
            return self.inner.fire(fires).await;
        }
        let now = self.inner.now().await?;
        let mut runs: Vec<Run> = fires.into_iter().map(|fire| fire.run).collect();
        let queued: Vec<bool> =
            runs.iter_mut().map(|run| run.queue.is_some() && run.enqueue(now).is_ok()).collect();
        self.inner.insert_runs(&runs).await?;
        let passed = |(run, queued)| Fired::Passed { run: Box::new(run), queued };
        Ok(runs.into_iter().zip(queued).map(passed).collect())
    }

    fn fires_in_one_write(&self) -> bool {
        self.defect == Defect::ForgetsTheStep && self.inner.fires_in_one_write()
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
        let of_task = |key: &String| self.defect == Defect::LeaksASlot && key.starts_with("task:");
        let leaked = |key: &&String| of_task(key) || self.defect == Defect::LeaksASlotOfALimit;
        let gone = RunId::from_text("gone");
        // No number is free, and all of them count.
        let all = |key: &String| (0..MAX_SLOTS).map(|n| (slot(key, n), gone.clone())).collect::<Vec<_>>();
        let mut in_use = self.inner.slots_in_use(keys).await?;
        if self.defect == Defect::ExceedsALimit {
            in_use.retain(|(slot, _)| !slot.starts_with("limit:"));
        }
        in_use.extend(keys.iter().filter(leaked).flat_map(all));
        Ok(in_use)
    }

    async fn take_permits(&self, limit: &RateLimit, least: u32, most: u32) -> Result<Permits> {
        let permits = self.inner.take_permits(limit, least, most).await?;
        let granted = if self.defect == Defect::ExceedsARate { most } else { permits.granted };
        Ok(Permits { granted, ..permits })
    }

    async fn next_permit(&self, limit: &RateLimit) -> Result<Moment> {
        self.inner.next_permit(limit).await
    }

    async fn held_runs(&self, task_id: &TaskId, limit: u32) -> Result<Vec<OpenRun>> {
        self.inner.held_runs(task_id, limit).await
    }

    async fn held_groups(&self, key: Option<&str>, after: &str, limit: u32) -> Result<Vec<WaitGroup>> {
        let mut groups = self.inner.held_groups(key, after, limit).await?;
        if self.defect == Defect::ForgetsHeldRuns {
            groups.retain(|group| !is_of_hold(group.as_str()));
        }
        Ok(groups)
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
        if self.shows(Defect::LosesAWrite) {
            return Ok(vec![true; runs.len()]);
        }
        let has_success = runs.iter().any(|run| run.state == RunState::Succeeded);
        if has_success && self.shows(Defect::LosesAnOutcome) {
            return Ok(vec![true; runs.len()]);
        }
        if self.shows(Defect::ForcesATransition) {
            self.force(&runs[0].task_id).await;
        }
        if self.defect == Defect::ExceedsALimit {
            return self.inner.update_runs(&with_own_numbers(runs)).await;
        }
        if self.defect == Defect::SharesASlot {
            return self.inner.update_runs(&with_own_slots(runs)).await;
        }
        if self.defect == Defect::IgnoresTheVersion {
            return self.inner.update_runs(&self.with_stored_versions(runs).await?).await;
        }
        if self.defect == Defect::ForgetsACancelRequest {
            let forget = |run: &Run| match run.cancel_request {
                Some(request) if request.forced_at.is_some() || run.has_ended() => {
                    Run { cancel_request: None, ..run.clone() }
                }
                _ => run.clone(),
            };
            return self.inner.update_runs(&runs.iter().map(forget).collect::<Vec<_>>()).await;
        }
        self.inner.update_runs(runs).await
    }

    async fn runs_needing_attention(
        &self,
        shards: &[u16],
        now: Moment,
        limit: u32,
        queued_only: bool,
    ) -> Result<Head<Run>> {
        assert!(!self.shows(Defect::Panics), "the defect panics");
        self.inner.runs_needing_attention(shards, now, limit, queued_only).await
    }

    async fn idempotency_record(&self, key: &str) -> Result<Option<IdempotencyRecord>> {
        if self.defect == Defect::ForgetsARequest {
            return Ok(None);
        }
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

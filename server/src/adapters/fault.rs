//! Ports that fail: a decorator for tests. A [`Plan`] decides what fails and when.
//!
//! Every call consults its plan twice. Before the effect, an error means that the request was lost
//! and nothing happened. After the effect, an error means that only the answer was lost. Writes of
//! several rows happen in parts, as in a back end without transactions: a plan may let only some
//! parts succeed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::core::audit::{AuditEntry, AuditPage, AuditSelection};
use crate::core::rate::{Permits, RateLimit};
use crate::core::run::{FairnessKey, LeaseSlots, LeasedRun, OpenRun, RunMark};
use crate::core::run_log::{LogBatch, LogPart};
use crate::core::wait_group::WaitGroup;
use crate::core::{Moment, Run, RunId, Task, TaskId};
use crate::ports::{
    Advance, AppendedLog, Attached, BacklogRow, Bus, BusMessage, Fire, Fired, Found, Head, IdempotencyRecord,
    InsertedRequest, InsertedRun, InsertedTask, Lock, Order, OutcomeCount, Page, PortError, QueueRow, Record,
    Records, ReplacedTask, Result, RunFilter, RunPage, Store, TaskFilter, Tombstone, UnreadableRows,
    fire_in_two_steps,
};

/// Decides the fate of calls. Both methods may also delay the call, or never return.
#[async_trait]
pub trait Plan: Send + Sync {
    /// Runs before the effect of `call`. An error means that the request was lost.
    async fn request(&self, call: &'static str) -> Result<()>;
    /// Runs after the effect of `call`. An error means that the answer was lost.
    async fn answer(&self, call: &'static str) -> Result<()>;
    /// Returns how many of `rows` rows one part of a write has.
    fn portion(&self, rows: usize) -> usize;
}

/// Probabilities of faults, per thousand calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Odds {
    pub lost_requests: u32,
    pub lost_answers: u32,
    /// Delayed requests and answers.
    pub delays: u32,
    /// Longest delay, in milliseconds.
    pub longest_delay_ms: u64,
    /// Writes of several rows that happen in parts.
    pub parts: u32,
}

/// A plan that draws random numbers. The same seed and the same calls have the same fate.
pub struct SeededPlan {
    name: &'static str,
    rng: Mutex<fastrand::Rng>,
    odds: Odds,
}

impl SeededPlan {
    /// Creates a plan with these odds. `name` is the back end in its errors.
    pub fn new(name: &'static str, seed: u64, odds: Odds) -> Self {
        Self { name, rng: Mutex::new(fastrand::Rng::with_seed(seed)), odds }
    }

    /// Draws whether an event with this chance, in a thousand, happens.
    fn happens(&self, chance: u32) -> bool {
        self.draw(1_000) < u64::from(chance)
    }

    fn draw(&self, below: u64) -> u64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).u64(..below)
    }

    async fn maybe_delay(&self) {
        if self.happens(self.odds.delays) {
            let ms = self.draw(self.odds.longest_delay_ms.max(1));
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }

    fn maybe_lose(&self, chance: u32, what: &'static str) -> Result<()> {
        if self.happens(chance) { Err(PortError::Unavailable(self.name, what.into())) } else { Ok(()) }
    }
}

#[async_trait]
impl Plan for SeededPlan {
    async fn request(&self, _: &'static str) -> Result<()> {
        self.maybe_delay().await;
        self.maybe_lose(self.odds.lost_requests, "the request was lost")
    }

    async fn answer(&self, _: &'static str) -> Result<()> {
        self.maybe_delay().await;
        self.maybe_lose(self.odds.lost_answers, "the answer was lost")
    }

    fn portion(&self, rows: usize) -> usize {
        if self.happens(self.odds.parts) { 1 + self.draw(rows.max(1) as u64) as usize } else { rows }
    }
}

/// A port whose calls follow a plan.
pub struct Faulty<P: ?Sized> {
    inner: Arc<P>,
    plan: Arc<dyn Plan>,
}

impl<P: ?Sized> Faulty<P> {
    /// Wraps `inner`.
    pub fn new(inner: Arc<P>, plan: Arc<dyn Plan>) -> Self {
        Self { inner, plan }
    }

    async fn call<T>(&self, name: &'static str, effect: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.plan.request(name).await?;
        let answer = effect.await;
        self.plan.answer(name).await?;
        answer
    }

    fn parts<'a, T>(&self, rows: &'a [T]) -> std::slice::Chunks<'a, T> {
        rows.chunks(self.plan.portion(rows.len()).max(1))
    }
}

/// Returns a result for each row of a part that may have failed as a whole.
fn per_row<T>(answers: Result<Vec<Result<T>>>, rows: usize) -> Vec<Result<T>> {
    answers.unwrap_or_else(|error| (0..rows).map(|_| Err(error.duplicate())).collect())
}

#[async_trait]
impl<S: Store + ?Sized> Store for Faulty<S> {
    async fn insert_tasks(&self, tasks: Vec<Task>) -> Vec<Result<InsertedTask>> {
        let mut answers = Vec::with_capacity(tasks.len());
        for part in self.parts(&tasks) {
            let insert = async { Ok(self.inner.insert_tasks(part.to_vec()).await) };
            answers.extend(per_row(self.call("insert_tasks", insert).await, part.len()));
        }
        answers
    }

    /// In parts: the record, and then the tasks, as in a back end without transactions.
    async fn insert_request(&self, record: &IdempotencyRecord, tasks: &[Task]) -> Result<InsertedRequest> {
        let rows = 1 + tasks.len();
        let is_whole = self.plan.portion(rows) == rows;
        let first = if is_whole { tasks } else { &[] };
        let answer = self.call("insert_request", self.inner.insert_request(record, first)).await?;
        match answer {
            InsertedRequest::New(_) if !is_whole => {
                Ok(InsertedRequest::New(self.insert_tasks(tasks.to_vec()).await))
            }
            answer => Ok(answer),
        }
    }

    async fn task(&self, id: &TaskId) -> Result<Option<Task>> {
        self.call("task", self.inner.task(id)).await
    }

    async fn tasks(&self, ids: &[TaskId]) -> Result<Found<Task, TaskId>> {
        self.call("tasks", self.inner.tasks(ids)).await
    }

    async fn list_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<Vec<Task>> {
        self.call("list_tasks", self.inner.list_tasks(filter, page)).await
    }

    async fn count_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<u64> {
        self.call("count_tasks", self.inner.count_tasks(filter, page)).await
    }

    async fn latest_task(&self, id: &TaskId) -> Result<Option<Task>> {
        self.call("latest_task", self.inner.latest_task(id)).await
    }

    async fn task_by_key(&self, key: &str) -> Result<Option<Task>> {
        self.call("task_by_key", self.inner.task_by_key(key)).await
    }

    /// Repeats a call whose answer was lost once, as an adapter does: the repeated call must
    /// recognise its own write.
    async fn replace_task(&self, read: &Task, task: &Task, rows: Attached<'_>) -> Result<ReplacedTask> {
        let replace = || self.call("replace_task", self.inner.replace_task(read, task, rows));
        match replace().await {
            Err(PortError::Unavailable(..)) => replace().await,
            answer => answer,
        }
    }

    async fn past_definitions(&self, id: &TaskId, before: u32, limit: u32) -> Result<Vec<Task>> {
        self.call("past_definitions", self.inner.past_definitions(id, before, limit)).await
    }

    /// A task becomes a tombstone before it is hidden.
    async fn cancel_tasks(
        &self,
        ids: &[TaskId],
        rev: Option<u32>,
        hide: bool,
        now: Moment,
    ) -> Result<Vec<Tombstone>> {
        let mut cancelled = Vec::new();
        for part in self.parts(ids) {
            let cancel = self.inner.cancel_tasks(part, rev, false, now);
            let mut tombstones = self.call("cancel_tasks", cancel).await?;
            if hide {
                tombstones = self.call("hide_tasks", self.inner.cancel_tasks(part, rev, true, now)).await?;
            }
            cancelled.extend(tombstones);
        }
        Ok(cancelled)
    }

    async fn due_tasks(&self, shards: &[u16], until: Moment, limit: u32, order: Order) -> Result<Head<Task>> {
        self.call("due_tasks", self.inner.due_tasks(shards, until, limit, order)).await
    }

    async fn insert_runs(&self, runs: &[Run]) -> Result<Vec<InsertedRun>> {
        let mut answers = Vec::with_capacity(runs.len());
        for part in self.parts(runs) {
            answers.extend(self.call("insert_runs", self.inner.insert_runs(part)).await?);
        }
        Ok(answers)
    }

    async fn advance_tasks(&self, advances: &[Advance]) -> Result<Vec<bool>> {
        let mut answers = Vec::with_capacity(advances.len());
        for part in self.parts(advances) {
            answers.extend(self.call("advance_tasks", self.inner.advance_tasks(part)).await?);
        }
        Ok(answers)
    }

    /// Two steps are two calls, each with its own fate.
    async fn fire(&self, fires: Vec<Fire<'_>>) -> Result<Vec<Fired>> {
        if !self.fires_in_one_write() {
            return fire_in_two_steps(self, fires).await;
        }
        self.call("fire", self.inner.fire(fires)).await
    }

    fn fires_in_one_write(&self) -> bool {
        self.inner.fires_in_one_write()
    }

    async fn run(&self, id: &RunId) -> Result<Option<Run>> {
        self.call("run", self.inner.run(id)).await
    }

    async fn runs(&self, ids: &[RunId]) -> Result<Found<Run, RunId>> {
        self.call("runs", self.inner.runs(ids)).await
    }

    async fn open_runs(&self, task_id: &TaskId, after: Option<&RunId>, limit: u32) -> Result<Vec<OpenRun>> {
        self.call("open_runs", self.inner.open_runs(task_id, after, limit)).await
    }

    async fn slots_in_use(&self, keys: &[String]) -> Result<Vec<(String, RunId)>> {
        self.call("slots_in_use", self.inner.slots_in_use(keys)).await
    }

    async fn held_runs(&self, task_id: &TaskId, limit: u32) -> Result<Vec<OpenRun>> {
        self.call("held_runs", self.inner.held_runs(task_id, limit)).await
    }

    async fn held_groups(&self, key: Option<&str>, after: &str, limit: u32) -> Result<Vec<WaitGroup>> {
        self.call("held_groups", self.inner.held_groups(key, after, limit)).await
    }

    async fn held_in_group(&self, group: &WaitGroup, limit: u32) -> Result<Vec<OpenRun>> {
        self.call("held_in_group", self.inner.held_in_group(group, limit)).await
    }

    async fn count_held(&self, key: &str, limit: u32) -> Result<u64> {
        self.call("count_held", self.inner.count_held(key, limit)).await
    }

    async fn take_permits(&self, limit: &RateLimit, least: u32, most: u32) -> Result<Permits> {
        self.call("take_permits", self.inner.take_permits(limit, least, most)).await
    }

    async fn next_permit(&self, limit: &RateLimit) -> Result<Moment> {
        self.call("next_permit", self.inner.next_permit(limit)).await
    }

    async fn list_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<Run>> {
        self.call("list_runs", self.inner.list_runs(filter, page)).await
    }

    async fn count_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<u64> {
        self.call("count_runs", self.inner.count_runs(filter, page)).await
    }

    async fn ready_runs(&self, queues: &[String], limit: u32) -> Result<Head<Run>> {
        self.call("ready_runs", self.inner.ready_runs(queues, limit)).await
    }

    async fn ready_keys(
        &self,
        queues: &[String],
        after: Option<&FairnessKey>,
        limit: u32,
    ) -> Result<Vec<FairnessKey>> {
        self.call("ready_keys", self.inner.ready_keys(queues, after, limit)).await
    }

    async fn ready_runs_of(&self, keys: &[FairnessKey], each: u32) -> Result<Vec<Run>> {
        self.call("ready_runs_of", self.inner.ready_runs_of(keys, each)).await
    }

    async fn runs_in_slots(&self, slots: &LeaseSlots) -> Result<Vec<Run>> {
        self.call("runs_in_slots", self.inner.runs_in_slots(slots)).await
    }

    async fn recent_runs(&self, tasks: &[TaskId], limit: u32) -> Result<Vec<Vec<RunMark>>> {
        self.call("recent_runs", self.inner.recent_runs(tasks, limit)).await
    }

    async fn leased_runs(&self, limit: u32) -> Result<Head<LeasedRun>> {
        self.call("leased_runs", self.inner.leased_runs(limit)).await
    }

    async fn queues(&self) -> Result<Vec<QueueRow>> {
        self.call("queues", self.inner.queues()).await
    }

    async fn update_runs(&self, runs: &[Run]) -> Result<Vec<bool>> {
        let mut answers = Vec::with_capacity(runs.len());
        for part in self.parts(runs) {
            answers.extend(self.call("update_runs", self.inner.update_runs(part)).await?);
        }
        Ok(answers)
    }

    async fn runs_needing_attention(
        &self,
        shards: &[u16],
        now: Moment,
        limit: u32,
        queued_only: bool,
    ) -> Result<Head<Run>> {
        let read = self.inner.runs_needing_attention(shards, now, limit, queued_only);
        self.call("runs_needing_attention", read).await
    }

    async fn idempotency_record(&self, key: &str) -> Result<Option<IdempotencyRecord>> {
        self.call("idempotency_record", self.inner.idempotency_record(key)).await
    }

    async fn count_fires(&self, at: Moment, fires: &[(String, u64)]) -> Result<()> {
        self.call("count_fires", self.inner.count_fires(at, fires)).await
    }

    async fn fires_in_minute(&self, at: Moment) -> Result<Vec<(String, u64)>> {
        self.call("fires_in_minute", self.inner.fires_in_minute(at)).await
    }

    async fn count_outcomes(&self, day: Moment, counts: &[OutcomeCount]) -> Result<()> {
        self.call("count_outcomes", self.inner.count_outcomes(day, counts)).await
    }

    async fn outcomes_on(&self, day: Moment) -> Result<Vec<OutcomeCount>> {
        self.call("outcomes_on", self.inner.outcomes_on(day)).await
    }

    async fn backlog(&self, now: Moment) -> Result<Vec<BacklogRow>> {
        self.call("backlog", self.inner.backlog(now)).await
    }

    async fn append_log(&self, batch: &LogBatch) -> Result<AppendedLog> {
        self.call("append_log", self.inner.append_log(batch)).await
    }

    async fn log(&self, id: &RunId, from: u64) -> Result<LogPart> {
        self.call("log", self.inner.log(id, from)).await
    }

    async fn append_audit(&self, entries: &[AuditEntry]) -> Result<()> {
        self.call("append_audit", self.inner.append_audit(entries)).await
    }

    async fn audit(&self, selection: &AuditSelection, page: &AuditPage) -> Result<Vec<AuditEntry>> {
        self.call("audit", self.inner.audit(selection, page)).await
    }

    async fn prune(&self, ended_before: Moment, idempotency_before: Moment, limit: u32) -> Result<u64> {
        self.call("prune", self.inner.prune(ended_before, idempotency_before, limit)).await
    }

    async fn unreadable_rows(&self) -> Result<Option<UnreadableRows>> {
        self.call("unreadable_rows", self.inner.unreadable_rows()).await
    }

    async fn now(&self) -> Result<Moment> {
        self.call("now", self.inner.now()).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl<R: Records + ?Sized> Records for Faulty<R> {
    async fn record(&self, kind: &str, key: &str) -> Result<Option<Record>> {
        self.call("record", self.inner.record(kind, key)).await
    }

    async fn put_record(&self, record: &Record) -> Result<bool> {
        self.call("put_record", self.inner.put_record(record)).await
    }

    async fn remove_record(&self, record: &Record) -> Result<bool> {
        self.call("remove_record", self.inner.remove_record(record)).await
    }

    async fn records(
        &self,
        kind: &str,
        index: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Record>> {
        self.call("records", self.inner.records(kind, index, after, limit)).await
    }
}

#[async_trait]
impl<B: Bus + ?Sized> Bus for Faulty<B> {
    async fn publish(&self, messages: Vec<BusMessage>) -> Vec<Result<()>> {
        let mut answers = Vec::with_capacity(messages.len());
        for part in self.parts(&messages) {
            let send = async { Ok(self.inner.publish(part.to_vec()).await) };
            answers.extend(per_row(self.call("publish", send).await, part.len()));
        }
        answers
    }

    async fn lag(&self) -> Result<Vec<(String, u64)>> {
        self.call("lag", self.inner.lag()).await
    }

    async fn probe(&self) -> Result<()> {
        self.call("probe", self.inner.probe()).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl<L: Lock + ?Sized> Lock for Faulty<L> {
    async fn join(&self, node: &str, ttl_ms: u64) -> Result<Vec<String>> {
        self.call("join", self.inner.join(node, ttl_ms)).await
    }

    fn may_lose_announcements(&self) -> bool {
        self.inner.may_lose_announcements()
    }

    async fn acquire(&self, node: &str, shards: &[u16], ttl_ms: u64) -> Result<Vec<u16>> {
        self.call("acquire", self.inner.acquire(node, shards, ttl_ms)).await
    }

    async fn release(&self, node: &str, shards: &[u16], leave: bool) -> Result<()> {
        self.call("release", self.inner.release(node, shards, leave)).await
    }

    async fn describe(&self, node: &str, description: &str, ttl_ms: u64) -> Result<()> {
        self.call("describe", self.inner.describe(node, description, ttl_ms)).await
    }

    async fn descriptions(&self) -> Result<Vec<String>> {
        self.call("descriptions", self.inner.descriptions()).await
    }

    async fn wake(&self, shards: &[u16]) -> Result<()> {
        self.call("wake", self.inner.wake(shards)).await
    }

    async fn next_hint(&self) -> Result<Vec<u16>> {
        self.call("next_hint", self.inner.next_hint()).await
    }

    async fn viewers(&self, node: Option<&str>, ttl_ms: u64) -> Result<Vec<String>> {
        self.call("viewers", self.inner.viewers(node, ttl_ms)).await
    }

    async fn send_changes(&self, message: &str) -> Result<()> {
        self.call("send_changes", self.inner.send_changes(message)).await
    }

    async fn changes(&self) -> Result<BoxStream<'static, String>> {
        self.call("changes", self.inner.changes()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::memory::MemoryBus;

    fn messages(n: usize) -> Vec<BusMessage> {
        let message = |n: usize| BusMessage {
            tag: n.to_string(),
            key: String::new(),
            body: Vec::new(),
            properties: Vec::new(),
        };
        (0..n).map(message).collect()
    }

    async fn publish(odds: Odds, seed: u64) -> (Vec<bool>, usize) {
        let bus = Arc::new(MemoryBus::default());
        let faulty = Faulty::new(Arc::clone(&bus), Arc::new(SeededPlan::new("bus", seed, odds)));
        let answers = faulty.publish(messages(20)).await;
        (answers.iter().map(Result::is_ok).collect(), bus.since(0).len())
    }

    #[tokio::test]
    async fn a_lost_request_has_no_effect_and_a_lost_answer_has_one() {
        let always = 1_000;
        let (answers, sent) = publish(Odds { lost_requests: always, ..Odds::default() }, 1).await;
        assert_eq!((answers.contains(&true), sent), (false, 0));
        let (answers, sent) = publish(Odds { lost_answers: always, ..Odds::default() }, 1).await;
        assert_eq!((answers.contains(&true), sent), (false, 20));
        let (answers, sent) = publish(Odds::default(), 1).await;
        assert_eq!((answers.contains(&false), sent), (false, 20));
    }

    #[tokio::test]
    async fn a_write_in_parts_may_partly_succeed_and_a_seed_repeats_it() {
        let odds = Odds { lost_requests: 500, parts: 1_000, ..Odds::default() };
        let mut partial = 0;
        for seed in 0..50 {
            let once = publish(odds, seed).await;
            assert_eq!(publish(odds, seed).await, once);
            partial += usize::from(once.0.contains(&true) && once.0.contains(&false));
        }
        assert!(partial > 10, "{partial}");
    }
}

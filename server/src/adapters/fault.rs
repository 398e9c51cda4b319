//! Ports that fail: a decorator for tests. What fails, and when, is up to a [`Plan`].
//!
//! Every call asks its plan twice: before its effect, where an error means that the request was lost and nothing happened, and after
//! it, where an error means that the effect stands and only the answer was lost. Writes of several rows are made part by part, as a
//! back end without transactions makes them: a plan may let some parts through and others not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::core::run::OpenRun;
use crate::core::{Moment, Run, RunId, Task, TaskId};
use crate::ports::{
    Advance, BacklogRow, Bus, BusMessage, IdempotencyRecord, InsertedRun, InsertedTask, Lock, OutcomeCount,
    Page, PortError, QueueRow, Record, Records, ReplacedTask, Result, RunFilter, RunPage, Store, TaskFilter,
};

/// Decides what becomes of calls. Either answer may also take its time, or never come.
#[async_trait]
pub trait Plan: Send + Sync {
    /// Before the effect of `call`. An error: the request was lost.
    async fn request(&self, call: &'static str) -> Result<()>;
    /// After the effect of `call`. An error: the answer was lost.
    async fn answer(&self, call: &'static str) -> Result<()>;
    /// How many of `rows` rows a write makes at a time.
    fn portion(&self, rows: usize) -> usize;
}

/// How often calls go wrong, each in calls of a thousand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Odds {
    /// The request is lost.
    pub lost_requests: u32,
    /// The answer is lost.
    pub lost_answers: u32,
    /// The request or the answer is late.
    pub delays: u32,
    /// By how many milliseconds at most.
    pub longest_delay_ms: u64,
    /// A write of several rows is made in parts.
    pub parts: u32,
}

/// A plan that draws lots. The same seed and the same calls have the same fate.
pub struct SeededPlan {
    name: &'static str,
    lots: Mutex<fastrand::Rng>,
    odds: Odds,
}

impl SeededPlan {
    /// A plan with these odds; its errors speak of `name`.
    pub fn new(name: &'static str, seed: u64, odds: Odds) -> Self {
        Self { name, lots: Mutex::new(fastrand::Rng::with_seed(seed)), odds }
    }

    /// Whether something happens whose chance is so many in a thousand.
    fn falls(&self, chance: u32) -> bool {
        self.draw(1_000) < u64::from(chance)
    }

    fn draw(&self, below: u64) -> u64 {
        self.lots.lock().unwrap_or_else(PoisonError::into_inner).u64(..below)
    }

    async fn may_be_late(&self) {
        if self.falls(self.odds.delays) {
            let ms = self.draw(self.odds.longest_delay_ms.max(1));
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }

    fn lost(&self, chance: u32, what: &'static str) -> Result<()> {
        if self.falls(chance) { Err(PortError::Unavailable(self.name, what.into())) } else { Ok(()) }
    }
}

#[async_trait]
impl Plan for SeededPlan {
    async fn request(&self, _: &'static str) -> Result<()> {
        self.may_be_late().await;
        self.lost(self.odds.lost_requests, "the request was lost")
    }

    async fn answer(&self, _: &'static str) -> Result<()> {
        self.may_be_late().await;
        self.lost(self.odds.lost_answers, "the answer was lost")
    }

    fn portion(&self, rows: usize) -> usize {
        if self.falls(self.odds.parts) { 1 + self.draw(rows.max(1) as u64) as usize } else { rows }
    }
}

/// A port whose calls a plan decides on.
pub struct Faulty<P: ?Sized> {
    inner: Arc<P>,
    plan: Arc<dyn Plan>,
}

impl<P: ?Sized> Faulty<P> {
    /// `inner`, as far as `plan` lets it through.
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

/// The same error for one more row of a part.
fn copy(error: &PortError) -> PortError {
    let text = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    match error {
        PortError::Unavailable(name, _) => PortError::Unavailable(name, text.into()),
        PortError::Refused(name, _) => PortError::Refused(name, text.into()),
        PortError::Full(name, _) => PortError::Full(name, text.into()),
        PortError::Corrupt(name, _) => PortError::Corrupt(name, text.into()),
    }
}

/// An answer for each row, where the part as a whole may have failed.
fn each<T>(answers: Result<Vec<Result<T>>>, rows: usize) -> Vec<Result<T>> {
    answers.unwrap_or_else(|error| (0..rows).map(|_| Err(copy(&error))).collect())
}

#[async_trait]
impl<S: Store + ?Sized> Store for Faulty<S> {
    async fn insert_tasks(&self, tasks: Vec<Task>) -> Vec<Result<InsertedTask>> {
        let mut answers = Vec::with_capacity(tasks.len());
        for part in self.parts(&tasks) {
            let insert = async { Ok(self.inner.insert_tasks(part.to_vec()).await) };
            answers.extend(each(self.call("insert_tasks", insert).await, part.len()));
        }
        answers
    }

    async fn task(&self, id: &TaskId) -> Result<Option<Task>> {
        self.call("task", self.inner.task(id)).await
    }

    async fn tasks(&self, ids: &[TaskId]) -> Result<Vec<Task>> {
        self.call("tasks", self.inner.tasks(ids)).await
    }

    async fn list_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<Vec<Task>> {
        self.call("list_tasks", self.inner.list_tasks(filter, page)).await
    }

    async fn replace_task(&self, read: &Task, task: &Task) -> Result<ReplacedTask> {
        self.call("replace_task", self.inner.replace_task(read, task)).await
    }

    /// A task is a tombstone before it is hidden.
    async fn cancel_tasks(
        &self,
        ids: &[TaskId],
        rev: Option<u32>,
        hide: bool,
        now: Moment,
    ) -> Result<Vec<TaskId>> {
        let mut cancelled = Vec::new();
        for part in self.parts(ids) {
            let bury = self.inner.cancel_tasks(part, rev, false, now);
            let mut tombstones = self.call("cancel_tasks", bury).await?;
            if hide {
                tombstones = self.call("hide_tasks", self.inner.cancel_tasks(part, rev, true, now)).await?;
            }
            cancelled.extend(tombstones);
        }
        Ok(cancelled)
    }

    async fn due_tasks(&self, shards: &[u16], until: Moment, limit: u32) -> Result<Vec<Task>> {
        self.call("due_tasks", self.inner.due_tasks(shards, until, limit)).await
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

    async fn run(&self, id: &RunId) -> Result<Option<Run>> {
        self.call("run", self.inner.run(id)).await
    }

    async fn runs(&self, ids: &[RunId]) -> Result<Vec<Run>> {
        self.call("runs", self.inner.runs(ids)).await
    }

    async fn open_runs(&self, task_id: &TaskId, after: Option<&RunId>, limit: u32) -> Result<Vec<OpenRun>> {
        self.call("open_runs", self.inner.open_runs(task_id, after, limit)).await
    }

    async fn list_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<Run>> {
        self.call("list_runs", self.inner.list_runs(filter, page)).await
    }

    async fn ready_runs(&self, queues: &[String], limit: u32) -> Result<Vec<Run>> {
        self.call("ready_runs", self.inner.ready_runs(queues, limit)).await
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
    ) -> Result<Vec<Run>> {
        let read = self.inner.runs_needing_attention(shards, now, limit, queued_only);
        self.call("runs_needing_attention", read).await
    }

    async fn insert_idempotency_record(&self, request: &IdempotencyRecord) -> Result<IdempotencyRecord> {
        self.call("remember", self.inner.insert_idempotency_record(request)).await
    }

    async fn count_fires(&self, at: Moment, fires: &[(String, u64)]) -> Result<()> {
        self.call("count_fires", self.inner.count_fires(at, fires)).await
    }

    async fn fires_in_minute(&self, at: Moment) -> Result<Vec<(String, u64)>> {
        self.call("fires_in_minute", self.inner.fires_in_minute(at)).await
    }

    async fn count_outcomes(&self, day: Moment, ends: &[OutcomeCount]) -> Result<()> {
        self.call("count_outcomes", self.inner.count_outcomes(day, ends)).await
    }

    async fn outcomes_on(&self, day: Moment) -> Result<Vec<OutcomeCount>> {
        self.call("outcomes_on", self.inner.outcomes_on(day)).await
    }

    async fn backlog(&self, now: Moment) -> Result<Vec<BacklogRow>> {
        self.call("backlog", self.inner.backlog(now)).await
    }

    async fn prune(&self, ended_before: Moment, idempotency_before: Moment, limit: u32) -> Result<u64> {
        self.call("prune", self.inner.prune(ended_before, idempotency_before, limit)).await
    }

    async fn now(&self) -> Result<Moment> {
        self.call("now", self.inner.now()).await
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
            answers.extend(each(self.call("publish", send).await, part.len()));
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

    async fn acquire(&self, node: &str, shards: &[u16], ttl_ms: u64) -> Result<Vec<u16>> {
        self.call("hold", self.inner.acquire(node, shards, ttl_ms)).await
    }

    async fn release(&self, node: &str, shards: &[u16], leave: bool) -> Result<()> {
        self.call("release", self.inner.release(node, shards, leave)).await
    }

    async fn wake(&self, shards: &[u16]) -> Result<()> {
        self.call("wake", self.inner.wake(shards)).await
    }

    async fn next_hint(&self) -> Result<Vec<u16>> {
        self.call("woken", self.inner.next_hint()).await
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
    async fn a_write_in_parts_may_be_half_done_and_a_seed_repeats_it() {
        let odds = Odds { lost_requests: 500, parts: 1_000, ..Odds::default() };
        let mut halves = 0;
        for seed in 0..50 {
            let once = publish(odds, seed).await;
            assert_eq!(publish(odds, seed).await, once);
            halves += usize::from(once.0.contains(&true) && once.0.contains(&false));
        }
        assert!(halves > 10, "{halves}");
    }
}

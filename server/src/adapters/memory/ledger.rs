//! Rows, their indexes, and every write.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::core::audit::AuditEntry;
use crate::core::revision::MAX_PAST_DEFINITIONS;
use crate::core::run::FairnessKey;
use crate::core::run_log::LogChunk;
use crate::core::wait_group::WaitGroup;
use crate::core::{Moment, Run, RunId, RunState, Task, TaskId, TaskState};
use crate::ports::{
    Advance, Attached, Fire, Fired, IdempotencyRecord, InsertedRequest, InsertedRun, InsertedTask,
    OutcomeCount, ReplacedTask, Tombstone,
};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

#[derive(Default)]
pub struct Ledger {
    pub(super) tasks: BTreeMap<TaskId, Task>,
    pub(super) runs: BTreeMap<RunId, Run>,
    /// When finished and cancelled tasks ended.
    ended_tasks: HashMap<TaskId, Moment>,
    /// Tasks by their deduplication key.
    keys: HashMap<String, TaskId>,
    /// Active tasks by their next moment.
    pub(super) due: BTreeSet<(Moment, TaskId)>,
    /// Runs that have not ended, by their `attention_at`.
    pub(super) attention: BTreeSet<(Moment, RunId)>,
    /// Runs that have not ended, by task.
    pub(super) open: HashMap<TaskId, BTreeSet<RunId>>,
    /// Runs in `ready`.
    pub(super) ready: BTreeSet<(Moment, RunId)>,
    /// Runs in `ready` with a queue, by their fairness keys.
    pub(super) ready_by_key: BTreeMap<FairnessKey, BTreeSet<(Moment, RunId)>>,
    /// Leased runs, by their slots.
    pub(super) lease_slots: BTreeMap<String, RunId>,
    /// Open runs, by their slots.
    pub(super) slots: BTreeMap<String, RunId>,
    /// Runs that wait for admission, by each key that they wait for, and by their groups.
    pub(super) held: BTreeSet<(String, WaitGroup, Moment, RunId)>,
    /// Theoretical arrival times of rate limits in microseconds, by key.
    pub(super) rates: BTreeMap<String, i64>,
    idempotency: BTreeMap<String, IdempotencyRecord>,
    /// Fires by minute and tag.
    pub(super) fires: BTreeMap<(i64, String), u64>,
    /// Chunks of the logs, in order.
    pub(super) logs: HashMap<RunId, Vec<LogChunk>>,
    /// Earlier definitions, by task and by the revision that began them.
    definitions: BTreeMap<(TaskId, u32), Task>,
    /// Entries of the audit log, by id.
    pub(super) audit: BTreeMap<String, AuditEntry>,
    /// Ended runs by day.
    outcomes: BTreeMap<i64, Vec<OutcomeCount>>,
}

impl Ledger {
    pub fn task(&self, id: &TaskId) -> Option<&Task> {
        self.tasks.get(id)
    }

    pub fn task_by_key(&self, key: &str) -> Option<&Task> {
        self.task(self.keys.get(key)?)
    }

    pub fn run(&self, id: &RunId) -> Option<&Run> {
        self.runs.get(id)
    }

    /// Stores a task, unless its id or its deduplication key is already stored.
    pub fn insert_task(&mut self, task: Task, now: Moment) -> InsertedTask {
        if self.tasks.contains_key(&task.id) {
            return InsertedTask::New;
        }
        if let Some(holder) = task.dedup_key.as_ref().and_then(|key| self.keys.get(key)) {
            return InsertedTask::Existing(holder.clone());
        }
        self.put_task(task, now);
        InsertedTask::New
    }

    /// Replaces `read` by `task`, by compare-and-set on the position, and inserts the attached rows.
    pub fn replace_task(
        &mut self,
        read: &Task,
        task: &Task,
        rows: Attached<'_>,
        now: Moment,
    ) -> ReplacedTask {
        let Attached { skipped, answer } = rows;
        let Some(stored) = self.tasks.get(&read.id) else { return ReplacedTask::Moved };
        if stored.position() != read.position() {
            return ReplacedTask::from_stored(Some(stored), task);
        }
        match task.dedup_key.as_ref().and_then(|key| self.keys.get(key)) {
            Some(holder) if *holder != task.id => ReplacedTask::KeyHeld(holder.clone()),
            _ if answer.is_some_and(|row| self.tasks.contains_key(&row.id)) => ReplacedTask::Answered,
            _ if skipped.is_some_and(|row| self.runs.contains_key(&row.id)) => ReplacedTask::Moved,
            _ => {
                let defined = task.begins_definition().then(|| stored.as_defined());
                if let Some(row) = skipped {
                    self.put_run(row.clone());
                }
                if let Some(row) = answer {
                    self.put_task(row.clone(), now);
                }
                if let Some(defined) = defined {
                    self.keep_definition(defined);
                }
                self.put_task(task.clone(), now);
                ReplacedTask::Done
            }
        }
    }

    fn keep_definition(&mut self, defined: Task) {
        let id = defined.id.clone();
        self.definitions.insert((id.clone(), defined.rev), defined);
        let oldest = self.past_definitions(&id, u32::MAX).nth(MAX_PAST_DEFINITIONS as usize);
        if let Some(rev) = oldest.map(|oldest| oldest.rev) {
            self.definitions.remove(&(id, rev));
        }
    }

    /// Returns the definitions of a task that began before a revision, latest first.
    pub fn past_definitions(&self, id: &TaskId, before: u32) -> impl Iterator<Item = &Task> {
        self.definitions.range((id.clone(), 0)..(id.clone(), before)).rev().map(|(_, task)| task)
    }

    /// Turns a task into a tombstone, if it has the revision `rev`. Returns the tombstone that
    /// exists now.
    pub fn cancel_task(
        &mut self,
        id: &TaskId,
        rev: Option<u32>,
        hide: bool,
        now: Moment,
    ) -> Option<Tombstone> {
        let has_rev = |task: &&Task| rev.is_none_or(|rev| task.rev == rev);
        let task = self.tasks.get(id).filter(has_rev)?;
        let tombstone = task.tombstone(hide);
        let is_new = tombstone != *task;
        self.put_task(tombstone, now);
        Some(Tombstone { id: id.clone(), is_new })
    }

    /// Steps a task past a moment. `now` is the time of the store's own clock.
    pub fn advance_task(&mut self, advance: &Advance, now: Moment) -> bool {
        let Some(task) = self.tasks.get(&advance.task_id) else { return false };
        if !advance.is_allowed(task, now) {
            return advance.has_passed(task);
        }
        let stepped = task.stepped(advance);
        self.put_task(stepped, now);
        true
    }

    /// Fires a moment. A run with a queue enters the queue at once.
    pub fn fire(&mut self, fire: Fire<'_>, now: Moment) -> Fired {
        let Fire { task, mut run } = fire;
        if let Some(stored) = self.runs.get(&run.id).cloned() {
            let passed = self.advance_task(&Advance::of(task, &stored), now);
            let run = Box::new(stored);
            return if passed { Fired::Passed { run, queued: false } } else { Fired::NotPassed };
        }
        let advance = Advance::of(task, &run);
        if !self.tasks.get(&task.id).is_some_and(|stored| advance.is_allowed(stored, now)) {
            return Fired::NotPassed;
        }
        let queued = run.queue.is_some() && !run.needs_admission() && run.enqueue(now).is_ok();
        if queued {
            self.count_fires(now, &[(run.tag.clone(), 1)]);
        }
        self.put_run(run.clone());
        self.advance_task(&advance, now);
        Fired::Passed { run: Box::new(run), queued }
    }

    fn put_task(&mut self, task: Task, now: Moment) {
        self.remove_task(&task.id);
        if let (TaskState::Active, Some(due)) = (task.state, task.next_due_at) {
            self.due.insert((due, task.id.clone()));
        }
        if let Some(key) = &task.dedup_key {
            self.keys.insert(key.clone(), task.id.clone());
        }
        if task.state.has_ended() {
            self.ended_tasks.entry(task.id.clone()).or_insert(now);
        }
        self.tasks.insert(task.id.clone(), task);
    }

    fn remove_task(&mut self, id: &TaskId) {
        let Some(task) = self.tasks.remove(id) else { return };
        if let Some(due) = task.next_due_at {
            self.due.remove(&(due, task.id));
        }
        if let Some(key) = &task.dedup_key {
            self.keys.remove(key);
        }
    }

    /// Stores a run, unless its id is already stored.
    pub fn insert_run(&mut self, run: &Run) -> InsertedRun {
        if let Some(stored) = self.runs.get(&run.id) {
            return InsertedRun::from_stored(stored.clone(), run);
        }
        self.put_run(run.clone());
        InsertedRun::New
    }

    /// Replaces a run, if the stored run has the same version, and no other run has one of its slots.
    pub fn update_run(&mut self, run: &Run) -> bool {
        let is_unchanged = self.runs.get(&run.id).is_some_and(|stored| stored.version == run.version);
        let holder = run.lease_slot.as_ref().and_then(|slot| self.lease_slots.get(slot));
        let mut holders = holder.into_iter().chain(run.slots.iter().filter_map(|slot| self.slots.get(slot)));
        let replaces = is_unchanged && holders.all(|holder| *holder == run.id);
        if replaces {
            self.put_run(run.clone().next_version());
        }
        replaces
    }

    fn put_run(&mut self, run: Run) {
        self.remove_run(&run.id);
        if let Some(at) = run.attention_at {
            self.attention.insert((at, run.id.clone()));
            self.open.entry(run.task_id.clone()).or_default().insert(run.id.clone());
        }
        if run.state == RunState::Ready {
            self.ready.insert((run.scheduled_at, run.id.clone()));
            if let Some(key) = run.fairness_key() {
                self.ready_by_key.entry(key).or_default().insert((run.scheduled_at, run.id.clone()));
            }
        }
        if let Some(slot) = &run.lease_slot {
            self.lease_slots.insert(slot.clone(), run.id.clone());
        }
        self.slots.extend(run.slots.iter().map(|slot| (slot.clone(), run.id.clone())));
        self.held.extend(held_keys(&run));
        self.runs.insert(run.id.clone(), run);
    }

    fn remove_run(&mut self, id: &RunId) {
        let Some(run) = self.runs.remove(id) else { return };
        if let Some(at) = run.attention_at {
            self.attention.remove(&(at, id.clone()));
        }
        if let Some(open) = self.open.get_mut(&run.task_id) {
            open.remove(id);
            if open.is_empty() {
                self.open.remove(&run.task_id);
            }
        }
        self.remove_ready(&run);
        if let Some(slot) = &run.lease_slot {
            self.lease_slots.remove(slot);
        }
        for slot in &run.slots {
            self.slots.remove(slot);
        }
        for key in held_keys(&run) {
            self.held.remove(&key);
        }
    }

    fn remove_ready(&mut self, run: &Run) {
        let row = (run.scheduled_at, run.id.clone());
        self.ready.remove(&row);
        let Some(key) = run.fairness_key() else { return };
        let Some(rows) = self.ready_by_key.get_mut(&key) else { return };
        rows.remove(&row);
        if rows.is_empty() {
            self.ready_by_key.remove(&key);
        }
    }

    /// Stores a record and tasks, unless the key of the record exists.
    pub fn insert_request(
        &mut self,
        record: &IdempotencyRecord,
        tasks: &[Task],
        now: Moment,
    ) -> InsertedRequest {
        let stored = self.idempotency.entry(record.key.clone()).or_insert_with(|| record.clone());
        if !record.has_written(stored) {
            return InsertedRequest::Known(stored.clone());
        }
        InsertedRequest::New(tasks.iter().map(|task| Ok(self.insert_task(task.clone(), now))).collect())
    }

    pub fn idempotency_record(&self, key: &str) -> Option<IdempotencyRecord> {
        self.idempotency.get(key).cloned()
    }

    /// Adds fires to the counters of a minute.
    pub fn count_fires(&mut self, at: Moment, fires: &[(String, u64)]) {
        let minute = at.ms().div_euclid(MINUTE_MS);
        for (tag, n) in fires {
            *self.fires.entry((minute, tag.clone())).or_default() += n;
        }
    }

    /// Returns fires per tag in a minute.
    pub fn fires_in_minute(&self, at: Moment) -> Vec<(String, u64)> {
        let minute = at.ms().div_euclid(MINUTE_MS);
        let rows = self.fires.range((minute, String::new())..(minute + 1, String::new()));
        rows.map(|((_, tag), fires)| (tag.clone(), *fires)).collect()
    }

    /// Adds ended runs to the counters of a day.
    pub fn count_outcomes(&mut self, day: Moment, counts: &[OutcomeCount]) {
        let rows = self.outcomes.entry(day.ms().div_euclid(DAY_MS)).or_default();
        for count in counts {
            match rows.iter_mut().find(|row| (&row.tag, row.state) == (&count.tag, count.state)) {
                Some(row) => row.runs += count.runs,
                None => rows.push(count.clone()),
            }
        }
    }

    /// Returns the runs that ended on a day.
    pub fn outcomes_on(&self, day: Moment) -> Vec<OutcomeCount> {
        self.outcomes.get(&day.ms().div_euclid(DAY_MS)).cloned().unwrap_or_default()
    }

    /// Removes old rows, as [`Store::prune`](crate::ports::Store::prune) describes. Returns the
    /// number of removed rows.
    pub fn prune(&mut self, ended_before: Moment, idempotency_before: Moment, limit: usize) -> u64 {
        let before = self.idempotency.len();
        self.idempotency.retain(|_, record| record.at >= idempotency_before);
        let removed_records = before - self.idempotency.len();
        let runs = oldest(
            self.runs.values().filter_map(|run| Some((run.ended_at?, run.id.clone()))),
            ended_before,
            limit,
        );
        for id in &runs {
            self.remove_run(id);
            self.logs.remove(id);
        }
        let idle = self.ended_tasks.iter().filter(|(id, _)| !self.open.contains_key(id));
        let tasks = oldest(idle.map(|(id, at)| (*at, id.clone())), ended_before, limit - runs.len());
        for id in &tasks {
            self.remove_task(id);
            self.ended_tasks.remove(id);
            self.definitions.retain(|(task, _), _| task != id);
        }
        (removed_records + runs.len() + tasks.len()) as u64
    }
}

/// Returns a run that waits for admission, once per key that it waits for.
fn held_keys(run: &Run) -> Vec<(String, WaitGroup, Moment, RunId)> {
    let Some(group) = run.wait_group() else { return Vec::new() };
    let of_key = |key| (key, group.clone(), run.scheduled_at, run.id.clone());
    group.keys().into_iter().map(of_key).collect()
}

/// Returns at most `limit` ids of rows that ended before `before`, longest ago first.
fn oldest<Id: Ord>(ended: impl Iterator<Item = (Moment, Id)>, before: Moment, limit: usize) -> Vec<Id> {
    let mut ended: Vec<(Moment, Id)> = ended.filter(|(at, _)| *at < before).collect();
    ended.sort();
    ended.truncate(limit);
    ended.into_iter().map(|(_, id)| id).collect()
}

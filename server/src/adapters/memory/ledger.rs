//! The rows and their indexes, and every write.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::core::{Moment, Run, RunId, RunState, Task, TaskId, TaskState};
use crate::ports::{Advance, IdempotencyRecord, InsertedRun, InsertedTask, OutcomeCount, ReplacedTask};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// What is stored.
#[derive(Default)]
pub struct Ledger {
    pub(super) tasks: BTreeMap<TaskId, Task>,
    pub(super) runs: BTreeMap<RunId, Run>,
    /// When tasks ended that are finished or cancelled.
    ended_tasks: HashMap<TaskId, Moment>,
    /// Who holds a dedup key.
    keys: HashMap<String, TaskId>,
    /// Active tasks by their next moment.
    pub(super) due: BTreeSet<(Moment, TaskId)>,
    /// Runs that have not ended, by their `attention_at`.
    pub(super) attention: BTreeSet<(Moment, RunId)>,
    /// The same by task.
    pub(super) open: HashMap<TaskId, BTreeSet<RunId>>,
    /// Runs in `ready`.
    pub(super) ready: BTreeSet<(Moment, RunId)>,
    remembered: BTreeMap<String, IdempotencyRecord>,
    /// Fires by minute and tag.
    pub(super) fires: BTreeMap<(i64, String), u64>,
    /// Ends by day.
    ends: BTreeMap<i64, Vec<OutcomeCount>>,
}

impl Ledger {
    /// A task.
    pub fn task(&self, id: &TaskId) -> Option<&Task> {
        self.tasks.get(id)
    }

    /// A run.
    pub fn run(&self, id: &RunId) -> Option<&Run> {
        self.runs.get(id)
    }

    /// Stores a task, unless it stands already or its key is held.
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

    /// Puts `task` in the place of `read`, if that one still stands.
    pub fn replace_task(&mut self, read: &Task, task: &Task, now: Moment) -> ReplacedTask {
        let Some(stored) = self.tasks.get(&read.id) else { return ReplacedTask::Moved };
        if stored.position() != read.position() {
            // This very change may have been made by an earlier try.
            return if stored == task { ReplacedTask::Done } else { ReplacedTask::Moved };
        }
        match task.dedup_key.as_ref().and_then(|key| self.keys.get(key)) {
            Some(holder) if *holder != task.id => ReplacedTask::KeyHeld(holder.clone()),
            _ => {
                self.put_task(task.clone(), now);
                ReplacedTask::Done
            }
        }
    }

    /// Turns a task into a tombstone, at a certain revision where one is given; whether there is one now.
    pub fn cancel_task(&mut self, id: &TaskId, rev: Option<u32>, hide: bool, now: Moment) -> bool {
        let stands = |task: &&Task| rev.is_none_or(|rev| task.rev == rev);
        let Some(task) = self.tasks.get(id).filter(stands).cloned() else { return false };
        self.put_task(task.tombstone(hide), now);
        true
    }

    /// The linearization point of a fire. The store's own clock has a word in it.
    pub fn advance_task(&mut self, advance: &Advance, now: Moment) -> bool {
        let Some(task) = self.tasks.get(&advance.task_id) else { return false };
        if !advance.is_allowed(task, now) {
            return advance.has_passed(task);
        }
        let stepped = task.stepped(advance);
        self.put_task(stepped, now);
        true
    }

    fn put_task(&mut self, task: Task, now: Moment) {
        self.take_task(&task.id);
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

    fn take_task(&mut self, id: &TaskId) {
        let Some(task) = self.tasks.remove(id) else { return };
        if let Some(due) = task.next_due_at {
            self.due.remove(&(due, task.id));
        }
        if let Some(key) = &task.dedup_key {
            self.keys.remove(key);
        }
    }

    /// Stores a run, unless a row stands already.
    pub fn insert_run(&mut self, run: &Run) -> InsertedRun {
        match self.runs.get(&run.id) {
            // An equal row is this very insert, whose answer was lost.
            Some(standing) if standing == run => InsertedRun::New,
            Some(standing) => InsertedRun::Existing(Box::new(standing.clone())),
            None => {
                self.put_run(run.clone());
                InsertedRun::New
            }
        }
    }

    /// Replaces a run that stands at the version it was read at.
    pub fn update_run(&mut self, run: &Run) -> bool {
        let stands = self.runs.get(&run.id).is_some_and(|stored| stored.version == run.version);
        if stands {
            self.put_run(run.clone().next_version());
        }
        stands
    }

    fn put_run(&mut self, run: Run) {
        self.take_run(&run.id);
        if let Some(at) = run.attention_at {
            self.attention.insert((at, run.id.clone()));
            self.open.entry(run.task_id.clone()).or_default().insert(run.id.clone());
        }
        if run.state == RunState::Ready {
            self.ready.insert((run.scheduled_at, run.id.clone()));
        }
        self.runs.insert(run.id.clone(), run);
    }

    fn take_run(&mut self, id: &RunId) {
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
        self.ready.remove(&(run.scheduled_at, id.clone()));
    }

    /// Stores the request unless its key is known; what stands under the key now.
    pub fn insert_idempotency_record(&mut self, request: &IdempotencyRecord) -> IdempotencyRecord {
        self.remembered.entry(request.key.clone()).or_insert_with(|| request.clone()).clone()
    }

    /// Adds to the fires of a minute.
    pub fn count_fires(&mut self, at: Moment, fires: &[(String, u64)]) {
        let minute = at.ms().div_euclid(MINUTE_MS);
        for (tag, n) in fires {
            *self.fires.entry((minute, tag.clone())).or_default() += n;
        }
    }

    /// The fires of a minute, by tag.
    pub fn fires_in_minute(&self, at: Moment) -> Vec<(String, u64)> {
        let minute = at.ms().div_euclid(MINUTE_MS);
        let rows = self.fires.range((minute, String::new())..(minute + 1, String::new()));
        rows.map(|((_, tag), fires)| (tag.clone(), *fires)).collect()
    }

    /// Adds to the ends of a day.
    pub fn count_outcomes(&mut self, day: Moment, ends: &[OutcomeCount]) {
        let rows = self.ends.entry(day.ms().div_euclid(DAY_MS)).or_default();
        for end in ends {
            match rows.iter_mut().find(|row| (&row.tag, row.state) == (&end.tag, end.state)) {
                Some(row) => row.runs += end.runs,
                None => rows.push(end.clone()),
            }
        }
    }

    /// The ends of a day.
    pub fn outcomes_on(&self, day: Moment) -> Vec<OutcomeCount> {
        self.ends.get(&day.ms().div_euclid(DAY_MS)).cloned().unwrap_or_default()
    }

    /// Removes what ended or was remembered long ago; how many rows.
    pub fn prune(&mut self, ended_before: Moment, idempotency_before: Moment, limit: usize) -> u64 {
        let known = self.remembered.len();
        self.remembered.retain(|_, request| request.at >= idempotency_before);
        let forgotten = known - self.remembered.len();
        let runs = oldest(
            self.runs.values().filter_map(|run| Some((run.ended_at?, run.id.clone()))),
            ended_before,
            limit,
        );
        for id in &runs {
            self.take_run(id);
        }
        let idle = self.ended_tasks.iter().filter(|(id, _)| !self.open.contains_key(id));
        let tasks = oldest(idle.map(|(id, at)| (*at, id.clone())), ended_before, limit - runs.len());
        for id in &tasks {
            self.take_task(id);
            self.ended_tasks.remove(id);
        }
        (forgotten + runs.len() + tasks.len()) as u64
    }
}

/// The ids of what ended before, longest ago first, at most `limit`.
fn oldest<Id: Ord>(ended: impl Iterator<Item = (Moment, Id)>, before: Moment, limit: usize) -> Vec<Id> {
    let mut ended: Vec<(Moment, Id)> = ended.filter(|(at, _)| *at < before).collect();
    ended.sort();
    ended.truncate(limit);
    ended.into_iter().map(|(_, id)| id).collect()
}

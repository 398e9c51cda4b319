//! Reads: pages, heads of queues, due tasks, backlog.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::ledger::Ledger;
use crate::core::labels::{self, Labels};
use crate::core::rate::{Permits, RateLimit};
use crate::core::run::{FairnessKey, LeaseSlots, LeasedRun, OpenRun, RunMark};
use crate::core::wait_group::WaitGroup;
use crate::core::{Moment, Run, RunId, RunState, Task, TaskId, TaskState};
use crate::ports::{BacklogRow, Head, Order, Page, QueueRow, RunFilter, RunPage, TaskFilter};

impl Ledger {
    /// Returns the matching tasks, newest first.
    pub fn list_tasks(&self, filter: &TaskFilter, page: &Page) -> Vec<Task> {
        let has_state = |task: &&Task| match filter.state {
            Some(state) => task.state == state,
            None => task.state != TaskState::Cancelled,
        };
        let has_name = |task: &&Task| filter.name.as_ref().is_none_or(|name| task.name == *name);
        let has_label =
            |task: &&Task| filter.label.as_ref().is_none_or(|text| task.index_texts().contains(text));
        let after = |task: &&Task| page.before.as_ref().is_none_or(|before| task.id < *before);
        let newest = self.tasks.values().rev().filter(|task| !task.hidden);
        let matching = newest.filter(has_state).filter(has_name).filter(has_label).filter(after);
        matching.take(page.limit as usize).cloned().collect()
    }

    /// Returns active tasks of the shards that are due at or before `until`.
    pub fn due_tasks(&self, shards: &[u16], until: Moment, limit: u32, order: Order) -> Vec<Task> {
        let due = self.due.iter().take_while(|(due, _)| *due <= until);
        let of_shards = due.filter(|(_, id)| shards.contains(&id.shard()));
        let mut due: Vec<&Task> = of_shards.filter_map(|(_, id)| self.tasks.get(id)).collect();
        if order == Order::Latest {
            due.reverse();
        }
        due.into_iter().take(limit as usize).cloned().collect()
    }

    /// Returns the runs of a task that have not ended, by id.
    pub fn open_runs(&self, task_id: &TaskId, after: Option<&RunId>, limit: u32) -> Vec<OpenRun> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = self.open.get(task_id).into_iter().flat_map(|ids| ids.range((after, Bound::Unbounded)));
        ids.filter_map(|id| self.runs.get(id)).take(limit as usize).map(Run::open).collect()
    }

    /// Takes permits of a rate limit.
    pub fn take_permits(&mut self, limit: &RateLimit, least: u32, most: u32, now: Moment) -> Permits {
        let tat_us = self.rates.entry(limit.key.clone()).or_default();
        let permits;
        (*tat_us, permits) = limit.take(*tat_us, least, most, now);
        permits
    }

    /// Returns the slots with these keys that runs have.
    pub fn slots_in_use(&self, keys: &[String]) -> Vec<(String, RunId)> {
        // '$' follows '#'.
        let of_key = |key: &String| self.slots.range(format!("{key}#")..format!("{key}$"));
        keys.iter().flat_map(of_key).map(|(slot, run)| (slot.clone(), run.clone())).collect()
    }

    /// Returns the runs of a task that wait for admission, earliest first.
    pub fn held_runs(&self, task_id: &TaskId, limit: u32) -> Vec<OpenRun> {
        let mut held: Vec<OpenRun> = self.open_runs(task_id, None, u32::MAX);
        held.retain(|run| run.state == RunState::Held);
        held.sort_by(|a, b| (a.scheduled_at, &a.id).cmp(&(b.scheduled_at, &b.id)));
        held.truncate(limit as usize);
        held
    }

    /// Returns groups of runs that wait for admission, by name.
    pub fn held_groups(&self, key: Option<&str>, after: &str, limit: u32) -> Vec<WaitGroup> {
        let rows = self.held.iter().filter(|(of, ..)| key.is_none_or(|key| of == key));
        let groups: BTreeSet<&WaitGroup> =
            rows.map(|(_, group, ..)| group).filter(|group| group.as_str() > after).collect();
        groups.into_iter().take(limit as usize).cloned().collect()
    }

    /// Returns runs of a group that wait for admission, earliest first.
    pub fn held_in_group(&self, group: &WaitGroup, limit: u32) -> Vec<OpenRun> {
        let first = (group.first_key(), group.clone(), Moment::from_ms(i64::MIN), RunId::from_text(""));
        let key = first.0.clone();
        let rows = self.held.range(first..).take_while(|(of, other, ..)| *of == key && other == group);
        let runs = rows.filter_map(|(.., id)| self.runs.get(id));
        runs.take(limit as usize).map(Run::open).collect()
    }

    /// Returns the number of runs that wait for slots of a key, at most `limit`.
    pub fn count_held(&self, key: &str, limit: u32) -> u64 {
        let waiting = self.held.iter().filter(|(of, ..)| of == key);
        waiting.take(limit as usize).count() as u64
    }

    /// Returns the matching runs, latest first.
    pub fn list_runs(&self, filter: &RunFilter, page: &RunPage) -> Vec<Run> {
        let matches = |run: &&Run| {
            filter.task_id.as_ref().is_none_or(|id| run.task_id == *id)
                && filter.tag.as_ref().is_none_or(|tag| run.tag == *tag)
                && filter.state.is_none_or(|state| run.state == state)
                && has_label(&run.labels, filter.label.as_ref())
        };
        let mut found: Vec<&Run> = self.runs.values().filter(matches).collect();
        found.sort_by(|a, b| (b.scheduled_at, &b.id).cmp(&(a.scheduled_at, &a.id)));
        let after =
            |run: &&Run| page.before.as_ref().is_none_or(|(at, id)| (run.scheduled_at, &run.id) < (*at, id));
        found.into_iter().filter(after).take(page.limit as usize).cloned().collect()
    }

    /// Returns the leased runs, latest first.
    pub fn leased_runs(&self, limit: u32) -> Head<LeasedRun> {
        let mut leased: Vec<&Run> = self.open_rows().filter(|run| run.state == RunState::Leased).collect();
        leased.sort_by(|a, b| (b.scheduled_at, &b.id).cmp(&(a.scheduled_at, &a.id)));
        let rows: Vec<LeasedRun> = leased.into_iter().take(limit as usize).map(Run::as_leased).collect();
        Head { more: rows.len() == limit as usize, rows }
    }

    /// Returns the latest runs of a task.
    pub fn recent_runs(&self, task_id: &TaskId, limit: u32) -> Vec<RunMark> {
        let filter = RunFilter { task_id: Some(task_id.clone()), ..RunFilter::default() };
        let runs = self.list_runs(&filter, &RunPage { limit, before: None });
        runs.iter().map(Run::as_mark).collect()
    }

    /// Returns the earliest ready runs of the queues. If `queues` is empty: of every queue whose
    /// name equals the run's tag.
    pub fn ready_runs(&self, queues: &[String], limit: u32) -> Vec<Run> {
        let runs = self.ready.iter().filter_map(|(_, id)| self.runs.get(id));
        let matches = |run: &&Run| match &run.queue {
            Some(queue) if queues.is_empty() => *queue == run.tag,
            Some(queue) => queues.contains(queue),
            None => false,
        };
        runs.filter(matches).take(limit as usize).cloned().collect()
    }

    /// Returns the fairness keys that have ready runs, after a key.
    pub fn ready_keys(&self, queues: &[String], after: Option<&FairnessKey>, limit: u32) -> Vec<FairnessKey> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.ready_by_key.range((after, Bound::Unbounded)).map(|(key, _)| key);
        let matches = |key: &&FairnessKey| match queues {
            [] => key.other_tag.is_none(),
            queues => queues.contains(&key.queue),
        };
        keys.filter(matches).take(limit as usize).cloned().collect()
    }

    /// Returns the earliest ready runs of each key.
    pub fn ready_runs_of(&self, keys: &[FairnessKey], each: u32) -> Vec<Run> {
        let rows = keys.iter().filter_map(|key| self.ready_by_key.get(key));
        let ids = rows.flat_map(|rows| rows.iter().take(each as usize).map(|(_, id)| id));
        ids.filter_map(|id| self.runs.get(id)).cloned().collect()
    }

    /// Returns the leased runs of one lease request, by slot.
    pub fn runs_in_slots(&self, slots: &LeaseSlots) -> Vec<Run> {
        let (from, to) = slots.range();
        self.lease_slots.range(from..to).filter_map(|(_, id)| self.runs.get(id)).cloned().collect()
    }

    /// Returns runs of the shards whose `attention_at` has come, longest overdue first.
    pub fn runs_needing_attention(
        &self,
        shards: &[u16],
        now: Moment,
        limit: u32,
        queued_only: bool,
    ) -> Vec<Run> {
        let overdue = self.attention.iter().take_while(|(at, _)| *at <= now);
        let runs = overdue.filter_map(|(_, id)| self.runs.get(id));
        let matches =
            |run: &&Run| shards.contains(&run.task_id.shard()) && (!queued_only || run.queue.is_some());
        runs.filter(matches).take(limit as usize).cloned().collect()
    }

    /// Returns the non-empty queues.
    pub fn queues(&self) -> Vec<QueueRow> {
        let mut rows = BTreeMap::<&str, QueueRow>::new();
        for run in self.open_rows() {
            let Some(queue) = &run.queue else { continue };
            if QueueRow::STATES.contains(&run.state) {
                let row = rows.entry(queue).or_insert_with(|| QueueRow::empty(queue.clone()));
                row.add(run.state, 1, run.scheduled_at);
            }
        }
        rows.into_values().collect()
    }

    /// Returns the backlog, per tag.
    pub fn backlog(&self, now: Moment) -> Vec<BacklogRow> {
        let mut rows = BTreeMap::<String, BacklogRow>::new();
        for (_, id) in self.due.iter().take_while(|(due, _)| *due <= now) {
            BacklogRow::of(&mut rows, self.tasks[id].name.clone()).due += 1;
        }
        for run in self.open_rows() {
            let is_due = run.scheduled_at <= now;
            let count: fn(&mut BacklogRow) -> &mut u64 = match run.state {
                RunState::Fired | RunState::Leased => |row| &mut row.unreported,
                RunState::Ready => |row| &mut row.ready,
                RunState::Held => |row| &mut row.held,
                RunState::Firing if is_due => |row| &mut row.due,
                RunState::Retrying if is_due && run.attention_at <= Some(now) => |row| &mut row.due,
                _ => continue,
            };
            *count(BacklogRow::of(&mut rows, run.tag.clone())) += 1;
        }
        rows.into_values().collect()
    }

    fn open_rows(&self) -> impl Iterator<Item = &Run> {
        self.attention.iter().filter_map(|(_, id)| self.runs.get(id))
    }
}

fn has_label(labels: &Labels, wanted: Option<&String>) -> bool {
    wanted.is_none_or(|wanted| labels::texts(labels).contains(wanted))
}

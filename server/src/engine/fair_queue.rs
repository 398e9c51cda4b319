//! Tasks that wait for their moments, in turn by tag: many due tasks of one tag do not delay the tasks of
//! other tags.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::core::Moment;
use crate::core::task::{Task, TaskId};

/// Waiting tasks, by tag and next moment.
#[derive(Debug, Default)]
pub struct FairQueue {
    tags: HashMap<String, BTreeMap<(Moment, TaskId), Task>>,
    /// The tags by their earliest moments.
    heads: BTreeSet<(Moment, String)>,
}

impl FairQueue {
    /// Returns the earliest moment.
    pub fn head(&self) -> Option<Moment> {
        self.heads.first().map(|(moment, _)| *moment)
    }

    /// Adds a task that is due at `due`.
    pub fn insert(&mut self, due: Moment, task: Task) {
        let tag = task.name.clone();
        let id = task.id.clone();
        self.change(&tag, |tasks| tasks.insert((due, id), task).is_none().then_some(()));
    }

    /// Removes a task that is due at `due`.
    pub fn remove(&mut self, tag: &str, due: Moment, id: &TaskId) -> Option<Task> {
        self.change(tag, |tasks| tasks.remove(&(due, id.clone())))
    }

    /// Takes up to `limit` tasks that are due at `now`: of each tag the earliest one, then of each tag the
    /// next one.
    pub fn take_due(&mut self, now: Moment, limit: usize) -> Vec<Task> {
        let mut taken = Vec::new();
        let due = self.heads.iter().take_while(|(moment, _)| *moment <= now);
        let mut tags: Vec<String> = due.map(|(_, tag)| tag.clone()).collect();
        while !tags.is_empty() && taken.len() < limit {
            tags.truncate(limit - taken.len());
            tags.retain(|tag| self.pop_due(tag, now).map(|task| taken.push(task)).is_some());
        }
        taken
    }

    fn pop_due(&mut self, tag: &str, now: Moment) -> Option<Task> {
        self.change(tag, |tasks| {
            let first = tasks.first_entry().filter(|first| first.key().0 <= now)?;
            Some(first.remove())
        })
    }

    /// Changes the tasks of a tag. `Some` means that a task was added or removed.
    fn change<T>(
        &mut self,
        tag: &str,
        change: impl FnOnce(&mut BTreeMap<(Moment, TaskId), Task>) -> Option<T>,
    ) -> Option<T> {
        let tasks = self.tags.entry(tag.to_owned()).or_default();
        let head = first(tasks);
        let changed = change(tasks);
        let next = first(tasks);
        if next.is_none() {
            self.tags.remove(tag);
        }
        if next != head {
            self.move_head(tag, head, next);
        }
        changed
    }

    fn move_head(&mut self, tag: &str, from: Option<Moment>, to: Option<Moment>) {
        if let Some(moment) = from {
            self.heads.remove(&(moment, tag.to_owned()));
        }
        if let Some(moment) = to {
            self.heads.insert((moment, tag.to_owned()));
        }
    }
}

fn first(tasks: &BTreeMap<(Moment, TaskId), Task>) -> Option<Moment> {
    tasks.first_key_value().map(|((moment, _), _)| *moment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::submission::Submission;

    fn task(tag: &str, n: u128) -> Task {
        let id = TaskId::new(uuid::Uuid::from_u128(n));
        Submission::named(tag, "").accept(id, Moment::from_ms(0)).unwrap()
    }

    fn tags(tasks: &[Task]) -> Vec<&str> {
        tasks.iter().map(|task| task.name.as_str()).collect()
    }

    #[test]
    fn tags_take_turns() {
        let mut queue = FairQueue::default();
        for n in 0..1_000 {
            queue.insert(Moment::from_ms(n), task("many", n as u128));
        }
        queue.insert(Moment::from_ms(999), task("one", 5_000));
        queue.insert(Moment::from_ms(998), task("two", 5_001));
        queue.insert(Moment::from_ms(999), task("two", 5_002));
        let taken = queue.take_due(Moment::from_ms(999), 6);
        assert_eq!(tags(&taken), ["many", "two", "one", "many", "two", "many"]);
        assert_eq!(queue.head(), Some(Moment::from_ms(3)));
    }

    #[test]
    fn nothing_is_taken_before_its_moment() {
        let mut queue = FairQueue::default();
        queue.insert(Moment::from_ms(10), task("a", 1));
        queue.insert(Moment::from_ms(20), task("a", 2));
        assert_eq!(queue.take_due(Moment::from_ms(9), 9), []);
        assert_eq!(queue.take_due(Moment::from_ms(19), 9).len(), 1);
        let id = task("a", 2).id;
        assert!(queue.remove("a", Moment::from_ms(20), &id).is_some());
        assert!(queue.remove("a", Moment::from_ms(20), &id).is_none());
        assert_eq!((queue.head(), queue.tags.len()), (None, 0));
    }
}

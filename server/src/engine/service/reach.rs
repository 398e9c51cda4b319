//! What a caller's limits leave of the commands: a token for some tags knows no others.
//!
//! A name that the caller says is refused where it is not one of theirs; what is looked up by id is then not found.

use std::borrow::Cow;

use super::access::{Caller, caller};
use super::{LeaseTerms, Page, Result, Service, ServiceError};
use crate::core::access::Grant;
use crate::core::submission::Submission;
use crate::core::{Run, Task, TaskId};
use crate::ports::{RunFilter, RunPage, TaskFilter};

/// The limits of whoever gives the command.
pub(super) struct Reach(std::sync::Arc<Caller>);

impl Reach {
    pub fn now() -> Self {
        Self(caller())
    }

    fn grant(&self) -> &Grant {
        &self.0.grant
    }

    pub fn reaches(&self, name: &str) -> bool {
        self.grant().allows_tag(name)
    }

    /// A task or a run of this tag is looked at or changed.
    pub fn run(&self, run: &Run) -> bool {
        self.reaches(&run.tag)
    }

    /// A worker has to do with it: it goes by the queue.
    pub fn pulls(&self, run: &Run) -> bool {
        self.reaches(run.queue.as_deref().unwrap_or(&run.tag))
    }

    /// # Errors
    /// [`ServiceError::Forbidden`]
    pub fn demand(&self, name: &str) -> Result<()> {
        let why = || format!("the token is limited to other tags than {name:?}");
        if self.reaches(name) { Ok(()) } else { Err(ServiceError::Forbidden(why())) }
    }

    /// A task puts work into its queue as well.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]
    pub fn demand_task(&self, task: &Submission) -> Result<()> {
        self.demand(&task.name)?;
        task.queue.as_deref().map_or(Ok(()), |queue| self.demand(queue))
    }

    /// Every queue is every one of theirs.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]
    pub fn terms<'a>(&self, terms: &'a LeaseTerms) -> Result<Cow<'a, LeaseTerms>> {
        terms.queues.iter().try_for_each(|queue| self.demand(queue))?;
        if terms.queues.is_empty() && self.grant().is_limited() {
            return Ok(Cow::Owned(LeaseTerms { queues: self.grant().tags.clone(), ..terms.clone() }));
        }
        Ok(Cow::Borrowed(terms))
    }

    /// The names that a listing is to be asked for one by one; none: it can be asked for as it is.
    fn each(&self, asked: Option<&str>) -> Result<&[String]> {
        match asked {
            Some(name) => self.demand(name).map(|()| &[][..]),
            None => Ok(&self.grant().tags),
        }
    }
}

impl Service {
    /// Of these tasks, those that the caller may know of.
    pub(super) async fn within_reach<'a>(&self, ids: &'a [TaskId]) -> Result<Cow<'a, [TaskId]>> {
        let reach = Reach::now();
        if !reach.grant().is_limited() {
            return Ok(Cow::Borrowed(ids));
        }
        let tasks = self.ports.store.tasks(ids).await?.into_iter();
        Ok(Cow::Owned(tasks.filter(|task| reach.reaches(&task.name)).map(|task| task.id).collect()))
    }

    pub(super) async fn reached_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<Vec<Task>> {
        let reach = Reach::now();
        let names = reach.each(filter.name.as_deref())?;
        if names.is_empty() {
            return Ok(self.ports.store.list_tasks(filter, page).await?);
        }
        let mut lists = Vec::new();
        for name in names {
            let filter = TaskFilter { name: Some(name.clone()), ..filter.clone() };
            lists.push(self.ports.store.list_tasks(&filter, page).await?);
        }
        Ok(newest(lists, page.limit as usize, |task| task.id.clone()))
    }

    pub(super) async fn reached_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<Run>> {
        let reach = Reach::now();
        let names = reach.each(filter.tag.as_deref())?;
        if names.is_empty() {
            return Ok(self.ports.store.list_runs(filter, page).await?);
        }
        let mut lists = Vec::new();
        for name in names {
            let filter = RunFilter { tag: Some(name.clone()), ..filter.clone() };
            lists.push(self.ports.store.list_runs(&filter, page).await?);
        }
        Ok(newest(lists, page.limit as usize, |run| (run.scheduled_at, run.id.clone())))
    }
}

/// Lists in descending order, as one. A store may end a list of large rows early: what another list holds beyond that end may not be
/// next.
fn newest<T, P: Ord>(lists: Vec<Vec<T>>, limit: usize, place: impl Fn(&T) -> P) -> Vec<T> {
    let short = lists.iter().filter(|list| list.len() < limit);
    let known_to = short.filter_map(|list| list.last().map(&place)).max();
    let mut rows: Vec<(P, T)> = lists.into_iter().flatten().map(|row| (place(&row), row)).collect();
    rows.retain(|(place, _)| known_to.as_ref().is_none_or(|end| place >= end));
    rows.sort_by(|(one, _), (other, _)| other.cmp(one));
    rows.truncate(limit);
    rows.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_one_up_to_where_all_are_known() {
        let merged = |limit| newest(vec![vec![9, 5, 1], vec![8, 7], vec![]], limit, |n| *n);
        assert_eq!(merged(1), [9]);
        assert_eq!(merged(2), [9, 8]);
        assert_eq!(merged(3), [9, 8, 7], "the second list may go on with 6");
    }
}

//! Checks of the caller's rights. Every command calls one of these first; a caller without scopes is
//! refused everywhere.
//!
//! A token may be limited to tags. A command that names another tag is refused. A command that names a
//! task or a run by id does not find it if its tag is another one.

use std::borrow::Cow;

use super::{Forbidden, LeaseTerms, Page, Result, Service};
use crate::core::access::{Grant, Scope};
use crate::core::submission::Submission;
use crate::core::{Run, Task, TaskId};
use crate::ports::{RunFilter, RunPage, TaskFilter};

impl Service {
    fn grant(&self) -> &Grant {
        &self.caller.grant
    }

    /// Checks that the caller has the scope.
    ///
    /// # Errors
    /// [`Forbidden::Scope`].
    pub(super) fn require(&self, scope: Scope) -> Result<()> {
        if self.grant().allows(scope) { Ok(()) } else { Err(Forbidden::Scope(scope).into()) }
    }

    /// Checks that the caller has the scope and is not limited to tags. For commands whose effect or
    /// answer cannot be divided by tag.
    ///
    /// # Errors
    /// [`Forbidden::Scope`] or [`Forbidden::Limited`].
    pub(super) fn require_unlimited(&self, scope: Scope) -> Result<()> {
        self.require(scope)?;
        if self.is_limited() { Err(Forbidden::Limited.into()) } else { Ok(()) }
    }

    /// Returns whether the caller is limited to tags.
    pub(super) fn is_limited(&self) -> bool {
        self.grant().is_limited()
    }

    /// Returns whether the caller's limits include the tag or queue.
    pub(super) fn allows_tag(&self, tag: &str) -> bool {
        self.grant().allows_tag(tag)
    }

    /// Returns whether the caller may lease, renew and settle the run. Workers are limited by queue.
    pub(super) fn allows_work_on(&self, run: &Run) -> bool {
        self.allows_tag(run.queue.as_deref().unwrap_or(&run.tag))
    }

    /// Checks that the caller's limits include the tag or queue.
    ///
    /// # Errors
    /// [`Forbidden::Tag`].
    pub(super) fn require_tag(&self, tag: &str) -> Result<()> {
        if self.allows_tag(tag) { Ok(()) } else { Err(Forbidden::Tag(tag.to_owned()).into()) }
    }

    /// Checks the task's name and its queue, because the task puts runs into that queue.
    ///
    /// # Errors
    /// [`Forbidden::Tag`].
    pub(super) fn require_task(&self, task: &Submission) -> Result<()> {
        self.require_tag(&task.name)?;
        task.queue.as_deref().map_or(Ok(()), |queue| self.require_tag(queue))
    }

    /// Returns the terms with the queues that the caller may use: for a limited caller, "every queue"
    /// means each queue that the limits name.
    ///
    /// # Errors
    /// [`Forbidden::Tag`].
    pub(super) fn allowed_terms<'a>(&self, terms: &'a LeaseTerms) -> Result<Cow<'a, LeaseTerms>> {
        terms.queues.iter().try_for_each(|queue| self.require_tag(queue))?;
        if terms.queues.is_empty() && self.is_limited() {
            return Ok(Cow::Owned(LeaseTerms { queues: self.grant().tags.clone(), ..terms.clone() }));
        }
        Ok(Cow::Borrowed(terms))
    }

    /// Returns the tags that a listing must query one by one. An empty list means one query as is.
    fn tags_to_list(&self, tag: Option<&str>) -> Result<&[String]> {
        match tag {
            Some(tag) => self.require_tag(tag).map(|()| &[][..]),
            None => Ok(&self.grant().tags),
        }
    }

    /// Returns the ids of those tasks that the caller may see.
    pub(super) async fn allowed_tasks<'a>(&self, ids: &'a [TaskId]) -> Result<Cow<'a, [TaskId]>> {
        if !self.is_limited() {
            return Ok(Cow::Borrowed(ids));
        }
        let tasks = self.shared.ports.store.tasks(ids).await?.rows.into_iter();
        Ok(Cow::Owned(tasks.filter(|task| self.allows_tag(&task.name)).map(|task| task.id).collect()))
    }

    pub(super) async fn list_allowed_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<Vec<Task>> {
        let store = &self.shared.ports.store;
        let tags = self.tags_to_list(filter.name.as_deref())?;
        if tags.is_empty() {
            return Ok(store.list_tasks(filter, page).await?);
        }
        let mut lists = Vec::new();
        for tag in tags {
            let filter = TaskFilter { name: Some(tag.clone()), ..filter.clone() };
            lists.push(store.list_tasks(&filter, page).await?);
        }
        Ok(merge_descending(lists, page.limit as usize, |task| task.id.clone()))
    }

    /// Counts the matching tasks that the caller may see, up to the limit of the page for each of its tags.
    pub(super) async fn count_allowed_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<u64> {
        let store = &self.shared.ports.store;
        let tags = self.tags_to_list(filter.name.as_deref())?;
        if tags.is_empty() {
            return Ok(store.count_tasks(filter, page).await?);
        }
        let mut rows = 0;
        for tag in tags {
            let filter = TaskFilter { name: Some(tag.clone()), ..filter.clone() };
            rows += store.count_tasks(&filter, page).await?;
        }
        Ok(rows)
    }

    /// Counts the matching runs that the caller may see, up to the limit of the page for each of its tags.
    pub(super) async fn count_allowed_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<u64> {
        let store = &self.shared.ports.store;
        let tags = self.tags_to_list(filter.tag.as_deref())?;
        if tags.is_empty() {
            return Ok(store.count_runs(filter, page).await?);
        }
        let mut rows = 0;
        for tag in tags {
            let filter = RunFilter { tag: Some(tag.clone()), ..filter.clone() };
            rows += store.count_runs(&filter, page).await?;
        }
        Ok(rows)
    }

    pub(super) async fn list_allowed_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<Run>> {
        let store = &self.shared.ports.store;
        let tags = self.tags_to_list(filter.tag.as_deref())?;
        if tags.is_empty() {
            return Ok(store.list_runs(filter, page).await?);
        }
        if filter.task_id.is_some() {
            // The runs of a task usually have one tag. A query for each other tag would read all of these runs.
            let runs = store.list_runs(filter, page).await?;
            let has_runs = !runs.is_empty();
            let allowed: Vec<Run> = runs.into_iter().filter(|run| self.allows_tag(&run.tag)).collect();
            if !has_runs || !allowed.is_empty() {
                return Ok(allowed);
            }
        }
        let mut lists = Vec::new();
        for tag in tags {
            let filter = RunFilter { tag: Some(tag.clone()), ..filter.clone() };
            lists.push(store.list_runs(&filter, page).await?);
        }
        Ok(merge_descending(lists, page.limit as usize, |run| (run.scheduled_at, run.id.clone())))
    }
}

/// Merges lists in descending order.
///
/// A store may end a list of large rows early. Rows of other lists beyond that end are omitted, because
/// rows that the short list has not returned yet may come before them.
fn merge_descending<T, P: Ord>(lists: Vec<Vec<T>>, limit: usize, position: impl Fn(&T) -> P) -> Vec<T> {
    let short = lists.iter().filter(|list| list.len() < limit);
    let known_to = short.filter_map(|list| list.last().map(&position)).max();
    let mut rows: Vec<(P, T)> = lists.into_iter().flatten().map(|row| (position(&row), row)).collect();
    rows.retain(|(position, _)| known_to.as_ref().is_none_or(|end| position >= end));
    rows.sort_by(|(one, _), (other, _)| other.cmp(one));
    rows.truncate(limit);
    rows.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_merged_up_to_the_first_unknown_row() {
        let merged = |limit| merge_descending(vec![vec![9, 5, 1], vec![8, 7], vec![]], limit, |n| *n);
        assert_eq!(merged(1), [9]);
        assert_eq!(merged(2), [9, 8]);
        assert_eq!(merged(3), [9, 8, 7], "the second list may go on with 6");
    }
}

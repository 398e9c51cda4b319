//! Checks of the caller's rights. Every command calls one of these first; a caller without scopes is
//! refused everywhere.
//!
//! A token may be limited to tags. A command that names another tag is refused. A command that names a
//! task or a run by id does not find it if its tag is another one.

use std::borrow::Cow;

use super::merged_lists::merge;
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
        let of = |task: &Task| (task.id.clone(), task.data.len());
        merge(tags, page.limit, page.before.clone(), of, |tag, limit, before| {
            let filter = TaskFilter { name: Some(tag.clone()), ..filter.clone() };
            Box::pin(async move { Ok(store.list_tasks(&filter, &Page { limit, before }).await?) })
        })
        .await
    }

    /// Counts the matching tasks that the caller may see, up to the limit of the page.
    pub(super) async fn count_allowed_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<u64> {
        let store = &self.shared.ports.store;
        let tags = self.tags_to_list(filter.name.as_deref())?;
        if tags.is_empty() {
            return Ok(store.count_tasks(filter, page).await?);
        }
        let mut rows = 0;
        for tag in tags {
            let filter = TaskFilter { name: Some(tag.clone()), ..filter.clone() };
            let rest = Page { limit: page.limit.saturating_sub(rows as u32), before: page.before.clone() };
            if rest.limit == 0 {
                break;
            }
            rows += store.count_tasks(&filter, &rest).await?;
        }
        Ok(rows)
    }

    /// Counts the matching runs that the caller may see, up to the limit of the page.
    pub(super) async fn count_allowed_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<u64> {
        let store = &self.shared.ports.store;
        let tags = self.tags_to_list(filter.tag.as_deref())?;
        if tags.is_empty() {
            return Ok(store.count_runs(filter, page).await?);
        }
        if let Some(task) = &filter.task_id
            && !self.may_list_runs_of(task).await?
        {
            return Ok(0);
        }
        let mut rows = 0;
        for tag in tags {
            let filter = RunFilter { tag: Some(tag.clone()), ..filter.clone() };
            let rest = RunPage { limit: page.limit.saturating_sub(rows as u32), before: page.before.clone() };
            if rest.limit == 0 {
                break;
            }
            rows += store.count_runs(&filter, &rest).await?;
        }
        Ok(rows)
    }

    pub(super) async fn list_allowed_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<Run>> {
        let store = &self.shared.ports.store;
        let tags = self.tags_to_list(filter.tag.as_deref())?;
        if tags.is_empty() {
            return Ok(store.list_runs(filter, page).await?);
        }
        if let Some(task) = &filter.task_id {
            return self.list_allowed_runs_of(task, filter, page).await;
        }
        let of = |run: &Run| ((run.scheduled_at, run.id.clone()), run.data.len());
        merge(tags, page.limit, page.before.clone(), of, |tag, limit, before| {
            let filter = RunFilter { tag: Some(tag.clone()), ..filter.clone() };
            Box::pin(async move { Ok(store.list_runs(&filter, &RunPage { limit, before }).await?) })
        })
        .await
    }

    /// Lists the runs of a task for a caller that is limited to tags. The runs of a task usually have one
    /// tag, the name of the task: a query for each tag would read all runs of a task with another name.
    async fn list_allowed_runs_of(
        &self,
        task: &TaskId,
        filter: &RunFilter,
        page: &RunPage,
    ) -> Result<Vec<Run>> {
        let (store, mut page) = (&self.shared.ports.store, page.clone());
        if !self.may_list_runs_of(task).await? {
            return Ok(Vec::new());
        }
        loop {
            let mut runs = store.list_runs(filter, &page).await?;
            let Some(last) = runs.last() else { return Ok(runs) };
            page.before = Some((last.scheduled_at, last.id.clone()));
            runs.retain(|run| self.allows_tag(&run.tag));
            if !runs.is_empty() {
                return Ok(runs);
            }
        }
    }

    /// Returns whether the caller may list runs by this task. A caller that is limited to tags may do so for
    /// the tasks that it may see: otherwise the cost of the list would grow with runs that it may not see.
    pub(super) async fn may_list_runs_of(&self, task: &TaskId) -> Result<bool> {
        if !self.is_limited() {
            return Ok(true);
        }
        let task = self.shared.ports.store.task(task).await?;
        Ok(task.is_some_and(|task| self.allows_tag(&task.name)))
    }
}

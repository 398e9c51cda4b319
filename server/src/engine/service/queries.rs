//! Queries: tasks, runs, queues and counts. They need the scope `task:read`, and a caller that is limited
//! to tags gets the rows of those tags only.

use super::{
    BacklogRow, OutcomeCount, Page, QueueRow, Result, RunFilter, RunPage, Service, ServiceError, TaskFilter,
};
use crate::core::access::Scope;
use crate::core::run::RunMark;
use crate::core::task::{Task, TaskId, TaskState, explicit_key};
use crate::core::{Moment, Run, RunId};
use crate::engine::metrics::LastHour;

/// Tasks whose latest runs are read at a time: one read of the store is short.
const TASKS_AT_ONCE: usize = 200;
/// Revision of a task that was never edited.
const FIRST_REV: u32 = 1;

impl Service {
    /// Returns a task that is neither cancelled nor deleted.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], or a port's error.
    pub async fn task(&self, id: &TaskId) -> Result<Task> {
        let task = self.shown_task(id).await?;
        if task.state == TaskState::Cancelled { Err(ServiceError::NotFound) } else { Ok(task) }
    }

    /// Returns a task that is not deleted.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], or a port's error.
    pub async fn shown_task(&self, id: &TaskId) -> Result<Task> {
        self.require(Scope::TaskRead)?;
        self.shown(self.shared.ports.store.task(id).await?)
    }

    /// Returns the live task that has a name and a deduplication key.
    ///
    /// # Errors
    /// As [`Service::shown_task`].
    pub async fn task_by_key(&self, name: &str, dedup_key: &str) -> Result<Task> {
        self.require(Scope::TaskRead)?;
        self.shown(self.shared.ports.store.task_by_key(&explicit_key(name, dedup_key)).await?)
    }

    pub(super) fn shown(&self, task: Option<Task>) -> Result<Task> {
        task.filter(|task| !task.hidden && self.allows_tag(&task.name)).ok_or(ServiceError::NotFound)
    }

    /// Returns tasks of a name that are neither cancelled nor deleted, newest first.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn tasks_by_name(&self, name: &str, page: &Page) -> Result<Vec<Task>> {
        self.list_tasks(&TaskFilter { name: Some(name.to_owned()), ..TaskFilter::default() }, page).await
    }

    /// Returns the matching tasks, newest first. A page may hold fewer rows than its limit; only an empty
    /// page is the last one.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn list_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<Vec<Task>> {
        self.require(Scope::TaskRead)?;
        self.list_allowed_tasks(filter, page).await
    }

    /// Returns a run.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], or a port's error.
    pub async fn run(&self, id: &RunId) -> Result<Run> {
        self.require(Scope::TaskRead)?;
        let run = self.shared.ports.store.run(id).await?;
        run.filter(|run| self.allows_tag(&run.tag)).ok_or(ServiceError::NotFound)
    }

    /// Returns the matching runs, latest moment first. Pages are as those of
    /// [`list_tasks`](Self::list_tasks).
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn list_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<Run>> {
        self.require(Scope::TaskRead)?;
        self.list_allowed_runs(filter, page).await
    }

    /// Returns the `limit` latest runs of each of these tasks, latest moment first. One list per task, in
    /// order. `tasks` are tasks that the caller has read.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn recent_runs(&self, tasks: &[Task], limit: u32) -> Result<Vec<Vec<RunMark>>> {
        self.require(Scope::TaskRead)?;
        let mut marks = Vec::with_capacity(tasks.len());
        for some in tasks.chunks(TASKS_AT_ONCE) {
            let ids: Vec<TaskId> = some.iter().map(|task| task.id.clone()).collect();
            marks.extend(self.shared.ports.store.recent_runs(&ids, limit).await?);
        }
        if self.is_limited() {
            for (task, marks) in tasks.iter().zip(&mut marks) {
                self.retain_allowed(task, marks).await?;
            }
        }
        Ok(marks)
    }

    /// Removes the runs whose tags the caller may not see. A mark has no tag, but only an edit gives a task
    /// another name: the runs of the first revision have the name of the task.
    async fn retain_allowed(&self, task: &Task, marks: &mut Vec<RunMark>) -> Result<()> {
        if !self.allows_tag(&task.name) {
            marks.clear();
        } else if task.rev > FIRST_REV && !marks.is_empty() {
            let filter = RunFilter { task_id: Some(task.id.clone()), ..RunFilter::default() };
            let page = RunPage { limit: marks.len() as u32, before: None };
            *marks = self.list_allowed_runs(&filter, &page).await?.iter().map(Run::as_mark).collect();
        }
        Ok(())
    }

    /// Returns the number of open runs of each queue.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn queues(&self) -> Result<Vec<QueueRow>> {
        self.require(Scope::TaskRead)?;
        let queues = self.shared.ports.store.queues().await?.into_iter();
        Ok(queues.filter(|row| self.allows_tag(&row.queue)).collect())
    }

    /// Returns the fires of all nodes in the current minute, by tag.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn fires_this_minute(&self) -> Result<Vec<(String, u64)>> {
        self.require(Scope::TaskRead)?;
        let fires = self.shared.ports.store.fires_in_minute(self.now()).await?.into_iter();
        Ok(fires.filter(|(tag, _)| self.allows_tag(tag)).collect())
    }

    /// Returns what this node did in the last hour. The figures are of all tags.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`].
    #[allow(clippy::unused_async, reason = "every command is async")]
    pub async fn last_hour(&self) -> Result<LastHour> {
        self.require_unlimited(Scope::TaskRead)?;
        Ok(self.shared.metrics.last_hour(self.now()))
    }

    /// Returns the outcomes of a day in the server's time zone, by tag and state. `day` is the day's
    /// midnight, written as if it were in UTC.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn outcomes_on(&self, day: Moment) -> Result<Vec<OutcomeCount>> {
        self.require(Scope::TaskRead)?;
        let outcomes = self.shared.ports.store.outcomes_on(day).await?.into_iter();
        Ok(outcomes.filter(|row| self.allows_tag(&row.tag)).collect())
    }

    /// Returns the backlog by tag.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn backlog(&self) -> Result<Vec<BacklogRow>> {
        self.require(Scope::TaskRead)?;
        let backlog = self.shared.ports.store.backlog(self.now()).await?.into_iter();
        Ok(backlog.filter(|row| self.allows_tag(&row.tag)).collect())
    }
}

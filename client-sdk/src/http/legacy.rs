//! The routes of the first API, `/v1/api/*`, which stay as they are.

use std::collections::BTreeMap;

use reqwest::Method;

use super::{Error, TaskCenter};
use crate::wire::{
    AddTask, AddTaskReply, DeleteReply, DeleteTasks, DeleteTasksByName, NEXT_CURSOR_HEADER, StatReply,
    TaskView,
};

/// One page of tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The tasks, newest first.
    pub tasks: Vec<TaskView>,
    /// What to pass on to get the next page; `None` on the last.
    pub next: Option<String>,
}

impl TaskCenter {
    /// Creates a task and returns its id.
    ///
    /// Repeating the call is safe: while such a task is live, the same (name, data), or the same dedup key where one is
    /// given, gets the same id and fires nothing new.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for parameters the server does not take.
    pub async fn add_task(&self, task: impl Into<AddTask>) -> Result<String, Error> {
        let reply: AddTaskReply = self.post(&["v1", "api", "task"], &task.into()).await?;
        Ok(reply.taskid)
    }

    /// Deletes tasks and returns the ids that were deleted; unknown ones are left out.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 when there are no ids.
    pub async fn delete_tasks<I: Into<String>>(
        &self,
        ids: impl IntoIterator<Item = I>,
    ) -> Result<Vec<String>, Error> {
        let request = DeleteTasks { ids: ids.into_iter().map(Into::into).collect() };
        let reply: DeleteReply = self.post(&["v1", "api", "delete-task"], &request).await?;
        Ok(reply.suc_ids)
    }

    /// Deletes every task of a name and returns their ids.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an empty name.
    pub async fn delete_tasks_by_name(&self, name: impl Into<String>) -> Result<Vec<String>, Error> {
        let request = DeleteTasksByName { name: name.into() };
        let reply: DeleteReply = self.post(&["v1", "api", "delete-task-by-name"], &request).await?;
        Ok(reply.suc_ids)
    }

    /// Looks a task up; `None` when the server does not know it.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an empty or malformed id.
    pub async fn query_task(&self, task_id: &str) -> Result<Option<TaskView>, Error> {
        self.find(&["v1", "api", "query-task-by-id"], &[("taskid", task_id)]).await
    }

    /// A page of the tasks of a name, newest first. `limit`: at most so many, `None` leaves it to the server. `cursor`:
    /// the [`next`](Page::next) of the page before.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an empty name or a foreign cursor.
    pub async fn query_tasks_by_name(
        &self,
        name: &str,
        limit: Option<u32>,
        cursor: Option<&str>,
    ) -> Result<Page, Error> {
        let limit = limit.map(|limit| limit.to_string());
        let mut query = vec![("name", name)];
        query.extend(limit.as_deref().map(|limit| ("limit", limit)));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let request = self.request(Method::GET, &["v1", "api", "query-task-by-name"]).query(&query);
        let answer = self.send(&request).await?;
        let next = answer.headers.get(NEXT_CURSOR_HEADER).and_then(|value| value.to_str().ok());
        Ok(Page { tasks: answer.read()?, next: next.map(str::to_owned) })
    }

    /// The fires of the current minute by tag, and their `total`; [`statistics`](Self::statistics) tells more.
    ///
    /// # Errors
    /// [`Error::Answer`] when a count is no number.
    pub async fn stat(&self) -> Result<BTreeMap<String, u64>, Error> {
        let reply: StatReply = self.get(&["v1", "api", "task", "stat"], &()).await?;
        let count = |(tag, fires): (String, String)| match fires.parse() {
            Ok(fires) => Ok((tag, fires)),
            Err(_) => Err(Error::Answer(format!("the count of {tag:?} is {fires:?}"))),
        };
        reply.into_iter().map(count).collect()
    }
}

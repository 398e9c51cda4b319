//! Calls of the legacy v1 API, `/v1/api/*`.

use std::collections::BTreeMap;

use reqwest::Method;

use super::{Error, TaskCenter};
use crate::wire::{
    AddTask, AddTaskReply, DeleteReply, DeleteTasks, DeleteTasksByName, NEXT_CURSOR_HEADER, StatReply,
    TaskView,
};

/// One page of tasks of the legacy v1 API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Tasks, newest first.
    pub tasks: Vec<TaskView>,
    /// Cursor of the next page. `None`: this is the last page.
    pub next: Option<String>,
}

impl TaskCenter {
    /// Creates a task and returns its id.
    ///
    /// A repeated call is safe: if a live task has the same deduplication key (without a key: the
    /// same name and data), the call returns its id and creates nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid field.
    pub async fn add_task(&self, task: impl Into<AddTask>) -> Result<String, Error> {
        let reply: AddTaskReply = self.post(&["v1", "api", "task"], &task.into()).await?;
        Ok(reply.taskid)
    }

    /// Deletes tasks and returns the ids of the deleted ones. Unknown ids are ignored.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an empty list.
    pub async fn delete_tasks<I: Into<String>>(
        &self,
        ids: impl IntoIterator<Item = I>,
    ) -> Result<Vec<String>, Error> {
        let request = DeleteTasks { ids: ids.into_iter().map(Into::into).collect() };
        let reply: DeleteReply = self.post(&["v1", "api", "delete-task"], &request).await?;
        Ok(reply.suc_ids)
    }

    /// Deletes all tasks with a name and returns their ids.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an empty name.
    pub async fn delete_tasks_by_name(&self, name: impl Into<String>) -> Result<Vec<String>, Error> {
        let request = DeleteTasksByName { name: name.into() };
        let mut ids = Vec::new();
        loop {
            let reply: DeleteReply = self.post(&["v1", "api", "delete-task-by-name"], &request).await?;
            ids.extend(reply.suc_ids);
            if !reply.more {
                return Ok(ids);
            }
        }
    }

    /// Returns a task. `None`: the task does not exist or is deleted.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an empty or malformed id.
    pub async fn query_task(&self, task_id: &str) -> Result<Option<TaskView>, Error> {
        self.find(&["v1", "api", "query-task-by-id"], &[("taskid", task_id)]).await
    }

    /// Returns a page of the tasks with a name, newest first.
    ///
    /// `limit`: maximum number of tasks, 1 to 1,000; `None`: 1,000. `cursor`: [`Page::next`] of the
    /// previous page; `None`: the first page.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an empty name, a limit out of bounds, or an invalid
    /// cursor.
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

    /// Returns the number of fires in the current minute by tag, and their sum under the key
    /// `total`. [`statistics`](Self::statistics) returns the backlog as well.
    ///
    /// # Errors
    /// [`Error::Answer`] if a count is not a number.
    pub async fn stat(&self) -> Result<BTreeMap<String, u64>, Error> {
        let reply: StatReply = self.get(&["v1", "api", "task", "stat"], &()).await?;
        let count = |(tag, fires): (String, String)| match fires.parse() {
            Ok(fires) => Ok((tag, fires)),
            Err(_) => Err(Error::Answer(format!("the count of the tag {tag:?} is not a number: {fires:?}"))),
        };
        reply.into_iter().map(count).collect()
    }
}

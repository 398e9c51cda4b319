//! Calls for the definitions of a task, `/v1/tasks/{task_id}/revisions`.

use super::{Error, TaskCenter};
use crate::resources::{TaskRevision, TaskRevisionList};

impl TaskCenter {
    /// Returns a page of the definitions of a task, latest first. `limit`: 1 to 1,000; `None`: 100. `cursor`:
    /// [`TaskRevisionList::next_cursor`] of the previous page.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown task, and 400 for a limit out of bounds or an invalid
    /// cursor.
    pub async fn list_task_revisions(
        &self,
        id: &str,
        limit: Option<u32>,
        cursor: Option<&str>,
    ) -> Result<TaskRevisionList, Error> {
        let limit = limit.map(|limit| limit.to_string());
        let mut query = Vec::new();
        query.extend(limit.as_deref().map(|limit| ("limit", limit)));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        self.get(&["v1", "tasks", id, "revisions"], &query).await
    }

    /// Returns the definition that was in force at revision `rev` of a task. `None`: the task or the revision
    /// does not exist, or the server no longer keeps the definition.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 401 or 403 without the scope `task:read`.
    pub async fn get_task_revision(&self, id: &str, rev: u32) -> Result<Option<TaskRevision>, Error> {
        self.find(&["v1", "tasks", id, "revisions", &rev.to_string()], &()).await
    }
}

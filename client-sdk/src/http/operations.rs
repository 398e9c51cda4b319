//! Calls for operations, `/v1/operations`.

use reqwest::Method;

use super::{Error, TaskCenter};
use crate::random;
use crate::resources::{NewBackfill, NewOperation, OperationList, OperationPreview, OperationResource};

impl TaskCenter {
    /// Creates an operation, and returns it before it has started. [`get_operation`](Self::get_operation) shows
    /// its progress.
    ///
    /// The call sends an idempotency key and repeats the request if the answer is lost, so one call creates at
    /// most one operation.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid field, and 409 if too many operations run.
    pub async fn create_operation(&self, new: &NewOperation) -> Result<OperationResource, Error> {
        let new = NewOperation { dry_run: false, ..new.clone() };
        let request = self.request(Method::POST, &["v1", "operations"]).json(&new);
        self.send_with_key(request, &random::key()).await?.read()
    }

    /// Returns the number of items that an operation would select now. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid field.
    pub async fn preview_operation(&self, new: &NewOperation) -> Result<OperationPreview, Error> {
        let new = NewOperation { dry_run: true, ..new.clone() };
        self.post(&["v1", "operations"], &new).await
    }

    /// Creates the operation that backfills a task: one run for each nominal moment of the schedule in the range. The
    /// call is repeated as [`create_operation`](Self::create_operation) is.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid range or a task without a repeating schedule, 404 for an unknown
    /// task, and 409 for a cancelled task or if too many operations run.
    pub async fn backfill_task(&self, id: &str, new: &NewBackfill) -> Result<OperationResource, Error> {
        let new = NewBackfill { dry_run: false, ..new.clone() };
        let request = self.request(Method::POST, &["v1", "tasks", id, "backfill"]).json(&new);
        self.send_with_key(request, &random::key()).await?.read()
    }

    /// Returns the number of runs that a backfill would create. Changes nothing.
    ///
    /// # Errors
    /// As [`backfill_task`](Self::backfill_task).
    pub async fn preview_backfill(&self, id: &str, new: &NewBackfill) -> Result<OperationPreview, Error> {
        let new = NewBackfill { dry_run: true, ..new.clone() };
        self.post(&["v1", "tasks", id, "backfill"], &new).await
    }

    /// Returns an operation. `None`: the operation does not exist or has been pruned.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 401 or 403 without the scope `task:read`.
    pub async fn get_operation(&self, id: &str) -> Result<Option<OperationResource>, Error> {
        self.find(&["v1", "operations", id], &()).await
    }

    /// Returns a page of operations, newest first. `limit`: 1 to 100; `None`: 50. `cursor`:
    /// [`OperationList::next_cursor`] of the previous page.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for a limit out of bounds or an invalid cursor.
    pub async fn list_operations(
        &self,
        limit: Option<u32>,
        cursor: Option<&str>,
    ) -> Result<OperationList, Error> {
        let limit = limit.map(|limit| limit.to_string());
        let mut query = Vec::new();
        query.extend(limit.as_deref().map(|limit| ("limit", limit)));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        self.get(&["v1", "operations"], &query).await
    }

    /// Aborts an operation. The items that it has processed stay as they are. An operation that has ended stays
    /// as it is.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown operation.
    pub async fn abort_operation(&self, id: &str) -> Result<OperationResource, Error> {
        self.call(Method::POST, &["v1", "operations", id, "abort"]).await
    }

    /// Continues an operation whose canary has failed, with the runs after the canary. An operation that is not `held`
    /// stays as it is.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown operation.
    pub async fn continue_operation(&self, id: &str) -> Result<OperationResource, Error> {
        self.call(Method::POST, &["v1", "operations", id, "continue"]).await
    }
}

//! Calls for operations, `/v1/operations`.

use reqwest::Method;

use super::{Error, TaskCenter};
use crate::random;
use crate::resources::{NewOperation, OperationList, OperationPreview, OperationResource};

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

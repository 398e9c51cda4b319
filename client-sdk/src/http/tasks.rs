//! Calls for tasks, `/v1/tasks`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, IF_MATCH};
use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize};

use super::runs::with_payload;
use super::{Error, TaskCenter};
use crate::random;
use crate::resources::{
    ChangedTask, CreateTasks, CreatedTasks, RunPayload, RunResource, TaskList, TaskResource, TaskSpec,
};

const MERGE_PATCH: &str = "application/merge-patch+json";

/// Filter of [`TaskCenter::list_tasks`]. An absent field does not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskQuery {
    /// Only tasks with this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only the live task with this deduplication key and `name`. Excludes the other fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
    /// Only tasks in this state: `active`, `paused`, `finished` or `cancelled`. Default: all except
    /// `cancelled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Only tasks with all of these labels, as values by key. An empty page may have a
    /// [`next_cursor`](TaskList::next_cursor), because the server examines a limited number of rows for a page.
    #[serde(flatten, with = "super::labels")]
    pub labels: BTreeMap<String, String>,
    /// Maximum number of tasks in the page, 1 to 1,000. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// [`next_cursor`](TaskList::next_cursor) of the previous page. Default: the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl TaskCenter {
    /// Creates a task and returns it. If a live task has this name and
    /// [`dedup_key`](TaskSpec::dedup_key), [`on_conflict`](TaskSpec::on_conflict) decides; by default, returns
    /// that task and creates nothing.
    ///
    /// The call sends an idempotency key and repeats the request if the answer is lost, so one call
    /// creates at most one task. Another call creates another task, unless it has the same
    /// `dedup_key`.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid field; [`Error::field`] names it. With status 409 under
    /// [`OnConflict::Reject`](crate::resources::OnConflict::Reject); [`Error::task_id`] names the live task.
    pub async fn create_task(&self, task: &TaskSpec) -> Result<TaskResource, Error> {
        self.create_task_once(task, &random::key()).await
    }

    /// Like [`create_task`](Self::create_task), with an idempotency key of the caller: 1 to 255
    /// visible ASCII characters. For one day, another call with the same key and the same task
    /// creates nothing and gets the first answer, also from another process.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid field, 422 if the key belongs to another
    /// task, and 404 if the task of the first call has been deleted.
    pub async fn create_task_once(&self, task: &TaskSpec, key: &str) -> Result<TaskResource, Error> {
        self.send_with_key(self.post_tasks(task), key).await?.read()
    }

    /// Creates 1 to [`MAX_BATCH`](crate::resources::MAX_BATCH) tasks. Each task succeeds or fails
    /// on its own: the answer has one result for each task, in the order of `tasks`.
    ///
    /// # Errors
    /// [`Error::Refused`] if the request as a whole is refused, such as status 400 for too many
    /// tasks.
    pub async fn create_tasks(&self, tasks: &[TaskSpec]) -> Result<CreatedTasks, Error> {
        let request = self.post_tasks(&CreateTasks { tasks: tasks.to_vec() });
        self.send_with_key(request, &random::key()).await?.read()
    }

    /// Returns a task. `None`: the task does not exist or is deleted.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 401 or 403 without the scope `task:read`.
    pub async fn get_task(&self, id: &str) -> Result<Option<TaskResource>, Error> {
        self.find(&["v1", "tasks", id], &()).await
    }

    /// Returns a page of tasks, newest first.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an unknown state, a limit out of bounds, or an
    /// invalid cursor.
    pub async fn list_tasks(&self, query: &TaskQuery) -> Result<TaskList, Error> {
        self.get(&["v1", "tasks"], query).await
    }

    /// Edits a task at revision `rev` ([`TaskResource::rev`]).
    ///
    /// The patch is a JSON merge patch of the fields of [`TaskSpec`], where `null` clears a field:
    /// `json!({"data": "new", "end_at": null})`.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 412 if the task has another revision, 404 for an unknown
    /// task, 409 for a task that is finished or cancelled, and 400 for an invalid field.
    pub async fn edit_task(&self, id: &str, rev: u32, patch: &impl Serialize) -> Result<ChangedTask, Error> {
        let request = self.request(Method::PATCH, &["v1", "tasks", id]);
        let request = request.header(IF_MATCH, format!("\"{rev}\"")).header(CONTENT_TYPE, MERGE_PATCH);
        self.send_non_idempotent(&request.json(patch)).await?.read()
    }

    /// Edits the live task that has a name and a [`dedup_key`](TaskSpec::dedup_key), at any revision, as
    /// [`edit_task`](Self::edit_task) does.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 if no live task has the key, for example because it has fired, and 400 for an
    /// invalid field.
    pub async fn edit_task_by_key(
        &self,
        name: &str,
        dedup_key: &str,
        patch: &impl Serialize,
    ) -> Result<ChangedTask, Error> {
        let request = self.request(Method::PATCH, &["v1", "tasks"]).query(&by_key(name, dedup_key));
        let request = request.header(CONTENT_TYPE, MERGE_PATCH).json(patch);
        self.send_non_idempotent(&request).await?.read()
    }

    /// Moves the start of the live task that has a name and a [`dedup_key`](TaskSpec::dedup_key). A one-shot then fires
    /// at `at`, and not at its earlier moment.
    ///
    /// # Errors
    /// As [`edit_task_by_key`](Self::edit_task_by_key).
    pub async fn reschedule_task(
        &self,
        name: &str,
        dedup_key: &str,
        at: Timestamp,
    ) -> Result<ChangedTask, Error> {
        self.edit_task_by_key(name, dedup_key, &serde_json::json!({ "start_at": at })).await
    }

    /// Cancels the live task that has a name and a [`dedup_key`](TaskSpec::dedup_key), as
    /// [`cancel_task`](Self::cancel_task) does. The key is free afterwards.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 if no live task has the key.
    pub async fn cancel_task_by_key(&self, name: &str, dedup_key: &str) -> Result<ChangedTask, Error> {
        let request = self.request(Method::POST, &["v1", "tasks", "cancel"]).query(&by_key(name, dedup_key));
        // A repeated call could cancel a later task with the key.
        self.send_non_idempotent(&request).await?.read()
    }

    /// Pauses a task: it does not fire until [`resume_task`](Self::resume_task). A paused task
    /// stays paused.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown task, and 409 for a task that is finished
    /// or cancelled.
    pub async fn pause_task(&self, id: &str) -> Result<ChangedTask, Error> {
        self.call(Method::POST, &["v1", "tasks", id, "pause"]).await
    }

    /// Resumes a paused task. The moments that passed during the pause are recorded as one skipped
    /// run; a one-shot whose moment has passed fires immediately.
    ///
    /// # Errors
    /// As [`pause_task`](Self::pause_task).
    pub async fn resume_task(&self, id: &str) -> Result<ChangedTask, Error> {
        self.call(Method::POST, &["v1", "tasks", id, "resume"]).await
    }

    /// Cancels a task. The task remains visible. Its runs that wait in a queue are cancelled as
    /// well.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown task.
    pub async fn cancel_task(&self, id: &str) -> Result<ChangedTask, Error> {
        self.call(Method::POST, &["v1", "tasks", id, "cancel"]).await
    }

    /// Deletes a task: cancels and hides it. The [`open_runs`](ChangedTask::open_runs) of the
    /// answer fired before the delete and continue.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for a task that is unknown or already deleted.
    pub async fn delete_task(&self, id: &str) -> Result<ChangedTask, Error> {
        self.call(Method::DELETE, &["v1", "tasks", id]).await
    }

    /// Triggers a task: fires it now, independently of its schedule, also if it is paused or
    /// finished.
    ///
    /// Like [`create_task`](Self::create_task), the call sends an idempotency key: one call creates
    /// at most one run.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown task, and 409 for a cancelled one.
    pub async fn trigger_task(&self, id: &str) -> Result<RunResource, Error> {
        self.trigger_task_with(id, &RunPayload::default()).await
    }

    /// Same as [`trigger_task`](Self::trigger_task), with another payload for this run.
    ///
    /// # Errors
    /// As [`trigger_task`](Self::trigger_task), and [`Error::Refused`] with status 400 for an invalid payload.
    pub async fn trigger_task_with(&self, id: &str, payload: &RunPayload) -> Result<RunResource, Error> {
        let request = self.request(Method::POST, &["v1", "tasks", id, "trigger"]);
        self.send_with_key(with_payload(request, payload), &random::key()).await?.read()
    }

    fn post_tasks(&self, body: &impl Serialize) -> RequestBuilder {
        self.request(Method::POST, &["v1", "tasks"]).json(body)
    }
}

/// Returns the query that selects the live task with a key.
fn by_key<'a>(name: &'a str, dedup_key: &'a str) -> [(&'static str, &'a str); 2] {
    [("name", name), ("dedup_key", dedup_key)]
}

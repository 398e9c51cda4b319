//! Tasks as resources: `/v1/tasks`.

use reqwest::header::{CONTENT_TYPE, IF_MATCH};
use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize};

use super::{Error, TaskCenter};
use crate::random;
use crate::resources::{
    ChangedTask, CreateTasks, CreatedTasks, RunResource, TaskList, TaskResource, TaskSpec,
};

const MERGE_PATCH: &str = "application/merge-patch+json";

/// Which tasks to list; what is left out does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskQuery {
    /// Only those of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only those in this state: `active`, `paused`, `finished` or `cancelled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// At most so many; left out: as many as the server thinks fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The [`next_cursor`](TaskList::next_cursor) of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl TaskCenter {
    /// Creates a task, or finds the live one with its dedup key.
    ///
    /// The request carries a key of its own and is repeated under it when the answer is lost, so that one call creates one
    /// task. Another call is another task, unless the dedup key says otherwise.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for a task that the server does not take; [`Error::field`] names the field.
    pub async fn create_task(&self, task: &TaskSpec) -> Result<TaskResource, Error> {
        self.create_task_once(task, &random::key()).await
    }

    /// As [`create_task`](Self::create_task), under an idempotency key of the caller's, which holds beyond one call and
    /// one process: the same key with the same task creates nothing more, for as long as the server remembers it.
    ///
    /// # Errors
    /// [`Error::Refused`], also for a key that came with another task before.
    pub async fn create_task_once(&self, task: &TaskSpec, key: &str) -> Result<TaskResource, Error> {
        self.send_once(self.at_tasks(task), key).await?.read()
    }

    /// Creates up to [`MAX_BATCH`](crate::resources::MAX_BATCH) tasks, each on its own: the answer says of each one what
    /// became of it, in their order.
    ///
    /// # Errors
    /// [`Error::Refused`] when the request as a whole is not taken, for too many tasks say.
    pub async fn create_tasks(&self, tasks: &[TaskSpec]) -> Result<CreatedTasks, Error> {
        let request = self.at_tasks(&CreateTasks { tasks: tasks.to_vec() });
        self.send_once(request, &random::key()).await?.read()
    }

    /// Looks a task up; `None` when the server does not know it.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn get_task(&self, id: &str) -> Result<Option<TaskResource>, Error> {
        self.find(&["v1", "tasks", id], &()).await
    }

    /// A page of tasks, newest first.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an unknown state or a foreign cursor.
    pub async fn list_tasks(&self, query: &TaskQuery) -> Result<TaskList, Error> {
        self.get(&["v1", "tasks"], query).await
    }

    /// Changes a task that stands at revision `rev` ([`TaskResource::rev`]). The patch holds the fields of [`TaskSpec`] to
    /// change and `null` for those to take away (a JSON merge patch): `json!({"data": "new", "end_at": null})`.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 412 when the task has been changed since, 404 for an unknown one and 400 for what
    /// the server does not take.
    pub async fn edit_task(&self, id: &str, rev: u32, patch: &impl Serialize) -> Result<ChangedTask, Error> {
        let request = self.request(Method::PATCH, &["v1", "tasks", id]);
        let request = request.header(IF_MATCH, format!("\"{rev}\"")).header(CONTENT_TYPE, MERGE_PATCH);
        self.send_unless_done(&request.json(patch)).await?.read()
    }

    /// Stops a task's fires until it is [resumed](Self::resume_task).
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown task and 409 for one that has ended.
    pub async fn pause_task(&self, id: &str) -> Result<ChangedTask, Error> {
        self.bare(Method::POST, &["v1", "tasks", id, "pause"]).await
    }

    /// Lets a paused task fire again.
    ///
    /// # Errors
    /// As [`pause_task`](Self::pause_task).
    pub async fn resume_task(&self, id: &str) -> Result<ChangedTask, Error> {
        self.bare(Method::POST, &["v1", "tasks", id, "resume"]).await
    }

    /// Ends a task for good; it can still be looked up.
    ///
    /// # Errors
    /// As [`pause_task`](Self::pause_task).
    pub async fn cancel_task(&self, id: &str) -> Result<ChangedTask, Error> {
        self.bare(Method::POST, &["v1", "tasks", id, "cancel"]).await
    }

    /// Deletes a task. Its [`open_runs`](ChangedTask::open_runs) had fired before, and go on.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown task.
    pub async fn delete_task(&self, id: &str) -> Result<ChangedTask, Error> {
        self.bare(Method::DELETE, &["v1", "tasks", id]).await
    }

    /// Fires a task now, beside its schedule. Repeated under a key like [`create_task`](Self::create_task): one call is
    /// one run.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown task and 409 for one that cannot fire.
    pub async fn trigger_task(&self, id: &str) -> Result<RunResource, Error> {
        let request = self.request(Method::POST, &["v1", "tasks", id, "trigger"]);
        self.send_once(request, &random::key()).await?.read()
    }

    fn at_tasks(&self, body: &impl Serialize) -> RequestBuilder {
        self.request(Method::POST, &["v1", "tasks"]).json(body)
    }
}

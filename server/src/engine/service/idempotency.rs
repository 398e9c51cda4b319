//! Idempotent requests: a request that is repeated with its key has one effect.

use std::collections::HashMap;

use super::{Result, Service, ServiceError, Submitted};
use crate::core::access::Scope;
use crate::core::submission::Submission;
use crate::core::{Moment, Task, TaskId};
use crate::ports::IdempotencyRecord;

/// A caller's key, with which a request whose answer was lost can be repeated. Valid for one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key that the caller chose. Other callers may use the same key for other requests.
    pub key: String,
    /// A digest of the request. The same key with another digest is refused.
    pub fingerprint: String,
}

/// Whose requests a key identifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyScope {
    Caller,
    Server,
}

/// The ids of a request with a key.
struct RequestIds {
    ids: Vec<String>,
    /// Whether this request has stored the ids, so that nothing has any of them yet.
    is_first: bool,
}

/// A task to store, or why the submission was refused.
struct Requested {
    id: TaskId,
    task: Result<Task>,
}

impl Service {
    /// Creates tasks, each on its own. Returns one answer for each, in order.
    ///
    /// With a key, the task ids are stored before the tasks. A repeated request creates the tasks that
    /// are still missing and returns the same answers. A request that creates nothing stores nothing.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::KeyReused`], or a port's error.
    pub async fn submit_idempotent(
        &self,
        submissions: Vec<Submission>,
        key: Option<IdempotencyKey>,
    ) -> Result<Vec<Result<Submitted>>> {
        self.submit_keyed(submissions, key, KeyScope::Caller).await
    }

    /// Same as [`submit_idempotent`](Self::submit_idempotent), with a key that the server chose: all
    /// callers share it.
    ///
    /// # Errors
    /// As [`Service::submit_idempotent`].
    pub async fn submit_once(
        &self,
        submissions: Vec<Submission>,
        key: IdempotencyKey,
    ) -> Result<Vec<Result<Submitted>>> {
        self.submit_keyed(submissions, Some(key), KeyScope::Server).await
    }

    async fn submit_keyed(
        &self,
        submissions: Vec<Submission>,
        key: Option<IdempotencyKey>,
        scope: KeyScope,
    ) -> Result<Vec<Result<Submitted>>> {
        self.require(Scope::TaskWrite)?;
        let now = self.now();
        let mut requested: Vec<Requested> =
            submissions.into_iter().map(|submission| self.requested(submission, now)).collect();
        let Some(key) = key else {
            return Ok(self
                .submit_all(requested.into_iter().map(|request| request.task).collect(), now)
                .await);
        };
        let creates = requested.iter().any(|request| request.task.is_ok());
        let fresh = requested.iter().map(|request| request.id.to_string()).collect();
        let Some(RequestIds { ids, is_first }) = self.ids_for("tasks", &key, scope, fresh, creates).await?
        else {
            return Ok(requested.into_iter().map(|request| request.task.and_then(|_| unstored())).collect());
        };
        crate::failpoint!("submit::remembered");
        let ids = ids.iter().filter_map(|id| TaskId::parse(id));
        for (request, id) in requested.iter_mut().zip(ids) {
            request.assign(id);
        }
        let stored = if is_first { HashMap::new() } else { self.stored_tasks(&requested).await? };
        self.create_missing(requested, &stored, now).await
    }

    fn requested(&self, submission: Submission, now: Moment) -> Requested {
        let id = self.fresh_id();
        Requested { task: self.accept(id.clone(), submission, now), id }
    }

    async fn stored_tasks(&self, requested: &[Requested]) -> Result<HashMap<TaskId, Task>> {
        let ids: Vec<TaskId> = requested.iter().map(|request| request.id.clone()).collect();
        let stored = self.shared.ports.store.tasks(&ids).await?;
        Ok(stored.rows.into_iter().map(|task| (task.id.clone(), task)).collect())
    }

    /// Does not refuse tasks that the first request stored: a start time that was in the future then may
    /// have passed.
    async fn create_missing(
        &self,
        requested: Vec<Requested>,
        stored: &HashMap<TaskId, Task>,
        now: Moment,
    ) -> Result<Vec<Result<Submitted>>> {
        let answers: Vec<Option<Result<Submitted>>> =
            requested.iter().map(|request| Some(self.stored_answer(stored.get(&request.id)?))).collect();
        let missing = requested.into_iter().filter(|request| !stored.contains_key(&request.id));
        let missing: Vec<Result<Task>> = missing.map(|request| request.task).collect();
        let tasks: Vec<Option<Task>> = missing.iter().map(|task| task.as_ref().ok().cloned()).collect();
        let created = self.submit_all(missing, now).await;
        let mut created = self.keep_existing(&tasks, created).await?.into_iter();
        Ok(answers.into_iter().filter_map(|answer| answer.or_else(|| created.next())).collect())
    }

    /// Returns the answer that a stored row proves.
    fn stored_answer(&self, task: &Task) -> Result<Submitted> {
        self.require_tag(&task.name)?;
        let id = task.stands_for.as_ref().unwrap_or(&task.id).clone();
        Ok(Submitted { id, name: task.name.clone(), existing: task.stands_for.is_some() })
    }

    /// Keeps each answer with an existing task, which would otherwise be forgotten: after the end of that
    /// task, a repeated request would create a new one. The row under the request's own id decides, also
    /// between two equal requests at the same time.
    async fn keep_existing(
        &self,
        tasks: &[Option<Task>],
        mut answers: Vec<Result<Submitted>>,
    ) -> Result<Vec<Result<Submitted>>> {
        let holder = |answer: &Result<Submitted>| {
            answer.as_ref().ok().filter(|answer| answer.existing).map(|answer| answer.id.clone())
        };
        let rows: Vec<Task> = tasks
            .iter()
            .zip(&answers)
            .filter_map(|(task, answer)| Some(task.as_ref()?.standing_for(holder(answer)?)))
            .collect();
        if rows.is_empty() {
            return Ok(answers);
        }
        let ids: Vec<TaskId> = rows.iter().map(|row| row.id.clone()).collect();
        crate::failpoint!("submit::before_keep");
        for inserted in self.shared.ports.store.insert_tasks(rows).await {
            inserted?;
        }
        crate::failpoint!("submit::kept");
        let stored = self.shared.ports.store.tasks(&ids).await?;
        let stored: HashMap<&TaskId, &Task> = stored.rows.iter().map(|task| (&task.id, task)).collect();
        for (task, answer) in tasks.iter().zip(&mut answers) {
            if let Some(row) = task.as_ref().and_then(|task| stored.get(&task.id)) {
                *answer = self.stored_answer(row);
            }
        }
        Ok(answers)
    }

    /// Returns the ids of the first request with this key. If there is none, stores `fresh` if the request
    /// `creates` something; otherwise returns `None`, and leaves no trace.
    async fn ids_for(
        &self,
        kind: &str,
        key: &IdempotencyKey,
        scope: KeyScope,
        fresh: Vec<String>,
        creates: bool,
    ) -> Result<Option<RequestIds>> {
        let store = &self.shared.ports.store;
        let caller = if scope == KeyScope::Caller { self.caller.id.as_str() } else { "" };
        let record = IdempotencyRecord {
            key: format!("{kind}:{caller}:{}", key.key),
            fingerprint: key.fingerprint.clone(),
            ids: fresh,
            at: self.now(),
        };
        let first = if creates {
            crate::failpoint!("submit::before_remember");
            Some(store.insert_idempotency_record(&record).await?)
        } else {
            store.idempotency_record(&record.key).await?
        };
        let Some(first) = first else { return Ok(None) };
        if first.fingerprint != record.fingerprint {
            return Err(ServiceError::KeyReused);
        }
        Ok(Some(RequestIds { is_first: first.ids == record.ids, ids: first.ids }))
    }

    /// Returns the mark of a triggered run: the mark of the first request with this key, or a new one.
    /// `None`: the request is new, and `creates` no run.
    pub(super) async fn trigger_mark(
        &self,
        key: Option<IdempotencyKey>,
        creates: bool,
    ) -> Result<Option<String>> {
        let fresh = self.token();
        let Some(key) = key else { return Ok(Some(fresh)) };
        let request = self.ids_for("trigger", &key, KeyScope::Caller, vec![fresh], creates).await?;
        Ok(request.map(|request| request.ids.concat()))
    }
}

impl Requested {
    /// Replaces the id by the one that the first request has stored.
    fn assign(&mut self, id: TaskId) {
        if let Ok(task) = &mut self.task {
            task.id = id.clone();
        }
        self.id = id;
    }
}

fn unstored() -> Result<Submitted> {
    Err(super::submit::no_answer().into())
}

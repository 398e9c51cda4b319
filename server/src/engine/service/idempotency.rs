//! Idempotent requests: a request that is repeated with its key has one effect.

use std::collections::HashMap;

use super::submit::{Answered, Checked, answers};
use super::{Result, Service, ServiceError, Submitted};
use crate::core::access::Scope;
use crate::core::conflict::OnConflict;
use crate::core::submission::Submission;
use crate::core::{Moment, Task, TaskId};
use crate::ports::{IdempotencyRecord, InsertedRequest};

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

/// A submission of a repeated request: the id that the first request assigned, and the task with
/// this id, or why the submission was refused.
struct Requested {
    id: TaskId,
    on_conflict: OnConflict,
    task: Result<Task>,
}

impl Service {
    /// Creates tasks, each on its own. Returns one answer for each, in order.
    ///
    /// The quotas of the caller's token allow all of the valid tasks or none.
    ///
    /// With a key, the task ids are stored with the tasks or before them. A repeated request creates the tasks that
    /// are still missing and returns the same answers. A request that creates nothing stores nothing.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::Quota`], [`ServiceError::KeyReused`], or a port's error.
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
        let submissions = self.with_calendars_of_all(submissions).await?;
        let now = self.now();
        let mut ids: Vec<TaskId> = submissions.iter().map(|_| self.fresh_id(now)).collect();
        // Lists have the order of the request, and the indexes grow at their end.
        ids.sort_unstable();
        let accepted = ids.iter().zip(submissions).map(|(id, task)| self.accept(id.clone(), task, now));
        let checked: Checked = accepted.collect();
        let Some(key) = key else {
            let places = self.take_quotas(&checked.tasks).await?;
            let answered = self.submit_all(checked, now).await;
            drop(places);
            return Ok(answers(self.replace_existing(answered, false).await));
        };
        let ids = ids.iter().map(ToString::to_string).collect();
        let record = self.record("tasks", key, scope, ids, now);
        let creates = !checked.tasks.is_empty();
        let places = match scope {
            KeyScope::Caller => self.take_quotas_once(&record, &checked.tasks).await?,
            // Tasks that report an outcome: a refusal would lose the report.
            KeyScope::Server => None,
        };
        let remembered = self.remember(&record, &checked.tasks, creates).await?;
        drop(places);
        match remembered {
            Some(InsertedRequest::New(inserted)) => {
                self.decide_conflicts(self.answer(checked, inserted, now).await).await
            }
            Some(InsertedRequest::Known(first)) => self.repeat(&first, &record, checked, now).await,
            None => Ok(checked.into_results().map(|(_, task)| task.and_then(|_| unstored())).collect()),
        }
    }

    /// Creates the missing tasks of the `first` request with the key, and returns its answers. Submissions
    /// beyond those of the first request keep their own ids.
    async fn repeat(
        &self,
        first: &IdempotencyRecord,
        record: &IdempotencyRecord,
        checked: Checked,
        now: Moment,
    ) -> Result<Vec<Result<Submitted>>> {
        let own = record.ids.iter().skip(first.ids.len());
        let ids = first.ids.iter().chain(own).filter_map(|id| TaskId::parse(id));
        let requested = ids.zip(checked.into_results());
        let requested: Vec<Requested> = requested.map(Requested::from).collect();
        let stored = self.stored_tasks(&requested).await?;
        self.create_missing(requested, &stored, now).await
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
        let stored_answer = |request: &Requested| {
            let row = stored.get(&request.id)?;
            Some(self.stored_answer(row, request.on_conflict).and_then(|it| it.checked(request.on_conflict)))
        };
        let stored_answers: Vec<Option<Result<Submitted>>> = requested.iter().map(stored_answer).collect();
        let missing = requested.into_iter().filter(|request| !stored.contains_key(&request.id));
        let missing: Checked = missing.map(|request| (request.on_conflict, request.task)).collect();
        let mut answered = self.submit_all(missing, now).await;
        // An equal request may have stored the row at the same time.
        answered.iter_mut().for_each(|answered| answered.is_contested = true);
        let mut created = self.decide_conflicts(answered).await?.into_iter();
        Ok(stored_answers.into_iter().filter_map(|answer| answer.or_else(|| created.next())).collect())
    }

    /// Returns the answer that a stored row proves.
    pub(super) fn stored_answer(&self, task: &Task, on_conflict: OnConflict) -> Result<Submitted> {
        self.require_tag(&task.name)?;
        let id = task.stands_for.as_ref().unwrap_or(&task.id).clone();
        let existing = task.stands_for.is_some();
        let replaced = existing && on_conflict.replaces();
        Ok(Submitted { id, name: task.name.clone(), existing, replaced, stored: None })
    }

    /// Does what the submissions of a request with a key say about existing tasks, and keeps the answers.
    async fn decide_conflicts(&self, answered: Vec<Answered>) -> Result<Vec<Result<Submitted>>> {
        self.keep_existing(self.replace_existing(answered, true).await).await
    }

    /// Keeps each answer with an existing task, which would otherwise be forgotten: after the end of that
    /// task, a repeated request would create a new one. The row under the request's own id decides, also
    /// between two equal requests at the same time.
    async fn keep_existing(&self, mut answered: Vec<Answered>) -> Result<Vec<Result<Submitted>>> {
        let open = |answered: &&Answered| answered.is_open();
        let tasks = answered.iter().filter(open).filter_map(|answered| answered.task.as_ref());
        let ids: Vec<TaskId> = tasks.map(|task| task.id.clone()).collect();
        if ids.is_empty() {
            return Ok(answers(answered));
        }
        let row =
            |answered: &Answered| Some(answered.task.as_ref()?.standing_for(answered.holder()?.clone()));
        let rows: Vec<Task> = answered.iter().filter(open).filter_map(row).collect();
        crate::failpoint!("submit::before_keep");
        for inserted in self.shared.ports.store.insert_tasks(rows).await {
            inserted?;
        }
        crate::failpoint!("submit::kept");
        let stored = self.shared.ports.store.tasks(&ids).await?;
        let stored: HashMap<&TaskId, &Task> = stored.rows.iter().map(|task| (&task.id, task)).collect();
        for answered in answered.iter_mut().filter(|answered| answered.is_open()) {
            if let Some(row) = answered.task.as_ref().and_then(|task| stored.get(&task.id)) {
                answered.answer = self.stored_answer(row, answered.on_conflict);
                answered.task = None;
            }
        }
        Ok(answers(answered))
    }

    fn record(
        &self,
        kind: &str,
        key: IdempotencyKey,
        scope: KeyScope,
        ids: Vec<String>,
        at: Moment,
    ) -> IdempotencyRecord {
        let caller = if scope == KeyScope::Caller { self.caller.id.as_str() } else { "" };
        let IdempotencyKey { key, fingerprint } = key;
        IdempotencyRecord { key: format!("{kind}:{caller}:{key}"), fingerprint, ids, at }
    }

    /// Stores the record and its tasks, or returns the record of the first request with the key. A
    /// request that `creates` nothing leaves no trace: `None` if it is the first one.
    async fn remember(
        &self,
        record: &IdempotencyRecord,
        tasks: &[Task],
        creates: bool,
    ) -> Result<Option<InsertedRequest>> {
        let store = &self.shared.ports.store;
        if !creates {
            let first = store.idempotency_record(&record.key).await?;
            return first.map(|first| known(first, record)).transpose();
        }
        crate::failpoint!("submit::before_remember");
        let inserted = store.insert_request(record, tasks).await?;
        crate::failpoint!("submit::remembered");
        match inserted {
            InsertedRequest::Known(first) => known(first, record).map(Some),
            inserted @ InsertedRequest::New(_) => Ok(Some(inserted)),
        }
    }

    /// Returns the mark of what a request creates: the mark of the first request of this kind with this key,
    /// or a new one. `None`: the request is new, and `creates` nothing.
    pub(super) async fn keyed_mark(
        &self,
        kind: &str,
        key: Option<IdempotencyKey>,
        creates: bool,
    ) -> Result<Option<String>> {
        let fresh = self.token();
        let Some(key) = key else { return Ok(Some(fresh)) };
        let record = self.record(kind, key, KeyScope::Caller, vec![fresh], self.now());
        let request = self.remember(&record, &[], creates).await?;
        Ok(request.map(|request| match request {
            InsertedRequest::New(_) => record.ids.concat(),
            InsertedRequest::Known(first) => first.ids.concat(),
        }))
    }
}

impl From<(TaskId, (OnConflict, Result<Task>))> for Requested {
    fn from((id, (on_conflict, task)): (TaskId, (OnConflict, Result<Task>))) -> Self {
        Self { task: task.map(|task| Task { id: id.clone(), ..task }), on_conflict, id }
    }
}

/// Returns the first request with the key of `record`, if the two are equal.
fn known(first: IdempotencyRecord, record: &IdempotencyRecord) -> Result<InsertedRequest> {
    if first.fingerprint == record.fingerprint {
        Ok(InsertedRequest::Known(first))
    } else {
        Err(ServiceError::KeyReused)
    }
}

fn unstored() -> Result<Submitted> {
    Err(super::submit::no_answer().into())
}

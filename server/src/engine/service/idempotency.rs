//! Idempotent requests: a request that is repeated with its key has one effect.

use std::collections::HashSet;

use super::{Result, Service, ServiceError, Submitted};
use crate::core::TaskId;
use crate::core::access::Scope;
use crate::core::submission::Submission;
use crate::ports::{Found, IdempotencyRecord};

/// A caller's key, with which a request whose answer was lost can be repeated. Valid for one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key that the caller chose.
    pub key: String,
    /// A digest of the request. The same key with another digest is refused.
    pub fingerprint: String,
}

impl Service {
    /// Creates tasks, each on its own. Returns one answer for each, in order.
    ///
    /// With a key, the task ids are stored before the tasks. A repeated request creates the tasks that
    /// are still missing and returns the same ids.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::KeyReused`], or a port's error.
    pub async fn submit_idempotent(
        &self,
        submissions: Vec<Submission>,
        key: Option<IdempotencyKey>,
    ) -> Result<Vec<Result<Submitted>>> {
        self.require(Scope::TaskWrite)?;
        let fresh = || submissions.iter().map(|_| self.fresh_id().to_string()).collect();
        let has_key = key.is_some();
        let ids = self.ids_for("tasks", key, fresh).await?;
        crate::failpoint!("submit::remembered");
        let ids: Vec<TaskId> = ids.iter().filter_map(|id| TaskId::parse(id)).collect();
        let stored = if has_key { self.shared.ports.store.tasks(&ids).await? } else { Found::default() };
        let readable = stored.rows.into_iter().map(|task| task.id);
        let stored: HashSet<TaskId> = readable.chain(stored.unreadable).collect();
        Ok(self.create_missing(ids.into_iter().zip(submissions).collect(), &stored).await)
    }

    /// Does not validate tasks again that the first request stored: a start time that was in the future
    /// then may have passed.
    async fn create_missing(
        &self,
        requested: Vec<(TaskId, Submission)>,
        stored: &HashSet<TaskId>,
    ) -> Vec<Result<Submitted>> {
        let answer_stored = |(id, submission): &(TaskId, Submission)| {
            let submitted = || Submitted { id: id.clone(), name: submission.name.clone(), existing: false };
            stored.contains(id).then(|| self.require_task(submission).map(|()| submitted()))
        };
        let answers: Vec<Option<Result<Submitted>>> = requested.iter().map(answer_stored).collect();
        let missing = requested.into_iter().filter(|(id, _)| !stored.contains(id)).collect();
        let mut created = self.submit_all(missing).await.into_iter();
        answers.into_iter().filter_map(|answer| answer.or_else(|| created.next())).collect()
    }

    /// Returns the ids for a request: fresh ones, or those of the first request with this key.
    pub(super) async fn ids_for(
        &self,
        kind: &str,
        key: Option<IdempotencyKey>,
        fresh: impl FnOnce() -> Vec<String>,
    ) -> Result<Vec<String>> {
        let Some(IdempotencyKey { key, fingerprint }) = key else { return Ok(fresh()) };
        let request =
            IdempotencyRecord { key: format!("{kind}:{key}"), fingerprint, ids: fresh(), at: self.now() };
        crate::failpoint!("submit::before_remember");
        let first = self.shared.ports.store.insert_idempotency_record(&request).await?;
        if first.fingerprint == request.fingerprint { Ok(first.ids) } else { Err(ServiceError::KeyReused) }
    }
}

//! Requests that are carried out once, however often they come.

use std::collections::HashSet;

use super::reach::Reach;
use super::{Result, Service, ServiceError, Submitted};
use crate::core::submission::Submission;
use crate::core::{Moment, TaskId};
use crate::ports::IdempotencyRecord;

/// What a caller sends along so that a request whose answer was lost can be sent again. It holds for a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The caller's key.
    pub key: String,
    /// A digest of the request: a key that comes with another one is a mistake.
    pub fingerprint: String,
}

impl Service {
    /// Stores tasks, each on its own; an answer for each, in order.
    ///
    /// With a key the ids are written down before the tasks are: whoever sends the request again, after whatever happened, completes it
    /// and hears of the same tasks.
    ///
    /// # Errors
    /// [`ServiceError::KeyReused`], or a port's error.
    pub async fn submit_once(
        &self,
        submissions: Vec<Submission>,
        key: Option<IdempotencyKey>,
    ) -> Result<Vec<Result<Submitted>>> {
        let fresh = || submissions.iter().map(|_| self.fresh_id().to_string()).collect();
        let keyed = key.is_some();
        let ids = self.ids_for("tasks", key, fresh).await?;
        crate::failpoint!("submit::remembered");
        let ids: Vec<TaskId> = ids.iter().filter_map(|id| TaskId::parse(id)).collect();
        let stored = if keyed { self.ports.store.tasks(&ids).await? } else { Vec::new() };
        let stored: HashSet<TaskId> = stored.into_iter().map(|task| task.id).collect();
        Ok(self.complete(ids.into_iter().zip(submissions).collect(), &stored).await)
    }

    /// What was stored when the request came first is not judged again: a moment that lay ahead then may have passed.
    async fn complete(
        &self,
        asked: Vec<(TaskId, Submission)>,
        stored: &HashSet<TaskId>,
    ) -> Vec<Result<Submitted>> {
        let reach = Reach::now();
        let known = |(id, submission): &(TaskId, Submission)| {
            let known = || Submitted { id: id.clone(), name: submission.name.clone(), existing: false };
            stored.contains(id).then(|| reach.demand_task(submission).map(|()| known()))
        };
        let answers: Vec<Option<Result<Submitted>>> = asked.iter().map(known).collect();
        let open = asked.into_iter().filter(|(id, _)| !stored.contains(id)).collect();
        let mut completed = self.submit_all(open).await.into_iter();
        answers.into_iter().filter_map(|answer| answer.or_else(|| completed.next())).collect()
    }

    /// The ids for a request: those that it was given when it came first.
    pub(super) async fn ids_for(
        &self,
        kind: &str,
        key: Option<IdempotencyKey>,
        fresh: impl FnOnce() -> Vec<String>,
    ) -> Result<Vec<String>> {
        let Some(IdempotencyKey { key, fingerprint }) = key else { return Ok(fresh()) };
        let at: Moment = self.now();
        let asked = IdempotencyRecord { key: format!("{kind}:{key}"), fingerprint, ids: fresh(), at };
        crate::failpoint!("submit::before_remember");
        let standing = self.ports.store.insert_idempotency_record(&asked).await?;
        if standing.fingerprint == asked.fingerprint {
            Ok(standing.ids)
        } else {
            Err(ServiceError::KeyReused)
        }
    }
}

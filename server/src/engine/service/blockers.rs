//! What a run waits for that is not admitted.

use super::{Result, Service};
use crate::core::access::Scope;
use crate::core::admission::{Asks, Usage};
use crate::core::concurrency::Limit;
use crate::core::rate::Rate;
use crate::core::{Moment, Run, RunId, RunState, TaskId};

/// The slots for which a run waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// The limit whose slots are in use. `None`: the overlap policy of the task.
    pub limit: Option<Limit>,
    /// Number of runs that have its slots.
    pub used: u32,
    /// One of these runs. `None`: the caller may not see it.
    pub run: Option<RunId>,
}

impl Service {
    /// Returns what blocks a run in `held`. `None`: nothing blocks it any more, or the run has another state.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`](super::ServiceError::Forbidden), or a port's error.
    pub async fn blocker(&self, run: &Run) -> Result<Option<Blocker>> {
        self.require(Scope::TaskRead)?;
        let Some(asks) = run.asks().filter(|_| run.state == RunState::Held) else { return Ok(None) };
        let usage = Usage::of(self.shared.ports.store.slots_in_use(&asks.group().keys()).await?);
        let (key, limit) = match asks {
            Asks::Task(key, _) if usage.used(&key) > 0 => (key, None),
            Asks::Task(..) => return Ok(None),
            Asks::Limits(limits) => {
                match limits.slots.into_iter().find(|limit| usage.used(&limit.key) >= limit.max) {
                    Some(full) => (full.key.clone(), run.limit_of_key(&full.key).cloned()),
                    None => return Ok(None),
                }
            }
        };
        let run = self.visible_run(usage.holder(&key)).await?;
        Ok(Some(Blocker { limit, used: usage.used(&key), run }))
    }

    /// Returns the rate limit for whose permit a run in `held` waits, and when the limit has its next permit. `None`: the run
    /// waits for no permit.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`](super::ServiceError::Forbidden), or a port's error.
    pub async fn next_permit(&self, run: &Run) -> Result<Option<(Rate, Moment)>> {
        self.require(Scope::TaskRead)?;
        let asks = run.asks().filter(|_| run.state == RunState::Held);
        let (Some(Asks::Limits(limits)), Some(rate)) = (asks, &run.rate) else { return Ok(None) };
        let Some(limit) = limits.rate else { return Ok(None) };
        let store = &self.shared.ports.store;
        let (next_at, now) = (store.next_permit(&limit).await?, store.now().await?);
        Ok((now < next_at).then(|| (rate.clone(), next_at)))
    }

    /// Returns the id of a run, unless the caller may not see the run: other tasks may have slots of the same limit.
    async fn visible_run(&self, id: Option<&RunId>) -> Result<Option<RunId>> {
        let Some(id) = id else { return Ok(None) };
        if !self.is_limited() {
            return Ok(Some(id.clone()));
        }
        let run = self.shared.ports.store.run(id).await?;
        Ok(run.filter(|run| self.allows_tag(&run.tag)).map(|run| run.id))
    }

    /// Returns the first run of a task that waits for admission. `None`: no run waits.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`](super::ServiceError::Forbidden), or a port's error.
    pub async fn first_held(&self, task: &TaskId) -> Result<Option<Run>> {
        self.require(Scope::TaskRead)?;
        let Some(held) = self.shared.ports.store.held_runs(task, 1).await?.pop() else { return Ok(None) };
        let run = self.shared.ports.store.run(&held.id).await?;
        Ok(run.filter(|run| run.state == RunState::Held && self.allows_tag(&run.tag)))
    }
}

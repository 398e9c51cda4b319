//! Lease requests with an id: a repetition, after a lost answer, returns the runs of the first request.
//!
//! Each leased run has a slot of its request, written together with the lease. A slot belongs to at most one
//! run, so two calls with the same request at the same time meet at the first slot, on any node.

use futures_util::try_join;

use super::{Held, LeaseTerms, Report, Result, Service};
use crate::core::Run;
use crate::core::run::{LeaseSlots, Outcome};

/// Tries to lease runs for a request while other workers lease from its queues.
const TRIES: u32 = 8;

impl Service {
    /// Returns the slots of a request with an id. The caller, the worker and the queues belong to the
    /// request: another worker with the same id never gets its runs.
    pub(super) fn lease_slots(&self, terms: &LeaseTerms) -> Option<LeaseSlots> {
        let id = terms.request_id.as_deref()?;
        let mut identity = vec![self.caller.id.as_str(), terms.worker.as_str(), id];
        identity.extend(terms.queues.iter().map(String::as_str));
        Some(LeaseSlots::of(&identity))
    }

    /// Returns the runs that the request has leased before, with renewed leases; or leases ready runs.
    /// May lease fewer runs than are ready, if other workers lease at the same time.
    pub(super) async fn lease_repeatable(
        &self,
        terms: &LeaseTerms,
        slots: &LeaseSlots,
        is_first_look: bool,
    ) -> Result<Vec<Run>> {
        for round in 0..TRIES {
            // A later look needs no question first: the write fails if the first slot is taken.
            let before =
                async { if is_first_look || round > 0 { self.slotted(slots).await } else { Ok(Vec::new()) } };
            let (before, reserved) = try_join!(before, self.reserve_ready(terms, terms.limit))?;
            let before = self.renewed(before, terms.lease_ms).await?;
            if !before.is_empty() || reserved.runs.is_empty() {
                return Ok(before);
            }
            let own = self.lease_runs(terms, Some(slots), &reserved.runs).await?;
            if own.len() == reserved.runs.len() {
                return Ok(own);
            }
            let leased = self.settle_contest(terms, slots, &own).await?;
            if !leased.is_empty() {
                return Ok(leased);
            }
        }
        Ok(Vec::new())
    }

    async fn slotted(&self, slots: &LeaseSlots) -> Result<Vec<Run>> {
        Ok(self.shared.ports.store.runs_in_slots(slots).await?)
    }

    /// Decides which call of a request answers with its runs, after a run could not be leased: the call
    /// with the lowest slot. Another call releases its runs, so that no attempt of them is lost.
    async fn settle_contest(&self, terms: &LeaseTerms, slots: &LeaseSlots, own: &[Run]) -> Result<Vec<Run>> {
        let stored = self.slotted(slots).await?;
        let is_own = |run: &Run| own.iter().any(|own| own.token == run.token);
        if stored.first().is_none_or(is_own) {
            return Ok(stored);
        }
        let (surplus, first): (Vec<Run>, Vec<Run>) = stored.into_iter().partition(is_own);
        self.release(surplus).await?;
        self.renewed(first, terms.lease_ms).await
    }

    async fn release(&self, runs: Vec<Run>) -> Result<()> {
        let released = |run: Run| {
            let outcome = Outcome::Released { after_ms: None };
            (
                run.id,
                Report { attempt: run.attempt, token: run.token, outcome, message: None, started_at: None },
            )
        };
        self.settle(&runs.into_iter().map(released).collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// Renews the leases of runs. Returns those that are still leased.
    async fn renewed(&self, mut runs: Vec<Run>, lease_ms: i64) -> Result<Vec<Run>> {
        let held = |run: &Run| Held {
            run_id: run.id.clone(),
            attempt: run.attempt,
            token: run.token.clone(),
            progress: None,
        };
        let answers = self.extend(&runs.iter().map(held).collect::<Vec<_>>(), lease_ms).await?;
        let mut answers = answers.into_iter();
        runs.retain_mut(|run| {
            let until = answers.next().and_then(Result::ok).map(|renewal| renewal.until);
            run.attention_at = until;
            until.is_some()
        });
        Ok(runs)
    }
}

//! The attempts that this worker holds, and their renewal.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::api::WorkerApi;
use super::backoff::Backoff;
use crate::clock::monotonic;
use crate::resources::{LeasedAttempt, LeasedRun, MAX_BATCH, RenewRequest, RunAnswer};

/// The pause after a renewal that failed, at first.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Attempts by their tokens: a run may be here twice, when a stale attempt at it still goes on.
#[derive(Default)]
pub(super) struct HeldRuns(Mutex<HashMap<String, Hold>>);

struct Hold {
    run_id: String,
    attempt: u32,
    until: Instant,
    /// The server has said that the attempt is another's. Its handler goes on, and what it reports is refused.
    lost: bool,
    _slot: OwnedSemaphorePermit,
}

impl HeldRuns {
    pub(super) fn take_on(&self, run: &LeasedRun, until: Instant, slot: OwnedSemaphorePermit) {
        let (run_id, attempt) = (run.run_id.clone(), run.attempt);
        let hold = Hold { run_id, attempt, until, lost: false, _slot: slot };
        self.lock().insert(run.token.clone(), hold);
    }

    /// Ends the renewals of an attempt and frees its slot; says when its lease runs out. `None`: it is not held any more.
    pub(super) fn let_go(&self, token: &str) -> Option<Instant> {
        self.lock().remove(token).map(|hold| hold.until)
    }

    /// Renews all that is held about every third of the lease. Ends only by being dropped.
    pub(super) async fn keep(&self, api: &dyn WorkerApi, lease: Duration) {
        let third = lease / 3;
        let mut trouble = Backoff::new(FIRST_PAUSE.min(third), third);
        let mut pause = third;
        loop {
            sleep(pause).await;
            pause = match self.renew_all(api, lease).await {
                Ok(()) => {
                    trouble.reset();
                    third
                }
                Err(why) => {
                    warn!(why, "leases could not be renewed; trying again");
                    trouble.next()
                }
            };
        }
    }

    async fn renew_all(&self, api: &dyn WorkerApi, lease: Duration) -> Result<(), String> {
        let attempts = self.attempts();
        let batches = attempts.chunks(MAX_BATCH).map(|batch| self.renew(api, batch, lease));
        join_all(batches).await.into_iter().collect()
    }

    async fn renew(
        &self,
        api: &dyn WorkerApi,
        batch: &[LeasedAttempt],
        lease: Duration,
    ) -> Result<(), String> {
        let request = RenewRequest { runs: batch.to_vec(), lease_ms: millis(lease), hand_over: false };
        // Trusted from before the request: the server counts from a moment after it.
        let until = monotonic() + lease;
        let answered = timeout(lease / 3, api.renew(request)).await;
        let answers = answered.map_err(|_| "no answer in time".to_owned())?.map_err(|why| why.to_string())?;
        for (attempt, answer) in batch.iter().zip(&answers.results) {
            self.answered(attempt, answer, until);
        }
        Ok(())
    }

    fn answered(&self, attempt: &LeasedAttempt, answer: &RunAnswer, until: Instant) {
        let mut holds = self.lock();
        // Settled while the renewal was under way, as may be.
        let Some(hold) = holds.get_mut(&attempt.token) else { return };
        match answer.status {
            200 => hold.until = until,
            404 | 409 => {
                hold.lost = true;
                warn!(
                    run_id = attempt.run_id,
                    attempt = attempt.attempt,
                    status = answer.status,
                    "the attempt is no longer ours; its handler goes on, and its outcome will be refused"
                );
            }
            status => warn!(run_id = attempt.run_id, status, "a lease could not be renewed; trying again"),
        }
    }

    fn attempts(&self) -> Vec<LeasedAttempt> {
        let held = |(token, hold): (&String, &Hold)| LeasedAttempt {
            run_id: hold.run_id.clone(),
            attempt: hold.attempt,
            token: token.clone(),
        };
        self.lock().iter().filter(|(_, hold)| !hold.lost).map(held).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Hold>> {
        // Nothing panics while it is held half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bounds of a lease that the server takes.
const LEASE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24));

/// Keeps an attempt for whoever has it in hand now, and says no more of it. `until`: when its lease runs out otherwise.
pub(super) async fn hand_over(api: &dyn WorkerApi, attempt: LeasedAttempt, within: Duration, until: Instant) {
    let lease_ms = millis(within.clamp(LEASE.0, LEASE.1));
    let mut pauses = Backoff::new(FIRST_PAUSE, LEASE.0);
    while monotonic() < until {
        let request = RenewRequest { runs: vec![attempt.clone()], lease_ms, hand_over: true };
        match api.renew(request).await {
            // One that has its outcome by now is refused, as it should be.
            Ok(answers) if answers.results.first().is_some_and(|answer| answer.status < 500) => return,
            Ok(_) | Err(_) => sleep(pauses.next()).await,
        }
    }
    warn!(run_id = attempt.run_id, "an attempt that is to be confirmed could not be kept; it comes again");
}

/// As the wire has it.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

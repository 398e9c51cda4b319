//! Leases of this worker, and their renewal.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::super::Link;
use super::api::WorkerApi;
use super::backoff::Backoff;
use super::capacity::Handler;
use crate::clock::monotonic;
use crate::resources::{LeasedAttempt, LeasedRun, MAX_BATCH, RenewRequest, RunAnswer};

/// First pause after a failed renewal.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Leases by attempt token. A run can have two: its current attempt, and a stale one whose handler
/// still runs.
#[derive(Default)]
pub(super) struct Leases(Mutex<HashMap<String, Lease>>);

struct Lease {
    run_id: String,
    attempt: u32,
    until: Instant,
    /// Its token is cancelled when the handler should stop: a user has requested to cancel the run, or the
    /// server has refused a renewal and will refuse the outcome. No further renewal is sent.
    link: Link,
    /// Of the run, until its outcome is known.
    _slot: OwnedSemaphorePermit,
    /// Of its handler, likewise.
    handler: Option<Handler>,
}

impl Leases {
    /// Adds a lease. Returns the link to its handler.
    pub(super) fn add(&self, run: &LeasedRun, until: Instant, slot: OwnedSemaphorePermit) -> Link {
        let link = Link::default();
        let (run_id, attempt) = (run.run_id.clone(), run.attempt);
        let lease = Lease { run_id, attempt, until, link: link.clone(), _slot: slot, handler: None };
        self.lock().insert(run.token.clone(), lease);
        link
    }

    /// Notes that a handler has the run. It is free again when the outcome is known.
    pub(super) fn start(&self, token: &str, handler: Option<Handler>) {
        if let Some(lease) = self.lock().get_mut(token) {
            lease.handler = handler;
        }
    }

    /// Stops the renewals of an attempt and frees its slots. Returns the end of the lease. `None`:
    /// there is no such lease.
    pub(super) fn remove(&self, token: &str) -> Option<Instant> {
        self.lock().remove(token).map(|lease| lease.until)
    }

    /// Renews all leases, every third of their length. The future never completes.
    pub(super) async fn keep_renewing(&self, api: &dyn WorkerApi, length: Duration) {
        let third = length / 3;
        let mut pauses = Backoff::new(FIRST_PAUSE.min(third), third);
        let mut pause = third;
        loop {
            sleep(pause).await;
            pause = match self.renew_all(api, length).await {
                Ok(()) => {
                    pauses.reset();
                    third
                }
                Err(why) => {
                    warn!(why, "lease renewal failed; retrying");
                    pauses.next()
                }
            };
        }
    }

    async fn renew_all(&self, api: &dyn WorkerApi, length: Duration) -> Result<(), String> {
        let attempts = self.attempts();
        let batches = attempts.chunks(MAX_BATCH).map(|batch| self.renew(api, batch, length));
        join_all(batches).await.into_iter().collect()
    }

    async fn renew(
        &self,
        api: &dyn WorkerApi,
        batch: &[LeasedAttempt],
        length: Duration,
    ) -> Result<(), String> {
        let request = RenewRequest { runs: batch.to_vec(), lease_ms: millis(length), hand_over: false };
        // Counted from before the request, because the server counts from a later moment.
        let until = monotonic() + length;
        let answered = timeout(length / 3, api.renew(request)).await;
        let answers = answered.map_err(|_| "no answer in time".to_owned())?.map_err(|why| why.to_string())?;
        for (attempt, answer) in batch.iter().zip(&answers.results) {
            self.apply(attempt, answer, until);
        }
        Ok(())
    }

    fn apply(&self, attempt: &LeasedAttempt, answer: &RunAnswer, until: Instant) {
        let mut leases = self.lock();
        // The attempt may have been settled during the renewal.
        let Some(lease) = leases.get_mut(&attempt.token) else { return };
        match answer.status {
            200 => {
                lease.until = until;
                if answer.cancel_requested {
                    lease.link.stopped.cancel();
                    info!(run_id = attempt.run_id, "run cancelled by a user; the handler should stop");
                }
            }
            404 | 409 => {
                lease.link.stopped.cancel();
                warn!(
                    run_id = attempt.run_id,
                    attempt = attempt.attempt,
                    status = answer.status,
                    "lease lost; the handler continues, but its outcome will be refused"
                );
            }
            status => warn!(run_id = attempt.run_id, status, "lease renewal failed; retrying"),
        }
    }

    fn attempts(&self) -> Vec<LeasedAttempt> {
        let attempt = |(token, lease): (&String, &Lease)| LeasedAttempt {
            run_id: lease.run_id.clone(),
            attempt: lease.attempt,
            token: token.clone(),
            progress: lease.link.last_progress(),
        };
        self.lock().iter().filter(|(_, lease)| !lease.link.stopped.is_cancelled()).map(attempt).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Lease>> {
        // A poisoned lock is usable: no code panics between two dependent writes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shortest and longest lease that the server accepts.
const LEASE_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24));

/// Sets the lease of an attempt to `within` from now, for the other system that reports its
/// outcome. `until`: the current end of the lease, which limits the retries.
pub(super) async fn hand_over(api: &dyn WorkerApi, attempt: LeasedAttempt, within: Duration, until: Instant) {
    let lease_ms = millis(within.clamp(LEASE_BOUNDS.0, LEASE_BOUNDS.1));
    let mut pauses = Backoff::new(FIRST_PAUSE, LEASE_BOUNDS.0);
    while monotonic() < until {
        let request = RenewRequest { runs: vec![attempt.clone()], lease_ms, hand_over: true };
        match api.renew(request).await {
            // A refusal means that the attempt already has its outcome.
            Ok(answers) if answers.results.first().is_some_and(|answer| answer.status < 500) => return,
            Ok(_) | Err(_) => sleep(pauses.next()).await,
        }
    }
    warn!(
        run_id = attempt.run_id,
        "lease not extended for the system that reports the outcome; the run will be retried"
    );
}

/// Converts a duration to the milliseconds of a request.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

//! Commands of workers: lease, renew, settle.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::lease_reservations::Reservation;
use super::{Result, Service, ServiceError, Stale};
use crate::core::access::Scope;
use crate::core::run::{IllegalTransition, LeaseSlots, Outcome, Progress};
use crate::core::{Moment, Run, RunId, RunState};
use crate::ports::{Head, PortError};

/// Minimum lease, in milliseconds, so that a renewal can arrive in time.
pub const MIN_LEASE_MS: i64 = 1_000;
/// Maximum lease, in milliseconds: a day.
pub const MAX_LEASE_MS: i64 = 86_400_000;
/// Time after which a waiting worker looks again. Hints do not arrive from other nodes.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Maximum number of runs read at a time to find some that are not reserved.
const MAX_READ: u32 = 2_000;
/// Minimum number of runs read at a time while there are holds: many runs may have to wait before one that need not.
const READ_BESIDE_HOLDS: u64 = 256;
/// Tries to lease runs from a queue while other workers lease from it.
const TRIES: u32 = 8;

/// The parameters of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseTerms {
    /// Name of the worker, shown to users.
    pub worker: String,
    /// The queues to lease from. Empty: every queue that has the name of its runs' tag.
    pub queues: Vec<String>,
    /// Maximum number of runs.
    pub limit: u32,
    /// Duration of the lease, in milliseconds.
    pub lease_ms: i64,
    /// Maximum time to wait for the first run.
    pub wait: Duration,
    /// Id of the request. A repetition with the same id, worker and queues returns the runs of the first
    /// request while they are leased. `None`: each call leases other runs.
    pub request_id: Option<String>,
}

/// An attempt in a worker's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub run_id: RunId,
    pub attempt: u32,
    pub token: String,
    /// Progress that the worker reports with a renewal. `None`: as before.
    pub progress: Option<Progress>,
}

/// Answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// When the lease ends.
    pub until: Moment,
    /// Whether a user has requested to cancel the run. The run then ends as cancelled at `until`, unless the
    /// worker reports an outcome before.
    pub cancel_requested: bool,
}

/// A report on the outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The attempt, from 1.
    pub attempt: u32,
    /// The attempt's token, from its message.
    pub token: String,
    pub outcome: Outcome,
    /// Text for the run's history.
    pub message: Option<String>,
    /// When the handler started, by the worker's clock. `None`: the worker does not say.
    pub started_at: Option<Moment>,
}

impl Service {
    /// Leases ready runs to a worker, in turn by tag, and earliest first among the runs of a tag. Waits for the
    /// first run, and returns an empty list if none becomes ready in time.
    ///
    /// If the answer is lost, a repetition with the same request id returns the runs. Otherwise they are
    /// ready again after their leases have expired.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], also for a queue beyond the caller's limits; or a port's error.
    pub async fn lease(&self, terms: &LeaseTerms) -> Result<Vec<Run>> {
        self.require(Scope::RunPull)?;
        let terms = &*self.allowed_terms(terms)?;
        let slots = self.lease_slots(terms);
        let mut is_first_look = true;
        let now = self.now();
        let _waiting = self.shared.attendance.enter(&terms.queues, now);
        let _asking = self.shared.workers.enter(&terms.worker, &terms.queues, now);
        let mut listener = self.shared.hints.listen();
        let timeout = tokio::time::sleep(terms.wait);
        tokio::pin!(timeout);
        loop {
            let leased = match &slots {
                Some(slots) => self.lease_repeatable(terms, slots, is_first_look).await?,
                None => self.lease_ready(terms).await?,
            };
            is_first_look = false;
            if !leased.is_empty() {
                return Ok(leased);
            }
            tokio::select! {
                // A fixed order, so that a simulation can be repeated. The ends of the wait come first, so
                // that a stream of hints does not hide them.
                biased;
                () = self.shared.shutdown.cancelled() => return Ok(leased),
                () = &mut timeout => return Ok(leased),
                () = listener.ready(&terms.queues) => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Leases ready runs without a wait. If other workers are faster for some runs, tries the next ones.
    async fn lease_ready(&self, terms: &LeaseTerms) -> Result<Vec<Run>> {
        let mut leased = Vec::new();
        for _ in 0..TRIES {
            let wanted = terms.limit - leased.len() as u32;
            let reserved = self.reserve_ready(terms, wanted).await?;
            if reserved.runs.is_empty() {
                break;
            }
            leased.extend(self.lease_runs(terms, None, &reserved.runs).await?);
            if leased.len() >= terms.limit as usize {
                break;
            }
        }
        Ok(leased)
    }

    /// Reserves ready runs, so that the workers of this node do not compete for the same ones.
    pub(super) async fn reserve_ready(&self, terms: &LeaseTerms, wanted: u32) -> Result<Reservation<'_>> {
        let reservations = &self.shared.reservations;
        let holds = self.current_holds().await?;
        let Some(queues) = self.open_queues(&terms.queues, &holds) else {
            return Ok(reservations.reserve(Vec::new(), 0));
        };
        let least = if holds.is_empty() { 0 } else { READ_BESIDE_HOLDS };
        for _ in 0..TRIES {
            let limit =
                (u64::from(wanted) + reservations.len()).max(least).min(u64::from(MAX_READ.max(wanted)));
            let Head { rows: ready, more } = self.ready_in_turn(&queues, limit as u32, wanted).await?;
            let has_read = !ready.is_empty();
            let open = self.keep_back(ready, &holds).await?;
            // Runs that are kept back are ready no more, so the next read finds the runs behind them.
            if open.is_empty() && has_read {
                continue;
            }
            let reserved = reservations.reserve(open, wanted as usize);
            // Other calls may have reserved all of the runs meanwhile. Then the next read has more of them.
            if !reserved.runs.is_empty() || !more {
                return Ok(reserved);
            }
        }
        Ok(reservations.reserve(Vec::new(), 0))
    }

    /// Leases runs, with slots if the request has an id. Returns those that no other call has changed. Runs
    /// that have expired end.
    pub(super) async fn lease_runs(
        &self,
        terms: &LeaseTerms,
        slots: Option<&LeaseSlots>,
        ready: &[Run],
    ) -> Result<Vec<Run>> {
        let now = self.now();
        let leased_at = self.shared.lease_clock.now();
        let until = leased_at.plus_ms(terms.lease_ms);
        let (mut expired, mut runs): (Vec<Run>, Vec<Run>) =
            ready.iter().cloned().partition(|run| run.has_expired(now));
        expired.retain_mut(|run| run.expire(now).is_ok());
        runs.retain_mut(|run| run.lease(&terms.worker, self.shared.ids.token(now), leased_at, until).is_ok());
        for (position, run) in runs.iter_mut().enumerate() {
            run.lease_slot = slots.map(|slots| slots.name(position));
        }
        runs.extend(expired);
        crate::failpoint!("lease::before_update");
        let mut leased = self.replace_runs(runs).await?;
        crate::failpoint!("lease::updated");
        leased.retain(|run| run.state == RunState::Leased);
        leased.iter().for_each(|run| self.shared.metrics.leased(run));
        Ok(leased)
    }

    /// Extends leases to `lease_ms` from now, at most to the time limits of the attempts. Returns one answer
    /// for each, in order. A lease never becomes shorter, unless a user has requested to cancel the run: then
    /// the first renewal after the request begins the grace period.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error. For one attempt: [`ServiceError::NotFound`], or
    /// [`ServiceError::Stale`] if the worker no longer has it.
    pub async fn renew(&self, held: &[Held], lease_ms: i64) -> Result<Vec<Result<Renewal>>> {
        self.set_lease(held, lease_ms, Run::receive_cancel_request, lengthen).await
    }

    /// Same as [`Service::renew`] for a worker that does not get the answers: a request to cancel does not begin its grace
    /// period.
    ///
    /// # Errors
    /// As [`Service::renew`].
    pub(super) async fn extend(&self, held: &[Held], lease_ms: i64) -> Result<Vec<Result<Renewal>>> {
        let has_begun =
            |run: &mut Run, _| run.cancel_request.as_ref().is_some_and(|request| request.forced_at.is_some());
        self.set_lease(held, lease_ms, has_begun, lengthen).await
    }

    /// Hands attempts over to another party, which must confirm their outcomes `within_ms` from now. A
    /// lease may become shorter. Returns one answer for each, in order.
    ///
    /// # Errors
    /// As [`Service::renew`].
    pub async fn hand_over(&self, held: &[Held], within_ms: i64) -> Result<Vec<Result<Renewal>>> {
        self.set_lease(held, within_ms, Run::receive_cancel_request, Run::hand_over).await
    }

    async fn set_lease(
        &self,
        held: &[Held],
        lease_ms: i64,
        is_stopping: impl Fn(&mut Run, Moment) -> bool,
        set: impl Fn(&mut Run, Moment),
    ) -> Result<Vec<Result<Renewal>>> {
        self.require(Scope::RunPull)?;
        let now = self.shared.lease_clock.now();
        let (until, grace_until) = (now.plus_ms(lease_ms), now.plus_ms(self.shared.settings.cancel_grace_ms));
        let requested: Vec<_> = held.iter().map(|held| (held.run_id.clone(), held)).collect();
        crate::failpoint!("renew::before_update");
        let answers = self.change_attempts(&requested, |run, held| {
            check_attempt(run, held.attempt, &held.token)?;
            if run.state != RunState::Leased {
                return Err(Stale::Run(run.state).into());
            }
            if let Some(progress) = &held.progress {
                run.note_progress(progress, now);
            }
            if !is_stopping(run, grace_until) {
                set(run, until);
            }
            Ok(true)
        });
        let answers = answers.await?.into_iter();
        crate::failpoint!("renew::updated");
        let renewal = |run: Run| Renewal {
            until: run.attention_at.unwrap_or(until),
            cancel_requested: run.cancel_request.is_some(),
        };
        Ok(answers.map(|answer| answer.map(renewal)).collect())
    }

    /// Stores the outcomes of attempts. Returns one answer for each, in order. A report that is repeated
    /// because its answer was lost gets the same answer.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error. For one attempt: as [`Service::report`].
    pub async fn settle(&self, reports: &[(RunId, Report)]) -> Result<Vec<Result<Run>>> {
        self.require(Scope::RunPull)?;
        let now = self.now();
        let requested: Vec<_> = reports.iter().map(|(id, report)| (id.clone(), report)).collect();
        crate::failpoint!("report::before_update");
        let settled = self.change_attempts(&requested, |run, report| {
            check_attempt(run, report.attempt, &report.token)?;
            let (outcome, message) = self.unless_expired(run, report, now);
            if has_outcome(run, &outcome) {
                return Ok(false);
            }
            let retry = &self.shared.settings.retry;
            run.note_start(report.started_at, now);
            let reported = run.report(&outcome, message, retry, now);
            reported.map_err(|IllegalTransition { state, .. }| Stale::Run(state))?;
            Ok(true)
        });
        let settled = settled.await?;
        crate::failpoint!("report::updated");
        self.hint_released(&settled);
        Ok(settled)
    }

    /// Returns outcome and message of a report. A worker cannot postpone a run that has waited for too long:
    /// the run is dead.
    fn unless_expired(&self, run: &Run, report: &Report, now: Moment) -> (Outcome, Option<String>) {
        let has_expired = now.since(run.scheduled_at) > self.shared.settings.wait_ms();
        match (&report.outcome, &report.message) {
            (Outcome::Released { after_ms: Some(_) }, why) if has_expired => {
                let why = why.as_deref().unwrap_or("the worker postponed the run");
                (Outcome::Dead, Some(format!("expired: {why}")))
            }
            (outcome, message) => (outcome.clone(), message.clone()),
        }
    }

    /// Stores the outcome of an attempt. A report that is repeated because its answer was lost gets the same
    /// answer.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]; [`ServiceError::NotFound`] for an unknown run;
    /// [`ServiceError::Stale`] if the attempt or the token is not the current one, or the run has another
    /// outcome; then nothing has changed.
    pub async fn report(&self, id: &RunId, report: &Report) -> Result<Run> {
        let answer = self.settle(&[(id.clone(), report.clone())]).await?.pop();
        answer.unwrap_or(Err(ServiceError::NotFound))
    }

    fn hint_released(&self, settled: &[Result<Run>]) {
        let ready = settled.iter().flatten().filter(|run| run.state == RunState::Ready);
        self.shared.hints.ready(ready.filter_map(|run| run.queue.clone()).collect());
    }

    /// Applies each change to the stored run, and applies it again if another writer was faster, such as the
    /// node that marks the run as fired. `change` returns whether there is anything to write.
    async fn change_attempts<A>(
        &self,
        requested: &[(RunId, A)],
        change: impl Fn(&mut Run, &A) -> Result<bool>,
    ) -> Result<Vec<Result<Run>>> {
        let mut answers = BTreeMap::<usize, Result<Run>>::new();
        while answers.len() < requested.len() {
            let open = first_open_of_each(requested, &answers);
            let ids: Vec<RunId> = open.keys().map(|id| (*id).clone()).collect();
            let mut to_write = Vec::new();
            let stored = self.shared.ports.store.runs(&ids).await?;
            for id in stored.unreadable {
                let error = PortError::Corrupt("the store", format!("run {id} is unreadable").into());
                answers.insert(open[&id], Err(error.into()));
            }
            for mut run in stored.rows {
                let Some(at) = open.get(&run.id).filter(|_| self.allows_work_on(&run)) else { continue };
                match change(&mut run, &requested[*at].1) {
                    Ok(true) => to_write.push(run),
                    Ok(false) => drop(answers.insert(*at, Ok(run))),
                    Err(error) => drop(answers.insert(*at, Err(error))),
                }
            }
            let found: HashSet<RunId> = to_write.iter().map(|run| run.id.clone()).collect();
            for run in self.replace_runs(to_write).await? {
                answers.insert(open[&run.id], Ok(run));
            }
            for (id, at) in open {
                if !found.contains(id) {
                    answers.entry(at).or_insert(Err(ServiceError::NotFound));
                }
            }
        }
        Ok(answers.into_values().collect())
    }
}

/// Extends the lease of a run. A lease never becomes shorter.
fn lengthen(run: &mut Run, until: Moment) {
    run.attention_at = run.attention_at.max(Some(run.within_limit(until)));
}

/// Returns the first unanswered request of each run. Two requests for one run are handled one after the
/// other.
fn first_open_of_each<'a, A>(
    requested: &'a [(RunId, A)],
    answers: &BTreeMap<usize, Result<Run>>,
) -> HashMap<&'a RunId, usize> {
    let mut open = HashMap::new();
    for (at, (id, _)) in requested.iter().enumerate() {
        if !answers.contains_key(&at) {
            open.entry(id).or_insert(at);
        }
    }
    open
}

pub(super) fn check_attempt(run: &Run, attempt: u32, token: &str) -> Result<()> {
    if (run.attempt, run.token.as_str()) == (attempt, token) {
        return Ok(());
    }
    Err(Stale::Attempt { current: run.attempt }.into())
}

/// Returns whether the run has this outcome: the first report was stored and its answer was lost.
fn has_outcome(run: &Run, outcome: &Outcome) -> bool {
    if run.is_cancelled_by(outcome) {
        return run.state == RunState::Cancelled;
    }
    let states: &[RunState] = match outcome {
        Outcome::Succeeded { .. } => &[RunState::Succeeded],
        // After the last attempt a failed run is dead.
        Outcome::Failed { .. } if run.postponed => &[],
        Outcome::Failed { .. } => &[RunState::Retrying, RunState::Dead],
        Outcome::Dead => &[RunState::Dead],
        Outcome::Skipped => &[RunState::Skipped],
        Outcome::Released { after_ms: None } => &[RunState::Ready],
        Outcome::Released { after_ms: Some(_) } => &[RunState::Retrying, RunState::Ready],
    };
    states.contains(&run.state)
}

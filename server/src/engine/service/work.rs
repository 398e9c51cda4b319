//! The commands of the workers: take runs from queues, keep them, settle them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::taking::Reserved;
use super::{Reach, Report, Result, Service, ServiceError};
use crate::core::run::{IllegalTransition, Outcome};
use crate::core::{Moment, Run, RunId, RunState};
use crate::engine::ends;

/// Shortest lease, in milliseconds: a renewal must be able to arrive.
pub const MIN_LEASE_MS: i64 = 1_000;
/// Longest lease, in milliseconds: a day.
pub const MAX_LEASE_MS: i64 = 86_400_000;
/// How long a worker that waits relies on hints, which do not come from other nodes.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Runs read at a time to find some that nobody is just taking.
const MAX_READ: u32 = 2_000;
/// Tries to take the head of a queue that others take from at the same time.
const TRIES: u32 = 8;

/// What a worker asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseTerms {
    /// Who it is, for people to read.
    pub worker: String,
    /// From these queues; none: from every queue that bears its runs' tag.
    pub queues: Vec<String>,
    /// Runs at most.
    pub limit: u32,
    /// How long it is trusted with them, in milliseconds.
    pub lease_ms: i64,
    /// How long it waits where nothing is ready.
    pub wait: Duration,
}

/// An attempt that a worker holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The run.
    pub run_id: RunId,
    /// The attempt.
    pub attempt: u32,
    /// Its token.
    pub token: String,
}

impl Service {
    /// Takes runs that are ready, earliest first, for a worker. Waits for the first one, and answers with nothing when none came.
    ///
    /// A run whose answer was lost on its way comes back when its lease has run out.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`] for a queue beyond the caller's limits, or a port's error.
    pub async fn lease(&self, terms: &LeaseTerms) -> Result<Vec<Run>> {
        let terms = &*Reach::now().terms(terms)?;
        let mut listener = self.hints.listen();
        let given_up = tokio::time::sleep(terms.wait);
        tokio::pin!(given_up);
        loop {
            let taken = self.take(terms).await?;
            if !taken.is_empty() {
                return Ok(taken);
            }
            tokio::select! {
                // In this order, and not in a drawn one: a simulated history can be replayed. The ends come first, so that no stream
                // of hints keeps them from being seen.
                biased;
                () = self.shutdown.cancelled() => return Ok(taken),
                () = &mut given_up => return Ok(taken),
                () = listener.ready(&terms.queues) => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Others take from the same head: who comes too late for one run takes the next.
    async fn take(&self, terms: &LeaseTerms) -> Result<Vec<Run>> {
        let mut taken = Vec::new();
        for _ in 0..TRIES {
            let wanted = terms.limit - taken.len() as u32;
            let mine = self.ready_for_me(terms, wanted).await?;
            if mine.runs.is_empty() {
                break;
            }
            taken.extend(self.take_these(terms, &mine.runs).await?);
            if taken.len() >= terms.limit as usize {
                break;
            }
        }
        Ok(taken)
    }

    /// Workers of this node do not compete for the same runs: each reads past those that another is just taking.
    async fn ready_for_me(&self, terms: &LeaseTerms, wanted: u32) -> Result<Reserved<'_>> {
        let limit = (u64::from(wanted) + self.taking.len()).min(u64::from(MAX_READ.max(wanted)));
        let ready = self.ports.store.ready_runs(&terms.queues, limit as u32).await?;
        Ok(self.taking.reserve(ready, wanted as usize))
    }

    async fn take_these(&self, terms: &LeaseTerms, ready: &[Run]) -> Result<Vec<Run>> {
        let now = self.ports.clock.now();
        let lease_until = self.lease_clock.now().plus_ms(terms.lease_ms);
        let mut runs = ready.to_vec();
        runs.retain_mut(|run| run.lease(&terms.worker, self.ids.token(now), lease_until).is_ok());
        crate::failpoint!("lease::before_update");
        let taken = self.replace(runs).await?;
        crate::failpoint!("lease::updated");
        Ok(taken)
    }

    /// Replaces runs by compare-and-set; those that this call replaced, as they are stored now.
    pub(super) async fn replace(&self, mut runs: Vec<Run>) -> Result<Vec<Run>> {
        if runs.is_empty() {
            return Ok(runs);
        }
        let mut replaced = self.ports.store.update_runs(&runs).await?.into_iter();
        runs.retain_mut(|run| {
            run.version += 1;
            replaced.next().unwrap_or(false)
        });
        ends::count(self.ports.store.as_ref(), &self.settings.time_zone, &runs).await;
        Ok(runs)
    }

    /// Extends leases to `lease_ms` from now; an answer for each, in order: until when.
    ///
    /// # Errors
    /// A port's error. Of a single one: [`ServiceError::NotFound`], or [`ServiceError::Stale`] when the attempt is not the worker's any more.
    pub async fn renew(&self, held: &[Held], lease_ms: i64) -> Result<Vec<Result<Moment>>> {
        // A late renewal does not shorten what an earlier one has promised.
        self.lease_until(held, lease_ms, Ord::max).await
    }

    /// Leaves attempts to somebody else, who has `within_ms` from now to say how they ended, also where the lease would have lasted
    /// longer; an answer for each, in order: until when.
    ///
    /// # Errors
    /// As [`Service::renew`].
    pub async fn hand_over(&self, held: &[Held], within_ms: i64) -> Result<Vec<Result<Moment>>> {
        self.lease_until(held, within_ms, |_, until| until).await
    }

    async fn lease_until(
        &self,
        held: &[Held],
        lease_ms: i64,
        which: impl Fn(Option<Moment>, Option<Moment>) -> Option<Moment>,
    ) -> Result<Vec<Result<Moment>>> {
        let until = self.lease_clock.now().plus_ms(lease_ms);
        let asked: Vec<_> = held.iter().map(|held| (held.run_id.clone(), held)).collect();
        crate::failpoint!("renew::before_update");
        let answers = self.change_runs(&asked, |run, held| {
            check(run, held.attempt, &held.token)?;
            if run.state != RunState::Leased {
                return Err(ServiceError::Stale(format!("the run is {:?}", run.state)));
            }
            run.attention_at = which(run.attention_at, Some(until));
            Ok(true)
        });
        let answers = answers.await?.into_iter();
        crate::failpoint!("renew::updated");
        Ok(answers.map(|answer| answer.map(|run| run.attention_at.unwrap_or(until))).collect())
    }

    /// Takes the outcomes of attempts; an answer for each, in order. The same outcome again, after its answer was lost, is answered like
    /// the first.
    ///
    /// # Errors
    /// A port's error. Of a single one: as [`Service::report`].
    pub async fn settle(&self, reports: &[(RunId, Report)]) -> Result<Vec<Result<Run>>> {
        let now = self.ports.clock.now();
        let asked: Vec<_> = reports.iter().map(|(id, report)| (id.clone(), report)).collect();
        crate::failpoint!("report::before_update");
        let settled = self.change_runs(&asked, |run, report| {
            check(run, report.attempt, &report.token)?;
            if already_says(run, &report.outcome) {
                return Ok(false);
            }
            let reported = run.report(&report.outcome, report.message.clone(), &self.settings.retry, now);
            reported.map_err(|IllegalTransition { state, .. }| {
                ServiceError::Stale(format!("the run is {state:?}"))
            })?;
            Ok(true)
        });
        let settled = settled.await?;
        crate::failpoint!("report::updated");
        self.tell_of_released(&settled);
        Ok(settled)
    }

    fn tell_of_released(&self, settled: &[Result<Run>]) {
        let ready = settled.iter().flatten().filter(|run| run.state == RunState::Ready);
        self.hints.ready(ready.filter_map(|run| run.queue.clone()).collect());
    }

    /// Decides each change on the run as it stands, and decides anew where somebody else wrote in between (the node that marks it as
    /// fired, most likely). `change` says whether there is anything to write.
    async fn change_runs<A>(
        &self,
        asked: &[(RunId, A)],
        change: impl Fn(&mut Run, &A) -> Result<bool>,
    ) -> Result<Vec<Result<Run>>> {
        let (mut answers, reach) = (BTreeMap::<usize, Result<Run>>::new(), Reach::now());
        while answers.len() < asked.len() {
            let open = first_open_of_each(asked, &answers);
            let ids: Vec<RunId> = open.keys().map(|id| (*id).clone()).collect();
            let mut to_write = Vec::new();
            for mut run in self.ports.store.runs(&ids).await? {
                let Some(at) = open.get(&run.id).filter(|_| reach.pulls(&run)) else { continue };
                match change(&mut run, &asked[*at].1) {
                    Ok(true) => to_write.push(run),
                    Ok(false) => drop(answers.insert(*at, Ok(run))),
                    Err(error) => drop(answers.insert(*at, Err(error))),
                }
            }
            let found: HashSet<RunId> = to_write.iter().map(|run| run.id.clone()).collect();
            for run in self.replace(to_write).await? {
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

/// What is asked and not answered yet, each run once: one that is named twice is decided on twice, one after the other.
fn first_open_of_each<'a, A>(
    asked: &'a [(RunId, A)],
    answers: &BTreeMap<usize, Result<Run>>,
) -> HashMap<&'a RunId, usize> {
    let mut open = HashMap::new();
    for (at, (id, _)) in asked.iter().enumerate() {
        if !answers.contains_key(&at) {
            open.entry(id).or_insert(at);
        }
    }
    open
}

fn check(run: &Run, attempt: u32, token: &str) -> Result<()> {
    if (run.attempt, run.token.as_str()) == (attempt, token) {
        return Ok(());
    }
    Err(ServiceError::Stale(format!("attempt {} is the current one, with another token", run.attempt)))
}

/// Whether the run stands where this outcome would bring it: the report's first try got through and its answer was lost.
fn already_says(run: &Run, outcome: &Outcome) -> bool {
    let wanted: &[RunState] = match outcome {
        Outcome::Succeeded { .. } => &[RunState::Succeeded],
        // The last attempt's failure is the end.
        Outcome::Failed { .. } => &[RunState::Retrying, RunState::Dead],
        Outcome::Dead => &[RunState::Dead],
        Outcome::Skipped => &[RunState::Skipped],
        Outcome::Released => &[RunState::Ready],
    };
    wanted.contains(&run.state)
}

//! Workers: they say hello, take tasks, and show that they live.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::Refused;
use super::payload::Payload;
use super::query_of_worker;
use super::requests::Put;
use super::rows::{Row, View};
use super::{Front, LEASE_MS, Params, Result};
use crate::core::run::Outcome;
use crate::core::{Moment, Run, RunId};
use crate::engine::service::{Held, LeaseTerms, Report};

const WORKER: &str = "easytask_pull.worker";
const CLAIM: &str = "easytask_pull.claim";
/// A claim renews what its worker holds, unless that was done so shortly before: who claims all the time renews no more often than with its
/// beats, which come twelve times a lease.
const RENEWED_MS: i64 = LEASE_MS / 12;
/// Claims read at a time.
const PAGE: u32 = 500;
/// A task that was put a moment ago is worth a short wait.
const WAIT: Duration = Duration::from_millis(500);
/// Others' runs that a claim looks past to find one of its own.
const MAX_STRANGE: usize = 500;

/// A worker, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Worker {
    /// Its last sign of life.
    seen_at: Moment,
    /// When what it holds was last renewed.
    renewed_at: Moment,
}

/// What one claim took; some of it may have ended or gone to others. A document of its own, found by its worker: what a claim costs does
/// not grow with what the worker holds.
type Claim = Vec<Hold>;

/// An attempt that a worker took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Hold {
    run: RunId,
    attempt: u32,
    token: String,
}

impl Hold {
    fn of(run: &Run) -> Self {
        Self { run: run.id.clone(), attempt: run.attempt, token: run.token.clone() }
    }

    fn held(&self) -> Held {
        Held { run_id: self.run.clone(), attempt: self.attempt, token: self.token.clone() }
    }

    /// Back into the queue, as if it had not been taken.
    fn back(&self) -> (RunId, Report) {
        let (attempt, token) = (self.attempt, self.token.clone());
        (self.run.clone(), Report { attempt, token, outcome: Outcome::Released, message: None })
    }
}

/// A worker of one type is another one than its namesake of another type.
fn key(kind: &str, name: &str) -> String {
    format!("{kind}\n{name}")
}

impl Front {
    /// Registers a worker, and puts back what it held before: it has forgotten it.
    pub(super) async fn say_hi(&self, params: &Params) -> Result<()> {
        let (kind, name) = query_of_worker(params)?;
        self.demand_type(kind).await?;
        // Another call of the same worker may take more meanwhile; that is not among these.
        let claims = self.claims(kind, name).await?;
        let back: Vec<_> = claims.iter().flat_map(|(_, claim)| claim).map(Hold::back).collect();
        // What it no longer held is not its to put back.
        self.service.settle(&back).await?;
        for (key, _) in &claims {
            self.service.remove_record(CLAIM, key).await?;
        }
        let now = self.service.now();
        let greet = |_: Option<Worker>| Ok((Some((Worker { seen_at: now, renewed_at: now }, None)), ()));
        self.service.change_record(WORKER, &key(kind, name), greet).await
    }

    /// What a worker took, by the documents' keys.
    async fn claims(&self, kind: &str, name: &str) -> Result<Vec<(String, Claim)>> {
        let mut claims: Vec<(String, Claim)> = Vec::new();
        let worker = key(kind, name);
        loop {
            let after = claims.last().map(|(key, _)| key.as_str());
            let page = self.service.list_records(CLAIM, Some(&worker), after, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            claims.extend(page);
            if is_last {
                return Ok(claims);
            }
        }
    }

    /// A worker's sign of life.
    pub(super) async fn beat(&self, params: &Params) -> Result<()> {
        let (kind, name) = query_of_worker(params)?;
        self.demand_type(kind).await?;
        self.live(kind, name, 0).await
    }

    /// Notes that a worker lives, and renews what it holds unless that was begun less than `within_ms` ago: of several claims at once one
    /// does it. A worker that was silent for too long must say hello again.
    async fn live(&self, kind: &str, name: &str, within_ms: i64) -> Result<()> {
        let now = self.service.now();
        let seen = |worker: Option<Worker>| {
            let alive = worker.filter(|worker| now.since(worker.seen_at) < LEASE_MS);
            let Worker { seen_at, renewed_at } = alive.ok_or_else(|| Refused::NotGreeted(name.to_owned()))?;
            let renews = now.since(renewed_at) >= within_ms;
            let renewed_at = if renews { renewed_at.max(now) } else { renewed_at };
            Ok::<_, Refused>((Some((Worker { seen_at: seen_at.max(now), renewed_at }, None)), renews))
        };
        let renews = self.service.change_record(WORKER, &key(kind, name), seen).await?;
        if renews { self.renew(kind, name).await } else { Ok(()) }
    }

    /// Renews all that a worker holds, and forgets the claims of which nothing is left.
    async fn renew(&self, kind: &str, name: &str) -> Result<()> {
        let claims = self.claims(kind, name).await?;
        let held: Vec<Held> = claims.iter().flat_map(|(_, claim)| claim).map(Hold::held).collect();
        let mut answers = self.service.renew(&held, LEASE_MS).await?.into_iter();
        for (key, claim) in &claims {
            let answers: Vec<_> = answers.by_ref().take(claim.len()).collect();
            if answers.iter().all(std::result::Result::is_err) {
                self.service.remove_record(CLAIM, key).await?;
            }
        }
        Ok(())
    }

    /// Takes tasks of a type for a worker.
    pub(super) async fn take(&self, kind: &str, name: &str, num: u32) -> Result<Vec<View>> {
        self.live(kind, name, RENEWED_MS).await?;
        let mine = self.lease(kind, name, num).await?;
        self.hold(kind, name, &mine).await?;
        let mut rows = Vec::with_capacity(mine.len());
        for run in &mine {
            rows.extend(self.claimed(run).await?);
        }
        Ok(rows)
    }

    /// Runs of this front. One that somebody else put into the queue has no number, and no worker of this front could speak of it: it is
    /// looked past, and put back as it was.
    async fn lease(&self, kind: &str, name: &str, num: u32) -> Result<Vec<Run>> {
        let (mut mine, mut strange) = (Vec::new(), Vec::new());
        let mut terms = LeaseTerms {
            worker: name.to_owned(),
            queues: vec![kind.to_owned()],
            limit: num,
            lease_ms: LEASE_MS,
            wait: WAIT,
        };
        loop {
            let runs = self.service.lease(&terms).await?;
            let (ours, others): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(|run| is_ours(run, kind));
            mine.extend(ours);
            let met_none = others.is_empty();
            strange.extend(others.iter().map(|run| Hold::of(run).back()));
            terms = LeaseTerms { limit: num - mine.len() as u32, wait: Duration::ZERO, ..terms };
            if met_none || terms.limit == 0 || strange.len() >= MAX_STRANGE {
                break;
            }
        }
        self.service.settle(&strange).await?;
        Ok(mine)
    }

    /// Remembers what a worker took, so that its signs of life renew it.
    async fn hold(&self, kind: &str, name: &str, runs: &[Run]) -> Result<()> {
        let Some(first) = runs.first() else { return Ok(()) };
        let (worker, claim) = (key(kind, name), runs.iter().map(Hold::of).collect::<Claim>());
        let put = |_: Option<Claim>| Ok((Some((claim.clone(), Some(worker.clone()))), ()));
        // No other claim has this token.
        self.service.change_record(CLAIM, &format!("{worker}\n{}", first.token), put).await
    }

    /// A task's row; one whose number was not kept, because its node died, is remembered now.
    async fn claimed(&self, run: &Run) -> Result<Option<View>> {
        let Some(payload) = Payload::read(&run.data) else { return Ok(None) };
        let (number, info) = (payload.id, payload.task_info.clone());
        let row = if let Some(row) = self.row(number).await? {
            row
        } else {
            let row = Row::of(&Put::of(payload), run.task_id.clone(), run.scheduled_at);
            self.keep(number, &row).await?;
            row
        };
        Ok(Some(View::claimed(number, row, info)))
    }
}

/// Whether this front put it into the queue.
fn is_ours(run: &Run, kind: &str) -> bool {
    run.tag == kind && Payload::read(&run.data).is_some_and(|payload| payload.task_type == kind)
}

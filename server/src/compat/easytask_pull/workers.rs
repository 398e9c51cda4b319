//! Workers: registration, claims and heartbeats.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::payload::Payload;
use super::receipt::Receipt;
use super::requests::Put;
use super::responses::ApiError;
use super::rows::{Row, View};
use super::worker_params;
use super::{Api, LEASE_MS, Params, Result};
use crate::compat::settings::Dialect;
use crate::core::run::Outcome;
use crate::core::{Moment, Run, RunId};
use crate::engine::service::{Held, LeaseTerms, RecordKind, Report};

const WORKER: RecordKind = RecordKind::internal("easytask_pull.worker");
const CLAIM: RecordKind = RecordKind::internal("easytask_pull.claim");
/// Minimum interval between renewals by claims: the interval of heartbeats, twelve in a lease.
const RENEWED_MS: i64 = LEASE_MS / 12;
/// How long heartbeats renew a claim: the worker may never have got its answer.
const RENEWED_FOR_MS: i64 = 24 * 3_600_000;
/// Number of claims read at a time.
const PAGE: u32 = 500;
/// Time that a claim waits for a task.
const WAIT: Duration = Duration::from_millis(500);
/// Maximum number of foreign runs that a claim skips.
const MAX_FOREIGN: usize = 500;

/// A worker as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Worker {
    /// Last request.
    seen_at: Moment,
    /// Last renewal of its leases.
    renewed_at: Moment,
}

/// The runs of one claim. Some may have ended or be held by other workers. Each claim is a record, indexed by
/// worker, so that the cost of a claim does not grow with the number of held tasks.
type Claim = Vec<Hold>;

/// A claimed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Hold {
    run: RunId,
    attempt: u32,
    token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claimed_at: Option<Moment>,
}

impl Hold {
    fn of(run: &Run) -> Self {
        let (attempt, token) = (run.attempt, run.token.clone());
        Self { run: run.id.clone(), attempt, token, claimed_at: run.leased_at }
    }

    fn is_renewed(&self, now: Moment) -> bool {
        self.claimed_at.is_none_or(|at| now.since(at) < RENEWED_FOR_MS)
    }

    fn held(&self) -> Held {
        Held { run_id: self.run.clone(), attempt: self.attempt, token: self.token.clone(), progress: None }
    }

    /// Returns the report that releases the attempt.
    fn release(&self) -> (RunId, Report) {
        let (attempt, token) = (self.attempt, self.token.clone());
        (
            self.run.clone(),
            Report {
                attempt,
                token,
                outcome: Outcome::Released { after_ms: None },
                message: None,
                started_at: None,
            },
        )
    }
}

/// Key of a worker: workers of different types with the same name are different workers.
fn key(kind: &str, name: &str) -> String {
    format!("{kind}\n{name}")
}

impl Api {
    /// Registers a worker and releases the tasks of its earlier registration.
    pub(super) async fn register(&self, params: &Params) -> Result<()> {
        let (kind, name) = worker_params(params)?;
        self.require_type(kind).await?;
        // A concurrent claim of the same worker is not among these.
        let claims = self.claims(kind, name).await?;
        let released: Vec<_> = claims.iter().flat_map(|(_, claim)| claim).map(Hold::release).collect();
        // Reports of attempts that the worker no longer holds are refused.
        self.service.settle(&released).await?;
        for (key, _) in &claims {
            self.service.remove_record(CLAIM, key).await?;
        }
        let now = self.service.now();
        let put = |_: Option<Worker>| Ok((Some((Worker { seen_at: now, renewed_at: now }, None)), ()));
        self.service.change_record(WORKER, &key(kind, name), put).await
    }

    /// Returns the claims of a worker by key.
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

    /// Handles a heartbeat.
    pub(super) async fn beat(&self, params: &Params) -> Result<()> {
        let (kind, name) = worker_params(params)?;
        self.require_type(kind).await?;
        self.touch(kind, name, 0).await
    }

    /// Stores the time of the request and renews the leases of the worker, unless a renewal began less than
    /// `within_ms` ago, so that one of several concurrent claims renews. A worker with an expired registration
    /// must register again.
    async fn touch(&self, kind: &str, name: &str, within_ms: i64) -> Result<()> {
        let now = self.service.now();
        let seen = |worker: Option<Worker>| {
            let registered = worker.filter(|worker| now.since(worker.seen_at) < LEASE_MS);
            let Worker { seen_at, renewed_at } =
                registered.ok_or_else(|| ApiError::NotRegistered(name.to_owned()))?;
            let renews = now.since(renewed_at) >= within_ms;
            let renewed_at = if renews { renewed_at.max(now) } else { renewed_at };
            Ok::<_, ApiError>((Some((Worker { seen_at: seen_at.max(now), renewed_at }, None)), renews))
        };
        let renews = self.service.change_record(WORKER, &key(kind, name), seen).await?;
        if renews { self.renew(kind, name).await } else { Ok(()) }
    }

    /// Renews the leases of a worker. Removes claims without a held run, and claims that are no longer renewed.
    async fn renew(&self, kind: &str, name: &str) -> Result<()> {
        let now = self.service.now();
        let claims = self.claims(kind, name).await?.into_iter();
        let (claims, old): (Vec<_>, Vec<_>) =
            claims.partition(|(_, claim)| claim.iter().all(|hold| hold.is_renewed(now)));
        for (key, _) in &old {
            self.service.remove_record(CLAIM, key).await?;
        }
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

    /// Claims tasks of a type for a worker.
    pub(super) async fn claim_tasks(&self, kind: &str, name: &str, num: u32) -> Result<(Vec<View>, Receipt)> {
        let sends_beats = self.settings.dialect == Dialect::Document;
        if sends_beats {
            self.touch(kind, name, RENEWED_MS).await?;
        }
        let runs = self.lease(kind, name, num).await?;
        let releases = runs.iter().map(|run| Hold::of(run).release()).collect();
        let receipt = Receipt::new(&self.service, releases);
        if sends_beats {
            self.store_claim(kind, name, &runs).await?;
        }
        let mut rows = Vec::with_capacity(runs.len());
        for run in &runs {
            rows.extend(self.claimed(run).await?);
        }
        Ok((rows, receipt))
    }

    /// Leases runs of this API. Foreign runs in the queue have no number, so they are skipped and released.
    async fn lease(&self, kind: &str, name: &str, num: u32) -> Result<Vec<Run>> {
        let (mut own, mut foreign) = (Vec::new(), Vec::new());
        let mut terms = LeaseTerms {
            worker: name.to_owned(),
            queues: vec![kind.to_owned()],
            limit: num,
            lease_ms: self.lease_ms(),
            wait: WAIT,
            request_id: None,
        };
        loop {
            let runs = self.service.lease(&terms).await?;
            let (mine, others): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(|run| is_own(run, kind));
            own.extend(mine);
            let has_no_foreign = others.is_empty();
            foreign.extend(others.iter().map(|run| Hold::of(run).release()));
            terms = LeaseTerms { limit: num - own.len() as u32, wait: Duration::ZERO, ..terms };
            if has_no_foreign || terms.limit == 0 || foreign.len() >= MAX_FOREIGN {
                break;
            }
        }
        self.service.settle(&foreign).await?;
        Ok(own)
    }

    /// Stores a claim, so that heartbeats renew its leases.
    async fn store_claim(&self, kind: &str, name: &str, runs: &[Run]) -> Result<()> {
        let Some(first) = runs.first() else { return Ok(()) };
        let (worker, claim) = (key(kind, name), runs.iter().map(Hold::of).collect::<Claim>());
        let put = |_: Option<Claim>| Ok((Some((claim.clone(), Some(worker.clone()))), ()));
        // The token makes the key unique.
        self.service.change_record(CLAIM, &format!("{worker}\n{}", first.token), put).await
    }

    /// Returns a claimed task. Restores its row if the node died before storing it.
    async fn claimed(&self, run: &Run) -> Result<Option<View>> {
        let Some(payload) = Payload::read(&run.data) else { return Ok(None) };
        let (number, info) = (payload.id, payload.task_info.clone());
        let row = if let Some(row) = self.row(number).await? {
            row
        } else {
            let row = Row::of(&Put::of(payload), run.task_id.clone(), run.scheduled_at);
            self.insert_row(number, &row).await?;
            row
        };
        Ok(Some(View::claimed(number, row, info, run, self.settings.dialect)))
    }
}

/// Whether this API put the run into the queue.
fn is_own(run: &Run, kind: &str) -> bool {
    run.tag == kind && Payload::read(&run.data).is_some_and(|payload| payload.task_type == kind)
}

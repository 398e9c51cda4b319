//! Workers: they say hello, take tasks, and show that they live.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::Refused;
use super::asked::Data;
use super::query_of_worker;
use super::rows::View;
use super::{Front, Params, Result};
use crate::core::run::Outcome;
use crate::core::{Moment, Run, RunId};
use crate::engine::service::{Held, LeaseTerms, Report, ServiceError};

const WORKER: &str = "easytask_pull.worker";
/// Silence after which a worker is dropped, and its tasks are another's.
pub const LEASE_MS: i64 = 60_000;
/// A task that was put a moment ago is worth a short wait.
const WAIT: Duration = Duration::from_millis(500);

/// A worker, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Worker {
    /// Its last sign of life.
    seen_at: Moment,
    /// What it took; some of it may have ended or gone to others.
    held: Vec<Hold>,
}

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
        let before: Option<Worker> = self.service.read_record(WORKER, &key(kind, name)).await?;
        let held = before.map(|worker| worker.held).unwrap_or_default();
        let back = |hold: &Hold| {
            let (attempt, token) = (hold.attempt, hold.token.clone());
            (hold.run.clone(), Report { attempt, token, outcome: Outcome::Released, message: None })
        };
        // What it no longer held is not its to put back.
        self.service.settle(&held.iter().map(back).collect::<Vec<_>>()).await?;
        let seen_at = self.service.now();
        let greet = |standing: Option<Worker>| {
            // Another call of the same worker may have taken more meanwhile.
            let mut now_held = standing.map(|worker| worker.held).unwrap_or_default();
            now_held.retain(|hold| !held.contains(hold));
            Ok::<_, ServiceError>((Some((Worker { seen_at, held: now_held }, None)), ()))
        };
        Ok(self.service.change_record(WORKER, &key(kind, name), greet).await?)
    }

    /// A worker's sign of life.
    pub(super) async fn beat(&self, params: &Params) -> Result<()> {
        let (kind, name) = query_of_worker(params)?;
        self.demand_type(kind).await?;
        self.live(kind, name).await
    }

    /// Notes that a worker lives, and renews what it holds. One that was silent for too long must say hello again.
    async fn live(&self, kind: &str, name: &str) -> Result<()> {
        let now = self.service.now();
        let alive = |worker: Option<Worker>| {
            let alive = worker.filter(|worker| now.since(worker.seen_at) < LEASE_MS);
            alive.ok_or_else(|| Refused::NotGreeted(name.to_owned()))
        };
        let worker = alive(self.service.read_record(WORKER, &key(kind, name)).await?)?;
        let held: Vec<Held> = worker.held.iter().map(Hold::held).collect();
        let answers = self.service.renew(&held, LEASE_MS).await?;
        let kept = |(hold, answer): (Hold, std::result::Result<Moment, _>)| answer.is_err().then_some(hold);
        let gone: Vec<Hold> = worker.held.into_iter().zip(answers).filter_map(kept).collect();
        let seen = |standing: Option<Worker>| {
            let mut worker = alive(standing)?;
            worker.held.retain(|hold| !gone.contains(hold));
            worker.seen_at = worker.seen_at.max(now);
            Ok((Some((worker, None)), ()))
        };
        self.service.change_record(WORKER, &key(kind, name), seen).await
    }

    /// Takes tasks of a type for a worker.
    pub(super) async fn take(&self, kind: &str, name: &str, num: u32) -> Result<Vec<View>> {
        self.live(kind, name).await?;
        let terms = LeaseTerms {
            worker: name.to_owned(),
            queues: vec![kind.to_owned()],
            limit: num,
            lease_ms: LEASE_MS,
            wait: WAIT,
        };
        let runs = self.service.lease(&terms).await?;
        let (mine, strange): (Vec<Run>, Vec<Run>) =
            runs.into_iter().partition(|run| Data::read(&run.data).is_some());
        self.give_up(&strange).await?;
        self.hold(kind, name, &mine).await?;
        let mut rows = Vec::with_capacity(mine.len());
        for run in &mine {
            rows.extend(self.claimed(run).await?);
        }
        Ok(rows)
    }

    /// Remembers what a worker took, so that its signs of life renew it.
    async fn hold(&self, kind: &str, name: &str, runs: &[Run]) -> Result<()> {
        if runs.is_empty() {
            return Ok(());
        }
        let add = |standing: Option<Worker>| {
            let mut worker = standing.ok_or_else(|| Refused::NotGreeted(name.to_owned()))?;
            worker.held.extend(runs.iter().map(Hold::of));
            Ok::<_, Refused>((Some((worker, None)), ()))
        };
        self.service.change_record(WORKER, &key(kind, name), add).await
    }

    /// A run that this front did not put into the queue has no number, and no worker of it could speak of it.
    async fn give_up(&self, runs: &[Run]) -> Result<()> {
        let why = "in the queue of an easyTask type, and not put there by /api/putask";
        let given_up = |run: &Run| {
            let (attempt, token) = (run.attempt, run.token.clone());
            (run.id.clone(), Report { attempt, token, outcome: Outcome::Dead, message: Some(why.to_owned()) })
        };
        if !runs.is_empty() {
            self.service.settle(&runs.iter().map(given_up).collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    /// A task's row; one whose number was not kept, because its node died, is remembered now.
    async fn claimed(&self, run: &Run) -> Result<Option<View>> {
        let Some(data) = Data::read(&run.data) else { return Ok(None) };
        let (number, info) = (data.id, data.task_info.clone());
        let row = if let Some(row) = self.row(number).await? {
            row
        } else {
            let row = data.put().row(run.task_id.clone(), run.scheduled_at);
            self.keep(number, &row).await?;
            row
        };
        Ok(Some(View::claimed(number, row, info)))
    }
}

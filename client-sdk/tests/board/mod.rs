//! A server's queues in memory, with their real rules: attempts, tokens, leases that run out, repeated outcomes.
//!
//! [`Board`] is asked directly, where time is paused, or by [`Node`] over HTTP.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::Value;
use taskcenter_client::Timestamp;
use taskcenter_client::resources::{
    EVERY_QUEUE, LeaseRequest, LeasedRun, LeasedRuns, Problem, RenewRequest, RunAnswer, RunAnswers,
    SettleRequest, Settlement,
};
use taskcenter_client::transport::pull::{CallError, WorkerApi};
use taskcenter_client::wire::{OutcomeReport, ReportedOutcome};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

const MAX_ATTEMPTS: u32 = 3;
const BACKOFF: Duration = Duration::from_millis(10);

/// A run and what has been said of it.
#[derive(Debug, Clone)]
pub struct Run {
    pub tag: String,
    pub queue: String,
    pub data: String,
    pub state: &'static str,
    pub attempt: u32,
    pub claim: u32,
    pub token: String,
    pub worker: String,
    pub result: Option<Value>,
    /// What was reported and changed something, in order.
    pub told: Vec<OutcomeReport>,
    /// When its lease or its pause runs out.
    until: Instant,
}

#[derive(Default)]
struct Inner {
    runs: BTreeMap<String, Run>,
    tokens: u32,
    leases: Vec<LeaseRequest>,
    renewals: Vec<usize>,
    settlements: Vec<usize>,
    faults: Faults,
}

/// What is wrong with the server.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Every call is answered 503.
    pub down: bool,
    /// Settlements alone are answered 503.
    pub no_settling: bool,
    /// Leases are answered at once, whatever is asked.
    pub hasty: bool,
    /// So many settlements are carried out and their answers lost.
    pub lost_settlements: usize,
    /// A settlement with this message in it is refused as a whole.
    pub poison: Option<String>,
    /// So many runs more than asked are leased.
    pub excess: u32,
}

/// The queues.
#[derive(Clone, Default)]
pub struct Board(Arc<(Mutex<Inner>, Notify)>);

#[allow(clippy::disallowed_methods, reason = "the clock of the test's server")]
fn now() -> Instant {
    Instant::now()
}

impl Board {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.0.lock().unwrap()
    }

    /// Makes a run ready in the queue with its tag's name.
    pub fn put(&self, id: &str, tag: &str, data: &str) {
        self.put_in(tag, id, tag, data);
    }

    /// Makes a run ready in a queue.
    pub fn put_in(&self, queue: &str, id: &str, tag: &str, data: &str) {
        let run = Run {
            tag: tag.into(),
            queue: queue.into(),
            data: data.into(),
            state: "ready",
            attempt: 1,
            claim: 0,
            token: String::new(),
            worker: String::new(),
            result: None,
            told: Vec::new(),
            until: now(),
        };
        self.inner().runs.insert(id.into(), run);
        self.0.1.notify_waiters();
    }

    pub fn run(&self, id: &str) -> Run {
        self.inner().runs[id].clone()
    }

    pub fn count(&self, state: &str) -> usize {
        self.inner().runs.values().filter(|run| run.state == state).count()
    }

    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.inner().faults);
    }

    /// The leases asked for.
    pub fn leases(&self) -> Vec<LeaseRequest> {
        self.inner().leases.clone()
    }

    /// How many runs each renewal named.
    pub fn renewals(&self) -> Vec<usize> {
        self.inner().renewals.clone()
    }

    /// How many runs each settlement named.
    pub fn settlements(&self) -> Vec<usize> {
        self.inner().settlements.clone()
    }

    fn usable(&self) -> Result<(), CallError> {
        if self.inner().faults.down { Err(unavailable()) } else { Ok(()) }
    }
}

fn unavailable() -> CallError {
    CallError::Unavailable("503".into())
}

impl Inner {
    fn take(&mut self, request: &LeaseRequest) -> Vec<LeasedRun> {
        let limit = (request.limit + self.faults.excess) as usize;
        let mut taken = Vec::new();
        for (id, run) in &mut self.runs {
            run.look_after();
            let wanted = request.queues.contains(&run.queue)
                || (request.queues == [EVERY_QUEUE] && run.queue == run.tag);
            if run.state == "ready" && wanted && taken.len() < limit {
                self.tokens += 1;
                taken.push(run.lease(id, format!("token-{}", self.tokens), request));
            }
        }
        taken
    }

    fn settle(&mut self, settlement: &Settlement) -> RunAnswer {
        let report = &settlement.report;
        let Some(run) = self.runs.get_mut(&settlement.run_id) else { return answer(&settlement.run_id, 404) };
        run.look_after();
        if (run.attempt, run.token.as_str()) != (report.attempt, report.token.as_str()) {
            return answer(&settlement.run_id, 409);
        }
        let same = |told: &OutcomeReport| told.token == report.token && told.outcome == report.outcome;
        if run.state == "leased" {
            run.settle(report);
        } else if !run.told.last().is_some_and(same) {
            return answer(&settlement.run_id, 409);
        }
        RunAnswer { state: Some(run.state.into()), ..answer(&settlement.run_id, 200) }
    }
}

impl Run {
    /// What happens by itself as time goes by.
    fn look_after(&mut self) {
        if self.until > now() {
            return;
        }
        match self.state {
            "leased" => self.fail(Duration::ZERO),
            "retrying" => {
                self.state = "ready";
                self.attempt += 1;
                self.token.clear();
            }
            _ => {}
        }
    }

    fn lease(&mut self, id: &str, token: String, request: &LeaseRequest) -> LeasedRun {
        self.state = "leased";
        self.claim += 1;
        self.token = token;
        self.worker.clone_from(&request.worker);
        self.until = now() + Duration::from_millis(request.lease_ms);
        LeasedRun {
            run_id: id.into(),
            task_id: format!("task-of-{id}"),
            tag: self.tag.clone(),
            queue: self.queue.clone(),
            data: self.data.clone(),
            scheduled_at: Timestamp::UNIX_EPOCH,
            number: 1,
            attempt: self.attempt,
            claim: self.claim,
            token: self.token.clone(),
            lease_until: Timestamp::UNIX_EPOCH,
        }
    }

    fn settle(&mut self, report: &OutcomeReport) {
        self.told.push(report.clone());
        self.state = match report.outcome {
            ReportedOutcome::Succeeded => "succeeded",
            ReportedOutcome::Failed => {
                return self.fail(report.retry_after_ms.map_or(BACKOFF, Duration::from_millis));
            }
            ReportedOutcome::Dead => "dead",
            ReportedOutcome::Skipped => "skipped",
            ReportedOutcome::Released => "ready",
        };
        self.result.clone_from(&report.result);
    }

    fn fail(&mut self, pause: Duration) {
        self.state = if self.attempt < MAX_ATTEMPTS { "retrying" } else { "dead" };
        self.until = now() + pause;
    }
}

fn answer(run_id: &str, status: u16) -> RunAnswer {
    let problem =
        (status != 200).then(|| Problem { status, detail: "not yours".into(), ..Problem::default() });
    RunAnswer { run_id: run_id.into(), status, state: None, lease_until: None, problem }
}

#[async_trait]
impl WorkerApi for Board {
    async fn lease(&self, request: LeaseRequest) -> Result<LeasedRuns, CallError> {
        self.inner().leases.push(request.clone());
        self.usable()?;
        let look = async {
            loop {
                let put = self.0.1.notified();
                let runs = self.inner().take(&request);
                if !runs.is_empty() || self.inner().faults.hasty {
                    return runs;
                }
                // What comes by itself, a pause that ends say, is looked for now and then.
                let _ = timeout(BACKOFF, put).await;
            }
        };
        let runs = timeout(Duration::from_millis(request.wait_ms), look).await.unwrap_or_default();
        Ok(LeasedRuns { runs })
    }

    async fn renew(&self, request: RenewRequest) -> Result<RunAnswers, CallError> {
        self.usable()?;
        let mut inner = self.inner();
        if !request.runs.is_empty() {
            inner.renewals.push(request.runs.len());
        }
        let until = now() + Duration::from_millis(request.lease_ms);
        let results = request.runs.iter().map(|held| {
            let Some(run) = inner.runs.get_mut(&held.run_id) else { return answer(&held.run_id, 404) };
            run.look_after();
            if run.state != "leased" || run.token != held.token {
                return answer(&held.run_id, 409);
            }
            run.until = until;
            answer(&held.run_id, 200)
        });
        Ok(RunAnswers { results: results.collect() })
    }

    async fn settle(&self, request: SettleRequest) -> Result<RunAnswers, CallError> {
        self.usable()?;
        let mut inner = self.inner();
        if inner.faults.no_settling {
            return Err(unavailable());
        }
        let poison = inner.faults.poison.clone();
        if poison.is_some() && request.outcomes.iter().any(|outcome| outcome.report.message == poison) {
            return Err(CallError::Refused("400".into()));
        }
        inner.settlements.push(request.outcomes.len());
        let results = request.outcomes.iter().map(|outcome| inner.settle(outcome)).collect();
        if inner.faults.lost_settlements > 0 {
            inner.faults.lost_settlements -= 1;
            return Err(CallError::Unavailable("lost".into()));
        }
        Ok(RunAnswers { results })
    }
}

/// A server of the board, on threads of its own, so that it can be killed with all its connections.
pub struct Node {
    pub address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Node {
    /// An address that nobody listens at.
    pub async fn nowhere() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    pub async fn start(board: &Board) -> Self {
        Self::start_at(Self::nowhere().await, board).await
    }

    pub async fn start_at(address: SocketAddr, board: &Board) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let router = Router::new()
            .route("/v1/runs/lease", post(lease))
            .route("/v1/runs/renew", post(renew))
            .route("/v1/runs/settle", post(settle))
            .with_state(board.clone());
        let serving = runtime.spawn(async move { TcpListener::bind(address).await });
        let listener = serving.await.unwrap().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, runtime: Some(runtime) }
    }

    /// What a consumer connects to.
    pub fn url(&self, parameters: &str) -> String {
        format!("http://{}?{parameters}", self.address)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

async fn lease(State(board): State<Board>, Json(request): Json<LeaseRequest>) -> Response {
    respond(WorkerApi::lease(&board, request).await)
}

async fn renew(State(board): State<Board>, Json(request): Json<RenewRequest>) -> Response {
    respond(WorkerApi::renew(&board, request).await)
}

async fn settle(State(board): State<Board>, Json(request): Json<SettleRequest>) -> Response {
    respond(WorkerApi::settle(&board, request).await)
}

fn respond(answer: Result<impl Serialize, CallError>) -> Response {
    let problem = |status: u16| Problem { status, code: "trouble".into(), ..Problem::default() };
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(CallError::Refused(_)) => (StatusCode::BAD_REQUEST, Json(problem(400))).into_response(),
        Err(CallError::Unavailable(why)) if why == "lost" => lost(),
        Err(CallError::Unavailable(_)) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(problem(503))).into_response()
        }
    }
}

/// An answer whose connection ends before it does.
fn lost() -> Response {
    let broken = futures_util::stream::once(async { Err::<Bytes, _>(io::Error::other("lost")) });
    Body::from_stream(broken).into_response()
}

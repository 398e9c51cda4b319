//! Fake server: queues in memory with the rules of the real ones (attempts, tokens, leases that
//! expire, repeated outcomes).
//!
//! A test with paused time calls [`FakeQueues`] directly; other tests use [`FakeServer`], which
//! serves it over HTTP.

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
    EVERY_QUEUE, LeaseRequest, LeasedRun, LeasedRuns, Problem, Progress, RenewRequest, RunAnswer, RunAnswers,
    SettleRequest, Settlement,
};
use taskcenter_client::transport::pull::{CallError, WorkerApi};
use taskcenter_client::wire::{OutcomeReport, ReportedOutcome};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

const MAX_ATTEMPTS: u32 = 3;
const BACKOFF: Duration = Duration::from_millis(10);

/// A run with its outcome reports.
#[derive(Debug, Clone)]
pub struct Run {
    pub tag: String,
    pub queue: String,
    pub data: String,
    pub headers: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub max_runtime_ms: Option<u64>,
    pub state: &'static str,
    pub attempt: u32,
    pub claim: u32,
    pub token: String,
    pub worker: String,
    /// Request that leased the run.
    request_id: Option<String>,
    pub result: Option<Value>,
    /// Outcome reports that changed the run, in order.
    pub reports: Vec<OutcomeReport>,
    /// End of the lease or of the retry pause.
    until: Instant,
    /// Whether the answer to a renewal says that a user has cancelled the run.
    pub cancel_requested: bool,
    /// Last progress that the worker has reported.
    pub progress: Option<Progress>,
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

/// Injected faults.
#[allow(clippy::struct_excessive_bools, reason = "each fault is on or off")]
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Every call gets 503.
    pub down: bool,
    /// Lease requests get 401: the token is invalid.
    pub denied: bool,
    /// Only settlements get 503.
    pub settle_down: bool,
    /// Lease requests are answered immediately, without the requested wait.
    pub no_wait: bool,
    /// Number of leases that are executed, but whose answer is lost.
    pub lost_leases: usize,
    /// Lease requests with a request id are refused, as by an older server.
    pub no_request_ids: bool,
    /// Number of settlements that are executed, but whose answer is lost.
    pub lost_settlements: usize,
    /// A settlement that contains this message is refused as a whole.
    pub refused_message: Option<String>,
    /// Number of runs that are leased in addition to the requested limit.
    pub extra_runs: u32,
}

/// The queues of the fake server.
#[derive(Clone, Default)]
pub struct FakeQueues(Arc<(Mutex<Inner>, Notify)>);

#[allow(clippy::disallowed_methods, reason = "the clock of the fake server")]
fn now() -> Instant {
    Instant::now()
}

impl FakeQueues {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.0.lock().unwrap()
    }

    /// Adds a ready run to the queue with the name of its tag.
    pub fn add(&self, id: &str, tag: &str, data: &str) {
        self.add_to(tag, id, tag, data);
    }

    /// Adds a ready run to a queue.
    pub fn add_to(&self, queue: &str, id: &str, tag: &str, data: &str) {
        let run = Run {
            tag: tag.into(),
            queue: queue.into(),
            data: data.into(),
            headers: BTreeMap::new(),
            labels: BTreeMap::new(),
            max_runtime_ms: None,
            state: "ready",
            attempt: 1,
            claim: 0,
            token: String::new(),
            worker: String::new(),
            request_id: None,
            result: None,
            reports: Vec::new(),
            until: now(),
            cancel_requested: false,
            progress: None,
        };
        self.inner().runs.insert(id.into(), run);
        self.0.1.notify_waiters();
    }

    /// Changes a run.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut Run)) {
        change(self.inner().runs.get_mut(id).unwrap());
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

    /// Returns all lease requests.
    pub fn leases(&self) -> Vec<LeaseRequest> {
        self.inner().leases.clone()
    }

    /// Returns the number of runs of each renewal.
    pub fn renewals(&self) -> Vec<usize> {
        self.inner().renewals.clone()
    }

    /// Returns the number of runs of each settlement.
    pub fn settlements(&self) -> Vec<usize> {
        self.inner().settlements.clone()
    }

    fn check_up(&self) -> Result<(), CallError> {
        if self.inner().faults.down { Err(unavailable()) } else { Ok(()) }
    }
}

fn unavailable() -> CallError {
    CallError::Unavailable("503".into())
}

impl Inner {
    fn lease(&mut self, request: &LeaseRequest) -> Vec<LeasedRun> {
        let limit = (request.limit + self.faults.extra_runs) as usize;
        let mut leased = Vec::new();
        for (id, run) in &mut self.runs {
            run.apply_time();
            if request.request_id.is_some() && run.state == "leased" && run.request_id == request.request_id {
                leased.push(run.leased(id));
            }
        }
        if !leased.is_empty() {
            return leased;
        }
        for (id, run) in &mut self.runs {
            run.apply_time();
            let requested = request.queues.contains(&run.queue)
                || (request.queues == [EVERY_QUEUE] && run.queue == run.tag);
            if run.state == "ready" && requested && leased.len() < limit {
                self.tokens += 1;
                leased.push(run.lease(id, format!("token-{}", self.tokens), request));
            }
        }
        leased
    }

    fn settle(&mut self, settlement: &Settlement) -> RunAnswer {
        let report = &settlement.report;
        let Some(run) = self.runs.get_mut(&settlement.run_id) else { return answer(&settlement.run_id, 404) };
        run.apply_time();
        if (run.attempt, run.token.as_str()) != (report.attempt, report.token.as_str()) {
            return answer(&settlement.run_id, 409);
        }
        let same = |last: &OutcomeReport| last.token == report.token && last.outcome == report.outcome;
        if run.state == "leased" {
            run.settle(report);
        } else if !run.reports.last().is_some_and(same) {
            return answer(&settlement.run_id, 409);
        }
        RunAnswer { state: Some(run.state.into()), ..answer(&settlement.run_id, 200) }
    }
}

impl Run {
    /// Applies the end of the lease or of the retry pause.
    fn apply_time(&mut self) {
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
        self.request_id.clone_from(&request.request_id);
        self.until = now() + Duration::from_millis(request.lease_ms);
        self.leased(id)
    }

    fn leased(&self, id: &str) -> LeasedRun {
        LeasedRun {
            run_id: id.into(),
            task_id: format!("task-of-{id}"),
            tag: self.tag.clone(),
            queue: self.queue.clone(),
            data: self.data.clone(),
            headers: self.headers.clone(),
            labels: self.labels.clone(),
            max_runtime_ms: self.max_runtime_ms,
            scheduled_at: Timestamp::UNIX_EPOCH,
            number: 1,
            attempt: self.attempt,
            claim: self.claim,
            token: self.token.clone(),
            lease_until: Timestamp::UNIX_EPOCH,
        }
    }

    fn settle(&mut self, report: &OutcomeReport) {
        self.reports.push(report.clone());
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
    let problem = (status != 200).then(|| Problem {
        status,
        detail: "the attempt is stale".into(),
        ..Problem::default()
    });
    RunAnswer { run_id: run_id.into(), status, problem, ..RunAnswer::default() }
}

#[async_trait]
impl WorkerApi for FakeQueues {
    async fn lease(&self, request: LeaseRequest) -> Result<LeasedRuns, CallError> {
        self.inner().leases.push(request.clone());
        self.check_up()?;
        if self.inner().faults.denied {
            return Err(CallError::Denied("401".into()));
        }
        if self.inner().faults.no_request_ids && request.request_id.is_some() {
            return Err(CallError::Refused("400: unknown field `request_id`".into()));
        }
        let first_runs = async {
            loop {
                let added = self.0.1.notified();
                let runs = self.inner().lease(&request);
                if !runs.is_empty() || self.inner().faults.no_wait {
                    return runs;
                }
                // The end of a lease or pause sends no notification, so the loop also polls.
                let _ = timeout(BACKOFF, added).await;
            }
        };
        let runs = timeout(Duration::from_millis(request.wait_ms), first_runs).await.unwrap_or_default();
        let mut inner = self.inner();
        if inner.faults.lost_leases > 0 && !runs.is_empty() {
            inner.faults.lost_leases -= 1;
            return Err(CallError::Unavailable("lost".into()));
        }
        Ok(LeasedRuns { runs })
    }

    async fn renew(&self, request: RenewRequest) -> Result<RunAnswers, CallError> {
        self.check_up()?;
        let mut inner = self.inner();
        if !request.runs.is_empty() {
            inner.renewals.push(request.runs.len());
        }
        let until = now() + Duration::from_millis(request.lease_ms);
        let results = request.runs.iter().map(|leased| {
            let Some(run) = inner.runs.get_mut(&leased.run_id) else { return answer(&leased.run_id, 404) };
            run.apply_time();
            if run.state != "leased" || run.token != leased.token {
                return answer(&leased.run_id, 409);
            }
            run.until = until;
            run.progress = leased.progress.clone().or(run.progress.take());
            RunAnswer { cancel_requested: run.cancel_requested, ..answer(&leased.run_id, 200) }
        });
        Ok(RunAnswers { results: results.collect() })
    }

    async fn settle(&self, request: SettleRequest) -> Result<RunAnswers, CallError> {
        self.check_up()?;
        let mut inner = self.inner();
        if inner.faults.settle_down {
            return Err(unavailable());
        }
        let refused_message = inner.faults.refused_message.clone();
        if refused_message.is_some()
            && request.outcomes.iter().any(|outcome| outcome.report.message == refused_message)
        {
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

/// HTTP server of a [`FakeQueues`], on its own threads, so that a drop ends it with all its
/// connections.
pub struct FakeServer {
    pub address: SocketAddr,
    runtime: Option<Runtime>,
}

impl FakeServer {
    /// Returns an address without a listener. A bound socket keeps it for this process, so that no other
    /// socket takes it while the server is away.
    pub fn unused_address() -> SocketAddr {
        static BOUND: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        BOUND.lock().unwrap().push(socket);
        address
    }

    pub async fn start(queues: &FakeQueues) -> Self {
        Self::start_at(Self::unused_address(), queues).await
    }

    pub async fn start_at(address: SocketAddr, queues: &FakeQueues) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let router = Router::new()
            .route("/v1/runs/lease", post(lease))
            .route("/v1/runs/renew", post(renew))
            .route("/v1/runs/settle", post(settle))
            .with_state(queues.clone());
        let serving = runtime.spawn(TcpListener::bind(address));
        let listener = serving.await.unwrap().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, runtime: Some(runtime) }
    }

    /// Returns the connection string of the server.
    pub fn url(&self, parameters: &str) -> String {
        format!("http://{}?{parameters}", self.address)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        let runtime = self.runtime.take().unwrap();
        // A server that starts at the same address needs the listener closed. A runtime cannot wait for another one
        // on its own threads.
        std::thread::spawn(|| drop(runtime)).join().unwrap();
    }
}

async fn lease(State(queues): State<FakeQueues>, Json(request): Json<LeaseRequest>) -> Response {
    respond(WorkerApi::lease(&queues, request).await)
}

async fn renew(State(queues): State<FakeQueues>, Json(request): Json<RenewRequest>) -> Response {
    respond(WorkerApi::renew(&queues, request).await)
}

async fn settle(State(queues): State<FakeQueues>, Json(request): Json<SettleRequest>) -> Response {
    respond(WorkerApi::settle(&queues, request).await)
}

fn respond(answer: Result<impl Serialize, CallError>) -> Response {
    let problem = |status: u16| Problem { status, code: "injected_fault".into(), ..Problem::default() };
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(CallError::Refused(_)) => (StatusCode::BAD_REQUEST, Json(problem(400))).into_response(),
        Err(CallError::Denied(_)) => (StatusCode::UNAUTHORIZED, Json(problem(401))).into_response(),
        Err(CallError::Unavailable(why)) if why == "lost" => lost(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, Json(problem(503))).into_response(),
    }
}

/// Returns an answer whose connection ends before its body.
fn lost() -> Response {
    let broken = futures_util::stream::once(async { Err::<Bytes, _>(io::Error::other("lost")) });
    Body::from_stream(broken).into_response()
}

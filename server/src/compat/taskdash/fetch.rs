//! Fetches tasks from task services. Each fetch is a task in a queue: the node that leases it makes the
//! call, and the engine retries it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio_util::sync::CancellationToken;

use super::{board, fields, services};
use crate::core::run::Outcome;
use crate::core::submission::{Dedup, Submission};
use crate::core::{Run, RunId};
use crate::engine::service::{Held, LeaseTerms, Report, Service, ServiceError};

/// The queue, and the name of its tasks.
const QUEUE: &str = "taskdash.ask";
/// The form that is posted to a service.
pub const FORM: &str = "operation=GetNewTasks&increment=0";
const LEASE_MS: i64 = 60_000;
/// Time between two renewals of the leases.
const RENEW_EVERY: Duration = Duration::from_secs(20);
/// Maximum number of services called under one lease.
const AT_ONCE: u32 = 4;
const WAIT: Duration = Duration::from_secs(20);
/// Pause after an error of the store.
const PAUSE: Duration = Duration::from_secs(1);

/// Posts the form to a service. Returns the body of its reply, or why there is none.
pub type Reply = Arc<dyn Fn(String) -> BoxFuture<'static, Result<Vec<u8>, String>> + Send + Sync>;

/// Creates a fetch from a service, unless one is live.
pub async fn submit(service: &Service, url: &str) -> Result<(), ServiceError> {
    let dedup = Dedup::Key(super::board::digest(url));
    let queue = Some(QUEUE.to_owned());
    service.submit(Submission { queue, dedup, ..Submission::named(QUEUE, url) }).await.map(drop)
}

/// Fetches from every service at the start, and then from those that register, until `shutdown`.
pub async fn run(service: Service, reply: Reply, shutdown: CancellationToken) {
    let mut is_started = false;
    while !shutdown.is_cancelled() {
        let turn = async {
            if !is_started {
                for url in services::addresses(&service).await? {
                    submit(&service, &url).await?;
                }
                is_started = true;
            }
            fetch_ready(&service, &reply, WAIT).await
        };
        let result: Option<Result<usize, ServiceError>> = shutdown.run_until_cancelled(turn).await;
        if let Some(Err(error)) = result {
            tracing::warn!(%error, "task services were not called; retrying");
            shutdown.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
        }
    }
}

/// Makes the fetches that are ready, and waits for the first one. Returns their number.
///
/// # Errors
/// A port's error. A fetch that was leased and not settled is ready again when its lease has expired.
pub async fn fetch_ready(service: &Service, reply: &Reply, wait: Duration) -> Result<usize, ServiceError> {
    let terms = LeaseTerms {
        worker: QUEUE.to_owned(),
        queues: vec![QUEUE.to_owned()],
        limit: AT_ONCE,
        lease_ms: LEASE_MS,
        wait,
        request_id: None,
    };
    let runs = service.lease(&terms).await?;
    let held: Vec<Held> = runs.iter().map(held).collect();
    let fetches = join_all(runs.iter().map(|run| report(service, reply, run)));
    tokio::pin!(fetches);
    let reports = loop {
        tokio::select! {
            reports = &mut fetches => break reports,
            // A refused renewal means that the run was cancelled: its report is refused as well.
            () = tokio::time::sleep(RENEW_EVERY) => drop(service.renew(&held, LEASE_MS).await?),
        }
    };
    let reports: Vec<(RunId, Report)> = reports.into_iter().collect::<Result<_, _>>()?;
    service.settle(&reports).await?;
    Ok(runs.len())
}

fn held(run: &Run) -> Held {
    Held { run_id: run.id.clone(), attempt: run.attempt, token: run.token.clone(), progress: None }
}

/// Makes one fetch. Returns its report.
async fn report(service: &Service, reply: &Reply, run: &Run) -> Result<(RunId, Report), ServiceError> {
    let (outcome, message) = match fetch(service, reply, run).await? {
        Ok(summary) => (Outcome::Succeeded { result: None }, summary),
        Err(why) => (Outcome::Failed { retry_after_ms: None }, why),
    };
    let (attempt, token) = (run.attempt, run.token.clone());
    Ok((run.id.clone(), Report { attempt, token, outcome, message: Some(message), started_at: None }))
}

/// Puts the tasks of one service on the board. Returns a text for the run's history.
async fn fetch(service: &Service, reply: &Reply, run: &Run) -> Result<Result<String, String>, ServiceError> {
    let reply = match reply(run.data.clone()).await {
        Ok(reply) => reply,
        Err(why) => return Ok(Err(why)),
    };
    let (rows, none) = match fields::tasks(&reply) {
        Ok(read) => read,
        Err(why) => return Ok(Err(why)),
    };
    for row in &rows {
        board::register(service, row).await?;
    }
    Ok(Ok(format!("{} tasks; {none} elements were not tasks", rows.len())))
}

//! Asks task services for their tasks. Each question is a task on a queue: whichever node takes it asks, and asks again as the engine's
//! retries have it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{board, messages, services};
use crate::core::Run;
use crate::core::run::Outcome;
use crate::core::submission::{Dedup, Submission};
use crate::engine::service::{LeaseTerms, Report, Service, ServiceError};

/// The queue, and the name of its tasks.
const QUEUE: &str = "taskdash.ask";
/// What a service is asked, as a form.
pub const QUESTION: &str = "operation=GetNewTasks&increment=0";
const LEASE_MS: i64 = 60_000;
/// Questions asked one after the other under one lease.
const AT_ONCE: u32 = 4;
const WAIT: Duration = Duration::from_secs(20);
/// After an error that concerns the store, asking it again at once would spin.
const PAUSE: Duration = Duration::from_secs(1);

/// Posts a service the question for its tasks; its reply's body, or why there is none.
pub type Reply = Arc<dyn Fn(String) -> BoxFuture<'static, Result<Vec<u8>, String>> + Send + Sync>;

/// Sets out to ask a service. While a question to it is not handed over, another one is the same.
pub async fn submit(service: &Service, url: &str) -> Result<(), ServiceError> {
    let dedup = Dedup::Key(super::board::digest(url));
    let queue = Some(QUEUE.to_owned());
    service.submit(Submission { queue, dedup, ..Submission::named(QUEUE, url) }).await.map(drop)
}

/// Asks every service at the start, and from then on those that register, until `shutdown`.
pub async fn run(service: Service, reply: Reply, shutdown: CancellationToken) {
    let mut greeted = false;
    while !shutdown.is_cancelled() {
        let turn = async {
            if !greeted {
                for url in services::addresses(&service).await? {
                    submit(&service, &url).await?;
                }
                greeted = true;
            }
            ask_waiting(&service, &reply, WAIT).await
        };
        let turned: Option<Result<usize, ServiceError>> = shutdown.run_until_cancelled(turn).await;
        if let Some(Err(error)) = turned {
            tracing::warn!(%error, "task services could not be asked; it goes on in a moment");
            shutdown.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
        }
    }
}

/// Asks the services whose turn it is, and waits for the first such one; how many there were.
///
/// # Errors
/// A port's error. What was taken and not settled comes back when its lease has run out.
pub async fn ask_waiting(service: &Service, reply: &Reply, wait: Duration) -> Result<usize, ServiceError> {
    let terms = LeaseTerms {
        worker: QUEUE.to_owned(),
        queues: vec![QUEUE.to_owned()],
        limit: AT_ONCE,
        lease_ms: LEASE_MS,
        wait,
    };
    let runs = service.lease(&terms).await?;
    for run in &runs {
        let (outcome, message) = match asked(service, reply, run).await? {
            Ok(said) => (Outcome::Succeeded { result: None }, said),
            Err(why) => (Outcome::Failed { retry_after_ms: None }, why),
        };
        let report =
            Report { attempt: run.attempt, token: run.token.clone(), outcome, message: Some(message) };
        match service.report(&run.id, &report).await {
            Ok(_) | Err(ServiceError::Stale(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(runs.len())
}

/// Puts the tasks of one service on the board: how many, or why none.
async fn asked(service: &Service, reply: &Reply, run: &Run) -> Result<Result<String, String>, ServiceError> {
    let reply = match reply(run.data.clone()).await {
        Ok(reply) => reply,
        Err(why) => return Ok(Err(why)),
    };
    let (rows, none) = match messages::tasks(&reply) {
        Ok(read) => read,
        Err(why) => return Ok(Err(why)),
    };
    for row in &rows {
        board::register(service, row).await?;
    }
    Ok(Ok(format!("{} tasks; {none} elements were none", rows.len())))
}

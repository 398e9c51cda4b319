//! Routes of workers: lease runs from queues, renew the leases, settle the runs.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use taskcenter_client::resources::{
    EVERY_QUEUE, LeaseRequest, LeasedRuns, MAX_BATCH, Progress, RenewRequest, RunAnswer, RunAnswers,
    SettleRequest,
};

use super::Context;
use super::batch::Batch;
use super::decode::{Body, bounded};
use super::error::ApiError;
use super::outcome::{ReportBody, SettleBody};
use crate::core::submission::InvalidSubmission;
use crate::core::{Run, RunId, tag};
use crate::engine::service::{Held, LeaseTerms, MAX_LEASE_MS, MIN_LEASE_MS, Renewal, Service};
use crate::wire;

const MAX_WORKER_BYTES: usize = 128;
const MAX_REQUEST_ID_BYTES: usize = 64;
/// Longest wait for the first run, below the usual time limits of proxies.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// Leases runs that are ready in queues, in turn by tag; of each tag, the earliest `scheduled_at` first.
///
/// With `wait_ms`, the server waits for the first run. If the answer is lost, a repetition with the same
/// `request_id` returns the same runs. Without `request_id`, the leases of its runs expire, and each of the
/// runs has one failed attempt.
#[utoipa::path(post, path = "/v1/runs/lease", operation_id = "leaseRuns", tag = "work",
    request_body = LeaseRequest,
    responses((status = 200, body = LeasedRuns, description = "The leased runs; empty if no run became ready in time.")))]
pub async fn lease(
    State(context): State<Context>,
    service: Service,
    Body(request): Body<LeaseRequest>,
) -> Result<Json<LeasedRuns>, ApiError> {
    let terms = terms(request, context.limits.request_timeout)?;
    let runs = service.lease(&terms).await?;
    Ok(Json(LeasedRuns { runs: runs.into_iter().map(wire::leased_run).collect() }))
}

fn terms(request: LeaseRequest, request_timeout: Duration) -> Result<LeaseTerms, ApiError> {
    let fits = (1..=MAX_WORKER_BYTES).contains(&request.worker.len());
    if !fits || request.worker.chars().any(char::is_control) {
        let why =
            format!("worker should have between 1 and {MAX_WORKER_BYTES} bytes, and no control characters");
        return Err(ApiError::field("worker", why));
    }
    if !(1..=MAX_BATCH as u32).contains(&request.limit) {
        return Err(ApiError::field("limit", format!("limit should be between 1 and {MAX_BATCH}")));
    }
    let lease_ms = lease_ms(request.lease_ms)?;
    let is_id =
        |id: &str| (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    if !request.request_id.as_deref().is_none_or(is_id) {
        let why =
            format!("request_id should have between 1 and {MAX_REQUEST_ID_BYTES} visible ASCII characters");
        return Err(ApiError::field("request_id", why));
    }
    // The rest of the time limit is for the store.
    let longest = MAX_WAIT.min(request_timeout * 3 / 4);
    Ok(LeaseTerms {
        queues: queues(request.queues)?,
        worker: request.worker,
        limit: request.limit,
        lease_ms,
        wait: Duration::from_millis(request.wait_ms).min(longest),
        request_id: request.request_id,
    })
}

fn queues(mut names: Vec<String>) -> Result<Vec<String>, ApiError> {
    bounded("queues", names.len(), MAX_BATCH)?;
    if names == [EVERY_QUEUE] {
        return Ok(Vec::new());
    }
    for (at, name) in names.iter().enumerate() {
        if name == EVERY_QUEUE {
            return Err(ApiError::field(format!("queues[{at}]"), "\"*\" should be the only item"));
        }
        tag::check(name).map_err(|why| {
            ApiError::field(format!("queues[{at}]"), InvalidSubmission::Queue(why).to_string())
        })?;
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn lease_ms(requested: u64) -> Result<i64, ApiError> {
    let lease = i64::try_from(requested).ok().filter(|lease| (MIN_LEASE_MS..=MAX_LEASE_MS).contains(lease));
    let invalid = || {
        ApiError::field("lease_ms", format!("lease_ms should be between {MIN_LEASE_MS} and {MAX_LEASE_MS}"))
    };
    lease.ok_or_else(invalid)
}

/// Renews leases. Each renewal succeeds or fails on its own.
///
/// A renewal may carry the `progress` of the handler, which the run then shows. The answer says which runs a user has requested to cancel (`cancel_requested`). The first such answer begins
/// the grace period, `engine.cancel_grace_ms`, which ends at `lease_until`: the worker stops its work, and
/// reports the outcome before. A success is a success; any other outcome ends the run as `cancelled`.
#[utoipa::path(post, path = "/v1/runs/renew", operation_id = "renewRuns", tag = "work",
    request_body = RenewRequest,
    responses((status = 200, body = RunAnswers, description = "One result for each run, in the order of the request.")))]
pub async fn renew(
    service: Service,
    Body(request): Body<RenewRequest>,
) -> Result<Json<RunAnswers>, ApiError> {
    bounded("runs", request.runs.len(), MAX_BATCH)?;
    for (at, leased) in request.runs.iter().enumerate() {
        check_progress(at, leased.progress.as_ref())?;
    }
    let lease_ms = lease_ms(request.lease_ms)?;
    let held: Vec<Held> = request.runs.into_iter().map(wire::held).collect();
    let answers = if request.hand_over {
        service.hand_over(&held, lease_ms).await?
    } else {
        service.renew(&held, lease_ms).await?
    };
    let ids: Vec<RunId> = held.into_iter().map(|held| held.run_id).collect();
    let changed = |renewal: Renewal| ChangedRun {
        lease_until: Some(wire::timestamp(renewal.until)),
        cancel_requested: renewal.cancel_requested,
        state: None,
    };
    let answers = answers.into_iter().map(|answer| answer.map_err(ApiError::from));
    Ok(Json(results("runs", &ids, answers, changed)))
}

fn check_progress(at: usize, progress: Option<&Progress>) -> Result<(), ApiError> {
    let percent = progress.map_or(0, |progress| progress.percent);
    if percent <= 100 {
        return Ok(());
    }
    let field = format!("runs[{at}].progress.percent");
    Err(ApiError::field(field, format!("percent should be between 0 and 100, and is {percent}")))
}

/// Settles runs: reports the outcomes of several attempts.
///
/// Each report succeeds or fails on its own. A repeated report gets the same answer as the first one.
#[utoipa::path(post, path = "/v1/runs/settle", operation_id = "settleRuns", tag = "work",
    request_body = SettleRequest,
    responses((status = 200, body = RunAnswers, description = "One result for each run, in the order of the request.")))]
pub async fn settle(service: Service, Body(request): Body<SettleBody>) -> Result<Json<RunAnswers>, ApiError> {
    bounded("outcomes", request.outcomes.len(), MAX_BATCH)?;
    let items = request.outcomes.into_iter().enumerate();
    let reports: Vec<(RunId, ReportBody)> = items.map(with_run_id).collect::<Result<_, _>>()?;
    let (ids, items): (Vec<_>, Vec<_>) = reports.into_iter().unzip();
    let batch = Batch::of(ids.iter().zip(items).map(|(id, item)| Ok((id.clone(), item.report()?))));
    let answers = service.settle(&batch.valid).await?;
    let changed =
        |run: Run| ChangedRun { state: Some(run.state.as_str().to_owned()), ..ChangedRun::default() };
    Ok(Json(results("outcomes", &ids, batch.answers(answers), changed)))
}

/// Splits an item into its run id and its report. Without a run id, no result can name the item.
fn with_run_id((at, mut item): (usize, ReportBody)) -> Result<(RunId, ReportBody), ApiError> {
    let id = item.take_run_id().map_err(|error| error.under(&format!("outcomes[{at}]")))?;
    Ok((id, item))
}

/// Values of the result of a changed run.
#[derive(Default)]
struct ChangedRun {
    state: Option<String>,
    lease_until: Option<Timestamp>,
    cancel_requested: bool,
}

fn results<T>(
    list: &str,
    ids: &[RunId],
    answers: impl Iterator<Item = Result<T, ApiError>>,
    changed: impl Fn(T) -> ChangedRun,
) -> RunAnswers {
    let answer = |(at, (id, answer)): (usize, (&RunId, Result<T, ApiError>))| match answer.map(&changed) {
        Ok(ChangedRun { state, lease_until, cancel_requested }) => {
            let run_id = id.to_string();
            RunAnswer { run_id, status: 200, state, lease_until, cancel_requested, problem: None }
        }
        Err(error) => {
            let problem = error.of_item(&format!("{list}[{at}]"));
            let (run_id, status) = (id.to_string(), problem.status);
            RunAnswer { run_id, status, problem: Some(problem), ..RunAnswer::default() }
        }
    };
    RunAnswers { results: ids.iter().zip(answers).enumerate().map(answer).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> LeaseRequest {
        let queues = vec!["q".into()];
        LeaseRequest { worker: "w".into(), queues, limit: 1, lease_ms: 30_000, wait_ms: 0, request_id: None }
    }

    fn field_at_fault(request: LeaseRequest) -> String {
        match terms(request, MAX_WAIT) {
            Err(ApiError::Field { field, .. }) => field.into_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_field_has_bounds() {
        for worker in [String::new(), "w".repeat(129), "a\nb".into()] {
            assert_eq!(field_at_fault(LeaseRequest { worker, ..request() }), "worker");
        }
        for limit in [0, 1_001, u32::MAX] {
            assert_eq!(field_at_fault(LeaseRequest { limit, ..request() }), "limit");
        }
        for lease_ms in [0, 999, 86_400_001, u64::MAX] {
            assert_eq!(field_at_fault(LeaseRequest { lease_ms, ..request() }), "lease_ms");
        }
        let queues = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (names, field) in
            [(&[][..], "queues"), (&["a", "*"], "queues[1]"), (&["a|b"], "queues[0]"), (&[""], "queues[0]")]
        {
            assert_eq!(field_at_fault(LeaseRequest { queues: queues(names), ..request() }), field);
        }
        for id in [String::new(), "i".repeat(65), "a b".into(), "\u{e9}".into()] {
            assert_eq!(field_at_fault(LeaseRequest { request_id: Some(id), ..request() }), "request_id");
        }
        let many = vec!["q".to_owned(); MAX_BATCH + 1];
        assert_eq!(field_at_fault(LeaseRequest { queues: many, ..request() }), "queues");
    }

    #[test]
    fn a_star_stands_for_every_queue_and_duplicates_are_removed() {
        let read = |names: &[&str]| queues(names.iter().map(|name| (*name).to_owned()).collect()).unwrap();
        assert!(read(&["*"]).is_empty());
        assert_eq!(read(&["b", "a", "b"]), ["a", "b"]);
    }

    #[test]
    fn a_wait_ends_before_the_time_limit_of_the_request() {
        let wait = |timeout| terms(LeaseRequest { wait_ms: u64::MAX, ..request() }, timeout).unwrap().wait;
        assert_eq!(wait(Duration::from_mins(1)), MAX_WAIT);
        assert_eq!(wait(Duration::from_secs(4)), Duration::from_secs(3));
        assert_eq!(terms(request(), MAX_WAIT).unwrap().wait, Duration::ZERO);
    }
}

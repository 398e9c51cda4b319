//! Cancellation of a run that a worker has leased.

use taskcenter_server::core::run::{Outcome, node_worker};
use taskcenter_server::core::{Run, RunState};
use taskcenter_server::engine::service::{Confirmation, Held, Renewal, Report, ServiceError};
use taskcenter_server::engine::{membership, orphans};
use taskcenter_server::ports::Clock as _;

use super::leases::{lease, report};
use super::{NOW, Stage};

const LEASE_MS: i64 = 30_000;
/// Default of `engine.cancel_grace_ms`.
const GRACE_MS: i64 = 10_000;
const FAILED: Outcome = Outcome::Failed { retry_after_ms: None };
const DONE: Outcome = Outcome::Succeeded { result: None };

/// Leases a run, and requests its cancellation.
async fn requested(on: &Stage) -> Run {
    on.ready("a").await;
    let leased = lease(on, "w", 1).await.remove(0);
    let answer = on.service.cancel_run(&leased.id).await.unwrap();
    assert_eq!((answer.state, answer.attention_at), (RunState::Leased, leased.attention_at));
    assert_eq!(answer.cancel_request.unwrap().requested_at, on.clock.now());
    leased
}

fn held(run: &Run) -> [Held; 1] {
    [Held { run_id: run.id.clone(), attempt: run.attempt, token: run.token.clone(), progress: None }]
}

async fn renew(on: &Stage, run: &Run) -> Renewal {
    on.service.renew(&held(run), LEASE_MS).await.unwrap().remove(0).unwrap()
}

/// Passes time, and rescues.
async fn at(on: &Stage, ms: i64) {
    on.clock.set(NOW.plus_ms(ms));
    on.rescue().await;
}

async fn assert_cancelled(on: &Stage, run: &Run, reason: &str) {
    let run = on.run(run).await;
    assert_eq!((run.state, run.reason.as_deref(), run.attempt), (RunState::Cancelled, Some(reason), 1));
    assert_eq!(run.attention_at, None);
}

pub async fn a_worker_learns_of_a_cancelled_run_with_its_renewal(on: &Stage) {
    let run = requested(on).await;
    on.clock.set(NOW.plus_ms(7_000));
    let renewal = renew(on, &run).await;
    assert_eq!(renewal, Renewal { until: NOW.plus_ms(7_000 + GRACE_MS), cancel_requested: true });
    on.clock.set(NOW.plus_ms(9_000));
    assert_eq!(renew(on, &run).await, renewal, "the grace period is not extended");
    let again = on.service.cancel_run(&run.id).await.unwrap();
    assert_eq!((again.state, again.attention_at), (RunState::Leased, Some(renewal.until)));
    assert_eq!(again.cancel_request.unwrap().requested_at, NOW, "the first request counts");
}

pub async fn a_stopped_run_is_cancelled_with_the_message_of_its_worker(on: &Stage) {
    let run = requested(on).await;
    renew(on, &run).await;
    let stopped = Report { message: Some("half of the rows".to_owned()), ..report(&run, FAILED) };
    let first = on.service.report(&run.id, &stopped).await.unwrap();
    assert_eq!(on.service.report(&run.id, &stopped).await.unwrap(), first, "a lost answer");
    assert_cancelled(on, &run, "cancelled by hand: half of the rows").await;
    let late = on.service.report(&run.id, &report(&run, DONE)).await;
    assert!(matches!(late, Err(ServiceError::Stale(_))), "{late:?}");
}

pub async fn every_outcome_but_a_success_cancels_the_run(on: &Stage) {
    let postponed = Outcome::Released { after_ms: Some(5) };
    for outcome in [Outcome::Dead, Outcome::Skipped, Outcome::Released { after_ms: None }, postponed] {
        let run = requested(on).await;
        on.service.report(&run.id, &report(&run, outcome)).await.unwrap();
        assert_cancelled(on, &run, "cancelled by hand").await;
    }
    let run = requested(on).await;
    let denial = Confirmation { succeeded: false, message: None, result: None };
    assert_eq!(on.service.confirm(&run.id, &denial).await.unwrap().state, RunState::Cancelled);
}

pub async fn a_success_after_the_request_is_a_success(on: &Stage) {
    let run = requested(on).await;
    renew(on, &run).await;
    let done = on.service.report(&run.id, &report(&run, DONE)).await.unwrap();
    assert_eq!(done.state, RunState::Succeeded);
    assert!(done.cancel_request.is_some(), "the row keeps the request");
}

pub async fn a_worker_that_does_not_stop_loses_the_run(on: &Stage) {
    let run = requested(on).await;
    renew(on, &run).await;
    at(on, GRACE_MS - 1).await;
    assert_eq!(on.run(&run).await.state, RunState::Leased);
    at(on, GRACE_MS).await;
    assert_cancelled(on, &run, "forced: the handler did not stop within its grace period").await;
    let renewed = on.service.renew(&held(&run), LEASE_MS).await.unwrap();
    assert!(matches!(renewed[0], Err(ServiceError::Stale(_))), "{renewed:?}");
    let late = on.service.report(&run.id, &report(&run, DONE)).await;
    assert!(matches!(late, Err(ServiceError::Stale(_))), "{late:?}");
}

pub async fn a_cancelled_run_of_a_dead_worker_ends_with_its_lease(on: &Stage) {
    let run = requested(on).await;
    at(on, LEASE_MS).await;
    assert_cancelled(on, &run, "forced: the worker's lease expired").await;
}

pub async fn a_cancelled_run_of_a_stopped_node_ends_with_its_node(on: &Stage) {
    on.ready("a").await;
    let run = lease(on, &node_worker("an earlier life"), 1).await.remove(0);
    on.service.cancel_run(&run.id).await.unwrap();
    membership::run_once(&on.node, on.clock.steady_ms()).await.unwrap();
    orphans::run_once(&on.node, on.clock.now()).await.unwrap();
    assert_cancelled(on, &run, "forced: the node that worked on the run stopped").await;
}

pub async fn a_run_that_another_party_has_is_cancelled_at_once(on: &Stage) {
    on.ready("a").await;
    let run = lease(on, "w", 1).await.remove(0);
    on.service.hand_over(&held(&run), 3_600_000).await.unwrap();
    on.service.cancel_run(&run.id).await.unwrap();
    assert_cancelled(on, &run, "cancelled by hand").await;
    let late = on.service.report(&run.id, &report(&run, DONE)).await;
    assert!(matches!(late, Err(ServiceError::Stale(_))), "{late:?}");
    assert!(matches!(on.service.cancel_run(&run.id).await, Err(ServiceError::RunState(RunState::Cancelled))));
}

pub async fn a_hand_over_after_the_request_gets_the_grace_period(on: &Stage) {
    let run = requested(on).await;
    let handed_over = on.service.hand_over(&held(&run), 3_600_000).await.unwrap().remove(0).unwrap();
    assert_eq!(handed_over, Renewal { until: NOW.plus_ms(GRACE_MS), cancel_requested: true });
}

//! Runs that end because their first attempt does not start in time.

use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Moment, Run, RunState};

use super::leases::{lease, report};
use super::{NOW, Stage};

const LIMIT_MS: u64 = 5_000;
const LIMIT: Moment = NOW.plus_ms(LIMIT_MS as i64);

async fn limited(on: &Stage) -> Run {
    let submission = Submission { start_within_ms: Some(LIMIT_MS), ..Submission::named("a", "limited") };
    let id = on.submit(submission).await;
    on.fire(&id).await
}

async fn at(on: &Stage, now: Moment) {
    on.clock.set(now);
    on.rescue().await;
}

fn assert_expired(run: &Run) {
    assert_eq!((run.state, run.attempt, run.ended_at.is_some()), (RunState::Skipped, 1, true), "{run:?}");
    let reason = run.reason.as_deref().unwrap_or_default();
    assert_eq!(reason, format!("expired: no attempt started before {LIMIT}"));
}

pub async fn a_run_that_no_worker_takes_in_time_ends_skipped(on: &Stage) {
    let run = limited(on).await;
    assert_eq!((run.state, run.expires_at, run.attention_at), (RunState::Ready, Some(LIMIT), Some(LIMIT)));
    at(on, LIMIT.plus_ms(-1)).await;
    assert_eq!(on.run(&run).await, run, "the limit has not passed");
    at(on, LIMIT).await;
    assert_expired(&on.run(&run).await);
    let unlimited = on.ready("b").await;
    assert_eq!((unlimited.expires_at, unlimited.attention_at), (None, Some(Moment::NEVER)));
}

pub async fn a_worker_gets_no_expired_run(on: &Stage) {
    let (expired, other) = (limited(on).await, on.ready("a").await);
    on.clock.set(LIMIT);
    let leased = lease(on, "w", 5).await;
    assert_eq!(leased.iter().map(|run| &run.id).collect::<Vec<_>>(), [&other.id]);
    assert_expired(&on.run(&expired).await);
}

pub async fn a_run_that_has_started_does_not_expire(on: &Stage) {
    let run = limited(on).await;
    let leased = lease(on, "w", 1).await;
    let failed = Outcome::Failed { retry_after_ms: Some(0) };
    on.service.report(&run.id, &report(&leased[0], failed)).await.unwrap();
    at(on, LIMIT.plus_ms(60_000)).await;
    let next = on.run(&run).await;
    assert_eq!((next.state, next.attempt, next.attention_at), (RunState::Ready, 2, Some(Moment::NEVER)));
    assert_eq!(lease(on, "w", 1).await.len(), 1);
}

pub async fn a_postponed_run_expires_at_its_limit(on: &Stage) {
    let (postponed, released) = (limited(on).await, limited(on).await);
    for leased in lease(on, "w", 2).await {
        let after_ms = (leased.id == postponed.id).then_some(3_600_000);
        on.service.report(&leased.id, &report(&leased, Outcome::Released { after_ms })).await.unwrap();
    }
    assert_eq!(on.run(&postponed).await.attention_at, Some(LIMIT));
    at(on, LIMIT).await;
    assert_expired(&on.run(&postponed).await);
    assert_expired(&on.run(&released).await);
}

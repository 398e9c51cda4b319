//! The owner of the retry: reports, failed reports and duplicates, on the harness.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use taskcenter_client::wire::{OutcomeReport, ReportedOutcome, property};
use taskcenter_client::{
    Consumer, ConsumerBuilder, Context, HandlerError, Harness, Outcome, ReportError, TaskCenter, Verdict,
};
use tokio::sync::Semaphore;

type Calls = Arc<AtomicU32>;

async fn act_on(ctx: Context<Calls>, action: String) -> Result<(), HandlerError> {
    ctx.state().fetch_add(1, Ordering::SeqCst);
    match action.as_str() {
        "ok" => Ok(()),
        "later" => Err(HandlerError::retry_after(Duration::from_millis(2_500), "busy")),
        "dead" => Err(HandlerError::dead_letter("no such order")),
        "skip" => Err(HandlerError::skip("paid already")),
        other => Err(other.into()),
    }
}

fn without_reports() -> (Calls, ConsumerBuilder<Calls>) {
    let calls = Calls::default();
    (Arc::clone(&calls), Consumer::builder().state(calls).on_text("t", act_on))
}

fn with_reports() -> (Calls, ConsumerBuilder<Calls>) {
    let (calls, builder) = without_reports();
    (calls, builder.report_to(TaskCenter::new("http://127.0.0.1:1").unwrap()))
}

fn report(outcome: ReportedOutcome, message: Option<&str>, retry_after_ms: Option<u64>) -> OutcomeReport {
    OutcomeReport {
        attempt: 2,
        token: "secret".into(),
        outcome,
        message: message.map(Into::into),
        retry_after_ms,
        result: None,
        started_at: Some("2026-01-01T00:00:00Z".parse().unwrap()),
    }
}

async fn verdict(harness: &Harness, action: &'static str) -> Verdict {
    harness.deliver("t").body(action).run_id("run").attempt(2).ack("secret").await.verdict
}

#[tokio::test]
async fn with_reports_the_server_gets_every_outcome_and_the_broker_never_retries() {
    let harness = with_reports().1.harness().unwrap();
    for action in ["ok", "no", "later", "dead", "skip"] {
        assert_eq!(verdict(&harness, action).await, Verdict::Ack, "{action}");
    }
    let reports: Vec<_> =
        harness.reports().into_iter().map(|(run_id, reported)| (run_id == "run", reported)).collect();
    let expected = [
        report(ReportedOutcome::Succeeded, None, None),
        report(ReportedOutcome::Failed, Some("no"), None),
        report(ReportedOutcome::Failed, Some("busy"), Some(2_500)),
        report(ReportedOutcome::Dead, Some("no such order"), None),
        report(ReportedOutcome::Skipped, Some("paid already"), None),
    ];
    assert_eq!(reports, expected.map(|reported| (true, reported)));
}

#[tokio::test]
async fn the_broker_retries_a_message_whose_report_is_not_requested() {
    let harness = with_reports().1.harness().unwrap();
    assert_eq!(harness.deliver("t").body("no").await.verdict, Verdict::Retry { after: None });
    let unrequested = harness.deliver("t").body("no").ack("secret").property(property::ACK, "0");
    assert_eq!(unrequested.await.verdict, Verdict::Retry { after: None });
    let incomplete = harness.deliver("t").body("no").ack("secret").without(property::TOKEN);
    assert_eq!(incomplete.await.verdict, Verdict::Retry { after: None });
    assert_eq!(harness.reports(), []);
}

#[tokio::test]
async fn without_reports_the_broker_owns_the_retry() {
    let harness = without_reports().1.harness().unwrap();
    assert_eq!(verdict(&harness, "no").await, Verdict::Retry { after: None });
    assert_eq!(verdict(&harness, "dead").await, Verdict::DeadLetter);
    assert_eq!(harness.reports(), []);
}

#[tokio::test]
async fn the_broker_retries_a_message_whose_report_is_not_delivered() {
    let harness = with_reports().1.harness().unwrap();
    harness.fail_reports(Some(ReportError::Undelivered("connection refused".into())));
    assert_eq!(verdict(&harness, "no").await, Verdict::Retry { after: None });
    assert_eq!(verdict(&harness, "ok").await, Verdict::Retry { after: None });
    harness.fail_reports(None);
    assert_eq!(verdict(&harness, "ok").await, Verdict::Ack);
}

#[tokio::test]
async fn a_refused_report_acknowledges_the_message() {
    let harness = with_reports().1.harness().unwrap();
    harness.fail_reports(Some(ReportError::Refused("stale token".into())));
    assert_eq!(verdict(&harness, "no").await, Verdict::Ack);
    assert_eq!(harness.reports().len(), 1);
}

#[tokio::test]
async fn a_long_error_is_cut_before_the_report() {
    let harness = with_reports().1.harness().unwrap();
    let long = "长".repeat(1_000_000);
    assert_eq!(harness.deliver("t").body(long).ack("secret").await.verdict, Verdict::Ack);
    let (_, report) = harness.reports().pop().unwrap();
    let whole_characters = 32 * 1024 / "长".len();
    assert_eq!(report.message, Some("长".repeat(whole_characters)));
}

#[tokio::test]
async fn a_duplicate_of_a_success_is_dropped_and_reported_again() {
    let (calls, builder) = with_reports();
    let harness = builder.drop_duplicates(10).harness().unwrap();
    harness.fail_reports(Some(ReportError::Undelivered("time-out".into())));
    assert_eq!(verdict(&harness, "ok").await, Verdict::Retry { after: None });
    harness.fail_reports(None);
    let again = harness.deliver("t").body("ok").run_id("run").attempt(3).ack("newer").await;
    assert_eq!((again.outcome, again.verdict), (Outcome::Duplicate, Verdict::Ack));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let (_, report) = harness.reports().pop().unwrap();
    assert_eq!(
        (report.outcome, report.attempt, report.token.as_str()),
        (ReportedOutcome::Succeeded, 3, "newer")
    );
}

#[tokio::test]
async fn only_a_delivery_after_a_success_is_a_duplicate() {
    let (calls, builder) = without_reports();
    let harness = builder.drop_duplicates(10).harness().unwrap();
    for action in ["no", "dead", "skip", "ok"] {
        assert_ne!(harness.deliver("t").body(action).await.outcome, Outcome::Duplicate, "{action}");
    }
    assert_eq!(harness.deliver("t").body("ok").await.outcome, Outcome::Duplicate);
    assert_eq!(harness.deliver("t").body("ok").run_id("another").await.outcome, Outcome::Succeeded);
    let without_run_id = || harness.deliver("t").body("ok").without(property::RUN_ID);
    assert_eq!(without_run_id().await.outcome, Outcome::Succeeded);
    assert_eq!(without_run_id().await.outcome, Outcome::Succeeded);
    assert_eq!(calls.load(Ordering::SeqCst), 7);
}

#[tokio::test]
async fn duplicates_are_not_dropped_by_default() {
    let (calls, builder) = without_reports();
    let harness = builder.harness().unwrap();
    assert_eq!(harness.deliver("t").body("ok").await.outcome, Outcome::Succeeded);
    assert_eq!(harness.deliver("t").body("ok").await.outcome, Outcome::Succeeded);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_waits_for_the_end_of_the_delivery_in_flight() {
    struct Gate {
        entered: Semaphore,
        open: Semaphore,
    }
    async fn wait(ctx: Context<Arc<Gate>>, succeed: bool) -> Result<(), HandlerError> {
        ctx.state().entered.add_permits(1);
        ctx.state().open.acquire().await?.forget();
        if succeed { Ok(()) } else { Err("no".into()) }
    }
    let gate = Arc::new(Gate { entered: Semaphore::new(0), open: Semaphore::new(0) });
    let builder = Consumer::builder().state(Arc::clone(&gate)).on("t", wait).drop_duplicates(10);
    let harness = builder.harness().unwrap();

    let failing = tokio::spawn(harness.deliver("t").json(&false).into_future());
    gate.entered.acquire().await.unwrap().forget();
    let second = tokio::spawn(harness.deliver("t").json(&true).into_future());
    let third = tokio::spawn(harness.deliver("t").json(&true).into_future());
    // Paused time advances only when no task is ready.
    let _ = tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
    assert_eq!(gate.entered.available_permits(), 0, "a duplicate ran during the delivery in flight");

    gate.open.add_permits(2);
    assert!(matches!(failing.await.unwrap().outcome, Outcome::Failed { .. }));
    let mut outcomes = [second.await.unwrap().outcome, third.await.unwrap().outcome];
    outcomes.sort_by_key(|outcome| *outcome == Outcome::Duplicate);
    assert_eq!(outcomes, [Outcome::Succeeded, Outcome::Duplicate]);
}

//! Who owns the retry: reports, their failures, and duplicates, by the harness.

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

async fn obey(ctx: Context<Calls>, wish: String) -> Result<(), HandlerError> {
    ctx.state().fetch_add(1, Ordering::SeqCst);
    match wish.as_str() {
        "ok" => Ok(()),
        "later" => Err(HandlerError::retry_after(Duration::from_millis(2_500), "busy")),
        "dead" => Err(HandlerError::dead_letter("hopeless")),
        "skip" => Err(HandlerError::skip("paid already")),
        other => Err(other.into()),
    }
}

fn silent() -> (Calls, ConsumerBuilder<Calls>) {
    let calls = Calls::default();
    (Arc::clone(&calls), Consumer::builder().state(calls).on_text("t", obey))
}

fn reporting() -> (Calls, ConsumerBuilder<Calls>) {
    let (calls, builder) = silent();
    (calls, builder.report_to(TaskCenter::new("http://127.0.0.1:1").unwrap()))
}

fn said(outcome: ReportedOutcome, message: Option<&str>, retry_after_ms: Option<u64>) -> OutcomeReport {
    OutcomeReport {
        attempt: 2,
        token: "secret".into(),
        outcome,
        message: message.map(Into::into),
        retry_after_ms,
        result: None,
    }
}

async fn verdict(harness: &Harness, wish: &'static str) -> Verdict {
    harness.deliver("t").body(wish).run_id("run").attempt(2).ack("secret").await.verdict
}

#[tokio::test]
async fn the_server_is_told_every_outcome_and_the_broker_never_retries() {
    let harness = reporting().1.harness().unwrap();
    for wish in ["ok", "no", "later", "dead", "skip"] {
        assert_eq!(verdict(&harness, wish).await, Verdict::Ack, "{wish}");
    }
    let reports: Vec<_> =
        harness.reports().into_iter().map(|(run_id, report)| (run_id == "run", report)).collect();
    let expected = [
        said(ReportedOutcome::Succeeded, None, None),
        said(ReportedOutcome::Failed, Some("no"), None),
        said(ReportedOutcome::Failed, Some("busy"), Some(2_500)),
        said(ReportedOutcome::Dead, Some("hopeless"), None),
        said(ReportedOutcome::Skipped, Some("paid already"), None),
    ];
    assert_eq!(reports, expected.map(|report| (true, report)));
}

#[tokio::test]
async fn a_message_the_server_does_not_wait_for_is_the_brokers() {
    let harness = reporting().1.harness().unwrap();
    assert_eq!(harness.deliver("t").body("no").await.verdict, Verdict::Retry { after: None });
    let unasked = harness.deliver("t").body("no").ack("secret").property(property::ACK, "0");
    assert_eq!(unasked.await.verdict, Verdict::Retry { after: None });
    let half = harness.deliver("t").body("no").ack("secret").without(property::TOKEN);
    assert_eq!(half.await.verdict, Verdict::Retry { after: None });
    assert_eq!(harness.reports(), []);
}

#[tokio::test]
async fn without_reporting_the_broker_owns_the_retry() {
    let harness = silent().1.harness().unwrap();
    assert_eq!(verdict(&harness, "no").await, Verdict::Retry { after: None });
    assert_eq!(verdict(&harness, "dead").await, Verdict::DeadLetter);
    assert_eq!(harness.reports(), []);
}

#[tokio::test]
async fn a_report_that_does_not_get_through_leaves_the_message_with_the_broker() {
    let harness = reporting().1.harness().unwrap();
    harness.fail_reports(Some(ReportError::Undelivered("connection refused".into())));
    assert_eq!(verdict(&harness, "no").await, Verdict::Retry { after: None });
    assert_eq!(verdict(&harness, "ok").await, Verdict::Retry { after: None });
    harness.fail_reports(None);
    assert_eq!(verdict(&harness, "ok").await, Verdict::Ack);
}

#[tokio::test]
async fn a_refused_report_is_dropped() {
    let harness = reporting().1.harness().unwrap();
    harness.fail_reports(Some(ReportError::Refused("stale token".into())));
    assert_eq!(verdict(&harness, "no").await, Verdict::Ack);
    assert_eq!(harness.reports().len(), 1);
}

#[tokio::test]
async fn an_endless_error_is_cut_before_it_is_reported() {
    let harness = reporting().1.harness().unwrap();
    let endless = "长".repeat(1_000_000);
    assert_eq!(harness.deliver("t").body(endless).ack("secret").await.verdict, Verdict::Ack);
    let (_, report) = harness.reports().pop().unwrap();
    let whole_letters = 32 * 1024 / "长".len();
    assert_eq!(report.message, Some("长".repeat(whole_letters)));
}

#[tokio::test]
async fn a_duplicate_of_a_success_is_dropped_and_reported_again() {
    let (calls, builder) = reporting();
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
async fn only_a_success_makes_a_duplicate() {
    let (calls, builder) = silent();
    let harness = builder.drop_duplicates(10).harness().unwrap();
    for wish in ["no", "dead", "skip", "ok"] {
        assert_ne!(harness.deliver("t").body(wish).await.outcome, Outcome::Duplicate, "{wish}");
    }
    assert_eq!(harness.deliver("t").body("ok").await.outcome, Outcome::Duplicate);
    assert_eq!(harness.deliver("t").body("ok").run_id("another").await.outcome, Outcome::Succeeded);
    let nameless = || harness.deliver("t").body("ok").without(property::RUN_ID);
    assert_eq!(nameless().await.outcome, Outcome::Succeeded);
    assert_eq!(nameless().await.outcome, Outcome::Succeeded);
    assert_eq!(calls.load(Ordering::SeqCst), 7);
}

#[tokio::test]
async fn duplicates_are_kept_unless_asked_otherwise() {
    let (calls, builder) = silent();
    let harness = builder.harness().unwrap();
    assert_eq!(harness.deliver("t").body("ok").await.outcome, Outcome::Succeeded);
    assert_eq!(harness.deliver("t").body("ok").await.outcome, Outcome::Succeeded);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_of_one_in_flight_waits_for_its_end() {
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
    // Paused time moves on only when no task can go on.
    let _ = tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
    assert_eq!(gate.entered.available_permits(), 0, "a duplicate ran beside the one in flight");

    gate.open.add_permits(2);
    assert!(matches!(failing.await.unwrap().outcome, Outcome::Failed { .. }));
    let mut outcomes = [second.await.unwrap().outcome, third.await.unwrap().outcome];
    outcomes.sort_by_key(|outcome| *outcome == Outcome::Duplicate);
    assert_eq!(outcomes, [Outcome::Succeeded, Outcome::Duplicate]);
}

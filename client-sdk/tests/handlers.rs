//! Handlers, with their errors, payloads and routes, on the harness.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskcenter_client::wire::property;
use taskcenter_client::{
    Consumer, ConsumerBuilder, Context, HARNESS_EPOCH_MS, HandlerError, Outcome, RouteError, Verdict,
};

#[derive(Serialize, Deserialize)]
struct Order {
    id: u64,
}

type Journal = Arc<Mutex<Vec<String>>>;

async fn note(ctx: Context<Journal>, order: Order) -> Result<(), HandlerError> {
    ctx.state().lock().unwrap().push(format!("{} {}", ctx.tag(), order.id));
    Ok(())
}

fn entries(journal: &Journal) -> Vec<String> {
    journal.lock().unwrap().clone()
}

fn builder() -> (Journal, ConsumerBuilder<Journal>) {
    let journal = Journal::default();
    (Arc::clone(&journal), Consumer::builder().state(journal))
}

#[tokio::test]
async fn a_typed_handler_gets_its_payload_and_the_shared_state() {
    let (journal, builder) = builder();
    let harness = builder.on("order.close", note).harness().unwrap();
    let delivered = harness.deliver("order.close").json(&Order { id: 7 }).await;
    assert_eq!((delivered.outcome, delivered.verdict), (Outcome::Succeeded, Verdict::Ack));
    assert_eq!(entries(&journal), ["order.close 7"]);
}

#[tokio::test]
async fn the_context_has_all_values_of_the_message() {
    async fn check(ctx: Context, _payload: ()) -> Result<(), String> {
        let actual = (
            ctx.task_id(),
            ctx.run_id(),
            ctx.message_id(),
            ctx.attempt(),
            ctx.delivery_attempt(),
            ctx.claim(),
        );
        let expected = ("task-9", Some("run-9"), "message-9", 3, 2, 5);
        let moment = (ctx.scheduled_at_ms(), ctx.lateness());
        let expected_moment = (Some(HARNESS_EPOCH_MS - 1_500), Some(Duration::from_millis(1_500)));
        let equal = actual == expected && moment == expected_moment && ctx.property("color") == Some("red");
        if equal { Ok(()) } else { Err(format!("{actual:?} {moment:?}")) }
    }
    let harness = Consumer::builder().on("t", check).harness().unwrap();
    let delivery = harness.deliver("t").json(&()).task_id("task-9").run_id("run-9").message_id("message-9");
    let delivery = delivery.attempt(3).delivery_attempt(2).claim(5).property("color", "red");
    assert_eq!(delivery.scheduled_at_ms(HARNESS_EPOCH_MS - 1_500).await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn a_foreign_message_has_no_run_id_and_lateness_is_never_negative() {
    async fn check(ctx: Context, expected: (Option<String>, Option<u64>)) -> Result<(), String> {
        let actual = (ctx.run_id().map(str::to_owned), ctx.lateness().map(|late| late.as_secs()));
        if actual == expected && ctx.attempt() == 1 { Ok(()) } else { Err(format!("{actual:?}")) }
    }
    let harness = Consumer::builder().on("t", check).harness().unwrap();
    let foreign = harness.deliver("t").json(&(None::<String>, None::<u64>));
    let foreign =
        foreign.without(property::RUN_ID).without(property::SCHEDULED_AT).without(property::ATTEMPT);
    assert_eq!(foreign.await.outcome, Outcome::Succeeded);
    harness.set_now_ms(HARNESS_EPOCH_MS - 60_000);
    let early = harness.deliver("t").json(&("run-1", 0)).scheduled_at_ms(HARNESS_EPOCH_MS);
    assert_eq!(early.await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn an_exact_tag_takes_precedence_over_the_star() {
    let (journal, builder) = builder();
    let named = |name: &'static str| {
        move |ctx: Context<Journal>, data: String| async move {
            ctx.state().lock().unwrap().push(format!("{name} {data}"));
            Ok::<_, HandlerError>(())
        }
    };
    let builder =
        builder.on_text("*", named("any")).on_text("a || b", named("pair")).on_text("c", named("exact"));
    let harness = builder.harness().unwrap();
    for tag in ["a", "b", "c", "d"] {
        assert_eq!(harness.deliver(tag).body(tag).await.verdict, Verdict::Ack);
    }
    assert_eq!(entries(&journal), ["pair a", "pair b", "exact c", "any d"]);
    assert_eq!(harness.subscription().to_string(), "*");
}

#[tokio::test]
async fn the_subscription_is_joined_without_blanks() {
    let (_, builder) = builder();
    let harness = builder.on(" b || a ", note).on("c", note).harness().unwrap();
    assert_eq!(harness.subscription().to_string(), "a||b||c");
}

#[tokio::test]
async fn a_delivery_without_a_handler_is_acknowledged_as_unrouted() {
    let (journal, builder) = builder();
    let harness = builder.on("a", note).report_to(unused_client()).harness().unwrap();
    let delivered = harness.deliver("b").json(&Order { id: 1 }).ack("token").await;
    assert_eq!((delivered.outcome, delivered.verdict), (Outcome::Unrouted, Verdict::Ack));
    assert_eq!(entries(&journal), [""; 0]);
    assert_eq!(harness.reports(), []);
}

#[test]
fn invalid_sets_of_handlers_are_refused() {
    let error = |builder: ConsumerBuilder<Journal>| builder.harness().err().unwrap();
    assert_eq!(error(builder().1), RouteError::NoHandler);
    assert_eq!(error(builder().1.on("a || b", note).on("b", note)), RouteError::Overlap("b".into()));
    assert_eq!(error(builder().1.on("*", note).on(" * ", note)), RouteError::Overlap("*".into()));
    assert!(matches!(error(builder().1.on("a |", note)), RouteError::InvalidTag(_)));
}

#[tokio::test]
async fn an_error_retries_unless_it_has_another_disposition() {
    async fn fail(_ctx: Context, action: String) -> Result<(), HandlerError> {
        match action.as_str() {
            "later" => Err(HandlerError::retry_after(Duration::from_secs(90), "busy")),
            "dead" => Err(HandlerError::dead_letter("no such order")),
            "skip" => Err(HandlerError::skip("paid already")),
            number => Ok(number.parse::<u8>().map(drop)?),
        }
    }
    let harness = Consumer::builder().on_text("t", fail).harness().unwrap();
    let deliver = |action: &'static str| {
        let delivery = harness.deliver("t").body(action);
        async move {
            let delivered = delivery.await;
            (delivered.outcome, delivered.verdict)
        }
    };
    let soon = Some(Duration::from_secs(90));
    let text = "invalid digit found in string".to_owned();
    let plain = Outcome::Failed { message: text, retry_after: None };
    assert_eq!(deliver("x").await, (plain, Verdict::Retry { after: None }));
    let later = Outcome::Failed { message: "busy".into(), retry_after: soon };
    assert_eq!(deliver("later").await, (later, Verdict::Retry { after: soon }));
    assert_eq!(
        deliver("dead").await,
        (Outcome::Dead { message: "no such order".into() }, Verdict::DeadLetter)
    );
    assert_eq!(deliver("skip").await, (Outcome::Skipped { message: "paid already".into() }, Verdict::Ack));
    assert_eq!(deliver("8").await, (Outcome::Succeeded, Verdict::Ack));
}

#[tokio::test]
async fn a_panic_fails_the_delivery_and_the_consumer_continues() {
    async fn handle(_ctx: Context, panics: bool) -> Result<(), HandlerError> {
        assert!(!panics, "out of range");
        Ok(())
    }
    let harness = Consumer::builder().on("t", handle).concurrency(1).harness().unwrap();
    let delivered = harness.deliver("t").json(&true).await;
    assert_eq!(delivered.verdict, Verdict::Retry { after: None });
    let Outcome::Failed { message, .. } = delivered.outcome else { panic!("{:?}", delivered.outcome) };
    assert_eq!(message, "the handler panicked: out of range");
    assert_eq!(harness.deliver("t").json(&false).await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn a_payload_that_cannot_be_decoded_is_dead_lettered() {
    let (journal, builder) = builder();
    let builder = builder.on("json", note).on_raw("raw", |_, _, _| async { Ok::<_, HandlerError>(()) });
    let harness = builder.harness().unwrap();
    let invalid = harness.deliver("json").body(r#"{"id":"seven"}"#).await;
    assert_eq!(invalid.verdict, Verdict::DeadLetter);
    let Outcome::Dead { message } = invalid.outcome else { panic!("{:?}", invalid.outcome) };
    assert!(
        message.starts_with("the payload cannot be decoded for the handler: invalid type: string"),
        "{message}"
    );
    assert_eq!(message.matches("invalid type").count(), 1, "{message}");
    assert_eq!(harness.deliver("raw").body(vec![0xff]).await.verdict, Verdict::DeadLetter);
    assert_eq!(entries(&journal), [""; 0]);
}

#[tokio::test]
async fn a_raw_handler_gets_the_arguments_of_the_old_client() {
    let journal = Journal::default();
    let raw = {
        let journal = Arc::clone(&journal);
        move |taskid: String, data: String, msgid: String| {
            journal.lock().unwrap().push(format!("{taskid} {data} {msgid}"));
            async { Err::<(), _>("retry error") }
        }
    };
    let harness = Consumer::builder().on_raw("legacy", raw).harness().unwrap();
    let delivered = harness.deliver("legacy").task_id("t").body("任务").message_id("m").await;
    assert_eq!(delivered.verdict, Verdict::Retry { after: None });
    assert_eq!(entries(&journal), ["t 任务 m"]);
}

fn unused_client() -> taskcenter_client::TaskCenter {
    taskcenter_client::TaskCenter::new("http://127.0.0.1:1").unwrap()
}

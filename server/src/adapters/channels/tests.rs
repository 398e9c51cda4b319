//! Each kind of channel against a local double of its receiver.

mod double;
mod mail;
mod robots;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::adapters::clock::ManualClock;
use crate::core::alert::message::Language;
use crate::core::alert::{AlertKey, AlertTransition, Measure, Severity};
use double::Double;

/// 2023-11-14T22:13:20.123Z.
const NOW: Moment = Moment::from_ms(1_700_000_000_123);
const CANARY: &str = "canary-7f3a";

fn channel(kind: &'static str) -> Channel {
    Channel {
        name: "ops".into(),
        kind,
        language: Language::En,
        min_severity: Severity::Info,
        rules: vec![],
        tags: vec![],
    }
}

fn event(subject: &str, change: AlertTransition) -> AlertEvent {
    AlertEvent {
        key: AlertKey { measure: Measure::DeadRuns, subject: Some(subject.into()) },
        change,
        severity: Severity::Warning,
        value: 14,
        threshold: 10,
        since: NOW,
        at: NOW,
    }
}

fn raised(subject: &str) -> Vec<AlertEvent> {
    vec![event(subject, AlertTransition::Raised)]
}

fn start(kind: &'static str, receiver: Receiver) -> RunningChannel {
    start_slow(kind, receiver, Duration::from_secs(30))
}

fn start_slow(kind: &'static str, receiver: Receiver, timeout: Duration) -> RunningChannel {
    let link = "https://tasks.example".to_owned();
    let settings = ChannelSettings { channel: channel(kind), receiver, timeout, attempts: 3, link };
    let pauses = Pauses { first: Duration::from_millis(1), limited: Duration::from_millis(1) };
    RunningChannel::start_with(settings, Arc::new(ManualClock::new(NOW)), pauses).unwrap()
}

fn robot(double: &Double, secret: &str) -> Robot {
    Robot::new(&format!("{}/robot/{CANARY}?access_token={CANARY}", double.url), secret).unwrap()
}

#[tokio::test]
async fn a_channel_that_never_answers_delays_no_other_channel() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let stuck = start("slack", Receiver::Slack(Robot::new(&url, "").unwrap()));
    let mut double = Double::answering(&[(200, "ok")]).await;
    let works = start("slack", Receiver::Slack(robot(&double, "")));
    let sinks: [&dyn AlertSink; 2] = [&stuck, &works];
    for n in 0..QUEUE * 2 {
        sinks[0].send(&raised(&format!("tag-{n}")));
    }
    assert_eq!(stuck.queue.capacity(), 0, "what does not fit into the queue is dropped");
    sinks[1].send(&raised("order.close"));
    assert!(double.next().await.body["text"].as_str().unwrap().contains("order.close"));
}

#[tokio::test]
async fn a_receiver_that_is_slow_gets_the_same_message_again() {
    let mut double = Double::answering(&[(500, ""), (503, ""), (204, "")]).await;
    let channel = start("webhook", Receiver::Webhook(robot(&double, "")));
    channel.send(&raised("order.close"));
    let first = double.next().await;
    for _ in 0..2 {
        let again = double.next().await;
        assert_eq!((again.header("webhook-id"), &again.body), (first.header("webhook-id"), &first.body));
    }
    channel.send(&[event("order.close", AlertTransition::Cleared)]);
    let next = double.next().await;
    assert_ne!(next.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(next.body["data"]["alerts"][0]["change"], "cleared");
}

#[tokio::test]
async fn attempts_are_limited_and_a_refusal_is_final() {
    let answers = [(500, ""), (500, ""), (500, ""), (400, "no_service"), (200, "ok")];
    let mut double = Double::answering(&answers).await;
    let channel = start("slack", Receiver::Slack(robot(&double, "")));
    for subject in ["given.up", "refused", "delivered"] {
        channel.send(&raised(subject));
        let requests = if subject == "given.up" { 3 } else { 1 };
        for _ in 0..requests {
            assert!(double.next().await.body["text"].as_str().unwrap().contains(subject));
        }
    }
}

#[tokio::test]
async fn what_waits_for_a_rate_limit_becomes_one_message() {
    // While the first message waits, three further evaluations arrive.
    let mut double = Double::answering(&[(429, ""), (200, "ok")]).await;
    let channel = start("slack", Receiver::Slack(robot(&double, "")));
    double.hold();
    channel.send(&raised("a"));
    let first = double.next().await.body["text"].as_str().unwrap().to_owned();
    assert!(first.contains("- a:"), "{first}");
    channel.send(&raised("b"));
    channel.send(&[event("a", AlertTransition::Cleared), event("c", AlertTransition::Raised)]);
    channel.send(&[event("b", AlertTransition::Reminder)]);
    double.release();
    let merged = double.next().await.body["text"].as_str().unwrap().to_owned();
    let (raised, resolved) = merged.split_once("resolved").unwrap();
    assert!(merged.contains("3 alerts") && merged.matches("- a:").count() == 1, "{merged}");
    assert!(raised.contains("- b:") && raised.contains("- c:") && resolved.contains("- a:"), "{merged}");
    assert!(!merged.contains("still raised"), "the raise of b has not been sent before: {merged}");
}

#[tokio::test]
async fn a_channel_gets_only_the_alerts_that_it_wants() {
    let mut double = Double::answering(&[(200, "ok")]).await;
    let mut settings = channel("slack");
    settings.tags = vec!["pay.*".into()];
    let receiver = Receiver::Slack(robot(&double, ""));
    let timeout = Duration::from_secs(30);
    let settings = ChannelSettings { channel: settings, receiver, timeout, attempts: 1, link: String::new() };
    let channel = RunningChannel::start(settings, Arc::new(ManualClock::new(NOW))).unwrap();
    channel.send(&raised("order"));
    channel.send(&[event("order", AlertTransition::Raised), event("pay.card", AlertTransition::Raised)]);
    let text = double.next().await.body["text"].as_str().unwrap().to_owned();
    assert!(text.contains("pay.card") && !text.contains("order"), "{text}");
}

#[tokio::test]
async fn a_test_message_reports_the_answer_and_hides_address_and_secret() {
    let answers = [(200, "ok"), (403, "invalid_token canary-7f3a"), (429, "")];
    let mut double = Double::answering(&answers).await;
    let channel = start("slack", Receiver::Slack(robot(&double, CANARY)));
    assert_eq!(channel.last_delivered_at(), None);
    assert_eq!((channel.test().await, channel.last_error()), (Ok(()), None));
    assert_eq!(channel.last_delivered_at(), Some(NOW));
    assert!(double.next().await.body["text"].as_str().unwrap().contains("ops"));
    let refused = channel.test().await.unwrap_err();
    assert_eq!(refused, "the receiver answered 403 Forbidden: invalid_token [redacted]");
    assert_eq!((channel.last_error(), channel.last_delivered_at()), (Some(refused), Some(NOW)));
    assert!(channel.test().await.unwrap_err().contains("rate limit"));
    let url = format!("http://user:{CANARY}@127.0.0.1:1/{CANARY}?token={CANARY}");
    let unreachable = start("slack", Receiver::Slack(Robot::new(&url, "").unwrap()));
    let error = unreachable.test().await.unwrap_err();
    assert!(!error.contains(CANARY), "{error}");
}

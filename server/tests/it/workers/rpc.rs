//! HTTP calls of tasks in the queue `rpc`.

use reqwest::Method;
use serde_json::json;
use taskcenter_server::core::RunState;

use super::endpoint::Endpoint;
use super::{Bench, TRACE, message, settings, stage, until};
use crate::service::{NOW, Stage};

const RPC: &str = "rpc";

pub async fn a_call_is_made_and_its_answer_is_stored(stage: Stage) {
    let (bench, endpoint) = (Bench::on(stage, settings(&[RPC])), Endpoint::start().await);
    endpoint.respond_with(200, "207");
    let job = json!({
        "method": "PUT", "url": format!("{}/a?b=c", endpoint.url), "body": "{\"x\":1}", "content_type": "application/json",
        "headers": {"x-mine": "1"}, "timeout_ms": 30_000, "retry_after_ms": [],
    });
    assert_eq!(message(&bench.work(RPC, &job).await), "207");
    let received = endpoint.received().remove(0);
    assert_eq!(
        (received.method, received.path.as_str(), received.body.as_str()),
        (Method::PUT, "/a?b=c", "{\"x\":1}")
    );
    assert!(
        received.headers["content-type"] == "application/json" && received.headers["traceparent"] == TRACE
    );
    assert_eq!(received.headers["x-mine"], "1", "a header of the job replaces one of the task");
    bench.stop().await;
}

pub async fn a_run_is_dead_after_its_last_listed_retry(stage: Stage) {
    let (bench, endpoint) = (Bench::on(stage, settings(&[RPC])), Endpoint::start().await);
    endpoint.respond_with(500, "broken");
    let job = json!({"method": "GET", "url": endpoint.url, "retry_after_ms": [60_000, 600_000]});
    let first = bench.work(RPC, &job).await;
    assert_eq!((first.state, first.attention_at), (RunState::Retrying, Some(NOW.plus_ms(60_000))));
    assert_eq!(first.reason.as_deref(), Some("answered 500: broken"));
    let second = bench.retry(&first).await;
    assert_eq!((second.state, second.attempt), (RunState::Retrying, 2));
    assert_eq!(second.attention_at, Some(NOW.plus_ms(660_000)));
    let third = bench.retry(&second).await;
    assert_eq!((third.state, third.attempt), (RunState::Dead, 3));
    assert_eq!(endpoint.calls(), 3);
    bench.stop().await;
}

pub async fn an_outcome_after_the_lease_expired_changes_nothing(stage: Stage) {
    let (bench, endpoint) = (Bench::on(stage, settings(&[RPC])), Endpoint::start().await);
    endpoint.block();
    let run = bench.fire(RPC, &json!({"method": "GET", "url": endpoint.url, "timeout_ms": 60_000})).await;
    until("the first attempt is made", async || endpoint.calls() == 1).await;
    let held = bench.stage.run(&run).await;
    bench.stage.clock.set(held.attention_at.unwrap());
    bench.stage.rescue().await;
    bench.stage.rescue().await;
    until("the second attempt is made", async || endpoint.calls() == 2).await;
    endpoint.release(2);
    let ended = bench.in_state(&run, &[RunState::Succeeded]).await;
    assert_eq!(ended.attempt, 2);
    let stage = bench.stop().await;
    assert_eq!(stage.run(&run).await, ended, "the outcome of the first attempt is ignored");
}

#[tokio::test]
async fn an_invalid_call_is_dead_at_once_with_the_reason() {
    let bench = Bench::on(stage().await, settings(&[RPC]));
    for (job, why) in [
        (json!({"method": "GET", "url": "ftp://127.0.0.1/"}), "http://"),
        (json!({"method": "GET", "url": "127.0.0.1"}), "url"),
        (json!({"method": "G T", "url": "http://127.0.0.1/"}), "method"),
        (json!({"method": "GET", "url": "http://127.0.0.1/", "headers": {"Host": "x"}}), "Host"),
        (json!({"method": "GET", "url": "http://127.0.0.1/", "headers": {"a": "b\r\nc: d"}}), "\"a\""),
        (json!({"method": "GET", "url": "http://10.0.0.1/", "retry_after_ms": [1]}), "callback.allow"),
        (json!({"method": "GET", "url": "http://127.0.0.1/", "timeout_ms": 0}), "timeout_ms"),
        (
            json!({"method": "GET", "url": "http://127.0.0.1/", "timeout_ms": 86_400_001}),
            "between 1 and 86400000",
        ),
        (json!({"method": "GET"}), "url"),
        (json!("text"), "payload"),
    ] {
        let run = bench.work(RPC, &job).await;
        assert_eq!(run.state, RunState::Dead, "{job}");
        assert!(run.reason.as_deref().is_some_and(|reason| reason.contains(why)), "{job}: {:?}", run.reason);
    }
    bench.stop().await;
}

#[tokio::test]
async fn only_200_succeeds_unless_the_task_lists_other_statuses() {
    let (bench, endpoint) = (Bench::on(stage().await, settings(&[RPC])), Endpoint::start().await);
    endpoint.respond_with(201, "made");
    let job = json!({"method": "POST", "url": endpoint.url, "retry_after_ms": []});
    assert_eq!(bench.work(RPC, &job).await.reason.as_deref(), Some("answered 201: made"));
    let job = json!({"method": "POST", "url": endpoint.url, "retry_after_ms": [], "success": [200, 201]});
    assert_eq!(message(&bench.work(RPC, &job).await), "made");
    bench.stop().await;
}

#[tokio::test]
async fn time_and_size_of_an_answer_are_bounded() {
    let mut narrow = settings(&[RPC]);
    narrow.callback.answer_bytes = 1_000;
    let (bench, endpoint) = (Bench::on(stage().await, narrow), Endpoint::start().await);
    endpoint.respond_with(200, &"x".repeat(5_000_000));
    let job = json!({"method": "GET", "url": endpoint.url, "retry_after_ms": []});
    assert_eq!(message(&bench.work(RPC, &job).await), "x".repeat(1_000));
    endpoint.block();
    let job = json!({"method": "GET", "url": endpoint.url, "retry_after_ms": [], "timeout_ms": 50});
    let run = bench.work(RPC, &job).await;
    assert_eq!((run.state, run.reason.as_deref()), (RunState::Dead, Some("no answer within 50 ms")));
    bench.stop().await;
}

#[tokio::test]
async fn calls_to_a_host_that_never_answers_leave_slots_for_other_hosts() {
    let mut settings = settings(&[RPC]);
    settings.workers.drain_ms = 0;
    let (hung, honest) = (Endpoint::start().await, Endpoint::start().await);
    let bench = Bench::on(stage().await, settings);
    hung.block();
    let day = 86_400_000;
    for _ in 0..40 {
        bench.fire(RPC, &json!({"method": "GET", "url": hung.url, "timeout_ms": day})).await;
    }
    until("the host has half of the slots", async || hung.calls() == 16).await;
    for _ in 0..20 {
        let run = bench.work(RPC, &json!({"method": "GET", "url": honest.url, "timeout_ms": day})).await;
        assert_eq!(message(&run), "done");
    }
    assert_eq!(hung.calls(), 16, "the host gets no more slots");
    bench.stop().await;
}

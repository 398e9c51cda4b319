//! Calls that tasks ask for.

use reqwest::Method;
use serde_json::json;
use taskcenter_server::core::RunState;

use super::callee::Callee;
use super::{Bench, message, settings, stage, until};
use crate::service::{NOW, Stage};

const RPC: &str = "rpc";

pub async fn a_call_is_made_and_its_answer_is_kept(stage: Stage) {
    let (bench, callee) = (Bench::on(stage, settings(&[RPC])), Callee::start().await);
    callee.says(200, "207");
    let job = json!({
        "method": "PUT", "url": format!("{}/a?b=c", callee.url), "body": "{\"x\":1}", "content_type": "application/json",
        "headers": {"x-mine": "1"}, "timeout_ms": 30_000, "retry_after_ms": [],
    });
    assert_eq!(message(&bench.work(RPC, &job).await), "207");
    let heard = callee.heard().remove(0);
    assert_eq!(
        (heard.method, heard.path.as_str(), heard.body.as_str()),
        (Method::PUT, "/a?b=c", "{\"x\":1}")
    );
    assert!(heard.headers["content-type"] == "application/json" && heard.headers["x-mine"] == "1");
    bench.stop().await;
}

pub async fn a_list_of_pauses_is_used_up_and_then_there_is_an_end(stage: Stage) {
    let (bench, callee) = (Bench::on(stage, settings(&[RPC])), Callee::start().await);
    callee.says(500, "broken");
    let job = json!({"method": "GET", "url": callee.url, "retry_after_ms": [60_000, 600_000]});
    let first = bench.work(RPC, &job).await;
    assert_eq!((first.state, first.attention_at), (RunState::Retrying, Some(NOW.plus_ms(60_000))));
    assert_eq!(first.reason.as_deref(), Some("answered 500: broken"));
    let second = bench.again(&first).await;
    assert_eq!((second.state, second.attempt), (RunState::Retrying, 2));
    assert_eq!(second.attention_at, Some(NOW.plus_ms(660_000)));
    let third = bench.again(&second).await;
    assert_eq!((third.state, third.attempt), (RunState::Dead, 3));
    assert_eq!(callee.calls(), 3);
    bench.stop().await;
}

pub async fn an_outcome_after_the_lease_was_lost_changes_nothing(stage: Stage) {
    let (bench, callee) = (Bench::on(stage, settings(&[RPC])), Callee::start().await);
    callee.hold();
    let run = bench.fire(RPC, &json!({"method": "GET", "url": callee.url, "timeout_ms": 60_000})).await;
    until("it is called", async || callee.calls() == 1).await;
    let held = bench.stage.run(&run).await;
    bench.stage.clock.set(held.attention_at.unwrap());
    bench.stage.rescue().await;
    bench.stage.rescue().await;
    until("it is called again", async || callee.calls() == 2).await;
    callee.let_go(2);
    let ended = bench.in_state(&run, &[RunState::Succeeded]).await;
    assert_eq!(ended.attempt, 2);
    let stage = bench.stop().await;
    assert_eq!(stage.run(&run).await, ended, "the first one's word came to nothing");
}

#[tokio::test]
async fn what_cannot_be_called_is_dead_at_once_and_says_why() {
    let bench = Bench::on(stage().await, settings(&[RPC]));
    for (job, why) in [
        (json!({"method": "GET", "url": "ftp://127.0.0.1/"}), "http://"),
        (json!({"method": "GET", "url": "127.0.0.1"}), "url"),
        (json!({"method": "G T", "url": "http://127.0.0.1/"}), "method"),
        (json!({"method": "GET", "url": "http://127.0.0.1/", "headers": {"Host": "x"}}), "Host"),
        (json!({"method": "GET", "url": "http://127.0.0.1/", "headers": {"a": "b\r\nc: d"}}), "\"a\""),
        (json!({"method": "GET", "url": "http://10.0.0.1/", "retry_after_ms": [1]}), "callback.allow"),
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
async fn only_200_succeeds_unless_the_task_says_otherwise() {
    let (bench, callee) = (Bench::on(stage().await, settings(&[RPC])), Callee::start().await);
    callee.says(201, "made");
    let job = json!({"method": "POST", "url": callee.url, "retry_after_ms": []});
    assert_eq!(bench.work(RPC, &job).await.reason.as_deref(), Some("answered 201: made"));
    let job = json!({"method": "POST", "url": callee.url, "retry_after_ms": [], "success": [200, 201]});
    assert_eq!(message(&bench.work(RPC, &job).await), "made");
    bench.stop().await;
}

#[tokio::test]
async fn time_and_size_of_an_answer_are_bounded() {
    let mut narrow = settings(&[RPC]);
    narrow.callback.answer_bytes = 1_000;
    let (bench, callee) = (Bench::on(stage().await, narrow), Callee::start().await);
    callee.says(200, &"x".repeat(5_000_000));
    let job = json!({"method": "GET", "url": callee.url, "retry_after_ms": []});
    assert_eq!(message(&bench.work(RPC, &job).await), "x".repeat(1_000));
    callee.hold();
    let job = json!({"method": "GET", "url": callee.url, "retry_after_ms": [], "timeout_ms": 50});
    let run = bench.work(RPC, &job).await;
    assert_eq!((run.state, run.reason.as_deref()), (RunState::Dead, Some("no answer within 50 ms")));
    bench.stop().await;
}

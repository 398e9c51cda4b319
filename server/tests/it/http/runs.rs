//! Runs over HTTP: shown, and reported on.

use serde_json::{Value, json};
use taskcenter_server::core::{Moment, Run, TaskId};
use taskcenter_server::ports::Store;

use super::{NOW, NOW_SEC, Server, once, with};

/// A run that waits for its outcome, with the token `secret-token`.
async fn a_fired_run(server: &Server) -> Run {
    let id = server.add(&with(once(), &json!({"ack": true, "max_runtime": 30}))).await;
    let task = server.state.service.task(&TaskId::parse(&id).unwrap()).await.unwrap();
    let due = task.next_due_at.unwrap();
    let mut run = Run::firing(&task, due, "node", "secret-token".to_owned(), NOW.plus_ms(10_000));
    run.confirmed(Moment::from_sec(NOW_SEC + 3_601)).unwrap();
    server.store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
    run
}

fn report(outcome: &str) -> Value {
    json!({"attempt": 1, "token": "secret-token", "outcome": outcome})
}

#[tokio::test]
async fn a_run_is_shown_without_its_token() {
    let server = Server::start().await;
    let run = a_fired_run(&server).await;
    let shown = server.get(&format!("/v1/runs/{}", run.id)).await;
    let wanted = json!({
        "run_id": run.id, "task_id": run.task_id, "tag": "order.close",
        "scheduled_at": (NOW_SEC + 3_600) * 1_000, "state": "fired", "reason": null, "attempt": 1, "claim": 1,
        "fired_at": (NOW_SEC + 3_601) * 1_000, "ended_at": null,
    });
    assert_eq!(shown, (200, wanted));
    assert_eq!(server.get("/v1/runs/nobody").await, (404, json!({"err": 404, "msg": "not found"})));
    server.close().await;
}

#[tokio::test]
async fn an_outcome_is_taken_and_the_same_again_is_answered_alike() {
    let server = Server::start().await;
    for (outcome, state) in
        [("succeeded", "succeeded"), ("dead", "dead"), ("skipped", "skipped"), ("failed", "retrying")]
    {
        let run = a_fired_run(&server).await;
        let path = format!("/v1/runs/{}/report", run.id);
        let wanted = (200, json!({"run_id": run.id, "state": state}));
        let body = with(report(outcome), &json!({"message": "why", "retry_after_ms": 5_000}));
        assert_eq!(server.post(&path, &body).await, wanted);
        assert_eq!(server.post(&path, &body).await, wanted);
        let stored = server.state.service.run(&run.id).await.unwrap();
        assert_eq!(stored.reason.as_deref(), Some("why"));
        if outcome == "failed" {
            assert_eq!(stored.attention_at, Some(NOW.plus_ms(5_000)));
        }
        server.post("/v1/api/delete-task", &json!({"ids": [run.task_id]})).await;
    }
    server.close().await;
}

#[tokio::test]
async fn a_stale_report_is_refused_and_changes_nothing() {
    let server = Server::start().await;
    let run = a_fired_run(&server).await;
    let path = format!("/v1/runs/{}/report", run.id);
    for stale in [json!({"attempt": 2}), json!({"token": "another"})] {
        let (status, reply) = server.post(&path, &with(report("succeeded"), &stale)).await;
        assert_eq!((status, &reply["err"]), (409, &json!(409)));
        assert!(!reply.to_string().contains("secret-token"), "{reply}");
    }
    assert_eq!(server.state.service.run(&run.id).await.unwrap().state, run.state);
    server.post(&path, &report("dead")).await;
    assert_eq!(server.post(&path, &report("succeeded")).await.0, 409, "it has ended otherwise");
    let unknown = server.post("/v1/runs/nobody/report", &report("dead")).await;
    assert_eq!(unknown, (404, json!({"err": 404, "msg": "not found"})));
    server.close().await;
}

#[tokio::test]
async fn a_malformed_report_names_the_field() {
    let server = Server::start().await;
    let run = a_fired_run(&server).await;
    let path = format!("/v1/runs/{}/report", run.id);
    for (change, field) in [
        (json!({"attempt": "1"}), "attempt"),
        (json!({"attempt": 0}), "attempt"),
        (json!({"token": ""}), "token"),
        (json!({"outcome": "done"}), "outcome"),
        (json!({"outcome": null}), "outcome"),
        (json!({"message": 7}), "message"),
        (json!({"retry_after_ms": -1}), "retry_after_ms"),
        (json!({"retry_after_ms": 1.5}), "retry_after_ms"),
    ] {
        let (status, reply) = server.post(&path, &with(report("failed"), &change)).await;
        assert_eq!((status, &reply["field"]), (400, &json!(field)), "{reply}");
    }
    server.close().await;
}

//! Routes of operations.

use serde_json::{Value, json};
use taskcenter_server::ports::Clock;

use super::{Server, with_server};
use crate::docs::pages::Page;

/// Carries out all operations, as the loop of a node does.
async fn carry_out(server: &Server) {
    let service = &server.state.service;
    for _ in 0..20 {
        for running in service.running_operations().await.unwrap() {
            service.step_operation(&running.operation.unwrap(), server.clock.now()).await.unwrap();
        }
    }
}

async fn task(server: &Server, name: &str) -> String {
    let task = json!({"name": name, "delay_ms": 3_600_000});
    let (status, task) = server.post("/v1/tasks", &task).await;
    assert_eq!(status, 201, "{task}");
    server.clock.advance_ms(1);
    task["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_examples_of_the_page_are_accepted() {
    with_server(async |server| {
        task(server, "order.close").await;
        let examples = Page::read("docs/bulk.md").code("json");
        let examples = examples.iter().map(|code| serde_json::from_str::<Value>(code).unwrap());
        let requests: Vec<Value> = examples.filter(|example| example.get("select").is_some()).collect();
        assert_eq!(requests.len(), 5);
        for request in requests {
            let (status, answer) = server.post("/v1/operations", &request).await;
            let expected = if request["dry_run"] == true { 200 } else { 201 };
            assert_eq!(status, expected, "{request}: {answer}");
        }
        carry_out(server).await;
        let (_, list) = server.get("/v1/operations").await;
        let states: Vec<&str> = list["operations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|operation| operation["state"].as_str().unwrap())
            .collect();
        assert_eq!(states, ["completed"; 4]);
        let (_, paused) = server.get("/v1/tasks?name=order.close&state=paused").await;
        assert_eq!(paused["tasks"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_operation_shows_its_progress_until_it_is_aborted() {
    with_server(async |server| {
        for _ in 0..3 {
            task(server, "mail").await;
        }
        let new = json!({
            "action": "pause", "select": {"filter": {"name": "mail"}}, "reason": "why", "rate_per_sec": 1,
        });
        let preview = json!({"action": "pause", "select": {"filter": {"name": "mail"}}, "dry_run": true});
        let (status, preview) = server.post("/v1/operations", &preview).await;
        assert_eq!(
            (status, &preview),
            (200, &json!({"dry_run": true, "expected": 3, "expected_more": false}))
        );
        let response = server.send(reqwest::Method::POST, "/v1/operations", new.to_string()).await;
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        let created: Value = response.json().await.unwrap();
        assert_eq!((&created["state"], &created["expected"]), (&json!("running"), &json!(3)));
        for _ in 0..2 {
            let running = server.state.service.running_operations().await.unwrap().pop().unwrap();
            let operation = running.operation.unwrap();
            server.state.service.step_operation(&operation, server.clock.now()).await.unwrap();
        }
        let (_, shown) = server.get(&location).await;
        assert_eq!(
            (&shown["done"], &shown["matched"], &shown["reason"]),
            (&json!(1), &json!(2), &json!("why"))
        );
        let (status, aborted) = server.post(&format!("{location}/abort"), &json!({})).await;
        assert_eq!((status, &aborted["state"]), (200, &json!("aborted")));
        assert!(aborted["ended_at"].is_string(), "{aborted}");
        let (status, again) = server.post(&format!("{location}/abort"), &json!({})).await;
        assert_eq!((status, &again), (200, &aborted));
        let (status, _) = server.get(&format!("/v1/operations/{}", "0".repeat(32))).await;
        assert_eq!((status, server.get("/v1/operations/x").await.0), (404, 404));
    })
    .await;
}

#[tokio::test]
async fn an_error_names_the_field() {
    with_server(async |server| {
        let all = json!({"filter": {}});
        for (new, field) in [
            (json!({"action": "stop", "select": all}), "action"),
            (json!({"action": "pause"}), "select"),
            (json!({"action": "pause", "select": {}}), "select"),
            (json!({"action": "pause", "select": {"ids": ["0"], "filter": {}}}), "select"),
            (json!({"action": "pause", "select": {"ids": ["0"]}}), "select.ids[0]"),
            (json!({"action": "pause", "select": {"filter": {"tag": "mail"}}}), "select.filter.tag"),
            (json!({"action": "pause", "select": {"filter": {"state": "paused"}}}), "select.filter.state"),
            (json!({"action": "redrive", "select": {"filter": {"name": "mail"}}}), "select.filter.name"),
            (json!({"action": "redrive", "select": {"filter": {"task_id": "x"}}}), "select.filter.task_id"),
            (json!({"action": "pause", "select": all, "rate_per_sec": 0}), "rate_per_sec"),
            (json!({"action": "redrive", "select": all, "canary": 101}), "canary"),
            (json!({"action": "pause", "select": all, "canary": 1}), "canary"),
            (json!({"action": "redrive", "select": all, "patch": {}}), "patch"),
            (json!({"action": "edit", "select": all}), "patch"),
            (json!({"action": "edit", "select": all, "patch": {"queue": 7}}), "patch.queue"),
            (
                json!({"action": "edit", "select": all, "patch": {"schedule": {"kind": "x"}}}),
                "patch.schedule.kind",
            ),
        ] {
            let (status, problem) = server.post("/v1/operations", &new).await;
            assert_eq!((status, problem["field"].as_str()), (400, Some(field)), "{new}: {problem}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_operation() {
    with_server(async |server| {
        let new = json!({"action": "pause", "select": {"filter": {}}});
        let post = async |body: &Value| {
            let key = [("idempotency-key", "k")];
            server.request(reqwest::Method::POST, "/v1/operations", &key, body).await
        };
        let (status, first) = post(&new).await;
        assert_eq!((status, post(&new).await), (201, (201, first)));
        let other = json!({"action": "resume", "select": {"filter": {}}});
        let (status, problem) = post(&other).await;
        assert_eq!((status, &problem["code"]), (422, &json!("idempotency_key_reused")));
    })
    .await;
}

#[tokio::test]
async fn an_operation_is_held_by_its_canary_until_a_user_continues_it() {
    with_server(async |server| {
        for data in ["1", "2"] {
            let run = server.ready(data).await;
            settle(server, run.id.as_str(), "dead").await;
            server.clock.advance_ms(1);
        }
        let new = json!({"action": "redrive", "select": {"filter": {}}, "canary": 1});
        let (status, created) = server.post("/v1/operations", &new).await;
        assert_eq!(
            (status, &created["canary"]),
            (201, &json!({"size": 1, "state": "open", "run_ids": [], "failures": []}))
        );
        let path = format!("/v1/operations/{}", created["id"].as_str().unwrap());
        carry_out(server).await;
        let (_, waits) = server.get(&path).await;
        let run_id = waits["canary"]["run_ids"][0].as_str().unwrap();
        assert_eq!(
            (&waits["state"], &waits["done"], &waits["canary"]["state"]),
            (&json!("running"), &json!(1), &json!("open"))
        );
        let (status, _) = server.post(&format!("/v1/runs/{run_id}/cancel"), &json!({})).await;
        assert_eq!(status, 200);
        carry_out(server).await;
        let (_, held) = server.get(&path).await;
        assert_eq!((&held["state"], &held["canary"]["state"]), (&json!("held"), &json!("failed")));
        assert_eq!(held["canary"]["failures"][0]["id"], run_id);
        assert!(held["message"].as_str().unwrap().contains(run_id), "{held}");
        let (status, continued) = server.post(&format!("{path}/continue"), &json!({})).await;
        assert_eq!(
            (status, &continued["state"], &continued["canary"]["state"]),
            (200, &json!("running"), &json!("overruled"))
        );
        carry_out(server).await;
        let (_, ended) = server.get(&path).await;
        assert_eq!((&ended["state"], &ended["done"]), (&json!("completed"), &json!(2)));
        assert_eq!(server.post(&format!("{path}/continue"), &json!({})).await, (200, ended));
        assert_eq!(
            server.post(&format!("/v1/operations/{}/continue", "0".repeat(32)), &json!({})).await.0,
            404
        );
    })
    .await;
}

/// Leases a run, and reports its outcome.
async fn settle(server: &Server, run_id: &str, outcome: &str) {
    let lease = json!({"worker": "w", "queues": ["q"], "lease_ms": 10_000});
    let leased = server.post("/v1/runs/lease", &lease).await.1["runs"][0].clone();
    let outcome =
        json!({"run_id": run_id, "attempt": leased["attempt"], "token": leased["token"], "outcome": outcome});
    server.post("/v1/runs/settle", &json!({"outcomes": [outcome]})).await;
}

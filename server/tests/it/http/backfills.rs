//! The route that backfills a task.

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::ports::Clock;

use super::{Server, invalid_field, parse_problem, with_server};
use crate::docs::pages::Page;

async fn hourly(server: &Server) -> String {
    let schedule = json!({"kind": "cron", "cron": "0 * * * *", "zone": "UTC"});
    let (status, task) =
        server.post("/v1/tasks", &json!({"name": "report", "queue": "q", "schedule": schedule})).await;
    assert_eq!(status, 201, "{task}");
    task["id"].as_str().unwrap().to_owned()
}

/// Returns the example of the page.
fn example() -> Value {
    let examples = Page::read("docs/schedules.md").code("json");
    let example = examples.iter().find(|example| example.contains("\"rate_per_sec\"")).unwrap();
    serde_json::from_str(example).unwrap()
}

#[tokio::test]
async fn the_example_of_the_page_creates_a_run_for_each_moment() {
    with_server(async |server| {
        let id = hourly(server).await;
        let path = format!("/v1/tasks/{id}/backfill");
        let mut dry = example();
        dry["dry_run"] = json!(true);
        let (status, preview) = server.post(&path, &dry).await;
        assert_eq!((status, &preview["expected"], &preview["dry_run"]), (200, &json!(24), &json!(true)));
        let key = [("idempotency-key", "k")];
        let (status, created) = server.request(Method::POST, &path, &key, &example()).await;
        assert_eq!((status, &created["action"], &created["expected"]), (201, &json!("backfill"), &json!(24)));
        assert_eq!(created["backfill"]["task_id"], json!(id));
        let again = server.request(Method::POST, &path, &key, &example()).await;
        assert_eq!(again, (201, created.clone()));
        let service = &server.state.service;
        for _ in 0..50 {
            for running in service.running_operations().await.unwrap() {
                service.step_operation(&running.operation.unwrap(), server.clock.now()).await.unwrap();
            }
            server.clock.advance_ms(1_000);
        }
        let operation = created["id"].as_str().unwrap();
        let (_, ended) = server.get(&format!("/v1/operations/{operation}")).await;
        assert_eq!((&ended["state"], &ended["done"]), (&json!("completed"), &json!(24)));
        let (_, runs) = server.get(&format!("/v1/runs?task_id={id}")).await;
        let runs = runs["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 24);
        assert_eq!(runs[23]["scheduled_at"], example()["from"]);
        assert_eq!((&runs[0]["backfill"], &runs[0]["triggered"]), (&json!(operation), &json!(true)));
    })
    .await;
}

#[tokio::test]
async fn a_refusal_names_the_field() {
    with_server(async |server| {
        let path = format!("/v1/tasks/{}/backfill", hourly(server).await);
        for (change, field) in [
            (json!({"from": "yesterday"}), "from"),
            (json!({"to": "2100-01-01T00:00:00Z"}), "to"),
            (json!({"to": example()["from"]}), "to"),
            (json!({"rate_per_sec": 1_001}), "rate_per_sec"),
            (json!({"reason": ""}), "reason"),
            (json!({"until": 1}), "until"),
        ] {
            let refused = server.post(&path, &super::with_changes(example(), &change)).await;
            assert_eq!(parse_problem(refused), invalid_field(field), "{change}");
        }
        let missing = format!("/v1/tasks/{}/backfill", "0".repeat(32));
        assert_eq!(server.post(&missing, &example()).await.0, 404);
        let action = json!({"action": "backfill", "select": {"filter": {}}});
        let refused = server.post("/v1/operations", &action).await;
        assert_eq!(parse_problem(refused), invalid_field("action"));
    })
    .await;
}

//! Rate limits of tasks.

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::core::{Run, TaskId};

use super::{NOW, Server, invalid_field, parse_problem, with_server};

fn limited(name: &str, rate: &Value) -> Value {
    json!({"name": name, "queue": "q", "start_at": "2999-01-01T00:00:00Z", "rate": rate})
}

async fn create(server: &Server, spec: &Value) -> String {
    let (status, created) = server.post("/v1/tasks", spec).await;
    assert_eq!(status, 201, "{created}");
    format!("/v1/tasks/{}", created["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_rate_is_stored_edited_and_cleared() {
    with_server(async |server| {
        let rate = json!({"limit": 10, "period_ms": 1_000, "burst": 3, "scope": "queue", "key": "eu", "on_excess": "drop"});
        let path = create(server, &limited("n", &rate)).await;
        assert_eq!(server.get(&path).await.1["rate"], rate);
        let edit = async |change: Value| {
            let change = json!({ "rate": change });
            let (status, edited) = server.request(Method::PATCH, &path, &[("If-Match", "*")], &change).await;
            assert_eq!(status, 200, "{edited}");
            edited["task"].get("rate").cloned()
        };
        let merged = json!({"limit": 7, "period_ms": 1_000, "scope": "queue", "key": "eu", "on_excess": "drop"});
        assert_eq!(edit(json!({"limit": 7, "burst": null})).await, Some(merged));
        assert_eq!(edit(Value::Null).await, None);
        // A task on the bus needs no outcome for a rate limit.
        create(server, &json!({"name": "n", "rate": {"limit": 1, "period_ms": 1}})).await;
    })
    .await;
}

#[tokio::test]
async fn an_invalid_rate_is_refused() {
    with_server(async |server| {
        for (rate, field) in [
            (json!({"limit": 0, "period_ms": 1}), "rate.limit"),
            (json!({"limit": 1_000_001, "period_ms": 1}), "rate.limit"),
            (json!({"period_ms": 1}), "rate.limit"),
            (json!({"limit": 1}), "rate.period_ms"),
            (json!({"limit": 1, "period_ms": 0}), "rate.period_ms"),
            (json!({"limit": 1, "period_ms": 2_678_400_001_u64}), "rate.period_ms"),
            (json!({"limit": 1, "period_ms": 1, "burst": 0}), "rate.burst"),
            (json!({"limit": 1, "period_ms": 1, "key": ""}), "rate.key"),
            (json!({"limit": 1, "period_ms": 1, "scope": "host"}), "rate.scope"),
            (json!({"limit": 1, "period_ms": 1, "on_excess": "fail"}), "rate.on_excess"),
            (json!({"limit": 1, "period_ms": 1, "units": 2}), "rate.units"),
            (json!(5), "rate"),
        ] {
            let refused = server.post("/v1/tasks", &limited("n", &rate)).await;
            assert_eq!(parse_problem(refused), invalid_field(field), "{rate}");
        }
        let without_queue = json!({"name": "n", "rate": {"limit": 1, "period_ms": 1, "scope": "queue"}});
        assert_eq!(
            parse_problem(server.post("/v1/tasks", &without_queue).await),
            invalid_field("rate.scope")
        );
    })
    .await;
}

#[tokio::test]
async fn a_run_and_its_task_say_when_the_next_run_starts() {
    with_server(async |server| {
        let rate = json!({"limit": 2, "period_ms": 60_000, "scope": "queue", "key": "eu"});
        let path = create(server, &limited("n", &rate)).await;
        let id = TaskId::parse(path.rsplit('/').next().unwrap()).unwrap();
        let task = server.state.service.shown_task(&id).await.unwrap();
        let mut waiting = Run::firing(&task, NOW, "node", "token".to_owned(), NOW);
        waiting.hold().unwrap();
        server.store.insert_runs(&[waiting.clone()]).await.unwrap();
        let shown = async || server.get(&format!("/v1/runs/{}", waiting.id)).await.1["waits_for"].clone();
        assert_eq!(shown().await, json!("its admission"));
        let limit = waiting.rate_limit().unwrap();
        assert_eq!(server.store.take_permits(&limit, 1, 1).await.unwrap().wait_ms, 30_000);
        let next_at = server.store.next_permit(&limit).await.unwrap();
        let at = serde_json::to_value(taskcenter_server::wire::timestamp(next_at)).unwrap();
        let what = format!(
            "the rate limit of 2 starts per 1m for runs in queue \"q\" and key \"eu\": the next start is at {}",
            at.as_str().unwrap()
        );
        assert_eq!(shown().await, json!(what));
        let of_task = server.get(&path).await.1["waits_for"].clone();
        assert_eq!(of_task, json!(format!("run {} waits for {what}", waiting.id)));
    })
    .await;
}

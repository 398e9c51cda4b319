//! Concurrency limits of tasks.

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::core::admission::slot;
use taskcenter_server::core::{Run, TaskId};

use super::{NOW, Server, invalid_field, parse_problem, with_server};

fn limited(name: &str, concurrency: &Value) -> Value {
    json!({"name": name, "queue": "q", "start_at": "2999-01-01T00:00:00Z", "concurrency": concurrency})
}

async fn create(server: &Server, spec: &Value) -> String {
    let (status, created) = server.post("/v1/tasks", spec).await;
    assert_eq!(status, 201, "{created}");
    format!("/v1/tasks/{}", created["id"].as_str().unwrap())
}

/// Returns a run of the task with the path, which has fired.
async fn run_of(server: &Server, path: &str) -> Run {
    let id = TaskId::parse(path.rsplit('/').next().unwrap()).unwrap();
    let task = server.state.service.shown_task(&id).await.unwrap();
    Run::firing(&task, NOW, "node", "token".to_owned(), NOW)
}

#[tokio::test]
async fn limits_are_stored_edited_and_cleared() {
    with_server(async |server| {
        let limits = json!([{"max": 2}, {"max": 9, "scope": "queue", "key": "eu"}]);
        let path = create(server, &limited("n", &limits)).await;
        let stored = json!([{"max": 2, "scope": "task"}, {"max": 9, "scope": "queue", "key": "eu"}]);
        assert_eq!(server.get(&path).await.1["concurrency"], stored);
        let edit = async |change: Value| {
            let change = json!({ "concurrency": change });
            let (status, edited) = server.request(Method::PATCH, &path, &[("If-Match", "*")], &change).await;
            assert_eq!(status, 200, "{edited}");
            edited["task"].get("concurrency").cloned()
        };
        assert_eq!(
            edit(json!([{"max": 1, "scope": "all"}])).await,
            Some(json!([{"max": 1, "scope": "all"}]))
        );
        assert_eq!(edit(Value::Null).await, None);
    })
    .await;
}

#[tokio::test]
async fn invalid_limits_are_refused() {
    with_server(async |server| {
        for (limits, field) in [
            (json!([{"max": 0}]), "concurrency[0].max"),
            (json!([{"max": 1}, {"max": 1_001, "scope": "all"}]), "concurrency[1].max"),
            (json!([{"max": -1}]), "concurrency[0].max"),
            (json!([{"scope": "all"}]), "concurrency[0].max"),
            (json!([{"max": 1, "scope": "host"}]), "concurrency[0].scope"),
            (json!([{"max": 1, "key": ""}]), "concurrency[0].key"),
            (json!([{"max": 1, "key": "k".repeat(129)}]), "concurrency[0].key"),
            (json!([{"max": 1, "kee": "k"}]), "concurrency[0].kee"),
            (json!([{"max": 1}, {"max": 2}]), "concurrency[1]"),
            (
                json!([{"max": 1}, {"max": 1, "key": "a"}, {"max": 1, "key": "b"}, {"max": 1, "key": "c"}]),
                "concurrency",
            ),
            (json!({"max": 1}), "concurrency"),
        ] {
            let refused = server.post("/v1/tasks", &limited("n", &limits)).await;
            assert_eq!(parse_problem(refused), invalid_field(field), "{limits}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_run_and_its_task_say_which_limit_blocks_them() {
    with_server(async |server| {
        let limits = json!([{"max": 1, "scope": "queue", "key": "eu"}]);
        let [first, second] = ["one", "two"].map(|name| limited(name, &limits));
        let (first, second) = (create(server, &first).await, create(server, &second).await);
        assert_eq!(server.get(&second).await.1.get("waits_for"), None);
        let [mut running, mut waiting] = [run_of(server, &first).await, run_of(server, &second).await];
        waiting.hold().unwrap();
        server.store.insert_runs(&[running.clone(), waiting.clone()]).await.unwrap();
        let key = running.limits()[0].key.clone();
        running.admit(vec![slot(&key, 0)], "node", NOW.plus_ms(60_000)).unwrap();
        assert_eq!(server.store.update_runs(&[running.clone()]).await.unwrap(), [true]);
        let of_queue = server.get("/v1/queues/q").await.1["limits"].clone();
        let limit = json!({"scope": "queue", "of": "q", "key": "eu", "max": 1, "used": 1, "waiting": 1});
        assert_eq!(of_queue, json!([limit]));
        let shown = server.get(&format!("/v1/runs/{}", waiting.id)).await.1;
        let what = format!(
            "a slot of the concurrency limit 1 for runs in queue \"q\" and key \"eu\": 1 are in use, one of them by run {}",
            running.id
        );
        assert_eq!((&shown["state"], &shown["waits_for"]), (&json!("held"), &json!(what)));
        let task = server.get(&second).await.1;
        assert_eq!(task["waits_for"], json!(format!("run {} waits for {what}", waiting.id)));
    })
    .await;
}

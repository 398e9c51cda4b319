//! Operators of query languages, in every field, on every store: as values they are data like any other, as structures they are
//! refused by the field's name.

use reqwest::Method;
use serde_json::{Value, json};

use super::{AS_SHIPPED, Front};
use crate::http::{NOW_SEC, one_shot as once, with_changes as with};
use crate::store::Fixture;

/// Text that means something to a query language, and nothing here.
pub const WORDS: [&str; 12] = [
    "$gt",
    "$where",
    "{\"$gt\":\"\"}",
    "a.b.$[]",
    "$$ROOT",
    "' OR '1'='1",
    "'; DROP TABLE task; --",
    "\" OR \"\"=\"",
    "%",
    "_",
    "\\",
    "__proto__",
];

/// Structures that mean something to a query language.
pub fn structures() -> [Value; 6] {
    [
        json!({"$gt": ""}),
        json!({"$ne": null}),
        json!({"$where": "sleep(1000)"}),
        json!({"$regex": ".*"}),
        json!([{"$gt": ""}]),
        json!({"a.b": {"$set": 1}}),
    ]
}

/// Every byte written as a path or a query takes it.
pub fn path(words: &str) -> String {
    words.bytes().fold(String::new(), |path, byte| format!("{path}%{byte:02X}"))
}

/// Operators as values: each task is found by its own name alone, and comes back as it was sent.
pub async fn operators_are_data(fixture: Box<dyn Fixture>) {
    let front = Front::on(fixture, AS_SHIPPED).await;
    let mut tasks = Vec::new();
    for word in WORDS {
        let spec = json!({"name": word, "data": word, "queue": word, "dedup_key": word});
        let task = front.create(&spec).await;
        for field in ["name", "data", "queue", "dedup_key"] {
            assert_eq!(task[field], word);
        }
        front.ready(&task).await;
        tasks.push(task);
    }
    for (word, task) in WORDS.iter().zip(&tasks) {
        let found = front.get(&format!("/v1/tasks?name={}", path(word))).await.1;
        assert_eq!(found["tasks"], json!([task]), "{word}");
        let again = front.post("/v1/tasks", &json!({"name": word, "dedup_key": word})).await;
        assert_eq!((again.0, &again.1["id"]), (200, &task["id"]), "{word} is the key of one");
        let runs = front.get(&format!("/v1/runs?tag={}", path(word))).await.1;
        assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "{word}");
        let lease = json!({"worker": word, "queues": [word], "limit": 100});
        let leased = front.post("/v1/runs/lease", &lease).await.1;
        assert_eq!(leased["runs"].as_array().unwrap().len(), 1, "{word} is one queue's name");
        settle_with_operators(&front, &leased["runs"][0], word).await;
    }
    let deleted = front.post("/v1/api/delete-task-by-name", &json!({"name": WORDS[0]})).await.1;
    assert_eq!(deleted["SucIds"], json!([tasks[0]["id"]]));
    let left = front.get("/v1/tasks").await.1;
    assert_eq!(left["tasks"].as_array().unwrap().len(), WORDS.len() - 1, "and no other went with it");
    front.close().await;
}

/// A result may hold operators as keys: it is kept as it is.
async fn settle_with_operators(front: &Front, run: &Value, word: &str) {
    let result = json!({word: {"$set": {"a.b": [null, {"$where": "1"}]}}, "": 1, "$": {"": word}});
    let outcome = json!({
        "run_id": run["run_id"], "attempt": run["attempt"], "token": run["token"],
        "outcome": "succeeded", "result": result, "message": word,
    });
    let stolen = with(outcome.clone(), &json!({"token": "' OR '1'='1"}));
    let settled = front.post("/v1/runs/settle", &json!({"outcomes": [stolen, outcome]})).await.1;
    assert_eq!(
        (&settled["results"][0]["status"], &settled["results"][1]["status"]),
        (&json!(409), &json!(200))
    );
    let shown = front.get(&format!("/v1/runs/{}", run["run_id"].as_str().unwrap())).await.1;
    assert_eq!(shown["result"], result);
}

async fn refused(front: &Front, method: Method, path: &str, body: Value, name: &str) {
    let (status, reply) = front.ask(method, path, body.to_string()).await;
    let at = reply["field"].as_str().unwrap_or("none");
    assert!(status == 400 && at.contains(name), "{path} {body}: {status} {reply}");
}

/// In the fields of a task's schedule and retry policy, and of what is no task and no run.
async fn refused_within_and_beside_tasks(front: &Front, edit: &str, structure: &Value) {
    let refused = async |method: Method, path: &str, body: Value, name: &str| {
        refused(front, method, path, body, name).await;
    };
    let schedules = [
        json!({"kind": "once"}),
        json!({"kind": "every", "period_ms": 5_000}),
        json!({"kind": "cron", "cron": "0 9 * * *", "zone": "UTC"}),
    ];
    let retry = json!({"max_attempts": 2, "backoff_ms": 1, "max_backoff_ms": 2});
    let node = json!({"url": "https://a.example", "weight": 1, "heartbeat": false});
    let health = json!({"path": "/up", "interval_ms": 1_000});
    let service = json!({"name": "s", "nodes": [node], "health": health, "timeout_ms": 1, "secret": "0123456789abcdef"});
    let whole = [
        ("/v1/runs/r/confirm", json!({"succeeded": true, "message": "m"})),
        ("/v1/services", service.clone()),
        ("/v1/users", json!({"name": "n", "password": "correct horse", "senior": false})),
        (
            "/v1/tokens",
            json!({"name": "n", "scopes": ["admin"], "tags": [], "expires_at": "2043-05-18T03:33:20Z"}),
        ),
    ];
    for schedule in &schedules {
        for name in schedule.as_object().unwrap().keys() {
            let schedule = with(schedule.clone(), &json!({name: structure}));
            let body = json!({"name": "n", "schedule": schedule});
            refused(Method::POST, "/v1/tasks", body, name).await;
            refused(Method::PATCH, edit, json!({"schedule": schedule}), name).await;
        }
    }
    for name in retry.as_object().unwrap().keys() {
        let retry = with(retry.clone(), &json!({name: structure}));
        refused(Method::POST, "/v1/tasks", json!({"name": "n", "retry": retry}), name).await;
        refused(Method::PATCH, edit, json!({"retry": retry}), name).await;
    }
    for (path, body) in &whole {
        for name in body.as_object().unwrap().keys() {
            refused(Method::POST, path, with(body.clone(), &json!({name: structure})), name).await;
        }
    }
    for name in node.as_object().unwrap().keys() {
        let nodes = json!([with(node.clone(), &json!({name: structure}))]);
        refused(Method::POST, "/v1/services", with(service.clone(), &json!({"nodes": nodes})), name).await;
    }
    for name in health.as_object().unwrap().keys() {
        let health = with(health.clone(), &json!({name: structure}));
        refused(Method::POST, "/v1/services", with(service.clone(), &json!({"health": health})), name).await;
    }
}

/// Operators as structures: refused by name in every field of every entry, and nothing is done.
pub async fn operators_are_no_structure(fixture: Box<dyn Fixture>) {
    let front = Front::on(fixture, AS_SHIPPED).await;
    let task = front.create(&json!({"name": "kept"})).await;
    let edit = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let spec = [
        "name",
        "data",
        "start_at",
        "end_at",
        "delay_ms",
        "max_fires",
        "ack",
        "max_runtime_sec",
        "queue",
        "dedup_key",
    ];
    let contract = [
        "name",
        "type",
        "data",
        "crontab",
        "loop_time",
        "loop_count",
        "start_time",
        "end_time",
        "max_runtime",
        "ack",
        "dedup_key",
    ];
    let lease = json!({"worker": "w", "queues": ["q"], "limit": 1, "lease_ms": 1_000, "wait_ms": 0});
    let held = json!({"run_id": "r", "attempt": 1, "token": "t"});
    let outcome = json!({"run_id": "r", "attempt": 1, "token": "t", "outcome": "failed", "message": "m", "retry_after_ms": 1});
    for structure in structures() {
        let refused = async |method: Method, path: &str, body: Value, name: &str| {
            refused(&front, method, path, body, name).await;
        };
        for name in spec {
            refused(Method::POST, "/v1/tasks", with(json!({"name": "n"}), &json!({name: structure})), name)
                .await;
            refused(Method::PATCH, &edit, json!({name: structure}), name).await;
        }
        refused_within_and_beside_tasks(&front, &edit, &structure).await;
        for name in contract {
            refused(Method::POST, "/v1/api/task", with(once(), &json!({name: structure})), name).await;
        }
        refused(Method::POST, "/v1/api/delete-task", json!({"ids": structure}), "ids").await;
        refused(Method::POST, "/v1/api/delete-task-by-name", json!({"name": structure}), "name").await;
        for name in lease.as_object().unwrap().keys() {
            refused(Method::POST, "/v1/runs/lease", with(lease.clone(), &json!({name: structure})), name)
                .await;
        }
        for name in held.as_object().unwrap().keys() {
            let body = json!({"runs": [with(held.clone(), &json!({name: structure}))]});
            refused(Method::POST, "/v1/runs/renew", body, name).await;
        }
        for name in outcome.as_object().unwrap().keys() {
            let body = json!({"outcomes": [with(outcome.clone(), &json!({name: structure}))]});
            refused(Method::POST, "/v1/runs/settle", body, name).await;
        }
    }
    for query in ["/v1/api/query-task-by-id?taskid[$ne]=x", "/v1/api/query-task-by-name?name[$gt]="] {
        assert_eq!(front.get(query).await.0, 400, "{query}");
    }
    for id in ["{\"$gt\":\"\"}", "' OR '1'='1", "..%2f..", "$where"] {
        assert_eq!(front.get(&format!("/v1/tasks/{}", path(id))).await.0, 404, "{id}");
        assert_eq!(front.get(&format!("/v1/runs/{}", path(id))).await.0, 404, "{id}");
    }
    let all = front.get("/v1/tasks").await.1;
    for (path, list) in [("/v1/services", "services"), ("/v1/users", "users"), ("/v1/tokens", "tokens")] {
        assert_eq!(front.get(path).await.1[list], json!([]), "{path}");
    }
    assert_eq!(all["tasks"], json!([task]), "nothing was created, changed or deleted at {NOW_SEC}");
    front.close().await;
}

//! Operators of query languages in every field, on every store: as text they are data, as
//! structures they are refused with the name of the field.

use reqwest::Method;
use serde_json::{Value, json};

use super::{DEFAULT_LIMITS, TestServer};
use crate::http::{NOW_SEC, one_shot, with_changes};
use crate::store::Fixture;

/// Texts with a meaning in a query language.
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

/// Structures with a meaning in a query language.
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

/// Percent-encodes every byte.
pub fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| format!("{encoded}%{byte:02X}"))
}

/// Operators as text: each value is stored as sent, and a query finds only this value.
pub async fn operators_are_data(fixture: Box<dyn Fixture>) {
    let server = TestServer::on(fixture, DEFAULT_LIMITS).await;
    let mut tasks = Vec::new();
    for word in WORDS {
        let spec = json!({"name": word, "data": word, "queue": word, "dedup_key": word});
        let task = server.create(&spec).await;
        for field in ["name", "data", "queue", "dedup_key"] {
            assert_eq!(task[field], word);
        }
        server.add_ready_run(&task).await;
        tasks.push(task);
    }
    for (word, task) in WORDS.iter().zip(&tasks) {
        let found = server.get(&format!("/v1/tasks?name={}", percent_encode(word))).await.1;
        assert_eq!(found["tasks"], json!([task]), "{word}");
        let again = server.post("/v1/tasks", &json!({"name": word, "dedup_key": word})).await;
        assert_eq!((again.0, &again.1["id"]), (200, &task["id"]), "{word} is the key of one task");
        let runs = server.get(&format!("/v1/runs?tag={}", percent_encode(word))).await.1;
        assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "{word}");
        let lease = json!({"worker": word, "queues": [word], "limit": 100});
        let leased = server.post("/v1/runs/lease", &lease).await.1;
        assert_eq!(leased["runs"].as_array().unwrap().len(), 1, "{word} is the name of one queue");
        settle_with_operators(&server, &leased["runs"][0], word).await;
    }
    let deleted = server.post("/v1/api/delete-task-by-name", &json!({"name": WORDS[0]})).await.1;
    assert_eq!(deleted["SucIds"], json!([tasks[0]["id"]]));
    let left = server.get("/v1/tasks").await.1;
    assert_eq!(left["tasks"].as_array().unwrap().len(), WORDS.len() - 1, "other tasks remain");
    server.close().await;
}

/// A result may have operators as keys. It is stored as sent.
async fn settle_with_operators(server: &TestServer, run: &Value, word: &str) {
    let result = json!({word: {"$set": {"a.b": [null, {"$where": "1"}]}}, "": 1, "$": {"": word}});
    let outcome = json!({
        "run_id": run["run_id"], "attempt": run["attempt"], "token": run["token"],
        "outcome": "succeeded", "result": result, "message": word,
    });
    let stolen = with_changes(outcome.clone(), &json!({"token": "' OR '1'='1"}));
    let settled = server.post("/v1/runs/settle", &json!({"outcomes": [stolen, outcome]})).await.1;
    assert_eq!(
        (&settled["results"][0]["status"], &settled["results"][1]["status"]),
        (&json!(409), &json!(200))
    );
    let shown = server.get(&format!("/v1/runs/{}", run["run_id"].as_str().unwrap())).await.1;
    assert_eq!(shown["result"], result);
}

async fn assert_refused(server: &TestServer, method: Method, path: &str, body: Value, name: &str) {
    let (status, reply) = server.request(method, path, body.to_string()).await;
    let field = reply["field"].as_str().unwrap_or("none");
    assert!(status == 400 && field.contains(name), "{path} {body}: {status} {reply}");
}

/// Operators in schedules and retry policies, and in the bodies of services, users and tokens.
async fn assert_refused_in_nested_fields_and_records(server: &TestServer, edit: &str, structure: &Value) {
    let assert_refused = async |method: Method, path: &str, body: Value, name: &str| {
        assert_refused(server, method, path, body, name).await;
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
            let schedule = with_changes(schedule.clone(), &json!({name: structure}));
            let body = json!({"name": "n", "schedule": schedule});
            assert_refused(Method::POST, "/v1/tasks", body, name).await;
            assert_refused(Method::PATCH, edit, json!({"schedule": schedule}), name).await;
        }
    }
    for name in retry.as_object().unwrap().keys() {
        let retry = with_changes(retry.clone(), &json!({name: structure}));
        assert_refused(Method::POST, "/v1/tasks", json!({"name": "n", "retry": retry}), name).await;
        assert_refused(Method::PATCH, edit, json!({"retry": retry}), name).await;
    }
    for (path, body) in &whole {
        for name in body.as_object().unwrap().keys() {
            assert_refused(Method::POST, path, with_changes(body.clone(), &json!({name: structure})), name)
                .await;
        }
    }
    for name in node.as_object().unwrap().keys() {
        let nodes = json!([with_changes(node.clone(), &json!({name: structure}))]);
        assert_refused(
            Method::POST,
            "/v1/services",
            with_changes(service.clone(), &json!({"nodes": nodes})),
            name,
        )
        .await;
    }
    for name in health.as_object().unwrap().keys() {
        let health = with_changes(health.clone(), &json!({name: structure}));
        assert_refused(
            Method::POST,
            "/v1/services",
            with_changes(service.clone(), &json!({"health": health})),
            name,
        )
        .await;
    }
}

/// Operators as structures: refused with the name of the field on every route, without an effect.
pub async fn operators_are_no_structure(fixture: Box<dyn Fixture>) {
    let server = TestServer::on(fixture, DEFAULT_LIMITS).await;
    let task = server.create(&json!({"name": "kept"})).await;
    let edit = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let spec_fields = [
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
    let contract_fields = [
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
        let assert_refused = async |method: Method, path: &str, body: Value, name: &str| {
            assert_refused(&server, method, path, body, name).await;
        };
        for name in spec_fields {
            assert_refused(
                Method::POST,
                "/v1/tasks",
                with_changes(json!({"name": "n"}), &json!({name: structure})),
                name,
            )
            .await;
            assert_refused(Method::PATCH, &edit, json!({name: structure}), name).await;
        }
        assert_refused_in_nested_fields_and_records(&server, &edit, &structure).await;
        for name in contract_fields {
            assert_refused(
                Method::POST,
                "/v1/api/task",
                with_changes(one_shot(), &json!({name: structure})),
                name,
            )
            .await;
        }
        assert_refused(Method::POST, "/v1/api/delete-task", json!({"ids": structure}), "ids").await;
        assert_refused(Method::POST, "/v1/api/delete-task-by-name", json!({"name": structure}), "name").await;
        for name in lease.as_object().unwrap().keys() {
            assert_refused(
                Method::POST,
                "/v1/runs/lease",
                with_changes(lease.clone(), &json!({name: structure})),
                name,
            )
            .await;
        }
        for name in held.as_object().unwrap().keys() {
            let body = json!({"runs": [with_changes(held.clone(), &json!({name: structure}))]});
            assert_refused(Method::POST, "/v1/runs/renew", body, name).await;
        }
        for name in outcome.as_object().unwrap().keys() {
            let body = json!({"outcomes": [with_changes(outcome.clone(), &json!({name: structure}))]});
            assert_refused(Method::POST, "/v1/runs/settle", body, name).await;
        }
    }
    for query in ["/v1/api/query-task-by-id?taskid[$ne]=x", "/v1/api/query-task-by-name?name[$gt]="] {
        assert_eq!(server.get(query).await.0, 400, "{query}");
    }
    for id in ["{\"$gt\":\"\"}", "' OR '1'='1", "..%2f..", "$where"] {
        assert_eq!(server.get(&format!("/v1/tasks/{}", percent_encode(id))).await.0, 404, "{id}");
        assert_eq!(server.get(&format!("/v1/runs/{}", percent_encode(id))).await.0, 404, "{id}");
    }
    let all = server.get("/v1/tasks").await.1;
    for (path, list) in [("/v1/services", "services"), ("/v1/users", "users"), ("/v1/tokens", "tokens")] {
        assert_eq!(server.get(path).await.1[list], json!([]), "{path}");
    }
    assert_eq!(all["tasks"], json!([task]), "no task is created, changed or deleted at {NOW_SEC}");
    server.close().await;
}

//! The audit log.

use reqwest::Method;
use serde_json::{Value, json};

use taskcenter_server::core::access::{Grant, Scope};
use taskcenter_server::core::quota::Quota;

use super::{Server, invalid_field, parse_problem, refusal, with_server};

async fn entries(server: &Server, query: &str) -> Vec<String> {
    let (status, page) = server.get(&format!("/v1/audit{query}")).await;
    assert_eq!(status, 200, "{page}");
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or("-").to_owned();
    let line = |entry: &Value| format!("{} {}", text(entry, "action"), text(entry, "outcome"));
    page["entries"].as_array().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn each_change_by_a_person_has_an_entry() {
    with_server(async |server| {
        let task = server.create(&json!({"name": "mail", "data": "canary", "delay_ms": 60_000})).await;
        let id = task["id"].as_str().unwrap();
        let path = format!("/v1/tasks/{id}");
        for (action, status) in [("pause", 200), ("resume", 200), ("cancel", 200), ("pause", 409)] {
            assert_eq!(server.post(&format!("{path}/{action}"), &json!({})).await.0, status, "{action}");
        }
        let lines = ["task.pause over", "task.cancel done", "task.resume done", "task.pause done"];
        assert_eq!(entries(server, &format!("?object={id}")).await, lines);
        assert_eq!(entries(server, "?actor=loopback&action=task.pause").await, [lines[0], lines[3]]);
        assert_eq!(entries(server, "?actor=unknown").await, [""; 0]);
        assert_eq!(entries(server, "?since=2099-01-01T00:00:00Z").await, [""; 0]);
        let (_, page) = server.get(&format!("/v1/audit?object={id}&limit=3")).await;
        let last = page["next_cursor"].as_str().unwrap().to_owned();
        assert_eq!(entries(server, &format!("?object={id}&limit=3&cursor={last}")).await, [lines[3]]);
        let entry = &page["entries"][2];
        for (field, value) in
            [("actor", "loopback"), ("front", "api"), ("object", id), ("detail", "revision 3")]
        {
            assert_eq!(entry[field], value, "{entry}");
        }
        assert!(entry["request_id"].is_string(), "{entry}");
        assert!(!page.to_string().contains("canary"));
    })
    .await;
}

#[tokio::test]
async fn deletes_tokens_users_and_operations_have_entries() {
    with_server(async |server| {
        let task = server.create(&json!({"name": "mail", "delay_ms": 60_000})).await;
        let id = task["id"].as_str().unwrap();
        server.request(Method::DELETE, &format!("/v1/tasks/{id}"), &[], &json!({})).await;
        server.post("/v1/users", &json!({"name": "ann", "password": "canary"})).await;
        let (_, token) = server.post("/v1/tokens", &json!({"name": "ci", "scopes": ["task:read"]})).await;
        let (_, operation) = server
            .post("/v1/operations", &json!({"action": "pause", "select": {"filter": {"name": "mail"}}}))
            .await;
        assert_eq!(entries(server, &format!("?object={id}")).await, ["task.delete done"]);
        assert_eq!(entries(server, "?object=user+ann").await, ["record.put done"]);
        let of = |value: &Value| format!("?object={}", value["id"].as_str().unwrap());
        assert_eq!(entries(server, &of(&token)).await, ["token.issue done"]);
        assert_eq!(entries(server, &of(&operation)).await, ["operation.create done"], "{operation}");
        for _ in 0..2 {
            server
                .post(&format!("/v1/operations/{}/abort", operation["id"].as_str().unwrap()), &json!({}))
                .await;
        }
        let ends = entries(server, "?action=operation.end").await;
        assert_eq!(ends, ["operation.end aborted"], "the second abort ends nothing");
        assert_eq!(entries(server, "?action=task.create").await, [""; 0], "programs create tasks");
    })
    .await;
}

#[tokio::test]
async fn a_malformed_filter_is_refused() {
    with_server(async |server| {
        for (query, field) in [
            ("action=task.unknown", "action"),
            ("since=yesterday", "since"),
            ("cursor=x", "cursor"),
            ("limit=0", "limit"),
            ("tag=mail", "tag"),
        ] {
            let refused = server.get(&format!("/v1/audit?{query}")).await;
            assert_eq!(parse_problem(refused), invalid_field(field), "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_denied_call_has_an_entry_and_a_flood_has_few() {
    with_server(async |server| {
        let grant = Grant { scopes: vec![Scope::TaskRead], ..Grant::everything() };
        let (_, text) = server.state.service.issue_token("reader", grant, Quota::default()).await.unwrap();
        let bearer = format!("Bearer {text}");
        let call = async |method: Method, path: &str, bearer: &str| {
            server.request(method, path, &[("authorization", bearer)], &json!({"name": "ci"})).await
        };
        let denied = call(Method::DELETE, "/v1/tokens/secret-id", &bearer).await;
        assert_eq!(parse_problem(denied), refusal(403, "forbidden"));
        let (_, page) = server.get("/v1/audit?action=access.deny").await;
        let entry = &page["entries"][0];
        for (field, value) in [
            ("actor", "reader"),
            ("front", "api"),
            ("object", "DELETE /v1/tokens/{token_id}"),
            ("detail", "requires a token with the scope admin"),
            ("outcome", "denied"),
        ] {
            assert_eq!(entry[field], value, "{entry}");
        }
        assert!(entry["request_id"].is_string() && !entry.to_string().contains("secret-id"), "{entry}");
        for _ in 0..20 {
            assert_eq!(call(Method::POST, "/v1/tokens", &bearer).await.0, 403);
            assert_eq!(call(Method::POST, "/v1/tokens", "Bearer tc_unknown").await.0, 401);
        }
        let all = entries(server, "?action=access.deny").await;
        assert_eq!(all.len(), 10, "{all:?}");
        assert_eq!(call(Method::GET, "/v1/tasks", &bearer).await.0, 200);
        assert_eq!(entries(server, "?actor=reader").await.len(), 10, "an allowed call has no entry");
    })
    .await;
}

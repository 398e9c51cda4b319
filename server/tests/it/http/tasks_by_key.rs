//! Reading, editing and cancelling the live task that has a name and a deduplication key.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Server, invalid_field, parse_problem, refusal, with_server};

const KEY: &str = "/v1/tasks?name=order.remind&dedup_key=a%26b%7C7";
const CANCEL: &str = "/v1/tasks/cancel?name=order.remind&dedup_key=a%26b%7C7";

fn reminder() -> Value {
    json!({"name": "order.remind", "dedup_key": "a&b|7", "start_at": "2033-06-01T00:00:00Z"})
}

async fn patch(server: &Server, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
    server.request(Method::PATCH, path, headers, body).await
}

#[tokio::test]
async fn a_live_task_is_listed_edited_and_cancelled_by_its_key() {
    with_server(async |server| {
        let task = server.create(&reminder()).await;
        server.create(&json!({"name": "order.remind", "dedup_key": "other"})).await;
        assert_eq!(server.get(KEY).await, (200, json!({"tasks": [task], "next_cursor": null})));

        let (status, edited) = patch(server, KEY, &[], &json!({"start_at": "2033-07-01T00:00:00Z"})).await;
        assert_eq!((status, &edited["task"]["id"], &edited["task"]["rev"]), (200, &task["id"], &json!(2)));
        assert_eq!(edited["task"]["next_due_at"], "2033-07-01T00:00:00Z");
        let stale = patch(server, KEY, &[("If-Match", "\"1\"")], &json!({"data": "x"})).await;
        assert_eq!(parse_problem(stale), refusal(412, "revision_moved"));
        let known = patch(server, KEY, &[("If-Match", "\"2\"")], &json!({"data": "x"})).await;
        assert_eq!((known.0, &known.1["task"]["data"]), (200, &json!("x")));

        let (status, cancelled) = server.post(CANCEL, &json!({})).await;
        assert_eq!((status, &cancelled["task"]["id"]), (200, &task["id"]));
        assert_eq!(cancelled["task"]["state"], "cancelled");
        let not_found = refusal(404, "not_found");
        assert_eq!(parse_problem(server.post(CANCEL, &json!({})).await), not_found);
        assert_eq!(parse_problem(patch(server, KEY, &[], &json!({"data": "x"})).await), not_found);
        assert_eq!(server.get(KEY).await.1["tasks"], json!([]), "the key is free");
        assert_ne!(server.create(&reminder()).await["id"], task["id"]);
    })
    .await;
}

#[tokio::test]
async fn name_and_key_are_both_required() {
    with_server(async |server| {
        for (path, field) in
            [("/v1/tasks?dedup_key=k", "name"), ("/v1/tasks?name=n&dedup_key=k&state=active", "state")]
        {
            assert_eq!(parse_problem(server.get(path).await), invalid_field(field), "{path}");
        }
        for (query, field) in [("", "name"), ("?name=n", "dedup_key"), ("?name=n&dedup_key=", "dedup_key")] {
            let edit = patch(server, &format!("/v1/tasks{query}"), &[], &json!({"data": "x"})).await;
            assert_eq!(parse_problem(edit), invalid_field(field), "{query}");
            let cancel = server.post(&format!("/v1/tasks/cancel{query}"), &json!({})).await;
            assert_eq!(parse_problem(cancel), invalid_field(field), "{query}");
        }
        let unknown = patch(server, KEY, &[], &json!({"nam": "x"})).await;
        assert_eq!(parse_problem(unknown), refusal(404, "not_found"));
    })
    .await;
}

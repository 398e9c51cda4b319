//! Retry policies and limits of attempts in the resource API.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Server, with_server};
use crate::docs::pages::Page;

/// Bodies of the examples that create a task.
fn examples() -> Vec<Value> {
    let code = Page::read("docs/attempts.md").code("sh").join("\n");
    let bodies = code.split("-d '").skip(1).filter_map(|rest| rest.split('\'').next());
    let bodies = bodies.map(|body| serde_json::from_str(body).unwrap());
    bodies.filter(|body: &Value| body.get("name").is_some()).collect()
}

#[tokio::test]
async fn the_server_accepts_the_examples_of_the_page() {
    with_server(async |server| {
        let examples = examples();
        assert!(examples.len() >= 4, "{examples:?}");
        for example in examples {
            let task = server.create(&example).await;
            for (field, value) in example.as_object().unwrap() {
                assert_eq!(task[field], *value, "{task}");
            }
        }
    })
    .await;
}

async fn retry_after(server: &Server, task: &Value, retry: &Value) -> Value {
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let change = json!({ "retry": retry });
    let (status, edited) = server.request(Method::PATCH, &path, &[("If-Match", "*")], &change).await;
    assert_eq!(status, 200, "{edited}");
    edited["task"]["retry"].clone()
}

#[tokio::test]
async fn an_edit_to_the_other_form_replaces_the_policy() {
    with_server(async |server| {
        let growing = json!({"max_attempts": 3, "backoff_ms": 1, "max_backoff_ms": 2, "factor_percent": 150});
        let task = server.create(&json!({"name": "n", "retry": growing})).await;
        assert_eq!(task["retry"], growing);
        let list = json!({"intervals_ms": [1, 2]});
        assert_eq!(retry_after(server, &task, &list).await, list);
        let jitter = json!({"jitter_percent": 5});
        let expected = json!({"intervals_ms": [1, 2], "jitter_percent": 5});
        assert_eq!(retry_after(server, &task, &jitter).await, expected);
        assert_eq!(retry_after(server, &task, &growing).await, growing);
    })
    .await;
}

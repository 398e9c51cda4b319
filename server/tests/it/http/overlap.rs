//! Overlap policies of tasks.

use reqwest::Method;
use serde_json::json;

use super::{invalid_field, parse_problem, with_server};
use crate::docs::pages::Page;

#[tokio::test]
async fn the_examples_of_the_page_about_admission_are_accepted() {
    with_server(async |server| {
        server.creates_all("/v1/tasks", &Page::read("docs/admission.md").code("json")).await;
    })
    .await;
}

#[tokio::test]
async fn an_overlap_policy_is_stored_edited_and_cleared() {
    with_server(async |server| {
        let spec = json!({"name": "n", "queue": "q", "overlap": {"policy": "queue_one"}});
        let (status, created) = server.post("/v1/tasks", &spec).await;
        assert_eq!((status, &created["overlap"]), (201, &json!({"policy": "queue_one", "keep": "first"})));
        let path = format!("/v1/tasks/{}", created["id"].as_str().unwrap());
        let later = json!({"name": "m", "queue": "q", "start_at": "2999-01-01T00:00:00Z",
            "overlap": {"policy": "queue_all", "max": 7}});
        let created = server.post("/v1/tasks", &later).await.1;
        let later = format!("/v1/tasks/{}", created["id"].as_str().unwrap());
        let change = json!({"overlap": {"policy": "skip", "max": null}});
        let (status, edited) = server.request(Method::PATCH, &later, &[("If-Match", "*")], &change).await;
        assert_eq!((status, &edited["task"]["overlap"]), (200, &json!({"policy": "skip"})), "{edited}");
        assert_eq!(edited["task"]["next_due_at"], created["next_due_at"], "the moments stay");
        let change = json!({"overlap": {"policy": "allow"}});
        server.request(Method::PATCH, &later, &[("If-Match", "*")], &change).await;
        assert_eq!(server.get(&later).await.1.get("overlap"), None);
        assert_eq!(server.get(&path).await.0, 200);
    })
    .await;
}

#[tokio::test]
async fn an_invalid_overlap_policy_is_refused() {
    with_server(async |server| {
        for (overlap, field) in [
            (json!({"policy": "all"}), "overlap.policy"),
            (json!({"policy": "queue_all", "max": 0}), "overlap.max"),
            (json!({"policy": "queue_all", "max": 1_001}), "overlap.max"),
            (json!({"policy": "queue_one", "max": 1}), "overlap.max"),
            (json!({"policy": "skip", "keep": "first"}), "overlap.keep"),
            (json!({"policy": "skip", "most": 1}), "overlap.most"),
        ] {
            let spec = json!({"name": "n", "queue": "q", "overlap": overlap});
            let refused = server.post("/v1/tasks", &spec).await;
            assert_eq!(parse_problem(refused), invalid_field(field), "{overlap}");
        }
    })
    .await;
}

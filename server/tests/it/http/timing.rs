//! Rules of tasks about how their moments fire.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Server, invalid_field, parse_problem, with_server};
use crate::docs::pages::Page;

#[tokio::test]
async fn the_examples_of_the_page_about_schedules_are_accepted() {
    with_server(async |server| {
        let mut examples = Page::read("docs/schedules.md").code("json");
        examples.retain(|example| example.contains("\"name\""));
        server.creates_all("/v1/tasks", &examples).await;
    })
    .await;
}

async fn edit(server: &Server, path: &str, change: &Value) -> (u16, Value) {
    server.request(Method::PATCH, path, &[("If-Match", "*")], change).await
}

#[tokio::test]
async fn a_misfire_policy_is_stored_edited_and_cleared() {
    with_server(async |server| {
        let misfire = json!({"policy": "fire_all", "grace_ms": 60_000, "max": 3});
        let spec =
            json!({"name": "n", "schedule": {"kind": "every", "period_ms": 60_000}, "misfire": misfire});
        let (status, created) = server.post("/v1/tasks", &spec).await;
        assert_eq!((status, &created["misfire"]), (201, &misfire));
        let path = format!("/v1/tasks/{}", created["id"].as_str().unwrap());
        let change = json!({"misfire": {"max": null, "policy": "skip"}});
        let (status, edited) = edit(server, &path, &change).await;
        assert_eq!(status, 200, "{edited}");
        assert_eq!(edited["task"]["misfire"], json!({"policy": "skip", "grace_ms": 60_000}));
        assert_eq!(edited["task"]["next_due_at"], created["next_due_at"], "the moments stay");
        edit(server, &path, &json!({"misfire": null})).await;
        assert_eq!(server.get(&path).await.1.get("misfire"), None);
    })
    .await;
}

#[tokio::test]
async fn a_misfire_policy_out_of_bounds_is_refused() {
    with_server(async |server| {
        for (misfire, field) in [
            (json!({"policy": "all"}), "misfire.policy"),
            (json!({"grace_ms": -1}), "misfire.grace_ms"),
            (json!({"grace_ms": 31_622_400_001_i64}), "misfire.grace_ms"),
            (json!({"max": 0}), "misfire.max"),
            (json!({"max": 1_001}), "misfire.max"),
            (json!({"most": 1}), "misfire.most"),
        ] {
            let spec = json!({"name": "n", "misfire": misfire});
            let refused = server.post("/v1/tasks", &spec).await;
            assert_eq!(parse_problem(refused), invalid_field(field), "{misfire}");
        }
    })
    .await;
}

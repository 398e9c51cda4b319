//! Holds over HTTP.

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::core::Run;
use taskcenter_server::core::TaskId;

use super::{NOW, Server, invalid_field, parse_problem, refusal, with_server};
use crate::docs::pages::Page;

async fn remove(server: &Server, path: &str) -> (u16, Value) {
    server.request(Method::DELETE, path, &[], &json!({})).await
}

#[tokio::test]
async fn the_examples_of_the_page_about_holds_are_accepted() {
    with_server(async |server| {
        server.creates_all("/v1/holds", &Page::read("docs/holds.md").code("json")).await;
    })
    .await;
}

#[tokio::test]
async fn a_hold_is_created_changed_listed_and_ended() {
    with_server(async |server| {
        assert_eq!(server.get("/v1/holds").await, (200, json!({"holds": []})));
        let name = "a/b \u{8ba2}\u{5355}";
        let (status, first) = server.post("/v1/holds", &json!({"scope": "queue", "name": name})).await;
        assert_eq!((status, &first["reason"], &first["created_by"]), (201, &json!(""), &json!("loopback")));
        assert_eq!(first.get("until"), None);
        let changed = json!({"scope": "queue", "name": name, "reason": "r", "until": "2033-05-18T04:03:20Z"});
        let second = server.post("/v1/holds", &changed).await.1;
        let of_tag = server.post("/v1/holds", &json!({"scope": "tag", "name": name})).await.1;
        assert_eq!(server.get("/v1/holds").await, (200, json!({"holds": [second, of_tag]})));
        let path = "/v1/holds/queue/a%2Fb%20%E8%AE%A2%E5%8D%95";
        assert_eq!(remove(server, path).await, (200, second));
        assert_eq!(parse_problem(remove(server, path).await), refusal(404, "not_found"));
        assert_eq!(server.get("/v1/holds").await, (200, json!({"holds": [of_tag]})));
        assert_eq!(parse_problem(remove(server, "/v1/holds/host/a").await), invalid_field("scope"));
    })
    .await;
}

#[tokio::test]
async fn an_invalid_hold_is_refused() {
    with_server(async |server| {
        for (hold, field) in [
            (json!({"name": "q"}), "scope"),
            (json!({"scope": "host", "name": "q"}), "scope"),
            (json!({"scope": "queue"}), "name"),
            (json!({"scope": "queue", "name": ""}), "name"),
            (json!({"scope": "queue", "name": "a|b"}), "name"),
            (json!({"scope": "queue", "name": "q", "reason": "r".repeat(501)}), "reason"),
            (json!({"scope": "queue", "name": "q", "until": "2020-01-01T00:00:00Z"}), "until"),
            (json!({"scope": "queue", "name": "q", "until": "2999-01-01T00:00:00Z"}), "until"),
            (json!({"scope": "queue", "name": "q", "for": 1}), "for"),
        ] {
            let refused = server.post("/v1/holds", &hold).await;
            assert_eq!(parse_problem(refused), invalid_field(field), "{hold}");
        }
        assert_eq!(server.get("/v1/holds").await.1, json!({"holds": []}));
    })
    .await;
}

#[tokio::test]
async fn a_run_its_task_and_its_queue_say_that_they_wait_for_the_end_of_a_hold() {
    with_server(async |server| {
        let spec =
            json!({"name": "mail", "queue": "q", "schedule": {"kind": "every", "period_ms": 3_600_000}});
        let (_, created) = server.post("/v1/tasks", &spec).await;
        let path = format!("/v1/tasks/{}", created["id"].as_str().unwrap());
        let task = TaskId::parse(created["id"].as_str().unwrap()).unwrap();
        let task = server.state.service.shown_task(&task).await.unwrap();
        let mut run = Run::firing(&task, NOW, "node", "token".to_owned(), NOW);
        server.store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
        run.enqueue(NOW).unwrap();
        assert_eq!(server.store.update_runs(&[run.clone()]).await.unwrap(), [true]);
        let lease = json!({"worker": "w", "queues": ["q"]});
        let waits_for = async |path: &str| server.get(path).await.1["waits_for"].clone();
        for (scope, name, end) in [("queue", "q", Some("2033-05-18T04:03:20Z")), ("tag", "mail", None)] {
            let hold = json!({"scope": scope, "name": name, "reason": "deploy \"2\"", "until": end});
            let (status, hold) = server.post("/v1/holds", &hold).await;
            assert_eq!(status, 201, "{hold}");
            assert_eq!(server.post("/v1/runs/lease", &lease).await.1, json!({"runs": []}));
            let at = end.map(|end| format!(" at {end}")).unwrap_or_default();
            let what = format!("the end of the hold of {scope} {name:?}{at}, created by \"loopback\", reason \"deploy \\\"2\\\"\"");
            assert_eq!(waits_for(&format!("/v1/runs/{}", run.id)).await, json!(what));
            assert_eq!(waits_for(&path).await, json!(format!("the runs wait for {what}")));
            let queue = server.get("/v1/queues/q").await.1;
            if scope == "queue" {
                assert_eq!((&queue["waits_for"], &queue["hold"]), (&json!(what), &hold));
                let again = json!({"name": "mail", "queue": "q", "data": "other"});
                let warnings = server.post("/v1/tasks", &again).await.1["warnings"].clone();
                assert_eq!(warnings, json!([format!("the runs will wait for {what}")]));
            } else {
                assert_eq!((&queue["held"], queue.get("hold")), (&json!(1), None));
            }
            assert_eq!(remove(server, &format!("/v1/holds/{scope}/{name}")).await.0, 200);
        }
    })
    .await;
}

//! Definitions of a task over time.

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::core::TaskId;
use taskcenter_server::core::access::{Grant, Scope};
use taskcenter_server::engine::service::{Caller, ServiceError};

use super::{Server, parse_problem, refusal, with_server};

async fn edit(server: &Server, path: &str, change: &Value) {
    let (status, edited) = server.request(Method::PATCH, path, &[("If-Match", "*")], change).await;
    assert_eq!(status, 200, "{edited}");
}

/// Creates a task, edits its data, pauses it, resumes it, and edits its schedule and name.
async fn edited_task(server: &Server) -> String {
    let spec = json!({"name": "mail", "data": "one", "schedule": {"kind": "every", "period_ms": 60_000}});
    let task = server.create(&spec).await;
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    edit(server, &path, &json!({"data": "two"})).await;
    for action in ["pause", "resume"] {
        assert_eq!(server.post(&format!("{path}/{action}"), &json!({})).await.0, 200);
    }
    edit(server, &path, &json!({"name": "post", "schedule": {"kind": "every", "period_ms": 1_000}})).await;
    path
}

async fn revisions(server: &Server, path: &str) -> (Vec<(u64, String, String)>, Value) {
    let (status, page) = server.get(path).await;
    assert_eq!(status, 200, "{page}");
    let row = |row: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        (row["rev"].as_u64().unwrap(), text(&row["by"]), text(&row["definition"]["data"]))
    };
    let rows = page["revisions"].as_array().unwrap().iter().map(row).collect();
    (rows, page["next_cursor"].clone())
}

#[tokio::test]
async fn the_definitions_of_a_task_are_listed_latest_first() {
    with_server(async |server| {
        let path = format!("{}/revisions", edited_task(server).await);
        let row = |rev, by: &str, data: &str| (rev, by.to_owned(), data.to_owned());
        let all = [row(5, "loopback", "two"), row(2, "loopback", "two"), row(1, "loopback", "one")];
        assert_eq!(revisions(server, &path).await, (all.to_vec(), Value::Null));
        let (first, next) = revisions(server, &format!("{path}?limit=2")).await;
        assert_eq!((first, &next), (all[..2].to_vec(), &json!("2")));
        let rest = revisions(server, &format!("{path}?limit=2&cursor=2")).await;
        assert_eq!(rest, (all[2..].to_vec(), Value::Null));
        let (status, page) = server.get(&path).await;
        let changes: Vec<&Value> =
            page["revisions"].as_array().unwrap().iter().map(|row| &row["change"]).collect();
        assert_eq!((status, changes), (200, vec![&json!("edited"), &json!("edited"), &json!("created")]));
        let unknown = format!("/v1/tasks/{}/revisions", "0".repeat(32));
        assert_eq!(parse_problem(server.get(&unknown).await), refusal(404, "not_found"));
    })
    .await;
}

#[tokio::test]
async fn a_revision_has_the_definition_that_was_in_force() {
    with_server(async |server| {
        let path = format!("{}/revisions", edited_task(server).await);
        for (rev, began, name, data) in
            [(1, 1, "mail", "one"), (2, 2, "mail", "two"), (4, 2, "mail", "two"), (5, 5, "post", "two")]
        {
            let (status, shown) = server.get(&format!("{path}/{rev}")).await;
            let definition = &shown["definition"];
            assert_eq!((status, shown["rev"].as_u64()), (200, Some(began)), "{rev}: {shown}");
            assert_eq!((&definition["name"], &definition["data"]), (&json!(name), &json!(data)), "{rev}");
        }
        for rev in ["0", "6", "x", "-1", "99999999999"] {
            let unknown = server.get(&format!("{path}/{rev}")).await;
            assert_eq!(parse_problem(unknown), refusal(404, "not_found"), "{rev}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_definition_under_the_name_of_another_tag_is_not_shown() {
    with_server(async |server| {
        let path = edited_task(server).await;
        let id = TaskId::parse(path.rsplit('/').next().unwrap()).unwrap();
        let limited = |tag: &str| {
            let grant = Grant { scopes: vec![Scope::TaskRead], tags: vec![tag.to_owned()], expires_at: None };
            server.state.service.for_caller(Caller { grant, ..Caller::anonymous() })
        };
        let post = limited("post");
        let shown = post.definitions(&id, None, 10).await.unwrap();
        assert_eq!(shown.iter().map(|task| task.rev).collect::<Vec<_>>(), [5]);
        assert!(matches!(post.definition_at(&id, 2).await, Err(ServiceError::NotFound)));
        assert!(matches!(limited("mail").definitions(&id, None, 10).await, Err(ServiceError::NotFound)));
    })
    .await;
}

//! Labels: on tasks and runs, in edits, and as filters of lists.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::core::access::{Grant, Scope};
use taskcenter_server::core::labels::Labels;
use taskcenter_server::core::{Run, TaskId};
use taskcenter_server::engine::service::{Caller, Page, RunFilter, RunPage, TaskFilter, Wanted};

use super::{NOW, Server, invalid_field, parse_problem, with_server};

fn spec(name: &str, labels: &Value) -> Value {
    json!({"name": name, "labels": labels, "delay_ms": 60_000})
}

/// Returns the names of the listed tasks, or the tags of the listed runs.
async fn list(server: &Server, path: &str) -> Vec<String> {
    let (status, page) = server.get(path).await;
    assert_eq!(status, 200, "{page}");
    let rows = [&page["tasks"], &page["runs"]].into_iter().find_map(Value::as_array).unwrap();
    let name = |row: &Value| row.get("name").or(row.get("tag")).unwrap().as_str().unwrap().to_owned();
    rows.iter().map(name).collect()
}

pub async fn lists_are_filtered_by_labels(server: &Server) {
    let pay = server.create(&spec("a", &json!({"team": "pay", "tier": "1"}))).await;
    assert_eq!(pay["labels"], json!({"team": "pay", "tier": "1"}));
    server.create(&spec("b", &json!({"team": "pay", "tier": "2"}))).await;
    server.create(&spec("c", &json!({"team": "支付 & co"}))).await;
    server.create(&spec("d", &json!({}))).await;
    for (query, names) in [
        ("label.team=pay", &["a", "b"][..]),
        ("label.team=pay&label.tier=1", &["a"]),
        ("label.team=pay&label.tier=1&state=active", &["a"]),
        ("label.team=pay&state=paused", &[]),
        ("label.team=pay&name=b", &["b"]),
        ("label.team=%E6%94%AF%E4%BB%98+%26+co", &["c"]),
        ("label.team=nobody", &[]),
        ("label.team=&name=d", &["d"]),
    ] {
        // Tasks of one millisecond have no order.
        let mut found = list(server, &format!("/v1/tasks?{query}")).await;
        found.sort_unstable();
        assert_eq!(found, names, "{query}");
    }
    assert_eq!(list(server, "/v1/tasks?label.team=pay&limit=1").await.len(), 1);
    let patch = json!({"labels": {"team": "mail", "tier": null}});
    let of_task = format!("/v1/tasks/{}", pay["id"].as_str().unwrap());
    let (_, edited) = server.request(Method::PATCH, &of_task, &[("If-Match", "*")], &patch).await;
    assert_eq!(edited["task"]["labels"], json!({"team": "mail"}));
    assert_eq!(list(server, "/v1/tasks?label.team=mail").await, ["a"]);
    assert_eq!(list(server, "/v1/tasks?label.tier=1").await, [""; 0]);
}

pub async fn a_run_has_the_labels_of_its_fire(server: &Server) {
    let task = server.create(&spec("a", &json!({"team": "pay", "tier": "1"}))).await;
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let (_, run) = server.post(&format!("{path}/trigger"), &json!({})).await;
    assert_eq!(run["labels"], task["labels"]);
    server.request(Method::PATCH, &path, &[("If-Match", "*")], &json!({"labels": null})).await;
    for (query, count) in [
        ("label.team=pay", 1),
        ("label.team=pay&label.tier=1&tag=a", 1),
        ("label.team=pay&tag=b", 0),
        ("label.team=pay&state=dead", 0),
        (&*format!("label.team=pay&task_id={}", task["id"].as_str().unwrap()), 1),
        (&*format!("label.team=mail&task_id={}", task["id"].as_str().unwrap()), 0),
    ] {
        assert_eq!(list(server, &format!("/v1/runs?{query}")).await.len(), count, "{query}");
    }
    let (_, shown) = server.get(&format!("/v1/runs/{}", run["run_id"].as_str().unwrap())).await;
    assert_eq!(shown["labels"], task["labels"], "an edit does not change a run");
}

#[tokio::test]
async fn invalid_labels_are_refused_with_their_names() {
    with_server(async |server| {
        let long = "x".repeat(64);
        for labels in [json!({"Team": "pay"}), json!({"team": ""}), json!({"team": long})] {
            let refused = server.post("/v1/tasks", &spec("a", &labels)).await;
            assert_eq!(parse_problem(refused), invalid_field("labels"), "{labels}");
        }
        let many: BTreeMap<String, &str> = (0..17).map(|n| (format!("k{n}"), "v")).collect();
        assert_eq!(
            parse_problem(server.post("/v1/tasks", &spec("a", &json!(many))).await),
            invalid_field("labels")
        );
        for (query, field) in [
            ("label.Team=pay", "label.Team"),
            ("label.=pay", "label."),
            (&*format!("label.team={long}"), "label.team"),
            ("label.team=a&label.team=b", "label.team"),
            ("labels=team", "labels"),
        ] {
            for list in ["tasks", "runs"] {
                let refused = server.get(&format!("/v1/{list}?{query}")).await;
                assert_eq!(parse_problem(refused), invalid_field(field), "{query}");
            }
        }
        let elsewhere = server.get("/v1/queues?label.team=pay").await;
        assert_ne!(elsewhere.0, 500);
    })
    .await;
}

#[tokio::test]
async fn a_page_examines_a_limited_number_of_rows() {
    with_server(async |server| {
        server.create(&spec("rare", &json!({"team": "pay", "zone": "north"}))).await;
        // Tasks of one millisecond have no order.
        server.clock.advance_ms(1);
        let tasks: Vec<Value> = (0..180).map(|_| spec("common", &json!({"team": "pay"}))).collect();
        server.post("/v1/tasks", &json!({"tasks": tasks})).await;
        // The label `team` selects, because it is the first one in the order of the keys.
        let path = "/v1/tasks?label.team=pay&label.zone=north&limit=1";
        let (mut pages, mut cursor) = (Vec::new(), String::new());
        loop {
            let (_, page) = server.get(&format!("{path}&cursor={cursor}")).await;
            pages.push(page["tasks"].as_array().unwrap().len());
            let Some(next) = page["next_cursor"].as_str() else { break };
            next.clone_into(&mut cursor);
        }
        assert_eq!(pages.iter().sum::<usize>(), 1, "{pages:?}");
        assert_eq!(pages[0], 0, "the first page ends after a limited number of rows");
        assert!((2..=4).contains(&pages.len()), "{pages:?}");
        assert_eq!(list(server, "/v1/tasks?label.team=pay&label.zone=north&limit=10").await, ["rare"]);
        assert_eq!(list(server, "/v1/tasks?label.team=pay&limit=150").await.len(), 150);
    })
    .await;
}

#[tokio::test]
async fn a_limited_caller_examines_only_rows_of_its_tags() {
    with_server(async |server| {
        for name in ["mail", "other"] {
            let task = server.create(&spec(name, &json!({"team": "pay"}))).await;
            let id = TaskId::parse(task["id"].as_str().unwrap()).unwrap();
            let task = server.store.task(&id).await.unwrap().unwrap();
            server.store.insert_runs(&[Run::firing(&task, NOW, "node", "t".to_owned(), NOW)]).await.unwrap();
        }
        let grant = Grant { scopes: vec![Scope::TaskRead], tags: vec!["mail".to_owned()], expires_at: None };
        let service = server.state.service.for_caller(Caller { grant, ..Caller::anonymous() });
        let labels = Labels::from([("team".to_owned(), "pay".to_owned())]);
        let wanted = Wanted { filter: TaskFilter::default(), labels: labels.clone() };
        let tasks = service.examine_tasks(&wanted, &Page { limit: 9, before: None }).await.unwrap();
        assert_eq!((tasks.count, tasks.rows.len(), &*tasks.rows[0].name), (1, 1, "mail"));
        let wanted = Wanted { filter: RunFilter::default(), labels };
        let runs = service.examine_runs(&wanted, &RunPage { limit: 9, before: None }).await.unwrap();
        assert_eq!((runs.count, runs.rows.len(), &*runs.rows[0].tag), (1, 1, "mail"));
    })
    .await;
}

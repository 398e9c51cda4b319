//! Calendars in the resource API.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Server, invalid_field, parse_problem, refusal, with_changes, with_server};
use crate::docs::pages::Page;

const PATH: &str = "/v1/calendars";

fn workdays() -> Value {
    json!({"name": "workdays", "zone": "Asia/Shanghai", "weekly": ["mon-fri 09:00-18:00"],
        "exclude": ["2033-10-01/2033-10-07"], "include": ["2033-10-08 09:00-18:00"]})
}

fn daily(calendars: &Value) -> Value {
    json!({"name": "report", "calendars": calendars,
        "schedule": {"kind": "cron", "cron": "0 10 * * *", "zone": "Asia/Shanghai"}})
}

async fn delete(server: &Server, name: &str) -> (u16, Value) {
    server.request(Method::DELETE, &format!("{PATH}/{name}"), &[], &Value::Null).await
}

#[tokio::test]
async fn a_calendar_is_created_changed_and_deleted() {
    with_server(async |server| {
        let (status, stored) = server.post(PATH, &workdays()).await;
        assert_eq!(
            (status, &stored["version"], &stored["settled"]),
            (201, &json!(1), &json!(false)),
            "{stored}"
        );
        for (field, value) in workdays().as_object().unwrap() {
            assert_eq!(&stored[field], value, "{field}");
        }
        assert_eq!(server.get(PATH).await, (200, json!({"calendars": [stored]})));
        let task = server.create(&daily(&json!({"only": ["workdays"]}))).await;
        assert_eq!(task["calendars"], json!({"only": ["workdays"]}));
        assert_eq!(task["next_due_at"], "2033-05-19T02:00:00Z");

        let weekends = with_changes(workdays(), &json!({"weekly": ["sat,sun"], "description": "off"}));
        let (_, stored) = server.post(PATH, &weekends).await;
        assert_eq!((&stored["version"], &stored["description"]), (&json!(2), &json!("off")));
        let (_, task) = server.get(&format!("/v1/tasks/{}", task["id"].as_str().unwrap())).await;
        assert_eq!((&task["next_due_at"], &task["rev"]), (&json!("2033-05-21T02:00:00Z"), &json!(2)));
        let (_, shown) = server.get(&format!("{PATH}/workdays")).await;
        assert_eq!(shown["tasks"], json!([task["id"]]));

        let refused = delete(server, "workdays").await;
        let id = task["id"].as_str().unwrap();
        assert!(refused.1["detail"].as_str().unwrap().contains(id), "{refused:?}");
        assert_eq!(parse_problem(refused), refusal(409, "calendar_in_use"));
        server.post(&format!("/v1/tasks/{id}/cancel"), &json!({})).await;
        assert_eq!(delete(server, "workdays").await.0, 200);
        assert_eq!(parse_problem(delete(server, "workdays").await), refusal(404, "not_found"));
        assert_eq!(parse_problem(server.get(&format!("{PATH}/workdays")).await), refusal(404, "not_found"));
    })
    .await;
}

#[tokio::test]
async fn a_refusal_names_the_field() {
    with_server(async |server| {
        for (change, field) in [
            (json!({"name": "Work days"}), "name"),
            (json!({"zone": "Mars/Base"}), "zone"),
            (json!({"weekly": ["mon-fri", "someday"]}), "weekly[1]"),
            (json!({"exclude": ["2033-02-29"]}), "exclude[0]"),
            (json!({"include": ["2033-01-01 18:00-09:00"]}), "include[0]"),
            (json!({"weekly": [], "include": []}), "weekly"),
            (json!({"description": "x".repeat(501)}), "description"),
            (json!({"dates": []}), "dates"),
        ] {
            let refused = server.post(PATH, &with_changes(workdays(), &change)).await;
            assert_eq!(parse_problem(refused), invalid_field(field), "{change}");
        }
        assert_eq!(server.get(PATH).await.1, json!({"calendars": []}));
        server.post(PATH, &workdays()).await;
        for (calendars, field) in [
            (json!({"only": ["holidays"]}), "calendars.only"),
            (json!({"only": ["workdays"], "exclude": ["workdays"]}), "calendars.only"),
            (json!({"only": ["a", "b", "c"], "exclude": ["d", "e"]}), "calendars"),
            (json!({"name": "workdays"}), "calendars.name"),
        ] {
            let refused = server.post("/v1/tasks", &daily(&calendars)).await;
            assert_eq!(parse_problem(refused), invalid_field(field), "{calendars}");
        }
        let once = json!({"name": "n", "calendars": {"only": ["workdays"]}});
        assert_eq!(parse_problem(server.post("/v1/tasks", &once).await), invalid_field("calendars"));
        let night = with_changes(
            daily(&json!({"only": ["workdays"]})),
            &json!({"schedule": {"kind": "cron", "cron": "0 3 * * *", "zone": "Asia/Shanghai"}}),
        );
        let (status, waiting) = server.post("/v1/tasks", &night).await;
        assert_eq!((status, &waiting["next_due_at"]), (201, &json!(null)));
        assert!(waiting["warnings"][0].as_str().unwrap().contains("calendars"), "{waiting}");
    })
    .await;
}

#[tokio::test]
async fn a_preview_lists_the_excluded_moments() {
    with_server(async |server| {
        server.post(PATH, &workdays()).await;
        let mut preview = daily(&json!({"only": ["workdays"]}));
        preview.as_object_mut().unwrap().remove("name");
        let preview = with_changes(preview, &json!({"start_at": "2033-09-30T00:00:00Z", "count": 2}));
        let (status, explained) = server.post("/v1/schedule/next", &preview).await;
        assert_eq!(status, 200, "{explained}");
        let moments: Vec<&Value> =
            explained["moments"].as_array().unwrap().iter().map(|at| &at["at"]).collect();
        assert_eq!(moments, ["2033-09-30T02:00:00Z", "2033-10-08T02:00:00Z"]);
        let excluded = explained["excluded"].as_array().unwrap();
        assert_eq!(excluded.len(), 7);
        assert_eq!(
            excluded[0],
            json!({"at": "2033-10-01T02:00:00Z", "local": "2033-10-01T10:00:00+08:00",
            "calendar": "workdays"})
        );
        assert_eq!(
            explained["words"],
            "cron 0 10 * * * in Asia/Shanghai, from 2033-09-30T00:00:00Z, only within workdays"
        );
        let unknown = with_changes(preview, &json!({"calendars": {"exclude": ["x"]}}));
        let refused = server.post("/v1/schedule/next", &unknown).await;
        assert_eq!(parse_problem(refused), invalid_field("calendars.exclude"));
    })
    .await;
}

#[tokio::test]
async fn the_examples_of_the_page_create_a_calendar_and_a_task() {
    with_server(async |server| {
        let examples = Page::read("docs/calendars.md").code("json");
        let example = |word: &str| {
            let found = examples.iter().find(|example| example.contains(word)).unwrap();
            serde_json::from_str::<Value>(found).unwrap()
        };
        let (status, stored) = server.post(PATH, &example("\"weekly\"")).await;
        assert_eq!(status, 201, "{stored}");
        let task = server.create(&example("\"calendars\"")).await;
        assert_eq!(task["calendars"]["only"], json!([stored["name"]]));
    })
    .await;
}

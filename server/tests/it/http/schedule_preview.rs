//! The explanation of a whole schedule.

use serde_json::{Value, json};

use super::{invalid_field, parse_problem, with_server};
use crate::docs::pages::Page;

const PATH: &str = "/v1/schedule/next";

#[tokio::test]
async fn the_example_of_the_page_is_explained() {
    with_server(async |server| {
        let examples = Page::read("docs/schedules.md").code("json");
        let example = examples.iter().find(|example| example.contains("\"count\"")).unwrap();
        let (status, explained) = server.post(PATH, &serde_json::from_str(example).unwrap()).await;
        assert_eq!(status, 200, "{explained}");
        let answer = examples.iter().find(|example| example.contains("\"words\"")).unwrap();
        assert_eq!(explained, serde_json::from_str::<Value>(answer).unwrap());
    })
    .await;
}

#[tokio::test]
async fn each_kind_of_schedule_is_explained() {
    with_server(async |server| {
        for (schedule, words, moments) in [
            (json!({"kind": "once"}), "once", 1),
            (json!({"kind": "every", "period_ms": 90_000}), "every 1m 30s", 5),
            (
                json!({"kind": "cron", "cron": "@daily", "also": ["0 6 * * *"], "zone": "UTC"}),
                "cron @daily or 0 6 * * * in UTC",
                5,
            ),
        ] {
            let (status, explained) = server.post(PATH, &json!({"schedule": schedule})).await;
            assert_eq!((status, &explained["words"]), (200, &json!(words)), "{explained}");
            assert_eq!(explained["moments"].as_array().unwrap().len(), moments, "{explained}");
        }
        let limited = json!({"schedule": {"kind": "every", "period_ms": 1}, "max_fires": 2, "count": 9});
        let (_, explained) = server.post(PATH, &limited).await;
        assert_eq!(explained["words"], "every 1ms, at most 2 fires");
        assert_eq!(explained["moments"].as_array().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_refusal_names_the_field() {
    with_server(async |server| {
        for (preview, field) in [
            (json!({}), "schedule"),
            (json!({"schedule": {"kind": "cron", "cron": "x"}}), "schedule.cron"),
            (json!({"schedule": {"kind": "every", "period_ms": 0}}), "schedule.period_ms"),
            (json!({"schedule": {"kind": "once"}, "count": 101}), "count"),
            (json!({"schedule": {"kind": "once"}, "jitter_ms": 0}), "jitter_ms"),
            (json!({"schedule": {"kind": "once"}, "name": "n"}), "name"),
        ] {
            let refused = server.post(PATH, &preview).await;
            assert_eq!(parse_problem(refused), invalid_field(field), "{preview}");
        }
    })
    .await;
}

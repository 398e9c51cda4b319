//! The legacy task API, answer by answer, under both prefixes.

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::http::HttpLimits;

use crate::store::lists::{LARGE, large_data};

use super::{
    LIMITS, NOW, NOW_SEC, PREFIXES, Server, Setup, one_shot, status_and_body, with_changes, with_server,
};

#[tokio::test]
async fn a_task_is_returned_as_it_was_created() {
    with_server(async |server| {
        let (start_time, end_time) = (NOW_SEC + 60, NOW_SEC + 6_000);
        let full = json!({
            "name": "order.close", "type": 2, "data": "{\"id\":42}", "crontab": "", "loop_time": 7,
            "loop_count": 3, "start_time": start_time, "end_time": end_time, "max_runtime": 30, "ack": true,
        });
        let cron =
            json!({"name": "订单", "type": 3, "data": "", "crontab": "TZ=Asia/Shanghai 1,5,3 * 1-10 * *"});
        for prefix in PREFIXES {
            for task in [&full, &cron, &one_shot()] {
                let (status, reply) = server.post(&format!("{prefix}/task"), task).await;
                let id = reply["taskid"].as_str().expect("the id is a string").to_owned();
                assert_eq!((status, &reply), (200, &json!({"taskid": id, "name": task["name"]})));
                let absent = json!({
                    "_id": id, "crontab": "", "loop_time": 0, "loop_count": 0, "start_time": 0, "end_time": 0,
                    "max_runtime": 0, "ack": false, "created_at": NOW_SEC,
                });
                let shown = server.get(&format!("{prefix}/query-task-by-id?taskid={id}")).await;
                assert_eq!(shown, (200, with_changes(absent, task)));
            }
        }
    })
    .await;
}

/// The old consumer cannot report outcomes.
#[tokio::test]
async fn ack_is_ignored_unless_the_configuration_waits_for_reports() {
    for waits in [false, true] {
        let setup = Setup { legacy_ack: waits, ..Setup::default() };
        let test = async |server: &Server| {
            let id = server.add(&with_changes(one_shot(), &json!({"ack": true, "max_runtime": 3}))).await;
            let shown = server.get(&format!("/v1/api/query-task-by-id?taskid={id}")).await.1;
            assert_eq!((&shown["ack"], &shown["max_runtime"]), (&json!(waits), &json!(3)));
        };
        setup.with_server(test).await;
    }
}

#[tokio::test]
async fn every_cron_syntax_of_the_contract_is_accepted() {
    with_server(async |server| {
        for crontab in [
            "1,5,3 * 1-10 * *",
            "55-58 * * * *",
            "*/5 * * * * *",
            "@every 1h30m",
            "@daily",
            "TZ=Asia/Shanghai 0 9 * * *",
        ] {
            server.add(&json!({"name": "n", "type": 3, "data": crontab, "crontab": crontab})).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_live_task_with_the_same_name_and_data_returns_the_first() {
    with_server(async |server| {
        let first = server.add(&one_shot()).await;
        assert_eq!(server.add(&with_changes(one_shot(), &json!({"start_time": NOW_SEC + 9}))).await, first);
        let keyed = with_changes(one_shot(), &json!({"dedup_key": "k"}));
        let second = server.add(&keyed).await;
        assert_ne!(second, first, "an explicit key replaces the pair of name and data");
        assert_eq!(server.add(&with_changes(keyed, &json!({"data": "43"}))).await, second);
        server.post("/v1/api/delete-task", &json!({"ids": [first]})).await;
        assert_ne!(server.add(&one_shot()).await, first, "a deleted task frees its pair of name and data");
    })
    .await;
}

#[tokio::test]
async fn the_content_type_does_not_matter() {
    with_server(async |server| {
        for kind in ["text/plain", "application/x-www-form-urlencoded", "nonsense"] {
            let request = server.client.post(format!("http://{}/v1/api/task", server.address));
            let response =
                request.header("content-type", kind).body(one_shot().to_string()).send().await.unwrap();
            assert_eq!(status_and_body(response).await.0, 200, "{kind}");
        }
    })
    .await;
}

#[tokio::test]
async fn deleting_a_one_shot_succeeds_also_when_repeated() {
    with_server(async |server| {
        for prefix in PREFIXES {
            let id = server.add(&one_shot()).await;
            let ids = json!({"ids": [id, "0".repeat(32), "malformed", ""]});
            let deleted = server.post(&format!("{prefix}/delete-task"), &ids).await;
            assert_eq!(deleted, (200, json!({"SucIds": [id]})), "unknown and malformed ids are omitted");
            let again = server.post(&format!("{prefix}/delete-task"), &ids).await;
            assert_eq!(again, (200, json!({"SucIds": [id]})), "a repeated delete returns the same answer");
            let shown = server.get(&format!("{prefix}/query-task-by-id?taskid={id}")).await;
            assert_eq!(shown, (404, json!({"err": 404, "msg": "not found"})));
        }
    })
    .await;
}

pub async fn every_task_of_a_name_is_deleted(server: &Server) {
    for prefix in PREFIXES {
        let first = server.add(&one_shot()).await;
        let second = server.add(&with_changes(one_shot(), &json!({"data": "43"}))).await;
        server.add(&with_changes(one_shot(), &json!({"name": "another"}))).await;
        let path = format!("{prefix}/delete-task-by-name");
        let (status, reply) = server.post(&path, &json!({"name": "order.close"})).await;
        let mut ids: Vec<_> = reply["SucIds"].as_array().unwrap().clone();
        ids.sort_by_key(Value::to_string);
        let mut wanted = vec![json!(first), json!(second)];
        wanted.sort_by_key(Value::to_string);
        assert_eq!((status, ids), (200, wanted));
        assert_eq!(server.post(&path, &json!({"name": "order.close"})).await, (200, json!({"SucIds": []})));
    }
}

#[tokio::test]
async fn tasks_of_a_name_are_listed_page_by_page_or_all_at_once() {
    // The old server had no pages: it returned every task of a name at once.
    with_server(async |server| {
        let mut ids = Vec::new();
        for n in 0..5 {
            ids.push(server.add(&with_changes(one_shot(), &json!({"data": n.to_string()}))).await);
        }
        ids.sort_by(|one, other| other.cmp(one));
        for prefix in PREFIXES {
            let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let path = format!("{prefix}/query-task-by-name?name=order.close&limit=2&cursor={cursor}");
                let response = server.send(Method::GET, &path, "").await;
                let next =
                    response.headers().get("x-next-cursor").map(|next| next.to_str().unwrap().to_owned());
                let (status, tasks) = status_and_body(response).await;
                assert_eq!(status, 200);
                seen.extend(
                    tasks.as_array().unwrap().iter().map(|task| task["_id"].as_str().unwrap().to_owned()),
                );
                pages += 1;
                match next {
                    Some(next) => cursor = next,
                    None => break,
                }
            }
            assert_eq!((pages, seen), (3, ids.clone()), "newest first, each once");
            let (_, all) = server.get(&format!("{prefix}/query-task-by-name?name=order.close")).await;
            assert_eq!(all.as_array().unwrap().len(), 5);
            let none = server.get(&format!("{prefix}/query-task-by-name?name=nobody")).await;
            assert_eq!(none, (200, json!([])));
        }
    })
    .await;
}

#[tokio::test]
async fn a_page_may_hold_more_tasks_than_one_read_of_the_store() {
    with_server(async |server| {
        let tasks: Vec<_> =
            (0..205).map(|n| with_changes(one_shot(), &json!({"data": n.to_string()}))).collect();
        for tasks in tasks.chunks(50) {
            futures_util::future::join_all(tasks.iter().map(|task| server.add(task))).await;
        }
        let response =
            server.send(Method::GET, "/v1/api/query-task-by-name?name=order.close&limit=203", "").await;
        assert!(response.headers().contains_key("x-next-cursor"));
        let (_, tasks) = status_and_body(response).await;
        let ids: std::collections::BTreeSet<_> =
            tasks.as_array().unwrap().iter().map(|task| task["_id"].to_string()).collect();
        assert_eq!(ids.len(), 203);
    })
    .await;
}

/// Accepts tasks as large as [`large_data`] makes them.
pub fn setup_for_large_tasks() -> Setup {
    let limits = HttpLimits { body_limit_bytes: 2 * LARGE[1], ..LIMITS };
    Setup { limits, ..Setup::default() }
}

pub async fn large_tasks_are_listed_page_by_page(server: &Server) {
    let [count, _] = LARGE;
    for n in 0..count {
        server.add(&with_changes(one_shot(), &json!({"data": large_data(n)}))).await;
    }
    let (mut cursor, mut seen) = (String::new(), 0);
    loop {
        let (_, page) = server.get(&format!("/v1/tasks?name=order.close&cursor={cursor}")).await;
        seen += page["tasks"].as_array().unwrap().len();
        let Some(next) = page["next_cursor"].as_str() else { break };
        next.clone_into(&mut cursor);
    }
    assert_eq!(seen, count);
}

#[tokio::test]
async fn a_page_cut_short_by_large_tasks_has_a_cursor() {
    setup_for_large_tasks().with_server(large_tasks_are_listed_page_by_page).await;
}

#[tokio::test]
async fn loop_time_and_loop_count_are_not_swapped_in_storage() {
    with_server(async |server| {
        let task = json!({"name": "n", "type": 2, "data": "d", "loop_time": 7, "loop_count": 3});
        let id = server.add(&task).await;
        let (_, shown) = server.get(&format!("/v1/api/query-task-by-id?taskid={id}")).await;
        assert_eq!((&shown["loop_time"], &shown["loop_count"]), (&json!(7), &json!(3)));
        let stored =
            server.state.service.task(&taskcenter_server::core::TaskId::parse(&id).unwrap()).await.unwrap();
        assert_eq!(stored.max_fires, Some(3));
        assert_eq!(stored.schedule, taskcenter_server::core::Schedule::Every { period_ms: 7_000 });
    })
    .await;
}

#[tokio::test]
async fn a_tag_called_total_does_not_collide_with_the_total() {
    with_server(async |server| {
        let fires = [("tag1", 1), ("total", 2), ("tag:total", 4)].map(|(tag, fires)| (tag.to_owned(), fires));
        server.store.count_fires(NOW, &fires).await.unwrap();
        server.store.count_fires(NOW.plus_ms(-60_000), &fires).await.unwrap();
        let stat = json!({"total": "7", "tag1": "1", "tag:total": "2", "tag:tag:total": "4"});
        for prefix in PREFIXES {
            assert_eq!(server.get(&format!("{prefix}/task/stat")).await, (200, stat.clone()));
        }
    })
    .await;
}

//! Tasks of the resource API: creating, listing, editing, pausing, cancelling, triggering.

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::core::submission::Dedup;
use taskcenter_server::core::{Moment, Run, RunState, TaskId};
use taskcenter_server::engine::service::definition;

use super::{
    NOW, NOW_SEC, Server, invalid_field, one_shot, parse_problem, refusal, status_and_body, with_changes,
    with_server,
};

/// [`NOW`] as the API writes it.
const NOW_TEXT: &str = "2033-05-18T03:33:20Z";

fn hourly() -> Value {
    json!({"name": "report", "data": "d", "schedule": {"kind": "every", "period_ms": 3_600_000}})
}

fn path(task: &Value) -> String {
    format!("/v1/tasks/{}", task["id"].as_str().unwrap())
}

async fn stored(server: &Server, task: &Value) -> taskcenter_server::core::Task {
    let id = TaskId::parse(task["id"].as_str().unwrap()).unwrap();
    server.store.task(&id).await.unwrap().unwrap()
}

pub async fn a_task_is_returned_as_it_was_created(server: &Server) {
    let full = json!({
        "name": "report", "data": "{\"id\":42}",
        "schedule": {"kind": "cron", "cron": "0 9 * * *", "zone": "Asia/Shanghai"},
        "start_at": "2033-06-01T00:00:00.25Z", "end_at": "2034-01-01T08:00:00+08:00", "max_fires": 9, "ack": true,
        "max_runtime_sec": 30, "queue": "reports",
        "retry": {"max_attempts": 3, "backoff_ms": 100, "max_backoff_ms": 5_000}, "dedup_key": "k",
    });
    let response = server.send_with(Method::POST, "/v1/tasks", &[], &full).await;
    let (location, etag) = (response.headers()["location"].clone(), response.headers()["etag"].clone());
    let (status, mut task) = status_and_body(response).await;
    let warnings = task.as_object_mut().unwrap().remove("warnings");
    let expected =
        "the runs will wait for a worker on queue \"reports\"; none has asked this node for runs since";
    assert!(warnings.unwrap()[0].as_str().unwrap().starts_with(expected));
    assert_eq!(
        (status, location.to_str().unwrap(), etag),
        (201, path(&task).as_str(), "\"1\"".parse().unwrap())
    );
    let made = json!({
        "id": task["id"], "state": "active", "rev": 1, "created_at": NOW_TEXT, "last_due_at": null, "fired_count": 0,
        "next_due_at": "2033-06-01T01:00:00Z", "end_at": "2034-01-01T00:00:00Z",
    });
    let mut wanted = full.clone();
    wanted.as_object_mut().unwrap().extend(made.as_object().unwrap().clone());
    assert_eq!(task, wanted);
    let response = server.send(Method::GET, location.to_str().unwrap(), "").await;
    assert_eq!(response.headers()["etag"], "\"1\"");
    assert_eq!(status_and_body(response).await, (200, wanted));
}

#[tokio::test]
async fn omitted_fields_have_their_default() {
    with_server(async |server| {
        let task = server.create(&json!({"name": "n"})).await;
        let wanted = json!({
            "id": task["id"], "name": "n", "data": "", "schedule": {"kind": "once"}, "start_at": null, "end_at": null,
            "max_fires": null, "ack": false, "max_runtime_sec": null, "queue": null, "retry": null, "dedup_key": null,
            "state": "active", "rev": 1, "created_at": NOW_TEXT, "next_due_at": NOW_TEXT, "last_due_at": null,
            "fired_count": 0,
        });
        assert_eq!(task, wanted);
        let cron = server.create(&json!({"name": "n", "schedule": {"kind": "cron", "cron": "@daily"}})).await;
        assert_eq!(cron["schedule"]["zone"], "UTC", "the server's zone is kept with the task");
        let limited = server.create(&json!({"name": "n", "max_runtime_sec": 5})).await;
        let warning = limited["warnings"][0].as_str().unwrap();
        assert!(warning.starts_with("max_runtime_sec has no effect"), "{warning}");
        let reported = server.create(&json!({"name": "n", "max_runtime_sec": 5, "ack": true})).await;
        assert!(reported["warnings"].is_null(), "{reported}");
        let delayed = server.create(&json!({"name": "n", "delay_ms": 1_500})).await;
        assert_eq!(delayed["start_at"], "2033-05-18T03:33:21.5Z");
    }).await;
}

#[tokio::test]
async fn without_a_dedup_key_every_task_is_new() {
    with_server(async |server| {
        let first = server.create(&hourly()).await;
        assert_ne!(server.create(&hourly()).await["id"], first["id"]);
        let keyed = with_changes(hourly(), &json!({"dedup_key": "k"}));
        let keyed_first = server.create(&keyed).await;
        let (status, again) = server.post("/v1/tasks", &with_changes(keyed, &json!({"data": "other"}))).await;
        let mut wanted = keyed_first;
        wanted["existing"] = json!(true);
        assert_eq!((status, again), (200, wanted), "the live task with this key");
    })
    .await;
}

#[tokio::test]
async fn a_create_can_reject_or_replace_the_live_task() {
    with_server(async |server| {
        let keyed = with_changes(hourly(), &json!({"dedup_key": "k"}));
        let live = server.create(&keyed).await;
        let (status, problem) =
            server.post("/v1/tasks", &with_changes(keyed.clone(), &json!({"on_conflict": "reject"}))).await;
        assert_eq!((status, &problem["code"], &problem["task_id"]), (409, &json!("duplicate"), &live["id"]));

        let replacing = with_changes(keyed, &json!({"on_conflict": "replace", "data": "new"}));
        let headers = [("Idempotency-Key", "r")];
        let replace = async || {
            let response = server.send_with(Method::POST, "/v1/tasks", &headers, &replacing).await;
            let etag = response.headers()["etag"].clone();
            (etag, status_and_body(response).await)
        };
        let (etag, (status, replaced)) = replace().await;
        let expected = json!({"id": live["id"], "rev": 2, "data": "new", "existing": true, "replaced": true});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&replaced[name], value, "{name}");
        }
        assert_eq!((status, etag), (200, "\"2\"".parse().unwrap()));
        assert_eq!(replace().await.1, (200, replaced), "the repeated request changes nothing");

        let batch = json!({"tasks": [replacing, {"name": "n", "on_conflict": "replace"}]});
        let (_, reply) = server.post("/v1/tasks", &batch).await;
        assert_eq!(reply["results"][0], json!({"status": 200, "id": live["id"], "replaced": true}));
        let (_, run) = server.post(&format!("{}/trigger", path(&live)), &json!({})).await;
        let open = json!([run["run_id"]]);
        let (_, replaced) = server.post("/v1/tasks", &replacing).await;
        assert_eq!(replaced["open_runs"], open, "{replaced}");
        assert_eq!(server.post("/v1/tasks", &batch).await.1["results"][0]["open_runs"], open);
        assert!(replaced.get("more_open_runs").is_none());
        let problem = (400, reply["results"][1]["problem"].clone());
        assert_eq!(parse_problem(problem), invalid_field("tasks[1].on_conflict"));
        let patch = json!({"on_conflict": "replace"});
        let edit = server.request(Method::PATCH, &path(&live), &[("If-Match", "*")], &patch).await;
        assert_eq!(parse_problem(edit), invalid_field("on_conflict"), "an edit has no conflict of a create");
    })
    .await;
}

#[tokio::test]
async fn a_debounced_create_joins_the_waiting_task() {
    with_server(async |server| {
        let debounced = |changes: Value| {
            let spec =
                json!({"name": "save", "dedup_key": "7", "debounce": {"quiet_ms": 30_000, "max_ms": 60_000}});
            with_changes(spec, &changes)
        };
        let first = server.create(&debounced(json!({"data": "a"}))).await;
        assert_eq!(first["next_due_at"], "2033-05-18T03:33:50Z");
        let (status, joined) = server.post("/v1/tasks", &debounced(json!({"data": "b"}))).await;
        assert_eq!((status, &joined["id"], &joined["data"]), (200, &first["id"], &json!("b")));
        assert_eq!((&joined["existing"], &joined["replaced"]), (&json!(true), &json!(true)));
        for (changes, field) in [
            (json!({"debounce": {"quiet_ms": 0, "max_ms": 1}}), "debounce.quiet_ms"),
            (json!({"debounce": {"quiet_ms": 2, "max_ms": 1}}), "debounce.max_ms"),
            (json!({"debounce": {"quiet_ms": 1, "max_ms": u64::MAX}}), "debounce.max_ms"),
            (json!({"debounce": {"quiet_ms": 1}}), "debounce.max_ms"),
            (json!({"debounce": {"quiet_ms": 1, "max_ms": 1, "leading": true}}), "debounce.leading"),
            (json!({"dedup_key": null}), "dedup_key"),
            (json!({"schedule": {"kind": "every", "period_ms": 5}}), "schedule"),
            (json!({"start_at": "2033-06-01T00:00:00Z"}), "start_at"),
            (json!({"delay_ms": 5}), "delay_ms"),
            (json!({"jitter_ms": 5}), "jitter_ms"),
            (json!({"on_conflict": "replace"}), "on_conflict"),
        ] {
            let refused = server.post("/v1/tasks", &debounced(changes.clone())).await;
            assert_eq!(parse_problem(refused), invalid_field(field), "{changes}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_end_in_the_last_days_of_the_calendar_is_its_end() {
    with_server(async |server| {
        let task = server.create(&json!({"name": "n", "end_at": "9999-12-31T23:59:59Z"})).await;
        assert_eq!(task["end_at"], "9999-12-30T22:00:00.999999999Z");
        let patch = json!({"end_at": "9999-12-31T00:00:00+01:00"});
        let (_, edited) = server.request(Method::PATCH, &path(&task), &[("If-Match", "*")], &patch).await;
        assert_eq!(edited["task"]["end_at"], task["end_at"]);
    })
    .await;
}

#[tokio::test]
async fn json_is_stored_as_its_text() {
    with_server(async |server| {
        let task = server.create(&json!({"name": "n", "json": {"id": 7, "tags": [null]}})).await;
        assert_eq!(task["data"], r#"{"id":7,"tags":[null]}"#);
        let patch = json!({"json": {"id": null}});
        let (_, edited) = server.request(Method::PATCH, &path(&task), &[("If-Match", "*")], &patch).await;
        assert_eq!(edited["task"]["data"], r#"{"id":null}"#);
        let both = server.post("/v1/tasks", &json!({"name": "n", "json": 7, "data": "x"})).await;
        assert_eq!(parse_problem(both), invalid_field("json"));
        let (_, problem) = server.post("/v1/tasks", &json!({"name": "n", "data": {"id": 7}})).await;
        assert_eq!(
            problem["detail"],
            "data: expected a string, got an object. Send JSON as a string, or use `json`"
        );
    })
    .await;
}

#[tokio::test]
async fn a_callback_to_an_unknown_service_is_created_with_a_warning() {
    with_server(async |server| {
        let task = json!({"name": "n", "queue": "callback", "json": {"service": "shp", "path": "/"}});
        let warnings = server.create(&task).await["warnings"].clone();
        assert_eq!(
            warnings[1],
            "the callback service \"shp\" does not exist: create it by POST /v1/services"
        );
        let put = json!({"name": "shp", "nodes": [{"url": "http://example.org"}]});
        assert_eq!(server.post("/v1/services", &put).await.0, 201);
        assert!(server.create(&task).await["warnings"].get(1).is_none());
    })
    .await;
}

#[tokio::test]
async fn every_invalid_field_is_named() {
    with_server(async |server| {
        let cron = |cron: &str, zone: &str| json!({"schedule": {"kind": "cron", "cron": cron, "zone": zone}});
        for (changes, name) in [
            (json!({"name": null}), "name"),
            (json!({"name": ""}), "name"),
            (json!({"name": "a||b"}), "name"),
            (cron("* * 34 * *", "UTC"), "schedule.cron"),
            (cron("@daily", "Moon/Tycho"), "schedule.zone"),
            (json!({"schedule": {"kind": "every", "period_ms": 0}}), "schedule.period_ms"),
            (json!({"schedule": {"kind": "every", "period_ms": i64::MAX}}), "schedule.period_ms"),
            (json!({"schedule": {"kind": "every"}}), "schedule.period_ms"),
            (json!({"schedule": {"kind": "daily"}}), "schedule.kind"),
            (json!({"start_at": "1969-12-31T00:00:00Z"}), "start_at"),
            (json!({"start_at": "tomorrow"}), "start_at"),
            (json!({"start_at": NOW_SEC}), "start_at"),
            (json!({"start_at": "2033-06-01T00:00:00Z", "delay_ms": 1}), "delay_ms"),
            (json!({"delay_ms": u64::MAX}), "delay_ms"),
            (json!({"end_at": "2033-05-18T03:33:19Z"}), "end_at"),
            (json!({"start_at": "2033-06-02T00:00:00Z", "end_at": "2033-06-01T00:00:00Z"}), "end_at"),
            (json!({"max_fires": 0}), "max_fires"),
            (json!({"max_runtime_sec": 0}), "max_runtime_sec"),
            (json!({"max_runtime_sec": u64::MAX}), "max_runtime_sec"),
            (json!({"queue": "a|b"}), "queue"),
            (
                json!({"retry": {"max_attempts": 0, "backoff_ms": 1, "max_backoff_ms": 1}}),
                "retry.max_attempts",
            ),
            (json!({"retry": {"max_attempts": 1}}), "retry.backoff_ms"),
            (json!({"retry": {"intervals_ms": [1], "max_attempts": 2}}), "retry.intervals_ms"),
            (json!({"retry": {"intervals_ms": [1], "jitter_percent": 101}}), "retry.jitter_percent"),
            (json!({"dedup_key": ""}), "dedup_key"),
            (json!({"on_conflict": "reject"}), "on_conflict"),
            (json!({"on_conflict": "ignore", "dedup_key": "k"}), "on_conflict"),
            (json!({"loop_time": 5}), "loop_time"),
        ] {
            let refused = server.post("/v1/tasks", &with_changes(hourly(), &changes)).await;
            assert_eq!(parse_problem(refused), invalid_field(name), "{changes}");
        }
        assert_eq!(server.get("/v1/tasks").await.1["tasks"], json!([]), "no task was stored");
    })
    .await;
}

#[tokio::test]
async fn the_tasks_of_a_batch_succeed_or_fail_independently() {
    with_server(async |server| {
        let bad_cron = json!({"name": "n", "schedule": {"kind": "cron", "cron": "nonsense"}});
        let twice = json!({"name": "n", "delay_ms": 1, "start_at": "2033-06-01T00:00:00Z"});
        let keyed = json!({"name": "n", "dedup_key": "k"});
        let tasks = json!({"tasks": [hourly(), bad_cron, keyed, twice, keyed, hourly()]});
        let (status, reply) = server.post("/v1/tasks", &tasks).await;
        let results = reply["results"].as_array().unwrap_or_else(|| panic!("{reply}"));
        let statuses: Vec<_> = results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
        assert_eq!((status, statuses), (200, vec![201, 400, 201, 400, 200, 201]));
        assert_eq!(results[2]["id"], results[4]["id"]);
        for (at, name) in [(1, "tasks[1].schedule.cron"), (3, "tasks[3].delay_ms")] {
            assert_eq!(parse_problem((400, results[at]["problem"].clone())), invalid_field(name));
            assert!(results[at].get("id").is_none());
        }
        for at in [0, 2, 5] {
            let (status, task) = server.get(&path(&results[at])).await;
            assert_eq!((status, &task["name"]), (200, &tasks["tasks"][at]["name"]));
        }
    })
    .await;
}

#[tokio::test]
async fn a_malformed_batch_is_refused_as_a_whole() {
    with_server(async |server| {
        for (tasks, name) in [
            (json!([]), "tasks"),
            (json!(vec![json!({"name": "n"}); 1_001]), "tasks"),
            (json!("n"), "tasks"),
            (json!([hourly(), 7]), "tasks[1]"),
            (json!([hourly(), {"name": "n", "max_fires": "9"}]), "tasks[1].max_fires"),
            (
                json!([hourly(), {"name": "n", "schedule": {"kind": "cron", "cron": 9}}]),
                "tasks[1].schedule.cron",
            ),
            (json!([hourly(), {"nam": "n"}]), "tasks[1].nam"),
        ] {
            assert_eq!(
                parse_problem(server.post("/v1/tasks", &json!({"tasks": tasks})).await),
                invalid_field(name)
            );
        }
        let more = json!({"tasks": [hourly()], "name": "n"});
        assert_eq!(parse_problem(server.post("/v1/tasks", &more).await), invalid_field("name"));
        assert_eq!(server.get("/v1/tasks").await.1["tasks"], json!([]));
    })
    .await;
}

pub async fn a_request_with_an_idempotency_key_is_executed_once(server: &Server) {
    let post = async |key: &str, body: &Value| {
        server.request(Method::POST, "/v1/tasks", &[("Idempotency-Key", key)], body).await
    };
    // The delay counts from the first request.
    let delayed = with_changes(hourly(), &json!({"delay_ms": 5_000}));
    let (status, first) = post("k1", &delayed).await;
    assert_eq!(post("k1", &delayed).await, (status, first.clone()));
    assert_eq!(status, 201);
    assert_ne!(post("k2", &delayed).await.1["id"], first["id"]);
    let several = json!({"tasks": [hourly(), {"name": "n", "max_fires": 0}, hourly()]});
    let created = post("k3", &several).await;
    assert_eq!(created.1["results"][1]["status"], 400);
    assert_eq!(post("k3", &several).await, created);
    let reused = refusal(422, "idempotency_key_reused");
    assert_eq!(
        parse_problem(post("k1", &with_changes(delayed.clone(), &json!({"data": "other"}))).await),
        reused
    );
    assert_eq!(parse_problem(post("k3", &delayed).await), reused);
    for key in ["", "a b", &"k".repeat(256)] {
        assert_eq!(parse_problem(post(key, &delayed).await), invalid_field("Idempotency-Key"), "{key:?}");
    }
    assert_eq!(server.get("/v1/tasks").await.1["tasks"].as_array().unwrap().len(), 4);
}

pub async fn tasks_are_listed_page_by_page(server: &Server) {
    let mut tasks = Vec::new();
    for n in 0..5 {
        tasks.push(server.create(&json!({"name": format!("n{}", n % 2)})).await);
    }
    // All tasks have the same creation time, so the id decides their order.
    tasks.sort_by_key(|task| std::cmp::Reverse(task["id"].to_string()));
    let ids: Vec<Value> = tasks.iter().map(|task| task["id"].clone()).collect();
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let (status, page) = server.get(&format!("/v1/tasks?limit=2&cursor={cursor}")).await;
        assert_eq!(status, 200);
        seen.extend(page["tasks"].as_array().unwrap().iter().map(|task| task["id"].clone()));
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!((pages, &seen), (3, &ids), "newest first, each once");
    let of = async |query: &str| {
        let (_, page) = server.get(&format!("/v1/tasks?{query}")).await;
        page["tasks"].as_array().unwrap().iter().map(|task| task["id"].clone()).collect::<Vec<_>>()
    };
    let named = |name: &str, among: &[Value]| {
        let tasks = among.iter().filter(|task| task["name"] == name);
        tasks.map(|task| task["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("name=n1").await, named("n1", &tasks));
    server.post(&format!("{}/pause", path(&tasks[0])), &json!({})).await;
    server.post(&format!("{}/cancel", path(&tasks[1])), &json!({})).await;
    server.send(Method::DELETE, &path(&tasks[2]), "").await;
    assert_eq!(of("state=paused").await, [ids[0].clone()]);
    assert_eq!(of("state=cancelled").await, [ids[1].clone()]);
    assert_eq!(of("state=active&name=n0").await, named("n0", &tasks[3..]));
    assert_eq!(
        of("name=&state=").await,
        [ids[0].clone(), ids[3].clone(), ids[4].clone()],
        "empty filters select every task that is not hidden"
    );
}

#[tokio::test]
async fn an_invalid_list_parameter_is_named() {
    with_server(async |server| {
        for (query, name) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=many", "limit"),
            ("state=deleted", "state"),
            ("cursor=x", "cursor"),
            ("sate=active", "sate"),
            ("name=a&name=b", "name"),
        ] {
            assert_eq!(
                parse_problem(server.get(&format!("/v1/tasks?{query}")).await),
                invalid_field(name),
                "{query}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn an_edit_requires_the_current_revision() {
    with_server(async |server| {
        let task = server.create(&hourly()).await;
        let patch = async |headers: &[(&str, &str)]| {
            server.request(Method::PATCH, &path(&task), headers, &json!({"data": "other"})).await
        };
        let absent = (428, "if_match_required".to_owned(), Some("If-Match".to_owned()));
        assert_eq!(parse_problem(patch(&[]).await), absent);
        for wrong in ["1", "W/\"1\"", "\"x\"", "\"1\", \"2\""] {
            assert_eq!(
                parse_problem(patch(&[("If-Match", wrong)]).await),
                invalid_field("If-Match"),
                "{wrong}"
            );
        }
        let response = server
            .send_with(Method::PATCH, &path(&task), &[("If-Match", "\"1\"")], &json!({"data": "new"}))
            .await;
        assert_eq!(response.headers()["etag"], "\"2\"");
        let (status, changed) = status_and_body(response).await;
        assert_eq!(
            (status, &changed["task"]["data"], &changed["task"]["rev"]),
            (200, &json!("new"), &json!(2))
        );
        let moved = refusal(412, "revision_moved");
        assert_eq!(parse_problem(patch(&[("If-Match", "\"1\"")]).await), moved);
        assert_eq!(patch(&[("If-Match", "*")]).await.1["task"]["rev"], 3);
        for (method, action) in [
            (Method::POST, "/pause"),
            (Method::POST, "/resume"),
            (Method::POST, "/cancel"),
            (Method::DELETE, ""),
        ] {
            let stale = server
                .request(method, &format!("{}{action}", path(&task)), &[("If-Match", "\"2\"")], &json!({}))
                .await;
            assert_eq!(parse_problem(stale), moved, "{action}");
        }
        let (_, shown) = server.get(&path(&task)).await;
        assert_eq!((&shown["rev"], &shown["state"]), (&json!(3), &json!("active")), "the task is unchanged");
    })
    .await;
}

#[tokio::test]
async fn every_field_can_be_changed_and_cleared() {
    with_server(async |server| {
        let mut task = server.create(&with_changes(hourly(), &json!({"dedup_key": "k"}))).await;
        let patches = [
            json!({"name": "other"}),
            json!({"data": "other"}),
            json!({"schedule": {"kind": "cron", "cron": "0 9 * * *", "zone": "Asia/Shanghai"}}),
            json!({"schedule": {"kind": "cron", "cron": "0 8 * * *", "zone": "Asia/Shanghai"}}),
            json!({"start_at": "2033-06-01T00:00:00.25Z"}),
            json!({"end_at": "2034-06-01T00:00:00Z"}),
            json!({"max_fires": 7}),
            json!({"ack": true}),
            json!({"max_runtime_sec": 9}),
            json!({"queue": "q"}),
            json!({"retry": {"max_attempts": 3, "backoff_ms": 1, "max_backoff_ms": 2}}),
            json!({"dedup_key": "other"}),
            json!({"start_at": null, "end_at": null, "max_fires": null, "max_runtime_sec": null, "queue": null,
                   "retry": null, "dedup_key": null}),
            json!({"schedule": {"kind": "once"}, "data": "", "ack": false}),
        ];
        for (nth, patch) in patches.iter().enumerate() {
            let (status, changed) = server.request(Method::PATCH, &path(&task), &[("If-Match", "*")], patch).await;
            assert_eq!(status, 200, "{patch}: {changed}");
            let mut wanted = task.clone();
            wanted.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
            wanted["rev"] = json!(nth + 2);
            wanted["next_due_at"] = changed["task"]["next_due_at"].clone();
            assert_eq!(changed, json!({"task": wanted, "open_runs": [], "more_open_runs": false}), "{patch}");
            assert_eq!(server.get(&path(&task)).await, (200, wanted.clone()), "it is stored");
            task = wanted;
        }
        let delayed =
            server.request(Method::PATCH, &path(&task), &[("If-Match", "*")], &json!({"delay_ms": 1_000})).await;
        assert_eq!(delayed.1["task"]["next_due_at"], "2033-05-18T03:33:21Z");
    }).await;
}

#[tokio::test]
async fn an_edit_keeps_omitted_fields() {
    with_server(async |server| {
        let id = server.add(&one_shot()).await;
        let task = json!({"id": id});
        let patch = async |patch: Value| {
            server.request(Method::PATCH, &path(&task), &[("If-Match", "*")], &patch).await
        };
        assert_eq!(patch(json!({"ack": true})).await.0, 200);
        assert_eq!(
            definition(&stored(server, &task).await).dedup,
            Dedup::Pair,
            "name and data still identify the task"
        );
        assert_eq!(patch(json!({"dedup_key": null})).await.0, 200);
        assert_eq!(definition(&stored(server, &task).await).dedup, Dedup::Nothing);
    })
    .await;
}

#[tokio::test]
async fn a_refused_edit_changes_nothing() {
    with_server(async |server| {
        let task = server.create(&with_changes(hourly(), &json!({"dedup_key": "a"}))).await;
        server.create(&with_changes(hourly(), &json!({"dedup_key": "b"}))).await;
        let patch = async |patch: &Value| {
            let refused = server.request(Method::PATCH, &path(&task), &[("If-Match", "*")], patch).await;
            parse_problem(refused)
        };
        for (changes, name) in [
            (json!({"nam": "n"}), "nam"),
            (json!({"state": null}), "state"),
            (json!({"name": null}), "name"),
            (json!({"name": 7}), "name"),
            (json!({"schedule": {"cron": "@daily"}}), "schedule.cron"),
            (json!({"schedule": {"kind": "cron", "cron": "nonsense"}}), "schedule.cron"),
            (json!({"schedule": {"period_ms": 0}}), "schedule.period_ms"),
            (json!({"end_at": "2033-05-18T03:33:19Z"}), "end_at"),
            (json!({"retry": {"max_attempts": 3}}), "retry.backoff_ms"),
        ] {
            assert_eq!(patch(&changes).await, invalid_field(name), "{changes}");
        }
        assert_eq!(patch(&json!({"dedup_key": "b"})).await, refusal(409, "duplicate"));
        assert_eq!(server.get(&path(&task)).await.1, task);
        server.post(&format!("{}/cancel", path(&task)), &json!({})).await;
        assert_eq!(patch(&json!({"data": "x"})).await, refusal(409, "task_over"));
    })
    .await;
}

#[tokio::test]
async fn a_task_is_paused_and_resumed() {
    with_server(async |server| {
        let task = server.create(&hourly()).await;
        let post = async |action: &str| {
            let (status, changed) = server.post(&format!("{}/{action}", path(&task)), &json!({})).await;
            (status, changed["task"]["state"].clone(), changed["task"]["rev"].clone())
        };
        let answer_with = |state: &str, rev: u32| (200, json!(state), json!(rev));
        assert_eq!(post("pause").await, answer_with("paused", 2));
        assert_eq!(post("pause").await, answer_with("paused", 2), "the task is already paused");
        assert_eq!(post("resume").await, answer_with("active", 3));
        assert_eq!(post("resume").await, answer_with("active", 3));
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_task_is_visible_and_a_deleted_one_is_not() {
    with_server(async |server| {
        let waiting = server.ready("42").await;
        let task = json!({"id": waiting.task_id});
        let mut held = Run::firing(&stored(server, &task).await, NOW.plus_ms(1), "node", "t".into(), NOW);
        held.mark_fired(NOW).unwrap();
        held.attention_at = Some(NOW.plus_ms(60_000));
        server.store.insert_runs(std::slice::from_ref(&held)).await.unwrap();

        let (status, cancelled) = server.post(&format!("{}/cancel", path(&task)), &json!({})).await;
        assert_eq!((status, &cancelled["task"]["state"]), (200, &json!("cancelled")));
        assert_eq!(cancelled["open_runs"], json!([held.id]), "the run that waited in its queue is cancelled");
        assert_eq!(server.store.run(&waiting.id).await.unwrap().unwrap().state, RunState::Cancelled);
        assert_eq!(server.get(&path(&task)).await.0, 200);
        let paused = server.post(&format!("{}/pause", path(&task)), &json!({})).await;
        assert_eq!(parse_problem(paused), refusal(409, "task_over"));

        let (status, deleted) = server.request(Method::DELETE, &path(&task), &[], &json!({})).await;
        assert_eq!(
            (status, &deleted["task"], &deleted["open_runs"]),
            (200, &cancelled["task"], &json!([held.id]))
        );
        assert_eq!(parse_problem(server.get(&path(&task)).await), refusal(404, "not_found"));
        let again = server.request(Method::DELETE, &path(&task), &[], &json!({})).await;
        assert_eq!(parse_problem(again), refusal(404, "not_found"), "the task is no longer visible");
    })
    .await;
}

#[tokio::test]
async fn a_task_is_triggered_with_another_payload() {
    with_server(async |server| {
        let task = server
            .create(&json!({"name": "n", "data": "own", "headers": {"a": "1"}, "delay_ms": 60_000}))
            .await;
        let trigger = async |key: &str, body: &Value| {
            let headers = [("Idempotency-Key", key)];
            server.request(Method::POST, &format!("{}/trigger", path(&task)), &headers, body).await
        };
        let shown = async |run: &Value| {
            let run = server.get(&format!("/v1/runs/{}", run["run_id"].as_str().unwrap())).await.1;
            (run["data"].clone(), run["headers"].clone())
        };
        let other = json!({"json": {"id": 43}, "headers": {"b": "2"}});
        let (status, run) = trigger("k", &other).await;
        assert_eq!((status, shown(&run).await), (202, (json!("{\"id\":43}"), json!({"b": "2"}))));
        assert_eq!(trigger("k", &other).await.1["run_id"], run["run_id"]);
        let reused = trigger("k", &json!({"data": "x"})).await;
        assert_eq!(parse_problem(reused), refusal(422, "idempotency_key_reused"));
        let (_, run) = trigger("l", &json!({})).await;
        assert_eq!(shown(&run).await, (json!("own"), json!({"a": "1"})));
        let (_, run) = trigger("m", &json!({"data": "", "headers": {}})).await;
        assert_eq!(shown(&run).await, (json!(""), Value::Null));
        for (body, field) in [
            (json!({"data": "x", "json": 1}), "json"),
            (json!({"data": 1}), "data"),
            (json!({"headers": {"host": "x"}}), "headers"),
            (json!({"payload": "x"}), "payload"),
        ] {
            assert_eq!(parse_problem(trigger("z", &body).await), invalid_field(field), "{body}");
        }
        assert_eq!(server.get(&path(&task)).await.1["data"], "own");
    })
    .await;
}

#[tokio::test]
async fn a_task_is_triggered() {
    with_server(async |server| {
        let task = server.create(&json!({"name": "n", "start_at": "2034-01-01T00:00:00Z"})).await;
        let trigger = async |headers: &[(&str, &str)]| {
            server.request(Method::POST, &format!("{}/trigger", path(&task)), headers, &json!({})).await
        };
        let (status, run) = trigger(&[]).await;
        let shown = (&run["state"], &run["triggered"], &run["scheduled_at"], &run["task_id"]);
        assert_eq!((status, shown), (202, (&json!("firing"), &json!(true), &json!(NOW_TEXT), &task["id"])));
        assert_ne!(trigger(&[]).await.1["run_id"], run["run_id"]);
        let keyed = trigger(&[("Idempotency-Key", "k")]).await;
        assert_eq!(trigger(&[("Idempotency-Key", "k")]).await, keyed);
        let another = server.create(&json!({"name": "n"})).await;
        let path_of_another = format!("{}/trigger", path(&another));
        let reused =
            server.request(Method::POST, &path_of_another, &[("Idempotency-Key", "k")], &json!({})).await;
        assert_eq!(parse_problem(reused), refusal(422, "idempotency_key_reused"));
        assert_eq!(
            stored(server, &task).await.next_due_at,
            Some(Moment::from_sec(2_019_686_400)),
            "the schedule is unchanged"
        );
        server.post(&format!("{}/cancel", path(&task)), &json!({})).await;
        assert_eq!(parse_problem(trigger(&[]).await), refusal(409, "task_over"));
    })
    .await;
}

#[tokio::test]
async fn unknown_and_malformed_ids_are_not_found() {
    with_server(async |server| {
        for (id, expected) in [
            (&*"0".repeat(32), refusal(404, "not_found")),
            ("7", refusal(404, "not_found")),
            ("%00", refusal(404, "not_found")),
            (&"a".repeat(3_000), refusal(404, "not_found")),
            ("%ff", invalid_field("task_id")),
        ] {
            for (method, action) in [
                (Method::GET, ""),
                (Method::PATCH, ""),
                (Method::DELETE, ""),
                (Method::POST, "/pause"),
                (Method::POST, "/resume"),
                (Method::POST, "/cancel"),
                (Method::POST, "/trigger"),
            ] {
                let path = format!("/v1/tasks/{id}{action}");
                let refused = server.request(method.clone(), &path, &[("If-Match", "*")], &json!({})).await;
                assert_eq!(parse_problem(refused), expected, "{method} {path}");
            }
        }
    })
    .await;
}

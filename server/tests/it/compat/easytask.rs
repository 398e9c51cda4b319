//! The legacy API of easytask. The tests act as the callback worker.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use taskcenter_server::compat::{Compat, Easytask};
use taskcenter_server::core::callback_service::{CallbackService, ServiceNode, SigningSecret};
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::{Moment, Run, RunState, TaskId, TaskState};

use taskcenter_server::engine::service::CALLBACK_SERVICES;
use taskcenter_server::ports::Page;

use super::easytask_callbacks::{Nodes, settings as worker_settings};
use super::{Failing, TestServer, answer, job};
use crate::service::NOW;
use crate::store::Fixture;

const TRACE: &str = "x-easy-task-trace-id";

fn legacy_apis() -> Compat {
    Compat { easytask: Easytask { enabled: true, ..Easytask::default() }, ..Compat::default() }
}

fn start(fixture: &dyn Fixture) -> TestServer {
    TestServer::new(fixture, legacy_apis())
}

/// Sends a request with the trace id `t` and returns the body of the answer.
async fn send(server: &TestServer, path: &str, body: &str) -> String {
    let request = Request::post(path).header(TRACE, "t").body(Body::from(body.to_owned())).unwrap();
    let answer = answer(server.send(request).await).await;
    assert_eq!((answer.status, answer.kind.as_str()), (200, "application/json"), "{answer:?}");
    answer.body
}

async fn post(server: &TestServer, path: &str, body: &Value) -> String {
    send(server, path, &body.to_string()).await
}

const DONE: &str = r#"{"code":0,"msg":"","data":{},"hint":"t"}"#;

fn refused(code: u32, msg: &str) -> String {
    json!({ "code": code, "msg": msg, "data": null, "hint": "t" }).to_string()
}

/// Asserts that the answer is this error, with its members in the order of the contract.
fn assert_refused(body: &str, code: u32, msg: &str) {
    assert_eq!(serde_json::from_str::<Value>(body).unwrap().to_string(), refused(code, msg));
    assert!(body.starts_with(&format!(r#"{{"code":{code},"msg":"#)), "{body}");
}

fn node(port: u16) -> Value {
    json!({ "name": "srv", "schema": "http", "host": "127.0.0.1", "port": port, "callback_timeout_sec": 5,
        "is_enable_health_check": true })
}

async fn register(server: &TestServer) {
    assert_eq!(post(server, "/add_task_server", &node(8080)).await, DONE);
}

fn one_shot(name: &str) -> Value {
    json!({ "name": name, "srv_name": "srv", "callback_path": "/cb", "sched_mode": 2, "time_spec_at": 1,
        "arg": "a", "biz_id": "b" })
}

fn with(mut task: Value, field: &str, value: Value) -> Value {
    task[field] = value;
    task
}

/// Adds a task and returns its id. The answer holds the id in `data` and at top level.
async fn add(server: &TestServer, task: &Value) -> TaskId {
    let body = post(server, "/add_task", task).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&answer["code"], &answer["data"]["task_id"]), (&json!(0), &answer["task_id"]), "{body}");
    TaskId::parse(answer["task_id"].as_str().unwrap()).unwrap()
}

async fn due(server: &TestServer, id: &TaskId) -> Option<Moment> {
    server.stage.service.task(id).await.unwrap().next_due_at
}

async fn confirm(server: &TestServer, id: &TaskId, run_times: u64, is_success: bool, extra: &str) -> String {
    let body = json!({ "task_id": id.as_str(), "task_run_times": run_times, "is_success": is_success, "extra": extra });
    post(server, "/confirm_task", &body).await
}

async fn log(server: &TestServer, id: &TaskId) -> Vec<Value> {
    let body = post(server, "/task_log", &json!({ "task_id": id.as_str() })).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    answer["data"]["logs"].as_array().unwrap().clone()
}

fn in_log(line: &Value) -> (u64, &str, &str) {
    (line["run_times"].as_u64().unwrap(), line["status"].as_str().unwrap(), line["extra"].as_str().unwrap())
}

async fn stored(server: &TestServer) -> Option<Value> {
    server.stage.service.read_record(CALLBACK_SERVICES, "srv").await.unwrap()
}

/// The section "HTTP API列表" of the document, request by request.
pub async fn every_request_of_the_document_is_answered_as_documented(fixture: &dyn Fixture) {
    let server = start(fixture);
    assert_eq!(post(&server, "/add_task_server", &node(8080)).await, DONE);
    let body = post(&server, "/add_task", &one_shot("n")).await;
    let id = serde_json::from_str::<Value>(&body).unwrap()["task_id"].as_str().unwrap().to_owned();
    let wanted = format!(r#"{{"code":0,"msg":"","data":{{"task_id":"{id}"}},"hint":"t","task_id":"{id}"}}"#);
    assert_eq!(body, wanted);
    let task = TaskId::parse(&id).unwrap();
    server.take(&task, "callback").await;
    let done = json!({ "task_id": id, "is_success": true, "extra": "e", "task_run_times": 1 });
    assert_eq!(post(&server, "/confirm_task", &done).await, DONE);
    assert_eq!(post(&server, "/confirm_task", &json!({ "task_id": id })).await, DONE);
    let gone = json!({ "name": "srv", "schema": "http", "host": "127.0.0.1", "port": 8080 });
    assert_eq!(post(&server, "/del_task_server", &gone).await, DONE);
}

pub async fn a_node_is_added_once_and_removing_the_last_one_removes_the_service(fixture: &dyn Fixture) {
    let server = start(fixture);
    for port in [8080, 8081, 8080] {
        assert_eq!(post(&server, "/add_task_server", &node(port)).await, DONE);
    }
    let service = stored(&server).await.unwrap();
    let urls: Vec<&str> =
        service["nodes"].as_array().unwrap().iter().map(|node| node["url"].as_str().unwrap()).collect();
    assert_eq!(urls, ["http://127.0.0.1:8080", "http://127.0.0.1:8081"]);
    assert_eq!((&service["name"], &service["timeout_ms"]), (&json!("srv"), &json!(5_000)));

    assert_eq!(post(&server, "/del_task_server", &node(8080)).await, DONE);
    add(&server, &one_shot("n")).await;
    assert_eq!(post(&server, "/del_task_server", &node(8081)).await, DONE);
    assert_eq!(stored(&server).await, None);
    assert_refused(
        &post(&server, "/add_task", &one_shot("n")).await,
        10_003,
        "task callback server not found",
    );
}

pub async fn an_unknown_node_or_service_is_10003(fixture: &dyn Fixture) {
    let server = start(fixture);
    let why = "task callback server not found";
    assert_refused(&post(&server, "/del_task_server", &node(8080)).await, 10_003, why);
    assert_refused(&post(&server, "/add_task", &one_shot("n")).await, 10_003, why);
    register(&server).await;
    assert_refused(&post(&server, "/del_task_server", &node(8081)).await, 10_003, why);
    let https = with(node(8080), "schema", json!("https"));
    assert_refused(&post(&server, "/del_task_server", &https).await, 10_003, why);
}

pub async fn an_invalid_node_is_10001(fixture: &dyn Fixture) {
    let server = start(fixture);
    for field in ["name", "schema", "host"] {
        for nothing in [json!(null), json!("")] {
            let body = post(&server, "/add_task_server", &with(node(1), field, nothing)).await;
            assert_refused(&body, 10_001, &format!("{field} is required"));
        }
    }
    let wrong = [
        ("schema", json!("ftp"), "schema should be http or https"),
        ("port", json!(0), "port should be between 1 and 65535"),
        ("port", json!(65_536), "port should be between 1 and 65535"),
        ("port", json!(null), "port should be between 1 and 65535"),
        ("port", json!("x"), "port should be an int"),
        ("host", json!("a/b"), "host should be a name or an address"),
        ("host", json!("user@a"), "host should be a name or an address"),
        ("host", json!("a b"), "host should be a name or an address"),
        ("is_enable_health_check", json!("yes"), "is_enable_health_check should be a bool"),
    ];
    for (field, value, why) in wrong {
        assert_refused(&post(&server, "/add_task_server", &with(node(1), field, value)).await, 10_001, why);
    }
    for body in ["", "{", "[]", "null", "7"] {
        assert_refused(
            &send(&server, "/add_task_server", body).await,
            10_001,
            "request arguments are invalid",
        );
    }
    assert_eq!(stored(&server).await, None, "no node was stored");
}

pub async fn cron_one_shot_and_interval_tasks_are_created(fixture: &dyn Fixture) {
    let server = start(fixture);
    register(&server).await;
    let mode = |name: &str, mode: u32, field: &str, value: Value| {
        with(json!({ "name": name, "srv_name": "srv", "sched_mode": mode }), field, value)
    };
    // 2001-09-09T01:46:40Z
    for (at, cron) in ["47 1 * * *", "0 47 1 * * *", "0 47 1 9 9 ? 2001"].into_iter().enumerate() {
        let id = add(&server, &mode(&format!("cron{at}"), 1, "time_cron", json!(cron))).await;
        assert_eq!(due(&server, &id).await, Some(NOW.plus_ms(20_000)), "{cron}");
    }
    for (at, cron) in ["0 0 L * *", "0 0 15W * ?", "0 0 ? * 5#2", "0 0 0 ? * 6L"].into_iter().enumerate() {
        add(&server, &mode(&format!("days{at}"), 1, "time_cron", json!(cron))).await;
    }
    let later = add(&server, &mode("later", 2, "time_spec_at", json!(NOW.sec() + 60))).await;
    assert_eq!(due(&server, &later).await, Some(NOW.plus_ms(60_000)));
    let past = add(&server, &mode("past", 2, "time_spec_at", json!(NOW.sec() - 60))).await;
    assert_eq!(due(&server, &past).await, Some(NOW), "a time in the past is due at once");
    let every = add(&server, &mode("every", 3, "time_interval_sec", json!(10))).await;
    assert_eq!(
        due(&server, &every).await,
        Some(NOW.plus_ms(10_000)),
        "the first moment is one interval away"
    );
}

pub async fn an_invalid_task_is_10001(fixture: &dyn Fixture) {
    let server = start(fixture);
    register(&server).await;
    for field in ["name", "srv_name", "sched_mode"] {
        let body = post(&server, "/add_task", &with(one_shot("n"), field, json!(null))).await;
        assert_refused(&body, 10_001, &format!("{field} is required"));
    }
    let mode = |mode: u32| json!({ "name": "n", "srv_name": "srv", "sched_mode": mode });
    let which = "sched_mode should be 1 (cron), 2 (specified time) or 3 (interval)";
    for (task, why) in [
        (mode(1), "time cron is empty"),
        (mode(2), "not specific time"),
        (mode(3), "specific time interval is empty"),
        (with(mode(2), "time_spec_at", json!(0)), "not specific time"),
        (with(mode(3), "time_interval_sec", json!(-1)), "specific time interval is empty"),
        (mode(0), which),
        (mode(4), which),
        (with(mode(1), "time_cron", json!("* 25 * * *")), "is not between 0 and 23"),
        (with(one_shot("n"), "arg", json!({"a": 1})), "arg should be a string"),
        (one_shot("a|b"), "name should not contain '|' or '*', which mean something in a tag filter"),
    ] {
        let body = post(&server, "/add_task", &task).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&body["code"], &body["data"], &body["task_id"]),
            (&json!(10_001), &json!(null), &json!(null))
        );
        assert!(body["msg"].as_str().unwrap().contains(why), "{body}");
    }
}

pub async fn name_and_biz_id_identify_a_task(fixture: &dyn Fixture) {
    let server = start(fixture);
    register(&server).await;
    let every = |name: &str, biz: &str, arg: &str| json!({ "name": name, "srv_name": "srv", "sched_mode": 3, "time_interval_sec": 60, "biz_id": biz, "arg": arg });
    let first = add(&server, &every("n", "1", "old")).await;
    assert_eq!(add(&server, &every("n", "1", "new")).await, first);
    let data = server.stage.service.task(&first).await.unwrap().data;
    assert!(data.contains("new") && !data.contains("old"), "{data}");
    assert_ne!(add(&server, &every("n", "2", "")).await, first);
    assert_ne!(add(&server, &every("m", "1", "")).await, first);

    // Concurrent requests create one task.
    let request = every("concurrent", "1", "");
    let ids = futures_util::future::join_all((0..8).map(|_| add(&server, &request))).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");

    // An ended task frees its name.
    assert_eq!(post(&server, "/stop_task", &json!({ "task_id": first.as_str() })).await, DONE);
    let next = add(&server, &every("n", "1", "again")).await;
    assert_ne!(next, first);
    assert_eq!(server.stage.service.task(&next).await.unwrap().state, TaskState::Active);
}

pub async fn registering_an_interval_again_keeps_its_grid(fixture: &dyn Fixture) {
    let server = start(fixture);
    register(&server).await;
    let every =
        |sec: u64| json!({ "name": "n", "srv_name": "srv", "sched_mode": 3, "time_interval_sec": sec });
    let id = add(&server, &every(60)).await;
    server.stage.clock.set(NOW.plus_ms(59_000));
    add(&server, &every(60)).await;
    assert_eq!(
        due(&server, &id).await,
        Some(NOW.plus_ms(60_000)),
        "a registration at start-up does not postpone the next moment"
    );
    add(&server, &every(30)).await;
    assert_eq!(due(&server, &id).await, Some(NOW.plus_ms(89_000)), "another interval starts a new grid");
}

pub async fn a_worker_gets_a_complete_callback_job(fixture: &dyn Fixture) {
    let server = start(fixture);
    register(&server).await;
    let id = add(&server, &one_shot("n")).await;
    let run = server.take(&id, "callback").await;
    let job = job(&run);
    let body: Value = serde_json::from_str(job["body"].as_str().unwrap()).unwrap();
    assert_eq!(body, json!({ "cmd": 1, "task_name": "n", "arg": "a", "biz_id": "b" }));
    assert_eq!(
        (run.task_id.clone(), run.number),
        (id, 1),
        "the worker adds the id and the number to the body"
    );
    let wanted = json!({
        "service": "srv", "path": "/cb", "body": job["body"], "timeout_ms": 5_000, "routing": "round_robin",
        "mode": "sync", "reply": "easytask", "headers": { TRACE: "t" }, "retry_after_ms": [],
    });
    assert_eq!(job, wanted);
    let service = stored(&server).await.unwrap();
    assert_eq!(service["heartbeat_body"], json!(r#"{"cmd":0}"#));
    assert_eq!(service["nodes"][0]["health_check"], json!(true));

    let bare = json!({ "name": "m", "srv_name": "srv", "sched_mode": 2, "time_spec_at": 1 });
    let id = add(&server, &bare).await;
    let run = server.take(&id, "callback").await;
    assert_eq!(super::job(&run)["path"], json!("/"));
}

pub async fn the_values_of_cmd_are_a_setting(fixture: &dyn Fixture) {
    let swapped = Easytask { enabled: true, swap_cmd: true, ..Easytask::default() };
    let server = TestServer::new(fixture, Compat { easytask: swapped, ..Compat::default() });
    register(&server).await;
    let id = add(&server, &one_shot("n")).await;
    let run = server.take(&id, "callback").await;
    let body: Value = serde_json::from_str(job(&run)["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["cmd"], json!(0));
    assert_eq!(stored(&server).await.unwrap()["heartbeat_body"], json!(r#"{"cmd":1}"#));
}

/// Adds a task with an interval of a minute. Its first two runs are leased.
async fn two_runs(server: &TestServer) -> (TaskId, [Run; 2]) {
    register(server).await;
    let every = json!({ "name": "n", "srv_name": "srv", "sched_mode": 3, "time_interval_sec": 60 });
    let id = add(server, &every).await;
    server.stage.clock.set(NOW.plus_ms(60_000));
    let first = server.take(&id, "callback").await;
    server.stage.clock.set(NOW.plus_ms(120_000));
    let second = server.take(&id, "callback").await;
    assert_eq!((first.number, second.number), (1, 2));
    (id, [first, second])
}

pub async fn a_confirmation_settles_the_run_it_names(fixture: &dyn Fixture) {
    let server = start(fixture);
    let (id, [first, second]) = two_runs(&server).await;
    assert_eq!(confirm(&server, &id, 2, true, "well").await, DONE);
    assert_eq!(server.stage.run(&first).await.state, RunState::Leased, "the other run is unchanged");
    let ended = server.stage.run(&second).await;
    assert_eq!((ended.state, ended.result.as_deref()), (RunState::Succeeded, Some(r#"{"message":"well"}"#)));
    assert_eq!(confirm(&server, &id, 1, false, "no ink").await, DONE);
    let ended = server.stage.run(&first).await;
    assert_eq!((ended.state, ended.reason.as_deref()), (RunState::Dead, Some("no ink")));
    // The service repeats a confirmation if the answer was lost.
    assert_eq!(confirm(&server, &id, 2, true, "well").await, DONE);
    assert_eq!(confirm(&server, &id, 2, false, "changed my mind").await, DONE);
    assert_eq!(server.stage.run(&second).await.state, RunState::Succeeded, "the first confirmation counts");
}

pub async fn a_confirmation_after_the_timeout_is_accepted_and_recorded(fixture: &dyn Fixture) {
    let server = start(fixture);
    let (id, [first, second]) = two_runs(&server).await;
    server.settle(&first, Outcome::Dead, Some("no confirmation in time")).await;
    server.settle(&second, Outcome::Failed { retry_after_ms: Some(60_000) }, Some("timed out")).await;
    assert_eq!(confirm(&server, &id, 1, true, "late, but done").await, DONE);
    assert_eq!(server.stage.run(&first).await.state, RunState::Succeeded);
    assert_eq!(confirm(&server, &id, 2, false, "late, and wrong").await, DONE);
    server.stage.clock.set(NOW.plus_ms(600_000));
    server.stage.rescue().await;
    assert_eq!(server.stage.run(&second).await.state, RunState::Dead, "the run is not retried");
    let lines = log(&server, &id).await;
    assert_eq!(in_log(&lines[0]), (2, "failed", "late, and wrong"));
    assert_eq!(in_log(&lines[1]), (1, "success", "late, but done"));
    // A later confirmation of a failure replaces the reason.
    assert_eq!(confirm(&server, &id, 2, false, "no paper").await, DONE);
    assert_eq!(in_log(&log(&server, &id).await[0]), (2, "failed", "no paper"));
}

pub async fn a_confirmation_of_an_unknown_run_is_10002(fixture: &dyn Fixture) {
    let server = start(fixture);
    let (id, _) = two_runs(&server).await;
    let unknown = TaskId::parse("0123456789abcdef0123456789abcdef").unwrap();
    for (id, run_times) in [(&id, 3), (&id, 77), (&unknown, 1)] {
        assert_refused(&confirm(&server, id, run_times, true, "").await, 10_002, "task not found");
    }
    for body in [json!({ "task_id": "x" }), json!({ "task_id": "x", "task_run_times": 1 })] {
        assert_refused(&post(&server, "/confirm_task", &body).await, 10_002, "task not found");
    }
    let body = json!({ "task_id": id.as_str(), "is_success": true });
    assert_refused(&post(&server, "/confirm_task", &body).await, 10_001, "task_run_times is required");
    assert_refused(&post(&server, "/confirm_task", &json!({})).await, 10_001, "task_id is required");

    let native = server.post("/v1/api/task", r#"{"name":"n","type":1,"data":"d"}"#).await;
    let native: Value = serde_json::from_str(&native.body).unwrap();
    let other = json!({ "task_id": native["taskid"] });
    assert_refused(&post(&server, "/stop_task", &other).await, 10_002, "task not found");
}

pub async fn a_task_is_stopped_over_both_documented_paths(fixture: &dyn Fixture) {
    let server = start(fixture);
    register(&server).await;
    for path in ["/stop_task", "/confirm_task"] {
        let every = json!({ "name": path, "srv_name": "srv", "sched_mode": 3, "time_interval_sec": 60 });
        let id = add(&server, &every).await;
        let body = json!({ "task_id": id.as_str() });
        assert_eq!(post(&server, path, &body).await, DONE);
        let task = server.stage.service.shown_task(&id).await.unwrap();
        assert_eq!(task.state, TaskState::Cancelled, "{path}");
        assert_eq!(post(&server, path, &body).await, DONE, "repeated");
    }
    assert_refused(&post(&server, "/stop_task", &json!({})).await, 10_001, "task_id is required");
    assert_refused(&post(&server, "/stop_task", &json!({ "task_id": "1" })).await, 10_002, "task not found");
}

pub async fn a_stop_cancels_runs_in_progress(fixture: &dyn Fixture) {
    let server = start(fixture);
    let (id, [first, second]) = two_runs(&server).await;
    assert_eq!(post(&server, "/add_task_server", &node(8081)).await, DONE);
    server.settle(&first, Outcome::Released { after_ms: None }, None).await;
    assert_eq!(post(&server, "/stop_task", &json!({ "task_id": id.as_str() })).await, DONE);
    for run in [&first, &second] {
        assert_eq!(server.stage.run(run).await.state, RunState::Cancelled);
    }
    // Each node of the service gets a request to cancel the run in progress.
    let tasks = server
        .stage
        .service
        .tasks_by_name("easytask.cancel", &Page { limit: 10, before: None })
        .await
        .unwrap();
    let mut calls: Vec<Value> = Vec::new();
    for task in &tasks {
        calls.push(job(&server.take(&task.id, "rpc").await));
    }
    calls.sort_by_key(|call| call["url"].to_string());
    let urls: Vec<&Value> = calls.iter().map(|call| &call["url"]).collect();
    assert_eq!(urls, ["http://127.0.0.1:8080/", "http://127.0.0.1:8081/"]);
    for call in &calls {
        let body: Value = serde_json::from_str(call["body"].as_str().unwrap()).unwrap();
        let wanted = json!({ "cmd": 2, "task_id": id.as_str(), "task_name": "n", "run_times": 2 });
        assert_eq!((&call["method"], body), (&json!("POST"), wanted));
    }
    assert_refused(&confirm(&server, &id, 2, true, "").await, 10_004, "stopped");
    let lines = log(&server, &id).await;
    assert!(lines.iter().all(|line| line["status"] == "cancelled"), "{lines:?}");
}

pub async fn every_run_is_in_the_task_log(fixture: &dyn Fixture) {
    let server = start(fixture);
    let (id, [first, _]) = two_runs(&server).await;
    server.succeed(&first, "fine").await;
    server.stage.clock.set(NOW.plus_ms(180_000));
    let third = server.take(&id, "callback").await;
    server.settle(&third, Outcome::Dead, Some("503 Service Unavailable")).await;
    let lines = log(&server, &id).await;
    let shown: Vec<_> = lines.iter().map(in_log).collect();
    assert_eq!(shown, [(3, "failed", "503 Service Unavailable"), (2, "running", ""), (1, "success", "fine")]);
    assert_eq!(
        (&lines[2]["started_at"], &lines[2]["ended_at"]),
        (&json!(NOW.sec() + 60), &json!(NOW.sec() + 120))
    );

    let page = json!({ "task_id": id.as_str(), "limit": 1, "before": lines[0]["run_id"] });
    let page: Value = serde_json::from_str(&post(&server, "/task_log", &page).await).unwrap();
    assert_eq!(page["data"]["logs"], json!([lines[1]]));
    assert_refused(&post(&server, "/task_log", &json!({ "task_id": "x" })).await, 10_002, "task not found");
}

pub async fn the_trace_is_echoed_and_forwarded(fixture: &dyn Fixture) {
    let server = start(fixture);
    register(&server).await;
    let others = [
        ("x-easy-task-trace-span-id", "s1"),
        ("x-easy-task-trace-parent-span-id", "p1"),
        ("x-easy-task-span-id", "s"),
        ("x-easy-task-parent-span-id", "p"),
    ];
    let mut request = Request::post("/add_task").header(TRACE, "trace-1");
    for (name, value) in others {
        request = request.header(name, value);
    }
    let response = server.send(request.body(Body::from(one_shot("n").to_string())).unwrap()).await;
    let headers = response.headers().clone();
    assert_eq!(headers[TRACE], "trace-1");
    for (name, value) in others {
        assert_eq!(headers[name], value);
    }
    let body: Value = serde_json::from_str(&answer(response).await.body).unwrap();
    assert_eq!(body["hint"], "trace-1");
    let run = server.take(&TaskId::parse(body["task_id"].as_str().unwrap()).unwrap(), "callback").await;
    let forwarded = json!({
        TRACE: "trace-1", "x-easy-task-trace-span-id": "s1", "x-easy-task-trace-parent-span-id": "p1",
        "x-easy-task-span-id": "s", "x-easy-task-parent-span-id": "p",
    });
    assert_eq!(job(&run)["headers"], forwarded);

    // Without a trace id the server generates one.
    let response = server.send(Request::post("/stop_task").body(Body::from("{}")).unwrap()).await;
    let fresh = response.headers()[TRACE].to_str().unwrap().to_owned();
    let body: Value = serde_json::from_str(&answer(response).await.body).unwrap();
    assert_eq!((fresh.len(), &body["hint"]), (32, &json!(fresh)));
}

pub async fn every_answer_of_a_known_path_has_the_status_200(fixture: &dyn Fixture) {
    let server = start(fixture);
    for path in
        ["/add_task_server", "/del_task_server", "/add_task", "/confirm_task", "/stop_task", "/task_log"]
    {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let request = Request::builder().method(method).uri(path).header(TRACE, "t");
            let answer = answer(server.send(request.body(Body::empty()).unwrap()).await).await;
            assert_eq!(answer.status, 200);
            assert_refused(&answer.body, 405, "method not allowed");
        }
        assert_refused(&send(&server, path, "not JSON").await, 10_001, "request arguments are invalid");
        let form = Request::post(path).header(TRACE, "t").header("content-type", "text/plain");
        let answer = answer(server.send(form.body(Body::from("{}")).unwrap()).await).await;
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert!(
            body["msg"].as_str().unwrap().ends_with("is required"),
            "the content type does not matter: {body}"
        );
    }
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(5 * 1024 * 1024));
    assert_refused(&send(&server, "/add_task", &long).await, 10_001, "request arguments are invalid");
    assert_eq!(server.get("/add_tasks").await.status, 404, "an unknown path");
}

pub async fn a_stopping_server_answers_stopped(fixture: &dyn Fixture) {
    let server = start(fixture);
    server.stage.node.shutdown.cancel();
    assert_refused(&post(&server, "/add_task_server", &node(8080)).await, 10_004, "stopped");
}

pub async fn services_and_tasks_survive_a_restart(fixture: &dyn Fixture) {
    let server = start(fixture);
    let (id, [first, _]) = two_runs(&server).await;
    let server = TestServer::restarted(fixture, legacy_apis(), &server);
    assert_eq!(due(&server, &id).await, Some(NOW.plus_ms(180_000)));
    assert_eq!(confirm(&server, &id, 1, true, "").await, DONE);
    assert_eq!(server.stage.run(&first).await.state, RunState::Succeeded);
    add(&server, &one_shot("another")).await;
    assert_eq!(post(&server, "/del_task_server", &node(8080)).await, DONE);
}

pub async fn a_callback_is_repeated_if_its_worker_died(fixture: &dyn Fixture) {
    let server = start(fixture);
    let (_, [first, _]) = two_runs(&server).await;
    server.stage.clock.set(NOW.plus_ms(300_000));
    server.stage.rescue().await;
    let again = server.lease("callback").await.expect("the run is ready again");
    assert_eq!(
        (&again.id, again.attempt, again.number),
        (&first.id, 2, 1),
        "run and run_times are unchanged"
    );
}

pub async fn a_service_of_the_native_api_cannot_be_changed(fixture: &dyn Fixture) {
    let server = start(fixture);
    let node_of = |url: &str| ServiceNode { url: url.to_owned(), weight: 1, health_check: false };
    let signed = CallbackService {
        name: "srv".to_owned(),
        nodes: vec![node_of("http://127.0.0.1:8080")],
        secret: SigningSecret::new("a secret of sixteen bytes and more"),
        ..CallbackService::default()
    };
    server.stage.service.put_callback_service(&signed, false).await.unwrap();
    for port in [8080, 9999] {
        let body = post(&server, "/add_task_server", &node(port)).await;
        assert_refused(&body, 10_001, "name is that of a service of /v1/services");
    }
    assert_refused(
        &post(&server, "/del_task_server", &node(8080)).await,
        10_003,
        "task callback server not found",
    );
    assert_eq!(server.stage.service.callback_service("srv").await.unwrap(), Some(signed.clone()));

    // An admin may replace the service of a legacy API by a native one.
    let other = |port: u16| with(node(port), "name", json!("other"));
    assert_eq!(post(&server, "/add_task_server", &other(8080)).await, DONE);
    server
        .stage
        .service
        .put_callback_service(&CallbackService { name: "other".to_owned(), ..signed }, false)
        .await
        .unwrap();
    assert_refused(
        &post(&server, "/add_task_server", &other(9999)).await,
        10_001,
        "name is that of a service of /v1/services",
    );
}

pub async fn a_second_node_without_a_timeout_keeps_the_timeout(fixture: &dyn Fixture) {
    let server = start(fixture);
    register(&server).await;
    assert_eq!(
        post(&server, "/add_task_server", &with(node(8081), "callback_timeout_sec", json!(null))).await,
        DONE
    );
    assert_eq!(stored(&server).await.unwrap()["timeout_ms"], 5_000);
    assert_eq!(
        post(&server, "/add_task_server", &with(node(8081), "callback_timeout_sec", json!(7))).await,
        DONE
    );
    assert_eq!(stored(&server).await.unwrap()["timeout_ms"], 7_000);
}

pub async fn a_repeated_stop_after_a_failure_calls_the_node(fixture: &dyn Fixture) {
    let failing = Failing::on(fixture);
    let server = start(&failing);
    let (id, [first, second]) = two_runs(&server).await;
    let stop = async || post(&server, "/stop_task", &json!({ "task_id": id.as_str() })).await;
    failing.fail("insert_tasks");
    assert_refused(&stop().await, 500, "internal error");
    failing.recover();
    for _ in 0..2 {
        assert_eq!(stop().await, DONE);
    }
    for run in [&first, &second] {
        assert_eq!(server.stage.run(run).await.state, RunState::Cancelled);
    }
    let tasks = server
        .stage
        .service
        .tasks_by_name("easytask.cancel", &Page { limit: 10, before: None })
        .await
        .unwrap();
    let run_numbers: BTreeSet<u64> = tasks
        .iter()
        .map(|task| serde_json::from_str::<Value>(&task.data).unwrap())
        .map(|call| serde_json::from_str::<Value>(call["body"].as_str().unwrap()).unwrap())
        .map(|body| body["run_times"].as_u64().unwrap())
        .collect();
    assert_eq!((tasks.len(), run_numbers), (2, BTreeSet::from([1, 2])), "one call for each run");
}

pub async fn a_database_error_is_code_500_without_an_id(fixture: &dyn Fixture) {
    let failing = Failing::on(fixture);
    let server = start(&failing);
    register(&server).await;
    let id = add(&server, &one_shot("n")).await;
    let id = id.as_str();
    for lost in ["", "insert_tasks"] {
        failing.fail(lost);
        assert_refused(&post(&server, "/add_task", &one_shot("another")).await, 500, "internal error");
    }
    failing.fail("");
    for (path, body) in [
        ("/add_task_server", node(8081)),
        ("/del_task_server", node(8080)),
        ("/stop_task", json!({ "task_id": id })),
        ("/confirm_task", json!({ "task_id": id, "task_run_times": 1, "is_success": true })),
        ("/task_log", json!({ "task_id": id })),
    ] {
        assert_refused(&post(&server, path, &body).await, 500, "internal error");
    }
    failing.recover();
    let page = Page { limit: 10, before: None };
    assert_eq!(server.stage.service.tasks_by_name("another", &page).await.unwrap(), []);
}

/// Known defect of the old server: "A page of orphaned tasks starved later ones". The tasks whose service
/// is gone are more than one turn of the server handles.
pub async fn orphaned_tasks_do_not_starve_later_ones(fixture: &dyn Fixture) {
    let server = start(fixture);
    register(&server).await;
    let mut orphans = Vec::new();
    for at in 0..40 {
        let orphan = with(one_shot(&format!("orphan{at}")), "biz_id", json!(at.to_string()));
        orphans.push(add(&server, &orphan).await);
    }
    assert_eq!(post(&server, "/del_task_server", &node(8080)).await, DONE);
    for id in &orphans {
        server.stage.fire(id).await;
    }
    let alive = Nodes::start(&server, "alive").await;
    let later = add(&server, &with(one_shot("later"), "srv_name", json!("alive"))).await;
    server.stage.fire(&later).await;
    let server = server.with_workers(worker_settings(&["callback"]));
    let run = alive.ended(&server, &later).await;
    assert_eq!(run.state, RunState::Succeeded, "{:?}", run.reason);
    server.bench.stop().await;
}

pub async fn clearing_the_log_deletes_no_task(fixture: &dyn Fixture) {
    let server = start(fixture);
    let (id, [first, second]) = two_runs(&server).await;
    server.succeed(&first, "fine").await;
    server.succeed(&second, "fine").await;
    let later = NOW.plus_ms(400 * 86_400_000);
    while server.stage.store.prune(later, later, 100).await.unwrap() > 0 {}
    assert_eq!(log(&server, &id).await, Vec::<Value>::new(), "the log is cleared");
    assert_eq!(due(&server, &id).await, Some(NOW.plus_ms(180_000)));
    server.stage.clock.set(NOW.plus_ms(180_000));
    assert_eq!(server.take(&id, "callback").await.number, 3);
}

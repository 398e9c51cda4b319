//! Section 3 of the contract. The built-in worker is played by hand here: what it is given and what it says.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use taskcenter_server::compat::{Compat, Easytask};
use taskcenter_server::core::callback_service::{CallbackService, ServiceNode, SigningSecret};
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::{Moment, Run, RunState, TaskId, TaskState};

use taskcenter_server::ports::Page;

use super::easytask_called::{Nodes, settings as called};
use super::{Desk, Failing, answer, job};
use crate::service::NOW;
use crate::store::Fixture;

const TRACE: &str = "x-easy-task-trace-id";

fn fronts() -> Compat {
    Compat { easytask: Easytask { enabled: true, ..Easytask::default() }, ..Compat::default() }
}

fn desk(on: &dyn Fixture) -> Desk {
    Desk::on(on, fronts())
}

/// The answer's body, with the trace `t` that the request bears.
async fn raw(on: &Desk, path: &str, body: &str) -> String {
    let request = Request::post(path).header(TRACE, "t").body(Body::from(body.to_owned())).unwrap();
    let answer = answer(on.send(request).await).await;
    assert_eq!((answer.status, answer.kind.as_str()), (200, "application/json"), "{answer:?}");
    answer.body
}

async fn post(on: &Desk, path: &str, body: &Value) -> String {
    raw(on, path, &body.to_string()).await
}

const DONE: &str = r#"{"code":0,"msg":"","data":{},"hint":"t"}"#;

fn refused(code: u32, msg: &str) -> String {
    json!({ "code": code, "msg": msg, "data": null, "hint": "t" }).to_string()
}

/// Members in the order of the answer.
fn is_refused(body: &str, code: u32, msg: &str) {
    assert_eq!(serde_json::from_str::<Value>(body).unwrap().to_string(), refused(code, msg));
    assert!(body.starts_with(&format!(r#"{{"code":{code},"msg":"#)), "{body}");
}

fn node(port: u16) -> Value {
    json!({ "name": "srv", "schema": "http", "host": "127.0.0.1", "port": port, "callback_timeout_sec": 5,
        "is_enable_health_check": true })
}

async fn register(on: &Desk) {
    assert_eq!(post(on, "/add_task_server", &node(8080)).await, DONE);
}

fn once(name: &str) -> Value {
    json!({ "name": name, "srv_name": "srv", "callback_path": "/cb", "sched_mode": 2, "time_spec_at": 1,
        "arg": "a", "biz_id": "b" })
}

fn with(mut task: Value, field: &str, value: Value) -> Value {
    task[field] = value;
    task
}

/// Adds a task; its id stands in `data` and at top level.
async fn add(on: &Desk, task: &Value) -> TaskId {
    let body = post(on, "/add_task", task).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&answer["code"], &answer["data"]["task_id"]), (&json!(0), &answer["task_id"]), "{body}");
    TaskId::parse(answer["task_id"].as_str().unwrap()).unwrap()
}

async fn due(on: &Desk, id: &TaskId) -> Option<Moment> {
    on.stage.service.task(id).await.unwrap().next_due_at
}

async fn confirm(on: &Desk, id: &TaskId, run_times: u64, is_success: bool, extra: &str) -> String {
    let body = json!({ "task_id": id.as_str(), "task_run_times": run_times, "is_success": is_success, "extra": extra });
    post(on, "/confirm_task", &body).await
}

async fn log(on: &Desk, id: &TaskId) -> Vec<Value> {
    let body = post(on, "/task_log", &json!({ "task_id": id.as_str() })).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    answer["data"]["logs"].as_array().unwrap().clone()
}

fn in_log(line: &Value) -> (u64, &str, &str) {
    (line["run_times"].as_u64().unwrap(), line["status"].as_str().unwrap(), line["extra"].as_str().unwrap())
}

async fn stored(on: &Desk) -> Option<Value> {
    on.stage.service.read_record("service", "srv").await.unwrap()
}

/// "HTTP API列表", one after the other.
pub async fn every_request_of_the_document_is_answered_as_it_says(on: &dyn Fixture) {
    let on = desk(on);
    assert_eq!(post(&on, "/add_task_server", &node(8080)).await, DONE);
    let body = post(&on, "/add_task", &once("n")).await;
    let id = serde_json::from_str::<Value>(&body).unwrap()["task_id"].as_str().unwrap().to_owned();
    let wanted = format!(r#"{{"code":0,"msg":"","data":{{"task_id":"{id}"}},"hint":"t","task_id":"{id}"}}"#);
    assert_eq!(body, wanted);
    let task = TaskId::parse(&id).unwrap();
    on.take(&task, "callback").await;
    let done = json!({ "task_id": id, "is_success": true, "extra": "e", "task_run_times": 1 });
    assert_eq!(post(&on, "/confirm_task", &done).await, DONE);
    assert_eq!(post(&on, "/confirm_task", &json!({ "task_id": id })).await, DONE);
    let gone = json!({ "name": "srv", "schema": "http", "host": "127.0.0.1", "port": 8080 });
    assert_eq!(post(&on, "/del_task_server", &gone).await, DONE);
}

pub async fn a_node_is_added_once_and_the_last_one_takes_the_service_with_it(on: &dyn Fixture) {
    let on = desk(on);
    for port in [8080, 8081, 8080] {
        assert_eq!(post(&on, "/add_task_server", &node(port)).await, DONE);
    }
    let service = stored(&on).await.unwrap();
    let urls: Vec<&str> =
        service["nodes"].as_array().unwrap().iter().map(|node| node["url"].as_str().unwrap()).collect();
    assert_eq!(urls, ["http://127.0.0.1:8080", "http://127.0.0.1:8081"]);
    assert_eq!((&service["name"], &service["timeout_ms"]), (&json!("srv"), &json!(5_000)));

    assert_eq!(post(&on, "/del_task_server", &node(8080)).await, DONE);
    add(&on, &once("n")).await;
    assert_eq!(post(&on, "/del_task_server", &node(8081)).await, DONE);
    assert_eq!(stored(&on).await, None);
    is_refused(&post(&on, "/add_task", &once("n")).await, 10_003, "task callback server not found");
}

pub async fn an_unknown_node_or_service_is_10003(on: &dyn Fixture) {
    let on = desk(on);
    let why = "task callback server not found";
    is_refused(&post(&on, "/del_task_server", &node(8080)).await, 10_003, why);
    is_refused(&post(&on, "/add_task", &once("n")).await, 10_003, why);
    register(&on).await;
    is_refused(&post(&on, "/del_task_server", &node(8081)).await, 10_003, why);
    let https = with(node(8080), "schema", json!("https"));
    is_refused(&post(&on, "/del_task_server", &https).await, 10_003, why);
}

pub async fn what_is_wrong_with_a_node_is_10001(on: &dyn Fixture) {
    let on = desk(on);
    for field in ["name", "schema", "host"] {
        for nothing in [json!(null), json!("")] {
            let body = post(&on, "/add_task_server", &with(node(1), field, nothing)).await;
            is_refused(&body, 10_001, &format!("{field} is required"));
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
        is_refused(&post(&on, "/add_task_server", &with(node(1), field, value)).await, 10_001, why);
    }
    for body in ["", "{", "[]", "null", "7"] {
        is_refused(&raw(&on, "/add_task_server", body).await, 10_001, "request arguments are invalid");
    }
    assert_eq!(stored(&on).await, None, "nothing of it was taken");
}

pub async fn a_cron_task_a_timed_task_and_an_interval_task(on: &dyn Fixture) {
    let on = desk(on);
    register(&on).await;
    let mode = |name: &str, mode: u32, field: &str, value: Value| {
        with(json!({ "name": name, "srv_name": "srv", "sched_mode": mode }), field, value)
    };
    // 2001-09-09T01:46:40Z
    for (at, cron) in ["47 1 * * *", "0 47 1 * * *", "0 47 1 9 9 ? 2001"].into_iter().enumerate() {
        let id = add(&on, &mode(&format!("cron{at}"), 1, "time_cron", json!(cron))).await;
        assert_eq!(due(&on, &id).await, Some(NOW.plus_ms(20_000)), "{cron}");
    }
    for (at, cron) in ["0 0 L * *", "0 0 15W * ?", "0 0 ? * 5#2", "0 0 0 ? * 6L"].into_iter().enumerate() {
        add(&on, &mode(&format!("days{at}"), 1, "time_cron", json!(cron))).await;
    }
    let later = add(&on, &mode("later", 2, "time_spec_at", json!(NOW.sec() + 60))).await;
    assert_eq!(due(&on, &later).await, Some(NOW.plus_ms(60_000)));
    let past = add(&on, &mode("past", 2, "time_spec_at", json!(NOW.sec() - 60))).await;
    assert_eq!(due(&on, &past).await, Some(NOW), "one that has passed runs at once");
    let every = add(&on, &mode("every", 3, "time_interval_sec", json!(10))).await;
    assert_eq!(due(&on, &every).await, Some(NOW.plus_ms(10_000)), "the first run is an interval away");
}

pub async fn what_is_wrong_with_a_task_is_10001(on: &dyn Fixture) {
    let on = desk(on);
    register(&on).await;
    for field in ["name", "srv_name", "sched_mode"] {
        let body = post(&on, "/add_task", &with(once("n"), field, json!(null))).await;
        is_refused(&body, 10_001, &format!("{field} is required"));
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
        (with(mode(1), "time_cron", json!("* 25 * * *")), "out of bounds"),
        (with(once("n"), "arg", json!({"a": 1})), "arg should be a string"),
        (once("a|b"), "name should not contain '|' or '*', which mean something in a tag filter"),
    ] {
        let body = post(&on, "/add_task", &task).await;
        let told: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&told["code"], &told["data"], &told["task_id"]),
            (&json!(10_001), &json!(null), &json!(null))
        );
        assert!(told["msg"].as_str().unwrap().contains(why), "{body}");
    }
}

pub async fn a_task_is_known_by_its_name_and_its_biz_id(on: &dyn Fixture) {
    let on = desk(on);
    register(&on).await;
    let every = |name: &str, biz: &str, arg: &str| json!({ "name": name, "srv_name": "srv", "sched_mode": 3, "time_interval_sec": 60, "biz_id": biz, "arg": arg });
    let first = add(&on, &every("n", "1", "old")).await;
    assert_eq!(add(&on, &every("n", "1", "new")).await, first);
    let data = on.stage.service.task(&first).await.unwrap().data;
    assert!(data.contains("new") && !data.contains("old"), "{data}");
    assert_ne!(add(&on, &every("n", "2", "")).await, first);
    assert_ne!(add(&on, &every("m", "1", "")).await, first);

    // Many at once agree on one task.
    let asked = every("crowd", "1", "");
    let ids = futures_util::future::join_all((0..8).map(|_| add(&on, &asked))).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");

    // What has ended frees its name.
    assert_eq!(post(&on, "/stop_task", &json!({ "task_id": first.as_str() })).await, DONE);
    let next = add(&on, &every("n", "1", "again")).await;
    assert_ne!(next, first);
    assert_eq!(on.stage.service.task(&next).await.unwrap().state, TaskState::Active);
}

pub async fn an_interval_that_is_registered_again_keeps_its_grid(on: &dyn Fixture) {
    let on = desk(on);
    register(&on).await;
    let every =
        |sec: u64| json!({ "name": "n", "srv_name": "srv", "sched_mode": 3, "time_interval_sec": sec });
    let id = add(&on, &every(60)).await;
    on.stage.clock.set(NOW.plus_ms(59_000));
    add(&on, &every(60)).await;
    assert_eq!(due(&on, &id).await, Some(NOW.plus_ms(60_000)), "a start does not put it off");
    add(&on, &every(30)).await;
    assert_eq!(due(&on, &id).await, Some(NOW.plus_ms(89_000)), "another interval begins anew");
}

pub async fn a_callback_is_handed_over_with_all_that_it_needs(on: &dyn Fixture) {
    let on = desk(on);
    register(&on).await;
    let id = add(&on, &once("n")).await;
    let run = on.take(&id, "callback").await;
    let job = job(&run);
    let body: Value = serde_json::from_str(job["body"].as_str().unwrap()).unwrap();
    assert_eq!(body, json!({ "cmd": 1, "task_name": "n", "arg": "a", "biz_id": "b" }));
    assert_eq!((run.task_id.clone(), run.number), (id, 1), "the worker adds them");
    let wanted = json!({
        "service": "srv", "path": "/cb", "body": job["body"], "timeout_ms": 5_000, "routing": "round_robin",
        "mode": "sync", "reply": "easytask", "headers": { TRACE: "t" }, "retry_after_ms": [],
    });
    assert_eq!(job, wanted);
    let service = stored(&on).await.unwrap();
    assert_eq!(service["heartbeat_body"], json!(r#"{"cmd":0}"#));
    assert_eq!(service["nodes"][0]["health_check"], json!(true));

    let bare = json!({ "name": "m", "srv_name": "srv", "sched_mode": 2, "time_spec_at": 1 });
    let id = add(&on, &bare).await;
    let run = on.take(&id, "callback").await;
    assert_eq!(super::job(&run)["path"], json!("/"));
}

pub async fn the_codes_order_of_cmd_is_a_setting(on: &dyn Fixture) {
    let swapped = Easytask { enabled: true, swap_cmd: true, ..Easytask::default() };
    let on = Desk::on(on, Compat { easytask: swapped, ..Compat::default() });
    register(&on).await;
    let id = add(&on, &once("n")).await;
    let run = on.take(&id, "callback").await;
    let body: Value = serde_json::from_str(job(&run)["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["cmd"], json!(0));
    assert_eq!(stored(&on).await.unwrap()["heartbeat_body"], json!(r#"{"cmd":1}"#));
}

/// A task every minute, and its first two runs in a worker's hands.
async fn two_runs(on: &Desk) -> (TaskId, [Run; 2]) {
    register(on).await;
    let every = json!({ "name": "n", "srv_name": "srv", "sched_mode": 3, "time_interval_sec": 60 });
    let id = add(on, &every).await;
    on.stage.clock.set(NOW.plus_ms(60_000));
    let first = on.take(&id, "callback").await;
    on.stage.clock.set(NOW.plus_ms(120_000));
    let second = on.take(&id, "callback").await;
    assert_eq!((first.number, second.number), (1, 2));
    (id, [first, second])
}

pub async fn a_confirmation_settles_the_run_that_it_names(on: &dyn Fixture) {
    let on = desk(on);
    let (id, [first, second]) = two_runs(&on).await;
    assert_eq!(confirm(&on, &id, 2, true, "well").await, DONE);
    assert_eq!(on.stage.run(&first).await.state, RunState::Leased, "the other one goes on");
    let ended = on.stage.run(&second).await;
    assert_eq!((ended.state, ended.result.as_deref()), (RunState::Succeeded, Some(r#"{"message":"well"}"#)));
    assert_eq!(confirm(&on, &id, 1, false, "no ink").await, DONE);
    let ended = on.stage.run(&first).await;
    assert_eq!((ended.state, ended.reason.as_deref()), (RunState::Dead, Some("no ink")));
    // A confirmation whose answer was lost comes again.
    assert_eq!(confirm(&on, &id, 2, true, "well").await, DONE);
    assert_eq!(confirm(&on, &id, 2, false, "changed my mind").await, DONE);
    assert_eq!(on.stage.run(&second).await.state, RunState::Succeeded, "the first word counts");
}

pub async fn a_confirmation_after_the_timeout_is_accepted_and_recorded(on: &dyn Fixture) {
    let on = desk(on);
    let (id, [first, second]) = two_runs(&on).await;
    on.settle(&first, Outcome::Dead, Some("no confirmation in time")).await;
    on.settle(&second, Outcome::Failed { retry_after_ms: Some(60_000) }, Some("timed out")).await;
    assert_eq!(confirm(&on, &id, 1, true, "late, but done").await, DONE);
    assert_eq!(on.stage.run(&first).await.state, RunState::Succeeded);
    assert_eq!(confirm(&on, &id, 2, false, "late, and wrong").await, DONE);
    on.stage.clock.set(NOW.plus_ms(600_000));
    on.stage.rescue().await;
    assert_eq!(on.stage.run(&second).await.state, RunState::Dead, "it is not tried again");
    let lines = log(&on, &id).await;
    assert_eq!(in_log(&lines[0]), (2, "failed", "late, and wrong"));
    assert_eq!(in_log(&lines[1]), (1, "success", "late, but done"));
    // A failure that is known already may still get its explanation.
    assert_eq!(confirm(&on, &id, 2, false, "no paper").await, DONE);
    assert_eq!(in_log(&log(&on, &id).await[0]), (2, "failed", "no paper"));
}

pub async fn a_confirmation_of_something_unknown_is_10002(on: &dyn Fixture) {
    let on = desk(on);
    let (id, _) = two_runs(&on).await;
    let unknown = TaskId::parse("0123456789abcdef0123456789abcdef").unwrap();
    for (id, run_times) in [(&id, 3), (&id, 77), (&unknown, 1)] {
        is_refused(&confirm(&on, id, run_times, true, "").await, 10_002, "task not found");
    }
    for body in [json!({ "task_id": "x" }), json!({ "task_id": "x", "task_run_times": 1 })] {
        is_refused(&post(&on, "/confirm_task", &body).await, 10_002, "task not found");
    }
    let body = json!({ "task_id": id.as_str(), "is_success": true });
    is_refused(&post(&on, "/confirm_task", &body).await, 10_001, "task_run_times is required");
    is_refused(&post(&on, "/confirm_task", &json!({})).await, 10_001, "task_id is required");

    let native = on.post("/v1/api/task", r#"{"name":"n","type":1,"data":"d"}"#).await;
    let native: Value = serde_json::from_str(&native.body).unwrap();
    let other = json!({ "task_id": native["taskid"] });
    is_refused(&post(&on, "/stop_task", &other).await, 10_002, "task not found");
}

pub async fn a_task_is_stopped_in_both_ways_that_the_document_prints(on: &dyn Fixture) {
    let on = desk(on);
    register(&on).await;
    for path in ["/stop_task", "/confirm_task"] {
        let every = json!({ "name": path, "srv_name": "srv", "sched_mode": 3, "time_interval_sec": 60 });
        let id = add(&on, &every).await;
        let body = json!({ "task_id": id.as_str() });
        assert_eq!(post(&on, path, &body).await, DONE);
        let task = on.stage.service.shown_task(&id).await.unwrap();
        assert_eq!(task.state, TaskState::Cancelled, "{path}");
        assert_eq!(post(&on, path, &body).await, DONE, "again");
    }
    is_refused(&post(&on, "/stop_task", &json!({})).await, 10_001, "task_id is required");
    is_refused(&post(&on, "/stop_task", &json!({ "task_id": "1" })).await, 10_002, "task not found");
}

pub async fn a_run_that_is_under_way_is_terminated(on: &dyn Fixture) {
    let on = desk(on);
    let (id, [first, second]) = two_runs(&on).await;
    assert_eq!(post(&on, "/add_task_server", &node(8081)).await, DONE);
    on.settle(&first, Outcome::Released, None).await;
    assert_eq!(post(&on, "/stop_task", &json!({ "task_id": id.as_str() })).await, DONE);
    for run in [&first, &second] {
        assert_eq!(on.stage.run(run).await.state, RunState::Cancelled);
    }
    // The service is told of the one that was in its hands, at each of its nodes.
    let tasks =
        on.stage.service.tasks_by_name("easytask.cancel", &Page { limit: 10, before: None }).await.unwrap();
    let mut calls: Vec<Value> = Vec::new();
    for task in &tasks {
        calls.push(job(&on.take(&task.id, "rpc").await));
    }
    calls.sort_by_key(|call| call["url"].to_string());
    let urls: Vec<&Value> = calls.iter().map(|call| &call["url"]).collect();
    assert_eq!(urls, ["http://127.0.0.1:8080/", "http://127.0.0.1:8081/"]);
    for call in &calls {
        let body: Value = serde_json::from_str(call["body"].as_str().unwrap()).unwrap();
        let wanted = json!({ "cmd": 2, "task_id": id.as_str(), "task_name": "n", "run_times": 2 });
        assert_eq!((&call["method"], body), (&json!("POST"), wanted));
    }
    is_refused(&confirm(&on, &id, 2, true, "").await, 10_004, "stopped");
    let lines = log(&on, &id).await;
    assert!(lines.iter().all(|line| line["status"] == "cancelled"), "{lines:?}");
}

pub async fn every_run_is_in_the_task_log(on: &dyn Fixture) {
    let on = desk(on);
    let (id, [first, _]) = two_runs(&on).await;
    on.succeed(&first, "fine").await;
    on.stage.clock.set(NOW.plus_ms(180_000));
    let third = on.take(&id, "callback").await;
    on.settle(&third, Outcome::Dead, Some("503 Service Unavailable")).await;
    let lines = log(&on, &id).await;
    let told: Vec<_> = lines.iter().map(in_log).collect();
    assert_eq!(told, [(3, "failed", "503 Service Unavailable"), (2, "running", ""), (1, "success", "fine")]);
    assert_eq!(
        (&lines[2]["started_at"], &lines[2]["ended_at"]),
        (&json!(NOW.sec() + 60), &json!(NOW.sec() + 120))
    );

    let page = json!({ "task_id": id.as_str(), "limit": 1, "before": lines[0]["run_id"] });
    let page: Value = serde_json::from_str(&post(&on, "/task_log", &page).await).unwrap();
    assert_eq!(page["data"]["logs"], json!([lines[1]]));
    is_refused(&post(&on, "/task_log", &json!({ "task_id": "x" })).await, 10_002, "task not found");
}

pub async fn the_trace_is_echoed_and_forwarded(on: &dyn Fixture) {
    let on = desk(on);
    register(&on).await;
    let others = [("x-easy-task-span-id", "s"), ("x-easy-task-parent-span-id", "p")];
    let mut request = Request::post("/add_task").header(TRACE, "trace-1");
    for (name, value) in others {
        request = request.header(name, value);
    }
    let response = on.send(request.body(Body::from(once("n").to_string())).unwrap()).await;
    let headers = response.headers().clone();
    assert_eq!(headers[TRACE], "trace-1");
    for (name, value) in others {
        assert_eq!(headers[name], value);
    }
    let told: Value = serde_json::from_str(&answer(response).await.body).unwrap();
    assert_eq!(told["hint"], "trace-1");
    let run = on.take(&TaskId::parse(told["task_id"].as_str().unwrap()).unwrap(), "callback").await;
    let forwarded =
        json!({ TRACE: "trace-1", "x-easy-task-span-id": "s", "x-easy-task-parent-span-id": "p" });
    assert_eq!(job(&run)["headers"], forwarded);

    // Without one there is a fresh one.
    let response = on.send(Request::post("/stop_task").body(Body::from("{}")).unwrap()).await;
    let fresh = response.headers()[TRACE].to_str().unwrap().to_owned();
    let told: Value = serde_json::from_str(&answer(response).await.body).unwrap();
    assert_eq!((fresh.len(), &told["hint"]), (32, &json!(fresh)));
}

pub async fn every_answer_of_a_known_path_has_the_status_200(on: &dyn Fixture) {
    let on = desk(on);
    for path in
        ["/add_task_server", "/del_task_server", "/add_task", "/confirm_task", "/stop_task", "/task_log"]
    {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let request = Request::builder().method(method).uri(path).header(TRACE, "t");
            let answer = answer(on.send(request.body(Body::empty()).unwrap()).await).await;
            assert_eq!(answer.status, 200);
            is_refused(&answer.body, 405, "method not allowed");
        }
        is_refused(&raw(&on, path, "no JSON").await, 10_001, "request arguments are invalid");
        let form = Request::post(path).header(TRACE, "t").header("content-type", "text/plain");
        let answer = answer(on.send(form.body(Body::from("{}")).unwrap()).await).await;
        let told: Value = serde_json::from_str(&answer.body).unwrap();
        assert!(told["msg"].as_str().unwrap().ends_with("is required"), "the kind does not matter: {told}");
    }
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(5 * 1024 * 1024));
    is_refused(&raw(&on, "/add_task", &long).await, 10_001, "request arguments are invalid");
    assert_eq!(on.get("/add_tasks").await.status, 404, "a path that nobody knows");
}

pub async fn a_server_that_stops_says_so(on: &dyn Fixture) {
    let on = desk(on);
    on.stage.node.shutdown.cancel();
    is_refused(&post(&on, "/add_task_server", &node(8080)).await, 10_004, "stopped");
}

pub async fn services_and_tasks_survive_a_restart(fixture: &dyn Fixture) {
    let on = desk(fixture);
    let (id, [first, _]) = two_runs(&on).await;
    let on = Desk::again(fixture, fronts(), &on);
    assert_eq!(due(&on, &id).await, Some(NOW.plus_ms(180_000)));
    assert_eq!(confirm(&on, &id, 1, true, "").await, DONE);
    assert_eq!(on.stage.run(&first).await.state, RunState::Succeeded);
    add(&on, &once("another")).await;
    assert_eq!(post(&on, "/del_task_server", &node(8080)).await, DONE);
}

pub async fn a_callback_whose_worker_died_is_made_again(on: &dyn Fixture) {
    let on = desk(on);
    let (_, [first, _]) = two_runs(&on).await;
    on.stage.clock.set(NOW.plus_ms(300_000));
    on.stage.rescue().await;
    let again = on.lease("callback").await.expect("it is ready again");
    assert_eq!(
        (&again.id, again.attempt, again.number),
        (&first.id, 2, 1),
        "the same run, and the same run_times"
    );
}

pub async fn a_service_of_the_native_api_is_not_the_fronts_to_change(on: &dyn Fixture) {
    let on = desk(on);
    let node_of = |url: &str| ServiceNode { url: url.to_owned(), weight: 1, health_check: false };
    let signed = CallbackService {
        name: "srv".to_owned(),
        nodes: vec![node_of("http://127.0.0.1:8080")],
        secret: SigningSecret::new("a secret of sixteen bytes and more"),
        ..CallbackService::default()
    };
    on.stage.service.put_callback_service(&signed, false).await.unwrap();
    for port in [8080, 9999] {
        let body = post(&on, "/add_task_server", &node(port)).await;
        is_refused(&body, 10_001, "name is that of a service of /v1/services");
    }
    is_refused(&post(&on, "/del_task_server", &node(8080)).await, 10_003, "task callback server not found");
    assert_eq!(on.stage.service.callback_service("srv").await.unwrap(), Some(signed.clone()));

    // An admin may put a native service in the place of the front's; from then on it is native.
    let other = |port: u16| with(node(port), "name", json!("other"));
    assert_eq!(post(&on, "/add_task_server", &other(8080)).await, DONE);
    on.stage
        .service
        .put_callback_service(&CallbackService { name: "other".to_owned(), ..signed }, false)
        .await
        .unwrap();
    is_refused(
        &post(&on, "/add_task_server", &other(9999)).await,
        10_001,
        "name is that of a service of /v1/services",
    );
}

pub async fn a_second_node_that_says_nothing_of_the_time_out_keeps_it(on: &dyn Fixture) {
    let on = desk(on);
    register(&on).await;
    assert_eq!(
        post(&on, "/add_task_server", &with(node(8081), "callback_timeout_sec", json!(null))).await,
        DONE
    );
    assert_eq!(stored(&on).await.unwrap()["timeout_ms"], 5_000);
    assert_eq!(
        post(&on, "/add_task_server", &with(node(8081), "callback_timeout_sec", json!(7))).await,
        DONE
    );
    assert_eq!(stored(&on).await.unwrap()["timeout_ms"], 7_000);
}

pub async fn a_stop_that_broke_off_tells_the_node_when_it_is_repeated(fixture: &dyn Fixture) {
    let failing = Failing::on(fixture);
    let on = desk(&failing);
    let (id, [first, second]) = two_runs(&on).await;
    let stop = async || post(&on, "/stop_task", &json!({ "task_id": id.as_str() })).await;
    failing.lose("insert_tasks");
    is_refused(&stop().await, 500, "internal error");
    failing.mend();
    for _ in 0..2 {
        assert_eq!(stop().await, DONE);
    }
    for run in [&first, &second] {
        assert_eq!(on.stage.run(run).await.state, RunState::Cancelled);
    }
    let tasks =
        on.stage.service.tasks_by_name("easytask.cancel", &Page { limit: 10, before: None }).await.unwrap();
    let told: BTreeSet<u64> = tasks
        .iter()
        .map(|task| serde_json::from_str::<Value>(&task.data).unwrap())
        .map(|call| serde_json::from_str::<Value>(call["body"].as_str().unwrap()).unwrap())
        .map(|body| body["run_times"].as_u64().unwrap())
        .collect();
    assert_eq!((tasks.len(), told), (2, BTreeSet::from([1, 2])), "one call for each run");
}

pub async fn a_database_error_is_code_500_and_no_id(fixture: &dyn Fixture) {
    let failing = Failing::on(fixture);
    let on = desk(&failing);
    register(&on).await;
    let id = add(&on, &once("n")).await;
    let id = id.as_str();
    for lost in ["", "insert_tasks"] {
        failing.lose(lost);
        is_refused(&post(&on, "/add_task", &once("another")).await, 500, "internal error");
    }
    failing.lose("");
    for (path, body) in [
        ("/add_task_server", node(8081)),
        ("/del_task_server", node(8080)),
        ("/stop_task", json!({ "task_id": id })),
        ("/confirm_task", json!({ "task_id": id, "task_run_times": 1, "is_success": true })),
        ("/task_log", json!({ "task_id": id })),
    ] {
        is_refused(&post(&on, path, &body).await, 500, "internal error");
    }
    failing.mend();
    let page = Page { limit: 10, before: None };
    assert_eq!(on.stage.service.tasks_by_name("another", &page).await.unwrap(), []);
}

/// "A page of orphaned tasks starved later ones": tasks whose service is gone, more of them than are looked after in one turn.
pub async fn orphaned_tasks_do_not_starve_later_ones(on: &dyn Fixture) {
    let on = desk(on);
    register(&on).await;
    let mut orphans = Vec::new();
    for at in 0..40 {
        let orphan = with(once(&format!("orphan{at}")), "biz_id", json!(at.to_string()));
        orphans.push(add(&on, &orphan).await);
    }
    assert_eq!(post(&on, "/del_task_server", &node(8080)).await, DONE);
    for id in &orphans {
        on.stage.fire(id).await;
    }
    let alive = Nodes::start(&on, "alive").await;
    let later = add(&on, &with(once("later"), "srv_name", json!("alive"))).await;
    on.stage.fire(&later).await;
    let on = on.with_workers(called(&["callback"]));
    let run = alive.ended(&on, &later).await;
    assert_eq!(run.state, RunState::Succeeded, "{:?}", run.reason);
    on.bench.stop().await;
}

pub async fn clearing_the_log_deletes_no_task(on: &dyn Fixture) {
    let on = desk(on);
    let (id, [first, second]) = two_runs(&on).await;
    on.succeed(&first, "fine").await;
    on.succeed(&second, "fine").await;
    let later = NOW.plus_ms(400 * 86_400_000);
    while on.stage.store.prune(later, later, 100).await.unwrap() > 0 {}
    assert_eq!(log(&on, &id).await, Vec::<Value>::new(), "the log is cleared");
    assert_eq!(due(&on, &id).await, Some(NOW.plus_ms(180_000)));
    on.stage.clock.set(NOW.plus_ms(180_000));
    assert_eq!(on.take(&id, "callback").await.number, 3);
}

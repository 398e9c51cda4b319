//! The legacy API of easyTask for pull workers.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use taskcenter_server::compat::{Compat, Dialect, EasytaskPull};
use taskcenter_server::core::RunState;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::engine::service::{Page, RecordKind, TaskFilter, User};

use super::{Answer, TestServer};
use crate::service::NOW;
use crate::store::Fixture;

fn legacy_apis() -> Compat {
    Compat { easytask_pull: EasytaskPull { enabled: true, ..EasytaskPull::default() }, ..Compat::default() }
}

fn start(fixture: &dyn Fixture) -> TestServer {
    TestServer::new(fixture, legacy_apis())
}

/// Starts a server with the type `download` and the registered worker `w`.
async fn open(fixture: &dyn Fixture) -> TestServer {
    let desk = start(fixture);
    assert_eq!(desk.get("/newtype?name=download").await, ok());
    assert_eq!(desk.get("/sayhi?type=download&name=w").await, ok());
    desk
}

fn ok() -> Answer {
    Answer { status: 200, kind: "text/plain; charset=utf-8".to_owned(), body: "OK".to_owned() }
}

fn plain(status: u16, body: &str) -> Answer {
    Answer { status, kind: "text/plain; charset=utf-8".to_owned(), body: body.to_owned() }
}

fn json_of(answer: &Answer) -> Value {
    assert_eq!((answer.status, answer.kind.as_str()), (200, "application/json"), "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

fn refused(why: &str) -> Value {
    json!({"code": -1, "errmsg": why})
}

async fn put(server: &TestServer, body: &Value) -> i64 {
    let answer = json_of(&server.put("/api/putask/download", &body.to_string()).await);
    assert_eq!(answer["code"], 0, "{answer}");
    answer["data"].as_i64().expect("the id is an integer")
}

/// Puts and fires tasks a millisecond apart. Then sets the clock back to [`NOW`].
async fn ready(server: &TestServer, tasks: usize) -> Vec<i64> {
    let mut ids = Vec::new();
    for at in 0..tasks {
        server.stage.clock.set(NOW.plus_ms(at as i64));
        ids.push(put(server, &json!({"rid": "10"})).await);
        server.fire("download").await;
    }
    server.stage.clock.set(NOW);
    ids
}

async fn rows(server: &TestServer, path: &str) -> Vec<Value> {
    let answer = json_of(&server.get(path).await);
    assert_eq!(answer["code"], 0, "{answer}");
    answer["data"].as_array().unwrap().clone()
}

fn ids(rows: &[Value]) -> Vec<i64> {
    rows.iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

async fn claim(server: &TestServer, name: &str, num: u32) -> Vec<i64> {
    ids(&rows(server, &format!("/querytask?type=download&name={name}&num={num}")).await)
}

async fn update(server: &TestServer, body: &Value) -> Value {
    json_of(&server.post("/updatetask", &body.to_string()).await)
}

async fn row(server: &TestServer, id: i64) -> Value {
    let rows = rows(server, "/querytask?type=download&pageno=1&pagesize=100").await;
    rows.into_iter().find(|row| row["id"] == id).unwrap()
}

/// Every call of the document in its order.
pub async fn the_transcript_of_the_document_is_reproduced(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    let body = r#"{
    "rid": "10",
    "task_type": "download",
    "task_info": {
        "rid": "1111",
        "url": "asdlfkjalsdkfjal"
    }
}"#;
    assert_eq!(server.put("/api/putask/tasktype", body).await.body, r#"{"code":0,"data":1}"#);
    server.fire("download").await;
    let as_printed = json!({
        "code": 0,
        "data": [{
            "id": 1,
            "tid": "",
            "rid": "10",
            "task_type": "download",
            "task_info": {"rid": "1111", "url": "asdlfkjalsdkfjal"},
            "stat": 1,
            "add_time": "2001-09-09T01:46:40Z",
            "update_time": "2001-09-09T01:46:40Z",
            "rapper": "",
            "client": "",
            "remark": "",
        }],
    });
    assert_eq!(json_of(&server.get("/querytask?type=download&pageno=1&pagesize=10").await), as_printed);
    assert_eq!(
        json_of(&server.get("/querytask?type=download&pageno=9&pagesize=10").await)["data"],
        json!([])
    );
    assert_eq!(json_of(&server.get("/querytask?type=download&name=w&num=10").await), as_printed);
    let done = server.post("/updatetask", r#"{"id": 1, "stat": 3, "remark": "asdfasdfadf"}"#).await;
    assert_eq!((done.status, done.body.as_str()), (200, r#"{"code":0}"#));
    assert_eq!(server.get("/beat?type=download&name=w").await, ok());
}

pub async fn tasks_put_over_every_path_are_numbered_consecutively(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    let typed = json!({"task_type": "download"}).to_string();
    let mut numbers = Vec::new();
    for path in ["/api/putask", "/putask", "/addtask"] {
        numbers.push(json_of(&server.put(path, &typed).await)["data"].clone());
        numbers.push(json_of(&server.put(&format!("{path}/download"), r#"{"rid":7}"#).await)["data"].clone());
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert_eq!(row(&server, 2).await["rid"], "7");
}

pub async fn an_incomplete_put_is_refused(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    assert_eq!(json_of(&server.put("/api/putask/download", "").await), refused("读取数据出错"));
    for (path, body) in [
        ("/putask", "{}"),
        ("/putask/download", "{"),
        ("/putask/download", "[]"),
        ("/putask/download", r#"{"rid":{}}"#),
        ("/putask/download", r#"{"task_info":{"callback":"ftp://a.example"}}"#),
    ] {
        assert_eq!(json_of(&server.put(path, body).await), refused("参数错误"), "{path} {body}");
    }
    assert_eq!(rows(&server, "/querytask?pageno=1&pagesize=10").await, Vec::<Value>::new());
}

pub async fn an_unknown_type_is_named(fixture: &dyn Fixture) {
    let server = start(fixture);
    let unknown = "任务类型不存在: nothing";
    assert_eq!(json_of(&server.put("/api/putask/nothing", "{}").await), refused(unknown));
    assert_eq!(json_of(&server.get("/querytask?type=nothing&pageno=1&pagesize=1").await), refused(unknown));
    assert_eq!(json_of(&server.get("/querytask?type=nothing&name=w&num=1").await), refused(unknown));
    for path in ["/sayhi", "/beat"] {
        assert_eq!(server.get(&format!("{path}?type=nothing&name=w")).await, plain(404, unknown));
    }
}

pub async fn types_are_created_once_and_reserved_names_are_refused(fixture: &dyn Fixture) {
    let server = start(fixture);
    for _ in 0..2 {
        assert_eq!(server.get("/newtype?name=download").await, ok());
    }
    for wrong in ["", "?name=", "?name=a%7Cb", "?name=%20a"] {
        assert_eq!(server.get(&format!("/newtype{wrong}")).await, plain(400, "参数错误"), "{wrong}");
    }
    for name in ["callback", "script", "rpc", "taskdash.ask"] {
        let answer = server.get(&format!("/newtype?name={name}")).await;
        assert_eq!(answer, plain(400, &format!("任务类型名已保留: {name}")));
    }
    // The old server executed such a name as an SQL statement.
    assert_eq!(server.get("/newtype?name=x%60%3B%20drop%20table%20tasks%3B--").await, ok());
    assert_eq!(server.get("/sayhi?type=download&name=w").await, ok());
}

pub async fn a_list_is_paged_by_number(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    server.get("/newtype?name=other").await;
    for _ in 0..3 {
        put(&server, &json!({})).await;
        server.put("/putask/other", "{}").await;
    }
    let page = async |query: &str| ids(&rows(&server, &format!("/querytask?{query}")).await);
    assert_eq!(page("pageno=1&pagesize=4").await, [1, 2, 3, 4]);
    assert_eq!(page("pageno=2&pagesize=4").await, [5, 6]);
    assert_eq!(page("type=other&pageno=2&pagesize=2").await, [6]);
    assert_eq!(page("type=download").await, [1, 3, 5]);
    assert_eq!(page("pageno=3&pagesize=4").await, Vec::<i64>::new());
}

pub async fn pages_out_of_bounds_are_refused(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    for query in
        ["pageno=0&pagesize=1", "pageno=1&pagesize=0", "pageno=1&pagesize=101", "pageno=-1", "pagesize=x"]
    {
        assert_eq!(
            json_of(&server.get(&format!("/querytask?{query}")).await),
            refused("参数错误"),
            "{query}"
        );
    }
    assert_eq!(json_of(&server.get("/querytask?pageno=1&pagesize=100").await)["code"], 0);
}

pub async fn a_claim_returns_at_most_ten_tasks_or_an_empty_list(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    assert_eq!(server.get("/querytask?type=download&name=w&num=5").await.body, r#"{"code":0,"data":[]}"#);
    let all = ready(&server, 12).await;
    assert_eq!(claim(&server, "w", 99).await, all[..10], "oldest tasks first");
    assert_eq!(claim(&server, "w", 1).await, all[10..11]);
    for query in
        ["type=download&num=1", "name=w&num=1", "type=download&name=w&num=0", "type=download&name=w&num="]
    {
        assert_eq!(
            json_of(&server.get(&format!("/querytask?{query}")).await),
            refused("参数错误"),
            "{query}"
        );
    }
}

pub async fn a_worker_must_register_before_a_claim_or_a_heartbeat(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    let first = "请先打招呼(sayhi): x";
    assert_eq!(server.get("/beat?type=download&name=x").await, plain(403, first));
    assert_eq!(json_of(&server.get("/querytask?type=download&name=x&num=1").await), refused(first));
    assert_eq!(server.get("/sayhi?type=download&name=x").await, ok());
    assert_eq!(server.get("/beat?type=download&name=x").await, ok());
    for path in ["/sayhi", "/beat"] {
        for query in ["", "?type=download", "?name=x", "?type=download&name=a%0Ab"] {
            assert_eq!(server.get(&format!("{path}{query}")).await, plain(400, "参数错误"), "{path}{query}");
        }
    }
}

pub async fn a_worker_without_heartbeats_for_a_minute_loses_its_tasks(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    let all = ready(&server, 2).await;
    assert_eq!(claim(&server, "w", 1).await, all[..1]);
    server.stage.clock.set(NOW.plus_ms(59_999));
    server.stage.rescue().await;
    assert_eq!(row(&server, all[0]).await["stat"], 2, "a minute has not yet passed");
    server.stage.clock.set(NOW.plus_ms(60_000));
    server.stage.rescue().await;
    assert_eq!(server.get("/beat?type=download&name=w").await, plain(403, "请先打招呼(sayhi): w"));
    assert_eq!(row(&server, all[0]).await["stat"], 1);
    server.get("/sayhi?type=download&name=next").await;
    assert_eq!(claim(&server, "next", 2).await, all, "the released task is first");
    let late = update(&server, &json!({"id": all[0], "stat": 3, "remark": "", "name": "w"})).await;
    assert_eq!(late["code"], -1, "another worker holds the task");
}

pub async fn heartbeats_keep_claimed_tasks(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    let all = ready(&server, 1).await;
    assert_eq!(claim(&server, "w", 1).await, all);
    for beat in 1..=5 {
        server.stage.clock.set(NOW.plus_ms(beat * 50_000));
        assert_eq!(server.get("/beat?type=download&name=w").await, ok());
        server.stage.rescue().await;
        assert_eq!(row(&server, all[0]).await["stat"], 2, "heartbeat {beat}");
    }
    assert_eq!(update(&server, &json!({"id": all[0], "stat": 3})).await, json!({"code": 0}));
    assert_eq!(server.get("/beat?type=download&name=w").await, ok(), "ended tasks do not matter");
}

pub async fn a_worker_that_registers_again_releases_its_tasks(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    let all = ready(&server, 2).await;
    assert_eq!(claim(&server, "w", 2).await, all);
    update(&server, &json!({"id": all[0], "stat": 3})).await;
    assert_eq!(server.get("/sayhi?type=download&name=w").await, ok());
    assert_eq!(row(&server, all[1]).await["stat"], 1);
    assert_eq!(row(&server, all[0]).await["stat"], 3, "a finished task stays finished");
    server.get("/sayhi?type=download&name=next").await;
    assert_eq!(claim(&server, "next", 10).await, all[1..]);
}

pub async fn an_update_ends_a_task_and_is_stored_in_its_row(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    let all = ready(&server, 4).await;
    claim(&server, "w", 4).await;
    server.stage.clock.set(NOW.plus_ms(5_000));
    let update_with = async |id: i64, stat: i64, remark: &str| {
        let answer = update(&server, &json!({"id": id, "stat": stat, "remark": remark})).await;
        assert_eq!(answer, json!({"code": 0}));
        let row = row(&server, id).await;
        (row["stat"].as_i64().unwrap(), row["remark"].as_str().unwrap().to_owned(), row["rapper"].clone())
    };
    assert_eq!(update_with(all[0], 3, "done").await, (3, "done".to_owned(), json!("w")));
    assert_eq!(update_with(all[0], 3, "done").await, (3, "done".to_owned(), json!("w")), "repeated");
    assert_eq!(update_with(all[1], -1, "no room").await, (-1, "no room".to_owned(), json!("w")));
    assert_eq!(update_with(all[2], 2, "half").await, (2, "half".to_owned(), json!("w")));
    assert_eq!(update_with(all[3], 1, "later").await.0, 1, "released");
    assert_eq!(row(&server, all[0]).await["update_time"], "2001-09-09T01:46:45Z");
}

pub async fn an_update_of_a_task_that_the_worker_does_not_hold_is_refused(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    let all = ready(&server, 2).await;
    assert_eq!(update(&server, &json!({"id": 999, "stat": 3})).await, refused("任务不存在: 999"));
    let not_held = refused(&format!("任务不在该工兵手中: {}", all[0]));
    assert_eq!(
        update(&server, &json!({"id": all[0], "stat": 3})).await,
        not_held,
        "no worker holds the task"
    );
    claim(&server, "w", 1).await;
    assert_eq!(update(&server, &json!({"id": all[0], "stat": 3, "name": "x"})).await, not_held);
    assert_eq!(update(&server, &json!({"id": all[0], "stat": 3, "name": "w"})).await, json!({"code": 0}));
    assert_eq!(
        update(&server, &json!({"id": all[0], "stat": -1})).await,
        not_held,
        "the task has another outcome"
    );
    assert_eq!(json_of(&server.post("/updatetask", "").await), refused("读取数据出错"));
    for body in [json!({"stat": 3}), json!({"id": all[1]}), json!({"id": all[1], "stat": 7}), json!([])] {
        assert_eq!(update(&server, &body).await, refused("参数错误"), "{body}");
    }
}

/// The callbacks that wait for the worker of the queue `rpc`.
async fn callbacks(server: &TestServer) -> Vec<Value> {
    let filter = TaskFilter { name: Some("easytask_pull.callback".to_owned()), ..TaskFilter::default() };
    let tasks = server.stage.service.list_tasks(&filter, &Page { limit: 10, before: None }).await.unwrap();
    assert!(tasks.iter().all(|task| task.queue.as_deref() == Some("rpc")));
    tasks.iter().map(|task| serde_json::from_str(&task.data).unwrap()).collect()
}

pub async fn the_callback_url_is_called_once_when_the_task_ends(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    let info = json!({"url": "x", "callback": "http://callback.example/callback"});
    let id = put(&server, &json!({"rid": "10", "task_info": info})).await;
    server.fire("download").await;
    claim(&server, "w", 1).await;
    update(&server, &json!({"id": id, "stat": 2})).await;
    assert_eq!(callbacks(&server).await, Vec::<Value>::new(), "the task has not ended");
    for _ in 0..2 {
        let answer = update(&server, &json!({"id": id, "stat": -1, "remark": "no room", "nfid": "n"})).await;
        assert_eq!(answer, json!({"code": 0}));
    }
    let wanted = json!({
        "method": "GET",
        "url": format!("http://callback.example/callback?type=download&tid={id}&rid=10&msg=no+room&nfid=n"),
        "body": "", "content_type": "", "headers": {},
        "timeout_ms": 10_000, "retry_after_ms": [10_000, 60_000, 600_000, 3_600_000],
    });
    assert_eq!(callbacks(&server).await, [wanted]);
}

pub async fn with_auth_a_session_cookie_is_required(fixture: &dyn Fixture) {
    let settings = EasytaskPull { enabled: true, auth: true, session_hours: 1, ..EasytaskPull::default() };
    let server = TestServer::new(fixture, Compat { easytask_pull: settings, ..Compat::default() });
    for path in ["/querytask?pageno=1", "/newtype?name=a", "/sayhi?type=a&name=b", "/beat?type=a&name=b"] {
        let refused = server.get(path).await;
        assert_eq!(
            (refused.status, refused.body.as_str()),
            (401, r#"{"code":-1,"errmsg":"请登录"}"#),
            "{path}"
        );
    }
    assert_eq!(server.put("/api/putask/a", "{}").await.status, 401);
    assert_eq!(server.post("/updatetask", "{}").await.status, 401);

    let li = User { name: "li".to_owned(), senior: false, console: None, expires_at: None };
    server.stage.service.set_user(&li.change("correct horse")).await.unwrap();
    assert_eq!(server.post("/api/login", "username=li&password=wrong").await.status, 401);
    let form = Request::post("/api/login").body(Body::from("username=li&password=correct+horse")).unwrap();
    let response = server.send(form).await;
    assert_eq!(response.status().as_u16(), 200);
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("gsessionid=") && cookie.contains("HttpOnly"), "{cookie}");
    let (pair, _) = cookie.split_once(';').unwrap();
    let status_with = async |pair: &str| {
        let request = Request::get("/querytask?pageno=1").header(header::COOKIE, pair).body(Body::empty());
        server.send(request.unwrap()).await.status().as_u16()
    };
    assert_eq!(status_with(&format!("other=1; {pair}")).await, 200);
    assert_eq!(status_with("gsessionid=MTU0asdf").await, 401, "the value is not a session");
    server.stage.clock.set(NOW.plus_ms(3_600_000));
    assert_eq!(status_with(pair).await, 401, "the session has expired");
}

pub async fn numbers_are_never_used_twice(fixture: &dyn Fixture) {
    let first = open(fixture).await;
    let mut seen = BTreeSet::from([put(&first, &json!({})).await]);
    // A second node, and the first one after a restart.
    for server in [
        TestServer::restarted(fixture, legacy_apis(), &first),
        TestServer::restarted(fixture, legacy_apis(), &first),
    ] {
        for _ in 0..3 {
            assert!(seen.insert(put(&server, &json!({})).await), "{seen:?}");
        }
        assert!(seen.insert(put(&first, &json!({})).await), "{seen:?}");
    }
    assert_eq!(rows(&first, "/querytask?pagesize=100").await.len(), seen.len());
}

pub async fn two_workers_never_get_the_same_task(fixture: &dyn Fixture) {
    const TASKS: usize = 200;
    let one = open(fixture).await;
    let other = TestServer::restarted(fixture, legacy_apis(), &one);
    other.get("/sayhi?type=download&name=x").await;
    for _ in 0..TASKS {
        put(&one, &json!({})).await;
    }
    one.fire("download").await;
    let (mut by_first, mut by_second) = (Vec::new(), Vec::new());
    loop {
        let (first, second) = tokio::join!(claim(&one, "w", 10), claim(&other, "x", 10));
        if first.is_empty() && second.is_empty() {
            break;
        }
        by_first.extend(first);
        by_second.extend(second);
    }
    assert!(!by_first.is_empty() && !by_second.is_empty(), "{} and {}", by_first.len(), by_second.len());
    by_first.extend(by_second);
    assert_eq!(by_first.len(), TASKS);
    assert_eq!(by_first.into_iter().collect::<BTreeSet<_>>().len(), TASKS, "no task was claimed twice");
}

/// The node died after it stored the task and before it stored the number.
pub async fn a_claim_restores_a_number_that_was_not_stored(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    let orphan = json!({"id": 77, "tid": "", "rid": "10", "task_type": "download", "task_info": {"a": 1}});
    let orphan = Submission {
        queue: Some("download".to_owned()),
        ..Submission::named("download", orphan.to_string())
    };
    server.stage.submit(orphan).await;
    server.fire("download").await;
    assert_eq!(claim(&server, "w", 10).await, [77]);
    assert_eq!(update(&server, &json!({"id": 77, "stat": 3})).await, json!({"code": 0}));
}

/// Runs that another API put into the queue.
pub async fn a_claim_skips_foreign_runs_and_leaves_them_unchanged(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    let foreign = |at: usize| Submission {
        queue: Some("download".to_owned()),
        ..Submission::named("foreign", format!("foreign {at}"))
    };
    for at in 0..25 {
        server.stage.submit(foreign(at)).await;
    }
    let runs = server.fire("foreign").await;
    server.stage.clock.set(NOW.plus_ms(1));
    let all = ready(&server, 2).await;
    assert_eq!(claim(&server, "w", 10).await, all, "foreign runs do not block the queue");
    assert_eq!(claim(&server, "w", 10).await, Vec::<i64>::new());
    for run in &runs {
        let now = server.stage.run(run).await;
        assert_eq!((now.state, now.attempt, now.reason), (RunState::Ready, 1, None));
    }
}

pub async fn a_queue_in_use_cannot_become_a_type(fixture: &dyn Fixture) {
    let server = start(fixture);
    // A task with a ready run, and a task that is due in a day.
    let queued = Submission { queue: Some("mine".to_owned()), ..Submission::named("any", "d") };
    let run = server.stage.submit(queued).await;
    let run = server.stage.fire(&run).await;
    let later = Submission { start_at: Some(NOW.plus_ms(86_400_000)), ..Submission::named("later", "d") };
    server.stage.submit(later).await;
    for name in ["mine", "later"] {
        let answer = server.get(&format!("/newtype?name={name}")).await;
        assert_eq!(answer, plain(400, &format!("任务类型名已保留: {name}")));
        let claimed = server.get(&format!("/querytask?type={name}&name=w&num=1")).await;
        assert_eq!(json_of(&claimed), refused(&format!("任务类型不存在: {name}")));
    }
    assert_eq!(server.stage.run(&run).await, run, "the run is unchanged");
    // A type with tasks can be created again.
    open_type(&server).await;
    ready(&server, 1).await;
    assert_eq!(server.get("/newtype?name=download").await, ok());
}

async fn open_type(server: &TestServer) {
    assert_eq!(server.get("/newtype?name=download").await, ok());
}

pub async fn a_claim_renews_held_tasks_every_five_seconds(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    let all = ready(&server, 4).await;
    assert_eq!(claim(&server, "w", 1).await, all[..1]);
    let renewed = async || row(&server, all[0]).await["update_time"].as_str().unwrap().to_owned();
    for (ms, claimed, wanted) in [(4_999, 1, "01:46:40Z"), (5_000, 2, "01:46:45Z"), (9_999, 3, "01:46:45Z")] {
        server.stage.clock.set(NOW.plus_ms(ms));
        assert_eq!(claim(&server, "w", 1).await, all[claimed..=claimed]);
        assert!(renewed().await.ends_with(wanted), "at {ms} ms: {}", renewed().await);
    }
    assert_eq!(server.get("/beat?type=download&name=w").await, ok());
    assert!(renewed().await.ends_with("01:46:49Z"), "a heartbeat renews at once");
    // Tasks claimed between two renewals are held too.
    server.stage.clock.set(NOW.plus_ms(65_000));
    server.stage.rescue().await;
    for id in &all {
        assert_eq!(row(&server, *id).await["stat"], 2, "{id}");
    }
    assert_eq!(server.get("/sayhi?type=download&name=w").await, ok());
    for id in &all {
        assert_eq!(row(&server, *id).await["stat"], 1, "{id} is released");
    }
}

/// The rows of 135 older tasks that still exist do not prevent the removal of a later row.
pub async fn rows_of_removed_tasks_are_removed_at_any_position(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    let mut all = Vec::new();
    for _ in 0..140 {
        all.push(put(&server, &json!({})).await);
    }
    let removed = all[135];
    let kept = async |id: i64| {
        let row: Option<Value> = server
            .stage
            .service
            .read_record(RecordKind::internal("easytask_pull.task"), &format!("{id:019}"))
            .await
            .unwrap();
        row
    };
    let row = kept(removed).await.unwrap();
    let task = taskcenter_server::core::TaskId::parse(row["task"].as_str().unwrap()).unwrap();
    server.stage.service.delete(&[task]).await.unwrap();
    for _ in 0..200 {
        put(&server, &json!({})).await;
    }
    assert_eq!(kept(removed).await, None);
    assert!(kept(all[0]).await.is_some() && kept(all[139]).await.is_some());
}

pub async fn a_second_end_after_a_redrive_is_called_back_too(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    let info = json!({"callback": "http://callback.example/callback"});
    let id = put(&server, &json!({"task_info": info})).await;
    let [run] = server.fire("download").await.try_into().unwrap();
    claim(&server, "w", 1).await;
    assert_eq!(update(&server, &json!({"id": id, "stat": -1, "remark": "no"})).await, json!({"code": 0}));
    server.stage.service.retry_run(&run.id).await.unwrap();
    server.stage.rescue().await;
    assert_eq!(claim(&server, "w", 1).await, [id]);
    assert_eq!(update(&server, &json!({"id": id, "stat": 3})).await, json!({"code": 0}));
    assert_eq!(callbacks(&server).await.len(), 2, "one callback for each end");
}

pub async fn an_end_is_refused_if_its_callback_cannot_be_stored(fixture: &dyn Fixture) {
    let failing = super::Failing::on(fixture);
    let server = open(&failing).await;
    let info = json!({"callback": "http://callback.example/callback"});
    let id = put(&server, &json!({"task_info": info})).await;
    server.fire("download").await;
    claim(&server, "w", 1).await;
    failing.fail("insert_tasks");
    let done = json!({"id": id, "stat": 3, "remark": "", "name": "w"});
    assert_eq!(update(&server, &done).await, refused("服务器内部错误"));
    assert_eq!(row(&server, id).await["stat"], 2, "the worker repeats the update after an error");
    failing.recover();
    assert_eq!(update(&server, &done).await, json!({"code": 0}));
    assert_eq!((row(&server, id).await["stat"].clone(), callbacks(&server).await.len()), (json!(3), 1));
}

pub async fn a_store_failure_is_an_error_and_stores_no_row(fixture: &dyn Fixture) {
    let failing = super::Failing::on(fixture);
    let server = open(&failing).await;
    failing.fail("");
    let error = refused("服务器内部错误");
    assert_eq!(json_of(&server.put("/api/putask/download", "{}").await), error);
    assert_eq!(json_of(&server.get("/querytask?pageno=1").await), error);
    assert_eq!(json_of(&server.get("/querytask?type=download&name=w&num=1").await), error);
    assert_eq!(update(&server, &json!({"id": 1, "stat": 3})).await, error);
    for path in ["/sayhi?type=download&name=w", "/beat?type=download&name=w", "/newtype?name=x"] {
        assert_eq!(server.get(path).await, plain(503, "服务器内部错误"), "{path}");
    }
    failing.recover();
    assert_eq!(rows(&server, "/querytask?pageno=1").await, Vec::<Value>::new());
}

pub async fn wrong_logins_are_refused_after_a_while_with_retry_after(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    for name in ["li", "unknown"] {
        let li = User { name: "li".to_owned(), senior: false, console: None, expires_at: None };
        server.stage.service.set_user(&li.change("correct horse")).await.unwrap();
        let log_in = async |password: &str| {
            let form = Body::from(format!("username={name}&password={password}"));
            server.send(Request::post("/api/login").body(form).unwrap()).await
        };
        for _ in 0..10 {
            assert_eq!(log_in("wrong").await.status().as_u16(), 401);
        }
        for password in ["wrong", "correct+horse"] {
            let refused = log_in(password).await;
            assert_eq!(refused.status().as_u16(), 429, "{name} {password}");
            assert_eq!(refused.headers()[header::RETRY_AFTER], "6");
        }
    }
    server.stage.clock.set(NOW.plus_ms(6_000));
    let form = Body::from("username=li&password=correct+horse");
    let allowed = server.send(Request::post("/api/login").body(form).unwrap()).await;
    assert_eq!(allowed.status().as_u16(), 200);
}

/// Starts a server with the dialect of the code and the type `download`.
async fn open_with_code(fixture: &dyn Fixture) -> TestServer {
    let settings = EasytaskPull { enabled: true, dialect: Dialect::Code, ..EasytaskPull::default() };
    let server = TestServer::new(fixture, Compat { easytask_pull: settings, ..Compat::default() });
    assert_eq!(server.get("/newtype?name=download").await, ok());
    server
}

/// A row as workers written against the code read it.
fn code_row(id: i64, stat: i64, worker: &str) -> Value {
    json!({
        "id": id, "tid": "", "rid": "10", "task_type": "download", "task_info": null, "stat": stat,
        "add_time": "2001-09-09T01:46:40Z", "update_time": null, "rapper": worker, "client": worker,
        "name": worker, "remark": "",
    })
}

/// A worker of October 2019: without a name, `sayhi` and heartbeats. It returns the whole row.
pub async fn a_session_of_a_nameless_worker_is_reproduced(fixture: &dyn Fixture) {
    let server = open_with_code(fixture).await;
    ready(&server, 1).await;
    let listed = rows(&server, "/querytask?type=download&pageno=1&pagesize=10").await;
    assert_eq!(listed, [code_row(1, 0, "")]);
    let claimed = rows(&server, "/querytask?type=download&num=10").await;
    assert_eq!(claimed, [code_row(1, 1, "unnamed")]);
    assert_eq!(rows(&server, "/querytask?type=download&num=10").await, Vec::<Value>::new());
    server.stage.clock.set(NOW.plus_ms(3_599_999));
    server.stage.rescue().await;
    assert_eq!(row(&server, 1).await["stat"], 1, "the worker sends no heartbeats");
    let mut done = claimed[0].clone();
    (done["stat"], done["remark"]) = (json!(2), json!("fine"));
    assert_eq!(update(&server, &done).await, json!({"code": 0}));
    let ended = row(&server, 1).await;
    assert_eq!((&ended["stat"], &ended["remark"]), (&json!(2), &json!("fine")));
}

/// A worker of late October 2019: with a name.
pub async fn a_session_of_a_named_worker_is_reproduced(fixture: &dyn Fixture) {
    let server = open_with_code(fixture).await;
    ready(&server, 1).await;
    let claimed = rows(&server, "/querytask?type=download&name=w&num=1").await;
    assert_eq!(claimed, [code_row(1, 1, "w")]);
    let mut failed = claimed[0].clone();
    (failed["stat"], failed["remark"]) = (json!(3), json!("no room"));
    assert_eq!(update(&server, &failed).await, json!({"code": 0}));
    assert_eq!(row(&server, 1).await["stat"], 3);
    for unknown in [4, -1, 100] {
        failed["stat"] = json!(unknown);
        assert_eq!(update(&server, &failed).await, refused("参数错误"), "{unknown}");
    }
}

/// A worker of December 2019: the operation is in a header.
pub async fn a_session_of_a_worker_with_headers_is_reproduced(fixture: &dyn Fixture) {
    let server = open_with_code(fixture).await;
    let call = async |method: &str, path: &str, operation: &str, body: String| {
        let request = Request::builder().method(method).uri(path).header("X-API", operation);
        let response = server.send(request.body(Body::from(body)).unwrap()).await;
        json_of(&super::answer(response).await)
    };
    let added = call("PUT", "/api?type=download", "/task/add", json!({"rid": "10"}).to_string()).await;
    assert_eq!(added, json!({"code": 0, "data": 1}));
    server.fire("download").await;
    let listed = call("GET", "/api?type=download&pageno=1&pagesize=1", "/task/query", String::new()).await;
    assert_eq!(listed, json!({"code": 0, "data": [code_row(1, 0, "")]}));
    let claimed = call("GET", "/api?type=download&name=w&num=1", "/task/get", String::new()).await;
    assert_eq!(claimed, json!({"code": 0, "data": [code_row(1, 1, "w")]}));
    let mut done = claimed["data"][0].clone();
    done["stat"] = json!(2);
    assert_eq!(call("POST", "/api", "/task/update", done.to_string()).await, json!({"code": 0}));
    assert_eq!(row(&server, 1).await["stat"], 2);
    assert_eq!(call("GET", "/api", "/task/unknown", String::new()).await, refused("参数错误"));
}

/// The connection was closed before the server sent the answer.
pub async fn a_claim_is_released_when_its_answer_is_not_sent(fixture: &dyn Fixture) {
    let server = open(fixture).await;
    assert_eq!(server.get("/sayhi?type=download&name=other").await, ok());
    let ids = ready(&server, 2).await;
    let claim_of = |name: &str| {
        let path = format!("/querytask?type=download&name={name}&num=2");
        server.send(Request::get(path).body(Body::empty()).unwrap())
    };
    drop(claim_of("w").await);
    crate::workers::until("the tasks are released", async || {
        row(&server, ids[0]).await["stat"] == 1 && row(&server, ids[1]).await["stat"] == 1
    })
    .await;
    let sent = super::answer(claim_of("other").await).await;
    assert_eq!(json_of(&sent)["data"].as_array().unwrap().len(), 2);
    assert_eq!(server.get("/beat?type=download&name=other").await, ok());
    assert_eq!(row(&server, ids[0]).await["client"], "other", "an answer that was sent keeps its claim");
}

/// Heartbeats alone do not hold a task for ever: the worker may never have got it.
#[tokio::test]
async fn heartbeats_renew_a_claim_for_a_day() {
    let fixture = crate::store::memory::MemoryFixture::open().await;
    let server = open(&fixture).await;
    ready(&server, 1).await;
    assert_eq!(claim(&server, "w", 1).await, [1]);
    let held = async |hours: std::ops::Range<i64>| {
        for minute in hours.start * 120..hours.end * 120 {
            server.stage.clock.set(NOW.plus_ms(minute * 30_000));
            assert_eq!(server.get("/beat?type=download&name=w").await, ok());
            server.stage.rescue().await;
        }
        row(&server, 1).await["stat"] == 2
    };
    assert!(held(0..24).await, "a day is not over");
    assert!(!held(24..25).await, "the task is new again");
}

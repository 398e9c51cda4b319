//! Section 5 of the contract.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use taskcenter_server::compat::{Compat, EasytaskPull};
use taskcenter_server::core::RunState;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::engine::service::{Page, TaskFilter, User};

use super::{Answer, Desk};
use crate::service::NOW;
use crate::store::Fixture;

fn fronts() -> Compat {
    Compat { easytask_pull: EasytaskPull { enabled: true, ..EasytaskPull::default() }, ..Compat::default() }
}

fn desk(on: &dyn Fixture) -> Desk {
    Desk::on(on, fronts())
}

/// With the type `download`, and the worker `w` that has said hello.
async fn open(on: &dyn Fixture) -> Desk {
    let desk = desk(on);
    assert_eq!(desk.get("/newtype?name=download").await, ok());
    assert_eq!(desk.get("/sayhi?type=download&name=w").await, ok());
    desk
}

fn ok() -> Answer {
    Answer { status: 200, kind: "text/plain; charset=utf-8".to_owned(), body: "OK".to_owned() }
}

fn said(status: u16, body: &str) -> Answer {
    Answer { status, kind: "text/plain; charset=utf-8".to_owned(), body: body.to_owned() }
}

fn code(answer: &Answer) -> Value {
    assert_eq!((answer.status, answer.kind.as_str()), (200, "application/json"), "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

fn refused(why: &str) -> Value {
    json!({"code": -1, "errmsg": why})
}

async fn put(on: &Desk, body: &Value) -> i64 {
    let answer = code(&on.put("/api/putask/download", &body.to_string()).await);
    assert_eq!(answer["code"], 0, "{answer}");
    answer["data"].as_i64().expect("the id is an integer")
}

/// Puts so many tasks a millisecond apart, and fires them; then it is [`NOW`] again.
async fn ready(on: &Desk, tasks: usize) -> Vec<i64> {
    let mut ids = Vec::new();
    for at in 0..tasks {
        on.stage.clock.set(NOW.plus_ms(at as i64));
        ids.push(put(on, &json!({"rid": "10"})).await);
        on.fire("download").await;
    }
    on.stage.clock.set(NOW);
    ids
}

async fn rows(on: &Desk, path: &str) -> Vec<Value> {
    let answer = code(&on.get(path).await);
    assert_eq!(answer["code"], 0, "{answer}");
    answer["data"].as_array().unwrap().clone()
}

fn ids(rows: &[Value]) -> Vec<i64> {
    rows.iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

async fn claim(on: &Desk, name: &str, num: u32) -> Vec<i64> {
    ids(&rows(on, &format!("/querytask?type=download&name={name}&num={num}")).await)
}

async fn update(on: &Desk, body: &Value) -> Value {
    code(&on.post("/updatetask", &body.to_string()).await)
}

async fn row(on: &Desk, id: i64) -> Value {
    let rows = rows(on, "/querytask?type=download&pageno=1&pagesize=100").await;
    rows.into_iter().find(|row| row["id"] == id).unwrap()
}

/// Every call of the document, in its order, with its answers.
pub async fn the_documents_transcript(on: &dyn Fixture) {
    let on = open(on).await;
    let body = r#"{
    "rid": "10",
    "task_type": "download",
    "task_info": {
        "rid": "1111",
        "url": "asdlfkjalsdkfjal"
    }
}"#;
    assert_eq!(on.put("/api/putask/tasktype", body).await.body, r#"{"code":0,"data":1}"#);
    on.fire("download").await;
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
    assert_eq!(code(&on.get("/querytask?type=download&pageno=1&pagesize=10").await), as_printed);
    assert_eq!(code(&on.get("/querytask?type=download&pageno=9&pagesize=10").await)["data"], json!([]));
    assert_eq!(code(&on.get("/querytask?type=download&name=w&num=10").await), as_printed);
    let done = on.post("/updatetask", r#"{"id": 1, "stat": 3, "remark": "asdfasdfadf"}"#).await;
    assert_eq!((done.status, done.body.as_str()), (200, r#"{"code":0}"#));
    assert_eq!(on.get("/beat?type=download&name=w").await, ok());
}

pub async fn putting_under_every_address_numbers_the_tasks(on: &dyn Fixture) {
    let on = open(on).await;
    let typed = json!({"task_type": "download"}).to_string();
    let mut numbers = Vec::new();
    for path in ["/api/putask", "/putask", "/addtask"] {
        numbers.push(code(&on.put(path, &typed).await)["data"].clone());
        numbers.push(code(&on.put(&format!("{path}/download"), r#"{"rid":7}"#).await)["data"].clone());
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert_eq!(row(&on, 2).await["rid"], "7");
}

pub async fn a_put_that_says_too_little_is_refused(on: &dyn Fixture) {
    let on = open(on).await;
    assert_eq!(code(&on.put("/api/putask/download", "").await), refused("读取数据出错"));
    for (path, body) in [
        ("/putask", "{}"),
        ("/putask/download", "{"),
        ("/putask/download", "[]"),
        ("/putask/download", r#"{"rid":{}}"#),
        ("/putask/download", r#"{"task_info":{"callback":"ftp://a.example"}}"#),
    ] {
        assert_eq!(code(&on.put(path, body).await), refused("参数错误"), "{path} {body}");
    }
    assert_eq!(rows(&on, "/querytask?pageno=1&pagesize=10").await, Vec::<Value>::new());
}

pub async fn an_unknown_type_is_named(on: &dyn Fixture) {
    let on = desk(on);
    let unknown = "任务类型不存在: nothing";
    assert_eq!(code(&on.put("/api/putask/nothing", "{}").await), refused(unknown));
    assert_eq!(code(&on.get("/querytask?type=nothing&pageno=1&pagesize=1").await), refused(unknown));
    assert_eq!(code(&on.get("/querytask?type=nothing&name=w&num=1").await), refused(unknown));
    for path in ["/sayhi", "/beat"] {
        assert_eq!(on.get(&format!("{path}?type=nothing&name=w")).await, said(404, unknown));
    }
}

pub async fn types_are_created_once_and_names_of_built_in_queues_are_not_theirs(on: &dyn Fixture) {
    let on = desk(on);
    for _ in 0..2 {
        assert_eq!(on.get("/newtype?name=download").await, ok());
    }
    for wrong in ["", "?name=", "?name=a%7Cb", "?name=%20a"] {
        assert_eq!(on.get(&format!("/newtype{wrong}")).await, said(400, "参数错误"), "{wrong}");
    }
    for name in ["callback", "script", "rpc", "taskdash.ask"] {
        let answer = on.get(&format!("/newtype?name={name}")).await;
        assert_eq!(answer, said(400, &format!("任务类型名已保留: {name}")));
    }
    // What the old server ran as a statement is a name like any other.
    assert_eq!(on.get("/newtype?name=x%60%3B%20drop%20table%20tasks%3B--").await, ok());
    assert_eq!(on.get("/sayhi?type=download&name=w").await, ok());
}

pub async fn a_list_is_paged_by_number(on: &dyn Fixture) {
    let on = open(on).await;
    on.get("/newtype?name=other").await;
    for _ in 0..3 {
        put(&on, &json!({})).await;
        on.put("/putask/other", "{}").await;
    }
    let page = async |query: &str| ids(&rows(&on, &format!("/querytask?{query}")).await);
    assert_eq!(page("pageno=1&pagesize=4").await, [1, 2, 3, 4]);
    assert_eq!(page("pageno=2&pagesize=4").await, [5, 6]);
    assert_eq!(page("type=other&pageno=2&pagesize=2").await, [6]);
    assert_eq!(page("type=download").await, [1, 3, 5]);
    assert_eq!(page("pageno=3&pagesize=4").await, Vec::<i64>::new());
}

pub async fn pages_out_of_bounds_are_refused(on: &dyn Fixture) {
    let on = open(on).await;
    for query in
        ["pageno=0&pagesize=1", "pageno=1&pagesize=0", "pageno=1&pagesize=101", "pageno=-1", "pagesize=x"]
    {
        assert_eq!(code(&on.get(&format!("/querytask?{query}")).await), refused("参数错误"), "{query}");
    }
    assert_eq!(code(&on.get("/querytask?pageno=1&pagesize=100").await)["code"], 0);
}

pub async fn a_claim_takes_ten_at_most_and_none_is_an_empty_list(on: &dyn Fixture) {
    let on = open(on).await;
    assert_eq!(on.get("/querytask?type=download&name=w&num=5").await.body, r#"{"code":0,"data":[]}"#);
    let all = ready(&on, 12).await;
    assert_eq!(claim(&on, "w", 99).await, all[..10], "the oldest ones first");
    assert_eq!(claim(&on, "w", 1).await, all[10..11]);
    for query in
        ["type=download&num=1", "name=w&num=1", "type=download&name=w&num=0", "type=download&name=w&num="]
    {
        assert_eq!(code(&on.get(&format!("/querytask?{query}")).await), refused("参数错误"), "{query}");
    }
}

pub async fn a_worker_says_hello_before_it_takes_or_beats(on: &dyn Fixture) {
    let on = open(on).await;
    let first = "请先打招呼(sayhi): x";
    assert_eq!(on.get("/beat?type=download&name=x").await, said(403, first));
    assert_eq!(code(&on.get("/querytask?type=download&name=x&num=1").await), refused(first));
    assert_eq!(on.get("/sayhi?type=download&name=x").await, ok());
    assert_eq!(on.get("/beat?type=download&name=x").await, ok());
    for path in ["/sayhi", "/beat"] {
        for query in ["", "?type=download", "?name=x", "?type=download&name=a%0Ab"] {
            assert_eq!(on.get(&format!("{path}{query}")).await, said(400, "参数错误"), "{path}{query}");
        }
    }
}

pub async fn a_minute_of_silence_drops_a_worker_and_its_tasks_go_back_to_the_front(on: &dyn Fixture) {
    let on = open(on).await;
    let all = ready(&on, 2).await;
    assert_eq!(claim(&on, "w", 1).await, all[..1]);
    on.stage.clock.set(NOW.plus_ms(59_999));
    on.stage.rescue().await;
    assert_eq!(row(&on, all[0]).await["stat"], 2, "a minute has not passed");
    on.stage.clock.set(NOW.plus_ms(60_000));
    on.stage.rescue().await;
    assert_eq!(on.get("/beat?type=download&name=w").await, said(403, "请先打招呼(sayhi): w"));
    assert_eq!(row(&on, all[0]).await["stat"], 1);
    on.get("/sayhi?type=download&name=heir").await;
    assert_eq!(claim(&on, "heir", 2).await, all, "the one that was given back is the first");
    let late = update(&on, &json!({"id": all[0], "stat": 3, "remark": "", "name": "w"})).await;
    assert_eq!(late["code"], -1, "it is the heir's now");
}

pub async fn beats_keep_tasks_for_as_long_as_it_takes(on: &dyn Fixture) {
    let on = open(on).await;
    let all = ready(&on, 1).await;
    assert_eq!(claim(&on, "w", 1).await, all);
    for beat in 1..=5 {
        on.stage.clock.set(NOW.plus_ms(beat * 50_000));
        assert_eq!(on.get("/beat?type=download&name=w").await, ok());
        on.stage.rescue().await;
        assert_eq!(row(&on, all[0]).await["stat"], 2, "beat {beat}");
    }
    assert_eq!(update(&on, &json!({"id": all[0], "stat": 3})).await, json!({"code": 0}));
    assert_eq!(on.get("/beat?type=download&name=w").await, ok(), "what has ended is not in the way");
}

pub async fn a_worker_that_says_hello_again_gives_back_what_it_held(on: &dyn Fixture) {
    let on = open(on).await;
    let all = ready(&on, 2).await;
    assert_eq!(claim(&on, "w", 2).await, all);
    update(&on, &json!({"id": all[0], "stat": 3})).await;
    assert_eq!(on.get("/sayhi?type=download&name=w").await, ok());
    assert_eq!(row(&on, all[1]).await["stat"], 1);
    assert_eq!(row(&on, all[0]).await["stat"], 3, "what it had finished stays finished");
    on.get("/sayhi?type=download&name=heir").await;
    assert_eq!(claim(&on, "heir", 10).await, all[1..]);
}

pub async fn an_update_ends_a_task_and_its_row_says_how(on: &dyn Fixture) {
    let on = open(on).await;
    let all = ready(&on, 4).await;
    claim(&on, "w", 4).await;
    on.stage.clock.set(NOW.plus_ms(5_000));
    let said = async |id: i64, stat: i64, remark: &str| {
        let told = update(&on, &json!({"id": id, "stat": stat, "remark": remark})).await;
        assert_eq!(told, json!({"code": 0}));
        let row = row(&on, id).await;
        (row["stat"].as_i64().unwrap(), row["remark"].as_str().unwrap().to_owned(), row["rapper"].clone())
    };
    assert_eq!(said(all[0], 3, "done").await, (3, "done".to_owned(), json!("w")));
    assert_eq!(said(all[0], 3, "done").await, (3, "done".to_owned(), json!("w")), "sent again");
    assert_eq!(said(all[1], -1, "no room").await, (-1, "no room".to_owned(), json!("w")));
    assert_eq!(said(all[2], 2, "half").await, (2, "half".to_owned(), json!("w")));
    assert_eq!(said(all[3], 1, "later").await.0, 1, "given back");
    assert_eq!(row(&on, all[0]).await["update_time"], "2001-09-09T01:46:45Z");
}

pub async fn an_update_of_nobodys_task_or_of_anothers_is_refused(on: &dyn Fixture) {
    let on = open(on).await;
    let all = ready(&on, 2).await;
    assert_eq!(update(&on, &json!({"id": 999, "stat": 3})).await, refused("任务不存在: 999"));
    let not_held = refused(&format!("任务不在该工兵手中: {}", all[0]));
    assert_eq!(update(&on, &json!({"id": all[0], "stat": 3})).await, not_held, "nobody has it");
    claim(&on, "w", 1).await;
    assert_eq!(update(&on, &json!({"id": all[0], "stat": 3, "name": "x"})).await, not_held);
    assert_eq!(update(&on, &json!({"id": all[0], "stat": 3, "name": "w"})).await, json!({"code": 0}));
    assert_eq!(update(&on, &json!({"id": all[0], "stat": -1})).await, not_held, "it has ended otherwise");
    assert_eq!(code(&on.post("/updatetask", "").await), refused("读取数据出错"));
    for body in [json!({"stat": 3}), json!({"id": all[1]}), json!({"id": all[1], "stat": 7}), json!([])] {
        assert_eq!(update(&on, &body).await, refused("参数错误"), "{body}");
    }
}

/// The calls that wait for the server's worker.
async fn calls(on: &Desk) -> Vec<Value> {
    let filter = TaskFilter { name: Some("easytask_pull.callback".to_owned()), state: None };
    let tasks = on.stage.service.list_tasks(&filter, &Page { limit: 10, before: None }).await.unwrap();
    assert!(tasks.iter().all(|task| task.queue.as_deref() == Some("rpc")));
    tasks.iter().map(|task| serde_json::from_str(&task.data).unwrap()).collect()
}

pub async fn the_callback_is_called_once_when_the_task_ends(on: &dyn Fixture) {
    let on = open(on).await;
    let info = json!({"url": "x", "callback": "http://callback.example/callback"});
    let id = put(&on, &json!({"rid": "10", "task_info": info})).await;
    on.fire("download").await;
    claim(&on, "w", 1).await;
    update(&on, &json!({"id": id, "stat": 2})).await;
    assert_eq!(calls(&on).await, Vec::<Value>::new(), "it has not ended");
    for _ in 0..2 {
        let told = update(&on, &json!({"id": id, "stat": -1, "remark": "no room", "nfid": "n"})).await;
        assert_eq!(told, json!({"code": 0}));
    }
    let wanted = json!({
        "method": "GET",
        "url": format!("http://callback.example/callback?type=download&tid={id}&rid=10&msg=no+room&nfid=n"),
        "body": "", "content_type": "", "headers": {},
        "timeout_ms": 10_000, "retry_after_ms": [10_000, 60_000, 600_000, 3_600_000],
    });
    assert_eq!(calls(&on).await, [wanted]);
}

pub async fn with_auth_a_cookie_is_demanded(on: &dyn Fixture) {
    let settings = EasytaskPull { enabled: true, auth: true, session_hours: 1 };
    let on = Desk::on(on, Compat { easytask_pull: settings, ..Compat::default() });
    for path in ["/querytask?pageno=1", "/newtype?name=a", "/sayhi?type=a&name=b", "/beat?type=a&name=b"] {
        let refused = on.get(path).await;
        assert_eq!(
            (refused.status, refused.body.as_str()),
            (401, r#"{"code":-1,"errmsg":"请登录"}"#),
            "{path}"
        );
    }
    assert_eq!(on.put("/api/putask/a", "{}").await.status, 401);
    assert_eq!(on.post("/updatetask", "{}").await.status, 401);

    let li = User { name: "li".to_owned(), senior: false };
    on.stage.service.set_user(&li, "correct horse").await.unwrap();
    assert_eq!(on.post("/api/login", "username=li&password=wrong").await.status, 401);
    let form = Request::post("/api/login").body(Body::from("username=li&password=correct+horse")).unwrap();
    let entered = on.send(form).await;
    assert_eq!(entered.status().as_u16(), 200);
    let cookie = entered.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("gsessionid=") && cookie.contains("HttpOnly"), "{cookie}");
    let (pair, _) = cookie.split_once(';').unwrap();
    let with = async |pair: &str| {
        let request = Request::get("/querytask?pageno=1").header(header::COOKIE, pair).body(Body::empty());
        on.send(request.unwrap()).await.status().as_u16()
    };
    assert_eq!(with(&format!("other=1; {pair}")).await, 200);
    assert_eq!(with("gsessionid=MTU0asdf").await, 401, "anything is not a session");
    on.stage.clock.set(NOW.plus_ms(3_600_000));
    assert_eq!(with(pair).await, 401, "an hour has passed");
}

pub async fn numbers_are_never_used_twice(on: &dyn Fixture) {
    let first = open(on).await;
    let mut seen = BTreeSet::from([put(&first, &json!({})).await]);
    // A second node beside it, and a restart of the first.
    for desk in [Desk::again(on, fronts(), &first), Desk::again(on, fronts(), &first)] {
        for _ in 0..3 {
            assert!(seen.insert(put(&desk, &json!({})).await), "{seen:?}");
        }
        assert!(seen.insert(put(&first, &json!({})).await), "{seen:?}");
    }
    assert_eq!(rows(&first, "/querytask?pagesize=100").await.len(), seen.len());
}

pub async fn two_workers_never_get_the_same_task(on: &dyn Fixture) {
    const TASKS: usize = 200;
    let one = open(on).await;
    let other = Desk::again(on, fronts(), &one);
    other.get("/sayhi?type=download&name=x").await;
    for _ in 0..TASKS {
        put(&one, &json!({})).await;
    }
    one.fire("download").await;
    let (mut mine, mut yours) = (Vec::new(), Vec::new());
    loop {
        let (first, second) = tokio::join!(claim(&one, "w", 10), claim(&other, "x", 10));
        if first.is_empty() && second.is_empty() {
            break;
        }
        mine.extend(first);
        yours.extend(second);
    }
    assert!(!mine.is_empty() && !yours.is_empty(), "{} and {}", mine.len(), yours.len());
    mine.extend(yours);
    assert_eq!(mine.len(), TASKS);
    assert_eq!(mine.into_iter().collect::<BTreeSet<_>>().len(), TASKS, "none was given out twice");
}

/// Its node died between storing the task and keeping its number; and what others put into the queue.
pub async fn a_number_that_was_not_kept_comes_back_with_the_claim(on: &dyn Fixture) {
    let on = open(on).await;
    let orphan = json!({"id": 77, "tid": "", "rid": "10", "task_type": "download", "task_info": {"a": 1}});
    let orphan = Submission {
        queue: Some("download".to_owned()),
        ..Submission::named("download", orphan.to_string())
    };
    on.stage.submit(orphan).await;
    on.fire("download").await;
    assert_eq!(claim(&on, "w", 10).await, [77]);
    assert_eq!(update(&on, &json!({"id": 77, "stat": 3})).await, json!({"code": 0}));
}

/// What others put into the queue.
pub async fn others_runs_at_the_head_of_a_queue_are_looked_past_and_left_as_they_are(on: &dyn Fixture) {
    let on = open(on).await;
    let strange = |at: usize| Submission {
        queue: Some("download".to_owned()),
        ..Submission::named("strange", format!("no task of ours {at}"))
    };
    for at in 0..25 {
        on.stage.submit(strange(at)).await;
    }
    let runs = on.fire("strange").await;
    on.stage.clock.set(NOW.plus_ms(1));
    let all = ready(&on, 2).await;
    assert_eq!(claim(&on, "w", 10).await, all, "they hold up nobody");
    assert_eq!(claim(&on, "w", 10).await, Vec::<i64>::new());
    for run in &runs {
        let now = on.stage.run(run).await;
        assert_eq!((now.state, now.attempt, now.reason), (RunState::Ready, 1, None));
    }
}

pub async fn a_queue_that_others_use_is_no_type(on: &dyn Fixture) {
    let on = desk(on);
    // One that waits in its queue, and one that is not due for a long time.
    let queued = Submission { queue: Some("mine".to_owned()), ..Submission::named("any", "d") };
    let run = on.stage.submit(queued).await;
    let run = on.stage.fire(&run).await;
    let later = Submission { start_at: Some(NOW.plus_ms(86_400_000)), ..Submission::named("later", "d") };
    on.stage.submit(later).await;
    for name in ["mine", "later"] {
        let answer = on.get(&format!("/newtype?name={name}")).await;
        assert_eq!(answer, said(400, &format!("任务类型名已保留: {name}")));
        let claimed = on.get(&format!("/querytask?type={name}&name=w&num=1")).await;
        assert_eq!(code(&claimed), refused(&format!("任务类型不存在: {name}")));
    }
    assert_eq!(on.stage.run(&run).await, run, "nobody has touched it");
    // A type with tasks in it is still one.
    open_type(&on).await;
    ready(&on, 1).await;
    assert_eq!(on.get("/newtype?name=download").await, ok());
}

async fn open_type(on: &Desk) {
    assert_eq!(on.get("/newtype?name=download").await, ok());
}

pub async fn a_claim_renews_what_is_held_once_in_a_while(on: &dyn Fixture) {
    let on = open(on).await;
    let all = ready(&on, 4).await;
    assert_eq!(claim(&on, "w", 1).await, all[..1]);
    let renewed = async || row(&on, all[0]).await["update_time"].as_str().unwrap().to_owned();
    for (ms, claimed, wanted) in [(4_999, 1, "01:46:40Z"), (5_000, 2, "01:46:45Z"), (9_999, 3, "01:46:45Z")] {
        on.stage.clock.set(NOW.plus_ms(ms));
        assert_eq!(claim(&on, "w", 1).await, all[claimed..=claimed]);
        assert!(renewed().await.ends_with(wanted), "at {ms} ms: {}", renewed().await);
    }
    assert_eq!(on.get("/beat?type=download&name=w").await, ok());
    assert!(renewed().await.ends_with("01:46:49Z"), "a beat renews at once");
    // What was claimed in between is held like the rest.
    on.stage.clock.set(NOW.plus_ms(65_000));
    on.stage.rescue().await;
    for id in &all {
        assert_eq!(row(&on, *id).await["stat"], 2, "{id}");
    }
    assert_eq!(on.get("/sayhi?type=download&name=w").await, ok());
    for id in &all {
        assert_eq!(row(&on, *id).await["stat"], 1, "{id} is given back");
    }
}

/// So many old tasks that stand keep nobody from forgetting a later one.
pub async fn rows_whose_tasks_are_gone_are_forgotten_wherever_they_stand(on: &dyn Fixture) {
    let on = open(on).await;
    let mut all = Vec::new();
    for _ in 0..140 {
        all.push(put(&on, &json!({})).await);
    }
    let gone = all[135];
    let kept = async |id: i64| {
        let row: Option<Value> =
            on.stage.service.read_record("easytask_pull.task", &format!("{id:019}")).await.unwrap();
        row
    };
    let row = kept(gone).await.unwrap();
    let task = taskcenter_server::core::TaskId::parse(row["task"].as_str().unwrap()).unwrap();
    on.stage.service.delete(&[task]).await.unwrap();
    for _ in 0..200 {
        put(&on, &json!({})).await;
    }
    assert_eq!(kept(gone).await, None);
    assert!(kept(all[0]).await.is_some() && kept(all[139]).await.is_some());
}

pub async fn an_end_after_a_redrive_is_called_back_as_well(on: &dyn Fixture) {
    let on = open(on).await;
    let info = json!({"callback": "http://callback.example/callback"});
    let id = put(&on, &json!({"task_info": info})).await;
    let [run] = on.fire("download").await.try_into().unwrap();
    claim(&on, "w", 1).await;
    assert_eq!(update(&on, &json!({"id": id, "stat": -1, "remark": "no"})).await, json!({"code": 0}));
    on.stage.service.retry_run(&run.id).await.unwrap();
    on.stage.rescue().await;
    assert_eq!(claim(&on, "w", 1).await, [id]);
    assert_eq!(update(&on, &json!({"id": id, "stat": 3})).await, json!({"code": 0}));
    assert_eq!(calls(&on).await.len(), 2, "one for each end");
}

pub async fn an_end_whose_callback_could_not_be_stored_is_not_taken(fixture: &dyn Fixture) {
    let failing = super::Failing::on(fixture);
    let on = open(&failing).await;
    let info = json!({"callback": "http://callback.example/callback"});
    let id = put(&on, &json!({"task_info": info})).await;
    on.fire("download").await;
    claim(&on, "w", 1).await;
    failing.lose("insert_tasks");
    let done = json!({"id": id, "stat": 3, "remark": "", "name": "w"});
    assert_eq!(update(&on, &done).await, refused("服务器内部错误"));
    assert_eq!(row(&on, id).await["stat"], 2, "who hears an error says it again");
    failing.mend();
    assert_eq!(update(&on, &done).await, json!({"code": 0}));
    assert_eq!((row(&on, id).await["stat"].clone(), calls(&on).await.len()), (json!(3), 1));
}

pub async fn a_store_that_fails_is_an_error_and_no_row(fixture: &dyn Fixture) {
    let failing = super::Failing::on(fixture);
    let on = open(&failing).await;
    failing.lose("");
    let error = refused("服务器内部错误");
    assert_eq!(code(&on.put("/api/putask/download", "{}").await), error);
    assert_eq!(code(&on.get("/querytask?pageno=1").await), error);
    assert_eq!(code(&on.get("/querytask?type=download&name=w&num=1").await), error);
    assert_eq!(update(&on, &json!({"id": 1, "stat": 3})).await, error);
    for path in ["/sayhi?type=download&name=w", "/beat?type=download&name=w", "/newtype?name=x"] {
        assert_eq!(on.get(path).await, said(503, "服务器内部错误"), "{path}");
    }
    failing.mend();
    assert_eq!(rows(&on, "/querytask?pageno=1").await, Vec::<Value>::new());
}

//! Section 2 of the contract.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::{Value, json};
use taskcenter_server::compat::taskdash::{Reply, TOPICS, Taken, ask_waiting, run, take};
use taskcenter_server::compat::{Compat, Taskdash};
use taskcenter_server::engine::service::User;
use tokio_util::sync::CancellationToken;

use super::{Answer, Desk};
use crate::service::NOW;
use crate::store::Fixture;

const FORMAT: &str = r#"{"errid":1000,"errmsg":"请求格式不正确"}"#;
/// Of the document: the message has a name without a value in it.
const REGISTERED: &str = r#"{"ID":"d8b6efc3ee308ef3ea1284b9dfc79df8","ProjectID":"projectID","InstanceID":"instanceID","TaskID":"0210232_1220_1222_020","TaskType":"satEdit","Status":"待领取","URL":"https://192.168.51.33:8080","EditInfo","CreateTime":1597116419}"#;
const UPDATED: &str = r#"{"ID":"d8b6efc3ee308ef3ea1284b9dfc79df8","ProjectID":"projectID","InstanceID":"instanceID","TaskID":"0210232_1220_1222_020","TaskType":"satEdit","Status":"编辑中","URL":"https://192.168.51.33:8080","EditInfo","CreateTime":1597116419}"#;
const ID: &str = "d8b6efc3ee308ef3ea1284b9dfc79df8";

fn fronts() -> Compat {
    Compat { taskdash: Taskdash { enabled: true, ..Taskdash::default() }, ..Compat::default() }
}

fn desk(on: &dyn Fixture) -> Desk {
    Desk::on(on, fronts())
}

fn said(body: &str) -> Answer {
    Answer { status: 200, kind: "text/plain; charset=utf-8".to_owned(), body: body.to_owned() }
}

/// Sends a form as the page does.
async fn ask(on: &Desk, form: &str) -> String {
    let answer = on.post("/rpost/task", form).await;
    assert_eq!((answer.status, answer.kind.as_str()), (200, "text/plain; charset=utf-8"), "{answer:?}");
    answer.body
}

async fn rows(on: &Desk, form: &str) -> Vec<Value> {
    let answer = ask(on, form).await;
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{answer}: {error}"))
}

async fn message(on: &Desk, topic: &str, body: &str) -> String {
    on.post(&format!("/rpost/{topic}"), body).await.body
}

/// Puts a task on the board; its id.
async fn task(on: &Desk, name: &str, changes: &Value) -> String {
    let mut body =
        json!({"ProjectID": "p", "InstanceID": "i", "TaskID": name, "TaskType": "satEdit", "CreateTime": 1});
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    assert_eq!(message(on, "taskRegister", &body.to_string()).await, "success");
    let all = all(on).await;
    all.iter().find(|row| row["TaskID"] == name).expect("it is on the board")["ID"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn all(on: &Desk) -> Vec<Value> {
    let mut all = Vec::new();
    for status in ["待领取", "已领取", "已指派", "编辑中", "已完成"] {
        all.extend(rows(on, &format!("operation=GetTasksByStatus&status={status}")).await);
    }
    all
}

/// Status and user of a task.
async fn stands(on: &Desk, id: &str) -> (String, String) {
    let all = all(on).await;
    let row = all.iter().find(|row| row["ID"] == id).expect("it is on the board");
    (row["Status"].as_str().unwrap().to_owned(), row["User"].as_str().unwrap().to_owned())
}

fn is(status: &str, user: &str) -> (String, String) {
    (status.to_owned(), user.to_owned())
}

async fn user(on: &Desk, name: &str, senior: bool) {
    let user = User { name: name.to_owned(), senior };
    on.stage.service.set_user(&user, "123456").await.unwrap();
}

/// The cookie of somebody who signs in.
async fn session(on: &Desk, name: &str) -> String {
    let form = format!("operation=userLogin&username={name}&password=123456");
    let answer = on.send(Request::post("/rpost/task").body(Body::from(form)).unwrap()).await;
    let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("Max-Age="), "{cookie}");
    cookie.split_once(';').unwrap().0.to_owned()
}

async fn ask_as(on: &Desk, cookie: &str, form: &str) -> String {
    let request = Request::post("/rpost/task").header(header::COOKIE, cookie);
    super::answer(on.send(request.body(Body::from(form.to_owned())).unwrap()).await).await.body
}

/// A task service: what it answers, and what it was asked.
fn replies(reply: Result<&'static str, &'static str>) -> (Reply, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    let answer: Reply = Arc::new(move |url| {
        seen.lock().unwrap().push(url);
        async move { reply.map(|text| text.as_bytes().to_vec()).map_err(str::to_owned) }.boxed()
    });
    (answer, asked)
}

/// Every message and request of the document, in its order.
pub async fn the_documents_transcript(on: &dyn Fixture) {
    let on = desk(on);
    let service = r#"{"URL":"https://192.168.51.33:8080/TaskDash/","Name":"annotator","Reserved":""}"#;
    assert_eq!(on.post("/rpost/serviceRegister", service).await, said("success"));
    assert_eq!(on.post("/rpost/taskRegister", REGISTERED).await, said("success"));
    let beat = r#"{"url":"http://localhost:8080/rpost/test","time":1594885152,"reserved":"no"}"#;
    assert_eq!(on.post("/rpost/heartBeat", beat).await, said("success"));

    user(&on, "abc", false).await;
    let login = "operation=userLogin&username=abc&password=123456";
    assert_eq!(on.post("/rpost/task", login).await, said("success"));

    let row = |status: &str, user: &str| {
        format!(
            r#"[{{"ID":"{ID}","ProjectID":"projectID","InstanceID":"instanceID","TaskID":"0210232_1220_1222_020","TaskType":"satEdit","URL":"https://192.168.51.33:8080","Status":"{status}","CreateTime":1597116419,"User":"{user}","Checker":"","Group":"","Reserved":""}}]"#
        )
    };
    assert_eq!(on.post("/rpost/task", "operation=GetTasksNoUser").await, said(&row("待领取", "")));
    let bind = format!("operation=TaskBind&id={ID}&user=smq");
    assert_eq!(on.post("/rpost/task", &bind).await, said("success"));
    assert_eq!(on.post("/rpost/task", "operation=GetTasksNoUser").await, said("[]"));
    assert_eq!(
        on.post("/rpost/task", "operation=GetTasksByUser&user=smq").await,
        said(&row("已领取", "smq"))
    );
    assert_eq!(on.post("/rpost/updateStatus", UPDATED).await, said("success"));
    let edited = on.post("/rpost/task", "operation=GetTasksByStatus&status=编辑中").await;
    assert_eq!(edited, said(&row("编辑中", "smq")));
    let as_get = on.get("/rget/task?operation=GetTasksByUser&user=smq").await;
    assert_eq!(as_get, said(&row("编辑中", "smq")));
}

pub async fn logging_in_says_success_or_error_and_nothing_else(on: &dyn Fixture) {
    let on = desk(on);
    user(&on, "abc", false).await;
    for (form, wanted) in [
        ("operation=userLogin&username=abc&password=123456", "success"),
        ("operation=UserLogin&username=abc&password=123456", "success"),
        ("operation=userLogin&username=abc&password=1234567", "error"),
        ("operation=userLogin&username=abc&password=", "error"),
        ("operation=userLogin&username=nobody&password=123456", "error"),
        ("operation=userLogin&password=123456", "error"),
        ("operation=userLogin", "error"),
    ] {
        assert_eq!(ask(&on, form).await, wanted, "{form}");
    }
}

pub async fn parameters_come_in_the_address_urlencoded_or_as_multipart(on: &dyn Fixture) {
    let on = desk(on);
    let id = task(&on, "t", &json!({})).await;
    let of_user = "operation=GetTasksByUser&username=smq";
    for path in ["/rget/task", "/rpost/task"] {
        let request = Request::builder().method(if path == "/rget/task" { "GET" } else { "POST" });
        let request = request.uri(format!("{path}?operation=GetTasksNoUser")).body(Body::empty()).unwrap();
        let response = on.send(request).await;
        assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(super::answer(response).await.body.contains(&id), "{path}");
    }
    let part = |name: &str, value: &str| {
        format!("--xx\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let body =
        [part("operation", "TaskBind"), part("id", &id), part("username", "smq"), "--xx--\r\n".to_owned()];
    let form = Request::post("/rpost/task").header(header::CONTENT_TYPE, "multipart/form-data; boundary=xx");
    let bound = super::answer(on.send(form.body(Body::from(body.concat())).unwrap()).await).await;
    assert_eq!(bound, said("success"));
    assert_eq!(rows(&on, of_user).await.len(), 1);
}

pub async fn whatever_is_asked_wrongly_is_error_1000(on: &dyn Fixture) {
    let on = desk(on);
    let id = task(&on, "t", &json!({})).await;
    for form in [
        "",
        "operation=",
        "operation=DropTasks",
        "operation=gettasksnouser",
        "operation=GetTasksByUser",
        "operation=GetTasksByStatus",
        "operation=TaskBind&user=smq",
        &format!("operation=TaskBind&id={id}"),
        "no form at all",
    ] {
        assert_eq!(ask(&on, form).await, FORMAT, "{form:?}");
    }
    let broken = Request::post("/rpost/task").header(header::CONTENT_TYPE, "multipart/form-data");
    let broken = super::answer(on.send(broken.body(Body::from("x")).unwrap()).await).await;
    assert_eq!(broken, said(FORMAT));
}

pub async fn both_liveness_paths_answer(on: &dyn Fixture) {
    let on = desk(on);
    assert_eq!(on.get("/rget/test").await, said("success"));
    assert_eq!(on.post("/rpost/test", "").await, said("success"));
}

pub async fn tasks_are_found_by_user_by_status_and_unclaimed(on: &dyn Fixture) {
    let on = desk(on);
    assert_eq!(ask(&on, "operation=GetTasksNoUser").await, "[]");
    let old = task(&on, "old", &json!({"CreateTime": 1})).await;
    let new = task(&on, "new", &json!({"CreateTime": 2})).await;
    // A service may name a user beforehand, as in the document's sample of what is stored.
    let named = task(&on, "named", &json!({"User": "sunmq"})).await;
    let ids = async |form: &str| {
        let rows = rows(&on, form).await;
        rows.into_iter().map(|row| row["ID"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("operation=GetTasksNoUser").await, [new.clone(), old.clone()], "newest first");
    assert_eq!(ids("operation=GetTasksByUser&user=sunmq").await, std::slice::from_ref(&named));
    ask(&on, &format!("operation=TaskBind&id={old}&user=smq")).await;
    assert_eq!(ids("operation=GetTasksNoUser").await, std::slice::from_ref(&new));
    assert_eq!(ids("operation=GetTasksByStatus&status=已领取").await, [old]);
    assert_eq!(ids("operation=GetTasksByStatus&status=待领取").await.len(), 2);
    assert_eq!(ids("operation=GetTasksByStatus&status=nothing").await, Vec::<String>::new());
}

pub async fn a_bind_steals_nothing(on: &dyn Fixture) {
    let on = desk(on);
    let id = task(&on, "t", &json!({})).await;
    let bind = async |user: &str| ask(&on, &format!("operation=TaskBind&id={id}&user={user}")).await;
    assert_eq!(bind("smq").await, "success");
    assert_eq!(bind("smq").await, "success", "sent again");
    assert_eq!(bind("thief").await, "任务已被他人领取");
    assert_eq!(stands(&on, &id).await, is("已领取", "smq"));
    let named = task(&on, "named", &json!({"User": "sunmq"})).await;
    assert_eq!(ask(&on, &format!("operation=TaskBind&id={named}&user=thief")).await, "任务已被他人领取");
    assert_eq!(ask(&on, &format!("operation=TaskBind&id={named}&user=sunmq")).await, "success");
}

pub async fn many_binds_have_one_winner(on: &dyn Fixture) {
    let one = desk(on);
    let other = Desk::again(on, fronts(), &one);
    let id = task(&one, "t", &json!({})).await;
    let bind = async |at: usize| {
        let desk = if at.is_multiple_of(2) { &one } else { &other };
        ask(desk, &format!("operation=TaskBind&id={id}&user=u{at}")).await
    };
    let answers = join_all((0..20).map(bind)).await;
    let winners: Vec<usize> = (0..20).filter(|at| answers[*at] == "success").collect();
    let [winner] = winners.as_slice() else { panic!("{answers:?}") };
    assert_eq!(stands(&one, &id).await, is("已领取", &format!("u{winner}")));
}

pub async fn an_unknown_id_is_an_error(on: &dyn Fixture) {
    let on = desk(on);
    for id in [ID, "1", "../../etc"] {
        assert_eq!(ask(&on, &format!("operation=TaskBind&id={id}&user=smq")).await, "任务不存在", "{id}");
    }
    assert_eq!(all(&on).await, Vec::<Value>::new());
}

pub async fn only_a_senior_user_assigns(on: &dyn Fixture) {
    let on = desk(on);
    user(&on, "chief", true).await;
    user(&on, "smq", false).await;
    let id = task(&on, "t", &json!({})).await;
    let assign = |to: &str| format!("operation=TaskAssign&id={id}&user={to}");
    assert_eq!(ask(&on, &assign("smq")).await, "请登录");
    let (chief, smq) = (session(&on, "chief").await, session(&on, "smq").await);
    assert_eq!(ask_as(&on, &smq, &assign("smq")).await, "没有权限");
    assert_eq!(ask_as(&on, &chief, &assign("li")).await, "success");
    assert_eq!(
        ask_as(&on, &chief, &assign("smq")).await,
        "success",
        "given to somebody else before it is claimed"
    );
    assert_eq!(stands(&on, &id).await, is("已指派", "smq"));
    assert_eq!(ask(&on, &format!("operation=TaskBind&id={id}&user=li")).await, "任务已被他人领取");
    assert_eq!(ask(&on, &format!("operation=TaskBind&id={id}&user=smq")).await, "success");
    assert_eq!(ask_as(&on, &chief, &assign("li")).await, "任务已被他人领取", "what is claimed stays");
    assert_eq!(stands(&on, &id).await, is("已领取", "smq"));
}

pub async fn an_incoming_id_is_ignored(on: &dyn Fixture) {
    let on = desk(on);
    let forged = REGISTERED.replace(ID, "00000000000000000000000000000000");
    assert_eq!(message(&on, "taskRegister", &forged).await, "success");
    assert_eq!(all(&on).await[0]["ID"], ID);
    let done = UPDATED.replace(ID, "1").replace("编辑中", "已完成");
    assert_eq!(message(&on, "updateStatus", &done).await, "success");
    assert_eq!(stands(&on, ID).await.0, "已完成");
}

pub async fn a_second_registration_never_takes_a_claimed_task_away(on: &dyn Fixture) {
    let on = desk(on);
    message(&on, "taskRegister", REGISTERED).await;
    let moved = REGISTERED.replace("https://192.168.51.33:8080", "https://elsewhere.example");
    message(&on, "taskRegister", &moved).await;
    assert_eq!(all(&on).await.len(), 1);
    assert_eq!(
        all(&on).await[0]["URL"],
        "https://elsewhere.example",
        "an unclaimed one is brought up to date"
    );
    ask(&on, &format!("operation=TaskBind&id={ID}&user=smq")).await;
    message(&on, "taskRegister", REGISTERED).await;
    assert_eq!(stands(&on, ID).await, is("已领取", "smq"));
    message(&on, "updateStatus", UPDATED).await;
    message(&on, "taskRegister", &REGISTERED.replace("待领取", "已完成")).await;
    assert_eq!(stands(&on, ID).await, is("编辑中", "smq"));
}

const NEW_TASKS: &str = r#"[{"ProjectID":"p1","InstanceID":"i1","TaskID":"20200311_0000001_111111","TaskType":"vidEdit","Status":"待领取","CreateTime":1596792596},{"nonsense":1}]"#;

pub async fn a_service_that_registers_is_asked_for_its_tasks(on: &dyn Fixture) {
    let on = desk(on);
    let url = "http://annotator.example/TaskDash/";
    let body = json!({"url": url, "NAME": "annotator"}).to_string();
    assert_eq!(message(&on, "serviceRegister", &body).await, "success");
    on.fire("taskdash.ask").await;

    let (down, asked) = replies(Err("connection refused"));
    assert_eq!(ask_waiting(&on.stage.service, &down, Duration::ZERO).await.unwrap(), 1);
    assert_eq!(asked.lock().unwrap().as_slice(), [url]);
    assert_eq!(all(&on).await, Vec::<Value>::new());

    // The engine tries again.
    on.stage.clock.set(NOW.plus_ms(60_000));
    on.stage.rescue().await;
    let (up, _) = replies(Ok(NEW_TASKS));
    assert_eq!(ask_waiting(&on.stage.service, &up, Duration::ZERO).await.unwrap(), 1);
    assert_eq!(all(&on).await[0]["ID"], "9cf4db018beecb08a1f27678798c0653");
    assert_eq!(all(&on).await.len(), 1);
    assert_eq!(ask_waiting(&on.stage.service, &up, Duration::ZERO).await.unwrap(), 0);
}

pub async fn every_service_is_asked_again_at_start_up(on: &dyn Fixture) {
    let before = desk(on);
    let urls = ["http://a.example/", "http://b.example/"];
    for url in urls {
        message(&before, "serviceRegister", &json!({"URL": url, "Name": "n"}).to_string()).await;
    }
    before.fire("taskdash.ask").await;
    let (up, asked) = replies(Ok("[]"));
    assert_eq!(ask_waiting(&before.stage.service, &up, Duration::ZERO).await.unwrap(), 2);
    asked.lock().unwrap().clear();

    let on = Desk::again(on, fronts(), &before);
    let shutdown = CancellationToken::new();
    let asking = tokio::spawn(run(on.stage.service.clone(), up, shutdown.clone()));
    let all_asked = async {
        while asked.lock().unwrap().len() < urls.len() {
            on.fire("taskdash.ask").await;
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_mins(1), all_asked).await.is_ok(), "{asked:?}");
    shutdown.cancel();
    asking.await.unwrap();
    let mut asked = asked.lock().unwrap().clone();
    asked.sort_unstable();
    assert_eq!(asked, urls);
}

pub async fn three_missed_heartbeats_and_a_service_is_down(on: &dyn Fixture) {
    let on = desk(on);
    let url = "http://localhost:8080/rpost/test";
    message(&on, "serviceRegister", &json!({"URL": url, "Name": "annotator"}).to_string()).await;
    let status = async || rows(&on, "operation=GetServices").await[0]["Status"].as_str().unwrap().to_owned();
    assert_eq!(status().await, "up");
    on.stage.clock.set(NOW.plus_ms(89_999));
    assert_eq!(status().await, "up");
    on.stage.clock.set(NOW.plus_ms(90_000));
    assert_eq!(status().await, "down");
    let beat = json!({"url": url, "time": 1_594_885_152, "reserved": "no"}).to_string();
    assert_eq!(message(&on, "heartBeat", &beat).await, "success");
    assert_eq!(status().await, "up");
}

pub async fn with_auth_a_session_is_demanded_and_one_binds_for_oneself(on: &dyn Fixture) {
    let settings = Taskdash { enabled: true, auth: true, session_hours: 1, ..Taskdash::default() };
    let on = Desk::on(on, Compat { taskdash: settings, ..Compat::default() });
    user(&on, "smq", false).await;
    message(&on, "taskRegister", REGISTERED).await;
    assert_eq!(ask(&on, "operation=GetTasksNoUser").await, "请登录");
    let smq = session(&on, "smq").await;
    assert!(ask_as(&on, &smq, "operation=GetTasksNoUser").await.contains(ID));
    let bind = |user: &str| format!("operation=TaskBind&id={ID}&user={user}");
    assert_eq!(ask_as(&on, &smq, &bind("li")).await, "没有权限");
    assert_eq!(ask_as(&on, &smq, &bind("smq")).await, "success");
    on.stage.clock.set(NOW.plus_ms(3_600_000));
    assert_eq!(ask_as(&on, &smq, "operation=GetTasksNoUser").await, "请登录");
}

pub async fn a_message_that_is_no_message_is_refused_and_one_too_early_comes_again(on: &dyn Fixture) {
    let on = desk(on);
    for (topic, body) in [
        ("serviceRegister", r#"{"URL":"file:///etc/passwd","Name":"n"}"#),
        ("serviceRegister", "{}"),
        ("taskRegister", "{}"),
        ("taskRegister", "no json"),
        ("taskRegister", r#"{"TaskID":"t","Status":"stolen"}"#),
        ("taskRegister", r#"{"TaskID":7}"#),
        ("updateStatus", r#"{"TaskID":"t","Status":""}"#),
        ("heartBeat", r#"{"url":""}"#),
    ] {
        let taken = take(&on.stage.service, topic, body.as_bytes()).await;
        assert!(matches!(taken, Taken::Refused(_)), "{topic} {body}: {taken:?}");
        assert_eq!(message(&on, topic, body).await, FORMAT, "{topic} {body}");
    }
    // Its task's registration may still be on its way.
    let early = take(&on.stage.service, "updateStatus", UPDATED.as_bytes()).await;
    assert!(matches!(early, Taken::Failed(_)), "{early:?}");
    assert_eq!(message(&on, "updateStatus", UPDATED).await, r#"{"errid":1001,"errmsg":"数据库存储失败"}"#);
    assert_eq!(TOPICS, ["serviceRegister", "taskRegister", "updateStatus", "heartBeat"]);
}

pub async fn users_and_sessions_end(on: &dyn Fixture) {
    let on = desk(on);
    user(&on, "smq", false).await;
    let service = &on.stage.service;
    let token = service.open_session("smq", 1_000).await.unwrap();
    assert_eq!(service.session(&token).await.unwrap(), Some(User { name: "smq".to_owned(), senior: false }));
    service.set_user(&User { name: "smq".to_owned(), senior: true }, "other").await.unwrap();
    assert_eq!(service.session(&token).await.unwrap(), None, "another password ends what the old one opened");
    assert!(service.check_password("smq", "123456").await.unwrap().is_none());
    assert!(service.check_password("smq", "other").await.unwrap().is_some_and(|user| user.senior));
    assert_eq!(service.users().await.unwrap(), [User { name: "smq".to_owned(), senior: true }]);
    let token = service.open_session("smq", 1_000).await.unwrap();
    service.remove_user("smq").await.unwrap();
    assert_eq!(service.session(&token).await.unwrap(), None);
    assert!(service.remove_user("smq").await.is_err());
}

/// "Access-Control-Allow-Origin: *": the page may stand on another host than the board.
pub async fn a_page_on_another_host_is_answered(on: &dyn Fixture) {
    let on = desk(on);
    let id = task(&on, "t", &json!({})).await;
    let ask = async |peer: [u8; 4], path: &str, origin: &str| {
        let request =
            Request::post(path).header(header::HOST, "board.lan:8275").header(header::ORIGIN, origin);
        let request = request.body(Body::from("operation=GetTasksNoUser")).unwrap();
        on.send_from(peer.into(), request).await
    };
    let foreign = "http://page.lan";
    let answer = ask([10, 1, 2, 3], "/rpost/task", foreign).await;
    assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    let answer = super::answer(answer).await;
    assert!(answer.status == 200 && answer.body.contains(&id), "{answer:?}");
    assert_eq!(
        ask([10, 1, 2, 3], "/rpost/task", "http://board.lan:8275").await.status(),
        200,
        "its own page"
    );
    assert_eq!(
        ask([10, 9, 9, 9], "/rpost/task", foreign).await.status(),
        401,
        "a network that nobody trusts"
    );
    assert_eq!(ask([127, 0, 0, 1], "/rpost/task", foreign).await.status(), 401, "this machine's own browser");
    assert_eq!(
        ask([10, 1, 2, 3], "/v1/tasks", foreign).await.status(),
        401,
        "other routes are not the page's"
    );
    assert_eq!(ask([10, 1, 2, 3], "/rpost/taskRegister", foreign).await.status(), 401, "nor are services'");
}

pub async fn a_body_that_is_too_long_is_error_1000(on: &dyn Fixture) {
    let on = desk(on);
    let long = "x".repeat(1024 * 1024 + 1);
    for topic in TOPICS {
        assert_eq!(on.post(&format!("/rpost/{topic}"), &long).await, said(FORMAT), "{topic}");
    }
    assert_eq!(on.post("/rpost/task", &long).await, said(FORMAT));
    let form = Request::post("/rpost/task").header(header::CONTENT_TYPE, "multipart/form-data; boundary=xx");
    let body =
        format!("--xx\r\nContent-Disposition: form-data; name=\"operation\"\r\n\r\n{long}\r\n--xx--\r\n");
    assert_eq!(super::answer(on.send(form.body(Body::from(body)).unwrap()).await).await, said(FORMAT));
    let just =
        json!({"URL": "http://a.example/", "Name": "n", "more": "x".repeat(1024 * 1024 - 100)}).to_string();
    assert_eq!(message(&on, "serviceRegister", &just).await, "success");
}

pub async fn a_store_that_fails_is_error_1001_or_1002(fixture: &dyn Fixture) {
    const STORE: &str = r#"{"errid":1001,"errmsg":"数据库存储失败"}"#;
    const QUERY: &str = r#"{"errid":1002,"errmsg":"数据库查询失败"}"#;
    let failing = super::Failing::on(fixture);
    let on = desk(&failing);
    let id = task(&on, "t", &json!({})).await;
    failing.lose("");
    for form in [
        "operation=GetTasksNoUser",
        "operation=GetTasksByUser&user=smq",
        "operation=GetTasksByStatus&status=待领取",
        "operation=GetServices",
    ] {
        assert_eq!(ask(&on, form).await, QUERY, "{form}");
    }
    assert_eq!(ask(&on, &format!("operation=TaskBind&id={id}&user=smq")).await, STORE);
    assert_eq!(ask(&on, "operation=userLogin&username=abc&password=123456").await, "error");
    let service = r#"{"URL":"http://a.example/","Name":"n"}"#;
    for (topic, body) in [
        ("serviceRegister", service),
        ("taskRegister", REGISTERED),
        ("updateStatus", UPDATED),
        ("heartBeat", r#"{"url":"http://a.example/","time":1}"#),
    ] {
        assert_eq!(on.post(&format!("/rpost/{topic}"), body).await, said(STORE), "{topic}");
        assert!(matches!(take(&on.stage.service, topic, body.as_bytes()).await, Taken::Failed(_)), "{topic}");
    }
    // A service that is stored and not to be asked is not registered: it comes again.
    failing.lose("insert_tasks");
    assert_eq!(message(&on, "serviceRegister", service).await, STORE);
    failing.mend();
    assert_eq!(stands(&on, &id).await, is("待领取", ""), "nothing of it was done");
}

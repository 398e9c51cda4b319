//! The legacy API of TaskDash.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::{Value, json};
use taskcenter_server::compat::taskdash::{
    MessageOutcome, Reply, TOPICS, fetch_ready, handle_message, prune, run,
};
use taskcenter_server::compat::{Compat, Taskdash};
use taskcenter_server::engine::service::User;
use tokio_util::sync::CancellationToken;

use super::{Answer, TestServer};
use crate::service::NOW;
use crate::store::Fixture;

const FORMAT: &str = r#"{"errid":1000,"errmsg":"请求格式不正确"}"#;
/// From the document: a member of this message has no value.
const REGISTERED: &str = r#"{"ID":"d8b6efc3ee308ef3ea1284b9dfc79df8","ProjectID":"projectID","InstanceID":"instanceID","TaskID":"0210232_1220_1222_020","TaskType":"satEdit","Status":"待领取","URL":"https://192.168.51.33:8080","EditInfo","CreateTime":1597116419}"#;
const UPDATED: &str = r#"{"ID":"d8b6efc3ee308ef3ea1284b9dfc79df8","ProjectID":"projectID","InstanceID":"instanceID","TaskID":"0210232_1220_1222_020","TaskType":"satEdit","Status":"编辑中","URL":"https://192.168.51.33:8080","EditInfo","CreateTime":1597116419}"#;
/// Origin of a page on another host.
const PAGE: &str = "http://page.lan";
const ID: &str = "d8b6efc3ee308ef3ea1284b9dfc79df8";

fn legacy_apis() -> Compat {
    Compat { taskdash: Taskdash { enabled: true, ..Taskdash::default() }, ..Compat::default() }
}

fn start(fixture: &dyn Fixture) -> TestServer {
    TestServer::new(fixture, legacy_apis())
}

fn plain(body: &str) -> Answer {
    Answer { status: 200, kind: "text/plain; charset=utf-8".to_owned(), body: body.to_owned() }
}

/// Sends a form as the page does.
async fn send_form(server: &TestServer, form: &str) -> String {
    let answer = server.post("/rpost/task", form).await;
    assert_eq!((answer.status, answer.kind.as_str()), (200, "text/plain; charset=utf-8"), "{answer:?}");
    answer.body
}

async fn rows(server: &TestServer, form: &str) -> Vec<Value> {
    let answer = send_form(server, form).await;
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{answer}: {error}"))
}

async fn message(server: &TestServer, topic: &str, body: &str) -> String {
    server.post(&format!("/rpost/{topic}"), body).await.body
}

/// Registers a task and returns its id.
async fn task(server: &TestServer, name: &str, changes: &Value) -> String {
    let mut body =
        json!({"ProjectID": "p", "InstanceID": "i", "TaskID": name, "TaskType": "satEdit", "CreateTime": 1});
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    assert_eq!(message(server, "taskRegister", &body.to_string()).await, "success");
    let all = all(server).await;
    all.iter().find(|row| row["TaskID"] == name).expect("the task is on the board")["ID"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn all(server: &TestServer) -> Vec<Value> {
    let mut all = Vec::new();
    for status in ["待领取", "已领取", "已指派", "编辑中", "已完成"] {
        all.extend(rows(server, &format!("operation=GetTasksByStatus&status={status}")).await);
    }
    all
}

/// Returns status and user of a task.
async fn status_and_user(server: &TestServer, id: &str) -> (String, String) {
    let all = all(server).await;
    let row = all.iter().find(|row| row["ID"] == id).expect("the task is on the board");
    (row["Status"].as_str().unwrap().to_owned(), row["User"].as_str().unwrap().to_owned())
}

fn pair(status: &str, user: &str) -> (String, String) {
    (status.to_owned(), user.to_owned())
}

async fn user(server: &TestServer, name: &str, senior: bool) {
    let user = User { name: name.to_owned(), senior, console: None, expires_at: None };
    server.stage.service.set_user(&user.change("123456")).await.unwrap();
}

/// Signs a user in and returns the session cookie.
async fn session(server: &TestServer, name: &str) -> String {
    let form = format!("operation=userLogin&username={name}&password=123456");
    let answer = server.send(Request::post("/rpost/task").body(Body::from(form)).unwrap()).await;
    let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("Max-Age="), "{cookie}");
    cookie.split_once(';').unwrap().0.to_owned()
}

async fn send_form_as(server: &TestServer, cookie: &str, form: &str) -> String {
    let request = Request::post("/rpost/task").header(header::COOKIE, cookie);
    super::answer(server.send(request.body(Body::from(form.to_owned())).unwrap()).await).await.body
}

/// A task service with this answer, and the URLs that were fetched from it.
fn replies(reply: Result<&'static str, &'static str>) -> (Reply, Arc<Mutex<Vec<String>>>) {
    let urls: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&urls);
    let answer: Reply = Arc::new(move |url| {
        seen.lock().unwrap().push(url);
        async move { reply.map(|text| text.as_bytes().to_vec()).map_err(str::to_owned) }.boxed()
    });
    (answer, urls)
}

/// Every message and request of the document in its order.
pub async fn the_transcript_of_the_document_is_reproduced(fixture: &dyn Fixture) {
    let server = start(fixture);
    let service = r#"{"URL":"https://192.168.51.33:8080/TaskDash/","Name":"annotator","Reserved":""}"#;
    assert_eq!(server.post("/rpost/serviceRegister", service).await, plain("success"));
    assert_eq!(server.post("/rpost/taskRegister", REGISTERED).await, plain("success"));
    let beat = r#"{"url":"http://localhost:8080/rpost/test","time":1594885152,"reserved":"no"}"#;
    assert_eq!(server.post("/rpost/heartBeat", beat).await, plain("success"));

    user(&server, "abc", false).await;
    let login = "operation=userLogin&username=abc&password=123456";
    assert_eq!(server.post("/rpost/task", login).await, plain("success"));

    let row = |status: &str, user: &str| {
        format!(
            r#"[{{"ID":"{ID}","ProjectID":"projectID","InstanceID":"instanceID","TaskID":"0210232_1220_1222_020","TaskType":"satEdit","URL":"https://192.168.51.33:8080","Status":"{status}","CreateTime":1597116419,"User":"{user}","Checker":"","Group":"","Reserved":""}}]"#
        )
    };
    assert_eq!(server.post("/rpost/task", "operation=GetTasksNoUser").await, plain(&row("待领取", "")));
    let bind = format!("operation=TaskBind&id={ID}&user=smq");
    assert_eq!(server.post("/rpost/task", &bind).await, plain("success"));
    assert_eq!(server.post("/rpost/task", "operation=GetTasksNoUser").await, plain("[]"));
    assert_eq!(
        server.post("/rpost/task", "operation=GetTasksByUser&user=smq").await,
        plain(&row("已领取", "smq"))
    );
    assert_eq!(server.post("/rpost/updateStatus", UPDATED).await, plain("success"));
    let edited = server.post("/rpost/task", "operation=GetTasksByStatus&status=编辑中").await;
    assert_eq!(edited, plain(&row("编辑中", "smq")));
    let as_get = server.get("/rget/task?operation=GetTasksByUser&user=smq").await;
    assert_eq!(as_get, plain(&row("编辑中", "smq")));
}

pub async fn a_login_answers_only_success_or_error(fixture: &dyn Fixture) {
    let server = start(fixture);
    user(&server, "abc", false).await;
    for (form, wanted) in [
        ("operation=userLogin&username=abc&password=123456", "success"),
        ("operation=UserLogin&username=abc&password=123456", "success"),
        ("operation=userLogin&username=abc&password=1234567", "error"),
        ("operation=userLogin&username=abc&password=", "error"),
        ("operation=userLogin&username=nobody&password=123456", "error"),
        ("operation=userLogin&password=123456", "error"),
        ("operation=userLogin", "error"),
    ] {
        assert_eq!(send_form(&server, form).await, wanted, "{form}");
    }
}

pub async fn parameters_are_read_from_the_url_a_form_or_multipart(fixture: &dyn Fixture) {
    let server = start(fixture);
    let id = task(&server, "t", &json!({})).await;
    let of_user = "operation=GetTasksByUser&username=smq";
    for path in ["/rget/task", "/rpost/task"] {
        let request = Request::builder().method(if path == "/rget/task" { "GET" } else { "POST" });
        let request = request.uri(format!("{path}?operation=GetTasksNoUser")).body(Body::empty()).unwrap();
        let response = server.send(request).await;
        assert!(super::answer(response).await.body.contains(&id), "{path}");
    }
    let part = |name: &str, value: &str| {
        format!("--xx\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let body =
        [part("operation", "TaskBind"), part("id", &id), part("username", "smq"), "--xx--\r\n".to_owned()];
    let form = Request::post("/rpost/task").header(header::CONTENT_TYPE, "multipart/form-data; boundary=xx");
    let bound = super::answer(server.send(form.body(Body::from(body.concat())).unwrap()).await).await;
    assert_eq!(bound, plain("success"));
    assert_eq!(rows(&server, of_user).await.len(), 1);
}

pub async fn every_invalid_request_is_error_1000(fixture: &dyn Fixture) {
    let server = start(fixture);
    let id = task(&server, "t", &json!({})).await;
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
        assert_eq!(send_form(&server, form).await, FORMAT, "{form:?}");
    }
    let broken = Request::post("/rpost/task").header(header::CONTENT_TYPE, "multipart/form-data");
    let broken = super::answer(server.send(broken.body(Body::from("x")).unwrap()).await).await;
    assert_eq!(broken, plain(FORMAT));
}

pub async fn both_liveness_paths_answer(fixture: &dyn Fixture) {
    let server = start(fixture);
    assert_eq!(server.get("/rget/test").await, plain("success"));
    assert_eq!(server.post("/rpost/test", "").await, plain("success"));
}

pub async fn tasks_are_found_by_user_by_status_and_unclaimed(fixture: &dyn Fixture) {
    let server = start(fixture);
    assert_eq!(send_form(&server, "operation=GetTasksNoUser").await, "[]");
    let old = task(&server, "old", &json!({"CreateTime": 1})).await;
    let new = task(&server, "new", &json!({"CreateTime": 2})).await;
    // A service may name a user in advance, as in the sample row of the document.
    let named = task(&server, "named", &json!({"User": "sunmq"})).await;
    let ids = async |form: &str| {
        let rows = rows(&server, form).await;
        rows.into_iter().map(|row| row["ID"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("operation=GetTasksNoUser").await, [new.clone(), old.clone()], "newest first");
    assert_eq!(ids("operation=GetTasksByUser&user=sunmq").await, std::slice::from_ref(&named));
    send_form(&server, &format!("operation=TaskBind&id={old}&user=smq")).await;
    assert_eq!(ids("operation=GetTasksNoUser").await, std::slice::from_ref(&new));
    assert_eq!(ids("operation=GetTasksByStatus&status=已领取").await, [old]);
    assert_eq!(ids("operation=GetTasksByStatus&status=待领取").await.len(), 2);
    assert_eq!(ids("operation=GetTasksByStatus&status=nothing").await, Vec::<String>::new());
}

pub async fn a_bound_task_cannot_be_bound_by_another_user(fixture: &dyn Fixture) {
    let server = start(fixture);
    let id = task(&server, "t", &json!({})).await;
    let bind =
        async |user: &str| send_form(&server, &format!("operation=TaskBind&id={id}&user={user}")).await;
    assert_eq!(bind("smq").await, "success");
    assert_eq!(bind("smq").await, "success", "repeated");
    assert_eq!(bind("other").await, "任务已被他人领取");
    assert_eq!(status_and_user(&server, &id).await, pair("已领取", "smq"));
    let named = task(&server, "named", &json!({"User": "sunmq"})).await;
    assert_eq!(
        send_form(&server, &format!("operation=TaskBind&id={named}&user=other")).await,
        "任务已被他人领取"
    );
    assert_eq!(send_form(&server, &format!("operation=TaskBind&id={named}&user=sunmq")).await, "success");
}

pub async fn concurrent_binds_have_one_winner(fixture: &dyn Fixture) {
    let one = start(fixture);
    let other = TestServer::restarted(fixture, legacy_apis(), &one);
    let id = task(&one, "t", &json!({})).await;
    let bind = async |at: usize| {
        let server = if at.is_multiple_of(2) { &one } else { &other };
        send_form(server, &format!("operation=TaskBind&id={id}&user=u{at}")).await
    };
    let answers = join_all((0..20).map(bind)).await;
    let winners: Vec<usize> = (0..20).filter(|at| answers[*at] == "success").collect();
    let [winner] = winners.as_slice() else { panic!("{answers:?}") };
    assert_eq!(status_and_user(&one, &id).await, pair("已领取", &format!("u{winner}")));
}

pub async fn an_unknown_id_is_an_error(fixture: &dyn Fixture) {
    let server = start(fixture);
    for id in [ID, "1", "../../etc"] {
        assert_eq!(
            send_form(&server, &format!("operation=TaskBind&id={id}&user=smq")).await,
            "任务不存在",
            "{id}"
        );
    }
    assert_eq!(all(&server).await, Vec::<Value>::new());
}

pub async fn only_a_senior_user_assigns(fixture: &dyn Fixture) {
    let server = start(fixture);
    user(&server, "chief", true).await;
    user(&server, "smq", false).await;
    let id = task(&server, "t", &json!({})).await;
    let assign = |to: &str| format!("operation=TaskAssign&id={id}&user={to}");
    assert_eq!(send_form(&server, &assign("smq")).await, "请登录");
    let (chief, smq) = (session(&server, "chief").await, session(&server, "smq").await);
    assert_eq!(send_form_as(&server, &smq, &assign("smq")).await, "没有权限");
    assert_eq!(send_form_as(&server, &chief, &assign("li")).await, "success");
    assert_eq!(
        send_form_as(&server, &chief, &assign("smq")).await,
        "success",
        "an unclaimed task may be assigned again"
    );
    assert_eq!(status_and_user(&server, &id).await, pair("已指派", "smq"));
    assert_eq!(send_form(&server, &format!("operation=TaskBind&id={id}&user=li")).await, "任务已被他人领取");
    assert_eq!(send_form(&server, &format!("operation=TaskBind&id={id}&user=smq")).await, "success");
    assert_eq!(
        send_form_as(&server, &chief, &assign("li")).await,
        "任务已被他人领取",
        "a claimed task is not assigned again"
    );
    assert_eq!(status_and_user(&server, &id).await, pair("已领取", "smq"));
}

pub async fn an_incoming_id_is_ignored(fixture: &dyn Fixture) {
    let server = start(fixture);
    let forged = REGISTERED.replace(ID, "00000000000000000000000000000000");
    assert_eq!(message(&server, "taskRegister", &forged).await, "success");
    assert_eq!(all(&server).await[0]["ID"], ID);
    let done = UPDATED.replace(ID, "1").replace("编辑中", "已完成");
    assert_eq!(message(&server, "updateStatus", &done).await, "success");
    assert_eq!(status_and_user(&server, ID).await.0, "已完成");
}

pub async fn a_second_registration_keeps_a_claim(fixture: &dyn Fixture) {
    let server = start(fixture);
    message(&server, "taskRegister", REGISTERED).await;
    let moved = REGISTERED.replace("https://192.168.51.33:8080", "https://elsewhere.example");
    message(&server, "taskRegister", &moved).await;
    assert_eq!(all(&server).await.len(), 1);
    assert_eq!(all(&server).await[0]["URL"], "https://elsewhere.example", "an unclaimed task is updated");
    send_form(&server, &format!("operation=TaskBind&id={ID}&user=smq")).await;
    message(&server, "taskRegister", REGISTERED).await;
    assert_eq!(status_and_user(&server, ID).await, pair("已领取", "smq"));
    message(&server, "updateStatus", UPDATED).await;
    message(&server, "taskRegister", &REGISTERED.replace("待领取", "已完成")).await;
    assert_eq!(status_and_user(&server, ID).await, pair("编辑中", "smq"));
}

const NEW_TASKS: &str = r#"[{"ProjectID":"p1","InstanceID":"i1","TaskID":"20200311_0000001_111111","TaskType":"vidEdit","Status":"待领取","CreateTime":1596792596},{"nonsense":1}]"#;

pub async fn the_tasks_of_a_registered_service_are_fetched(fixture: &dyn Fixture) {
    let server = start(fixture);
    let url = "http://annotator.example/TaskDash/";
    let body = json!({"url": url, "NAME": "annotator"}).to_string();
    assert_eq!(message(&server, "serviceRegister", &body).await, "success");
    server.fire("taskdash.ask").await;

    let (down, fetched) = replies(Err("connection refused"));
    assert_eq!(fetch_ready(&server.stage.service, &down, Duration::ZERO).await.unwrap(), 1);
    assert_eq!(fetched.lock().unwrap().as_slice(), [url]);
    assert_eq!(all(&server).await, Vec::<Value>::new());

    // The engine retries.
    server.stage.clock.set(NOW.plus_ms(60_000));
    server.stage.rescue().await;
    let (up, _) = replies(Ok(NEW_TASKS));
    assert_eq!(fetch_ready(&server.stage.service, &up, Duration::ZERO).await.unwrap(), 1);
    assert_eq!(all(&server).await[0]["ID"], "9cf4db018beecb08a1f27678798c0653");
    assert_eq!(all(&server).await.len(), 1);
    assert_eq!(fetch_ready(&server.stage.service, &up, Duration::ZERO).await.unwrap(), 0);
}

pub async fn the_tasks_of_every_service_are_fetched_at_start_up(fixture: &dyn Fixture) {
    let before = start(fixture);
    let urls = ["http://a.example/", "http://b.example/"];
    for url in urls {
        message(&before, "serviceRegister", &json!({"URL": url, "Name": "n"}).to_string()).await;
    }
    before.fire("taskdash.ask").await;
    let (up, fetched) = replies(Ok("[]"));
    assert_eq!(fetch_ready(&before.stage.service, &up, Duration::ZERO).await.unwrap(), 2);
    fetched.lock().unwrap().clear();

    let server = TestServer::restarted(fixture, legacy_apis(), &before);
    let shutdown = CancellationToken::new();
    let fetching = tokio::spawn(run(server.stage.service.clone(), up, shutdown.clone()));
    let all_fetched = async {
        while fetched.lock().unwrap().len() < urls.len() {
            server.fire("taskdash.ask").await;
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_mins(1), all_fetched).await.is_ok(), "{fetched:?}");
    shutdown.cancel();
    fetching.await.unwrap();
    let mut fetched = fetched.lock().unwrap().clone();
    fetched.sort_unstable();
    assert_eq!(fetched, urls);
}

pub async fn a_service_is_down_after_three_missed_heartbeats(fixture: &dyn Fixture) {
    let server = start(fixture);
    let url = "http://localhost:8080/rpost/test";
    message(&server, "serviceRegister", &json!({"URL": url, "Name": "annotator"}).to_string()).await;
    let status =
        async || rows(&server, "operation=GetServices").await[0]["Status"].as_str().unwrap().to_owned();
    assert_eq!(status().await, "up");
    server.stage.clock.set(NOW.plus_ms(89_999));
    assert_eq!(status().await, "up");
    server.stage.clock.set(NOW.plus_ms(90_000));
    assert_eq!(status().await, "down");
    let beat = json!({"url": url, "time": 1_594_885_152, "reserved": "no"}).to_string();
    assert_eq!(message(&server, "heartBeat", &beat).await, "success");
    assert_eq!(status().await, "up");
}

pub async fn with_auth_a_user_needs_a_session_and_binds_only_for_themselves(fixture: &dyn Fixture) {
    let settings = Taskdash { enabled: true, auth: true, session_hours: 1, ..Taskdash::default() };
    let server = TestServer::new(fixture, Compat { taskdash: settings, ..Compat::default() });
    user(&server, "smq", false).await;
    message(&server, "taskRegister", REGISTERED).await;
    assert_eq!(send_form(&server, "operation=GetTasksNoUser").await, "请登录");
    let smq = session(&server, "smq").await;
    assert!(send_form_as(&server, &smq, "operation=GetTasksNoUser").await.contains(ID));
    let bind = |user: &str| format!("operation=TaskBind&id={ID}&user={user}");
    assert_eq!(send_form_as(&server, &smq, &bind("li")).await, "没有权限");
    assert_eq!(send_form_as(&server, &smq, &bind("smq")).await, "success");
    server.stage.clock.set(NOW.plus_ms(3_600_000));
    assert_eq!(send_form_as(&server, &smq, "operation=GetTasksNoUser").await, "请登录");
}

pub async fn an_invalid_message_is_refused_and_an_early_one_is_retried(fixture: &dyn Fixture) {
    let server = start(fixture);
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
        let outcome = handle_message(&server.stage.service, topic, body.as_bytes()).await;
        assert!(matches!(outcome, MessageOutcome::Refused(_)), "{topic} {body}: {outcome:?}");
        assert_eq!(message(&server, topic, body).await, FORMAT, "{topic} {body}");
    }
    // The registration of the task may still be on its way.
    let early = handle_message(&server.stage.service, "updateStatus", UPDATED.as_bytes()).await;
    assert!(matches!(early, MessageOutcome::Failed(_)), "{early:?}");
    assert_eq!(
        message(&server, "updateStatus", UPDATED).await,
        r#"{"errid":1001,"errmsg":"数据库存储失败"}"#
    );
    assert_eq!(TOPICS, ["serviceRegister", "taskRegister", "updateStatus", "heartBeat"]);
}

pub async fn removing_a_user_or_changing_the_password_ends_sessions(fixture: &dyn Fixture) {
    let server = start(fixture);
    user(&server, "smq", false).await;
    let service = &server.stage.service;
    let token = service.open_session("smq", "taskdash", 1_000).await.unwrap();
    assert_eq!(
        service.session(&token, "taskdash").await.unwrap(),
        Some(User { name: "smq".to_owned(), senior: false, console: None, expires_at: None })
    );
    let user = User { name: "smq".to_owned(), senior: true, console: None, expires_at: None };
    service.set_user(&user.change("others")).await.unwrap();
    assert_eq!(
        service.session(&token, "taskdash").await.unwrap(),
        None,
        "a password change ends the sessions"
    );
    assert!(service.check_password("smq", "123456").await.unwrap().is_none());
    assert!(service.check_password("smq", "others").await.unwrap().is_some_and(|user| user.senior));
    assert_eq!(
        service.users().await.unwrap(),
        [User { name: "smq".to_owned(), senior: true, console: None, expires_at: None }]
    );
    let token = service.open_session("smq", "taskdash", 1_000).await.unwrap();
    service.remove_user("smq").await.unwrap();
    assert_eq!(service.session(&token, "taskdash").await.unwrap(), None);
    assert!(service.remove_user("smq").await.is_err());
}

pub async fn a_page_of_an_allowed_origin_uses_the_board_from_a_browser(fixture: &dyn Fixture) {
    let mut apis = legacy_apis();
    apis.taskdash.allow_origins = vec![PAGE.to_owned()];
    let server = TestServer::new(fixture, apis);
    let id = task(&server, "t", &json!({})).await;
    for (peer, host) in [([10, 1, 2, 3], "board.lan:8275"), ([127, 0, 0, 1], "127.0.0.1:8275")] {
        let send = async |path: &str, origin: &str| {
            let request = Request::post(path).header(header::HOST, host).header(header::ORIGIN, origin);
            let request = request.body(Body::from("operation=GetTasksNoUser")).unwrap();
            server.send_from(peer.into(), request).await
        };
        let answer = send("/rpost/task", PAGE).await;
        assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
        assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(answer.headers()[header::VARY], "origin");
        let answer = super::answer(answer).await;
        assert!(answer.status == 200 && answer.body.contains(&id), "{answer:?}");
        let own = send("/rpost/task", &format!("http://{host}")).await;
        assert_eq!(own.status(), 200, "a page on the same host");
        for (path, origin) in [
            ("/rpost/task", "http://other.lan"),
            ("/rpost/task", "null"),
            ("/v1/tasks", PAGE),
            ("/rpost/taskRegister", PAGE),
        ] {
            let refused = send(path, origin).await;
            assert_eq!(refused.status(), 401, "{path} from {origin} at {host}");
            assert!(!refused.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{path} {origin}");
        }
    }
    let elsewhere = Request::post("/rpost/task").header(header::ORIGIN, PAGE).body(Body::empty()).unwrap();
    let refused = server.send_from([10, 9, 9, 9].into(), elsewhere).await;
    assert_eq!(refused.status(), 401, "an untrusted network");
    assert_eq!(refused.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], PAGE, "the page can read the refusal");
}

pub async fn a_preflight_request_is_answered_for_an_allowed_origin_only(fixture: &dyn Fixture) {
    let mut apis = legacy_apis();
    apis.taskdash.allow_origins = vec![PAGE.to_owned()];
    let server = TestServer::new(fixture, apis);
    let preflight = async |origin: &str| {
        let request = Request::options("/rpost/task").header(header::ORIGIN, origin);
        let request = request.header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST");
        server.send_from([10, 1, 2, 3].into(), request.body(Body::empty()).unwrap()).await
    };
    let allowed = preflight(PAGE).await;
    assert_eq!(allowed.status(), 204);
    assert_eq!(allowed.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
    assert_eq!(allowed.headers()[header::ACCESS_CONTROL_ALLOW_METHODS], "GET, POST");
    let refused = preflight("http://other.lan").await;
    assert!(!refused.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
}

pub async fn a_body_over_the_limit_is_error_1000(fixture: &dyn Fixture) {
    let server = start(fixture);
    let long = "x".repeat(1024 * 1024 + 1);
    for topic in TOPICS {
        assert_eq!(server.post(&format!("/rpost/{topic}"), &long).await, plain(FORMAT), "{topic}");
    }
    assert_eq!(server.post("/rpost/task", &long).await, plain(FORMAT));
    let form = Request::post("/rpost/task").header(header::CONTENT_TYPE, "multipart/form-data; boundary=xx");
    let body =
        format!("--xx\r\nContent-Disposition: form-data; name=\"operation\"\r\n\r\n{long}\r\n--xx--\r\n");
    assert_eq!(super::answer(server.send(form.body(Body::from(body)).unwrap()).await).await, plain(FORMAT));
    let largest =
        json!({"URL": "http://a.example/", "Name": "n", "more": "x".repeat(1024 * 1024 - 100)}).to_string();
    assert_eq!(message(&server, "serviceRegister", &largest).await, "success");
}

pub async fn a_store_failure_is_error_1001_or_1002(fixture: &dyn Fixture) {
    const STORE: &str = r#"{"errid":1001,"errmsg":"数据库存储失败"}"#;
    const QUERY: &str = r#"{"errid":1002,"errmsg":"数据库查询失败"}"#;
    let failing = super::Failing::on(fixture);
    let server = start(&failing);
    let id = task(&server, "t", &json!({})).await;
    failing.fail("");
    for form in [
        "operation=GetTasksNoUser",
        "operation=GetTasksByUser&user=smq",
        "operation=GetTasksByStatus&status=待领取",
        "operation=GetServices",
    ] {
        assert_eq!(send_form(&server, form).await, QUERY, "{form}");
    }
    assert_eq!(send_form(&server, &format!("operation=TaskBind&id={id}&user=smq")).await, STORE);
    assert_eq!(send_form(&server, "operation=userLogin&username=abc&password=123456").await, "error");
    let service = r#"{"URL":"http://a.example/","Name":"n"}"#;
    for (topic, body) in [
        ("serviceRegister", service),
        ("taskRegister", REGISTERED),
        ("updateStatus", UPDATED),
        ("heartBeat", r#"{"url":"http://a.example/","time":1}"#),
    ] {
        assert_eq!(server.post(&format!("/rpost/{topic}"), body).await, plain(STORE), "{topic}");
        assert!(
            matches!(
                handle_message(&server.stage.service, topic, body.as_bytes()).await,
                MessageOutcome::Failed(_)
            ),
            "{topic}"
        );
    }
    // The service repeats the registration if the task that fetches its tasks cannot be stored.
    failing.fail("insert_tasks");
    assert_eq!(message(&server, "serviceRegister", service).await, STORE);
    failing.recover();
    assert_eq!(status_and_user(&server, &id).await, pair("待领取", ""), "the task is unchanged");
}

pub async fn wrong_logins_are_refused_after_a_while(fixture: &dyn Fixture) {
    let server = start(fixture);
    user(&server, "smq", false).await;
    let log_in = async |password: &str| {
        let form = Body::from(format!("operation=userLogin&username=smq&password={password}"));
        let response = server.send(Request::post("/rpost/task").body(form).unwrap()).await;
        let wait = response.headers().get(header::RETRY_AFTER).map(|wait| wait.to_str().unwrap().to_owned());
        (super::answer(response).await.body, wait)
    };
    for _ in 0..10 {
        assert_eq!(log_in("wrong").await, ("error".to_owned(), None));
    }
    assert_eq!(log_in("123456").await, ("error".to_owned(), Some("6".to_owned())));
    server.stage.clock.set(NOW.plus_ms(6_000));
    assert_eq!(log_in("123456").await, ("success".to_owned(), None));
}

pub async fn a_session_is_valid_only_where_it_was_opened(fixture: &dyn Fixture) {
    let mut apis = legacy_apis();
    apis.taskdash.auth = true;
    let server = TestServer::new(fixture, apis);
    user(&server, "smq", false).await;
    let service = &server.stage.service;
    for (api, answer) in [("taskdash", "[]"), ("easytask_pull", "请登录")] {
        let token = service.open_session("smq", api, 1_000).await.unwrap();
        let cookie = format!("taskdash_session={token}");
        assert_eq!(send_form_as(&server, &cookie, "operation=GetTasksNoUser").await, answer, "{api}");
    }
}

pub async fn finished_tasks_are_pruned(fixture: &dyn Fixture) {
    let server = start(fixture);
    let (finished, open) =
        (task(&server, "finished", &json!({})).await, task(&server, "open", &json!({})).await);
    let status = async |name: &str, status: &str| {
        let body = json!({"ProjectID": "p", "InstanceID": "i", "TaskID": name, "TaskType": "satEdit", "Status": status});
        assert_eq!(message(&server, "updateStatus", &body.to_string()).await, "success");
    };
    status("finished", "已完成").await;
    status("open", "已完成").await;
    status("open", "编辑中").await;
    server.stage.clock.set(NOW.plus_ms(1_000));
    status("finished", "已完成").await;
    prune(&server.stage.service, NOW).await.unwrap();
    assert_eq!(all(&server).await.len(), 2, "the task finished at this moment");
    prune(&server.stage.service, NOW.plus_ms(1)).await.unwrap();
    let left = all(&server).await;
    assert!(left.len() == 1 && left[0]["ID"] == open, "{left:?}");
    let bind = format!("operation=TaskBind&id={finished}&user=a");
    assert_eq!(send_form(&server, &bind).await, "任务不存在");
}

//! The legacy API of kingtask. The tests act as the built-in workers.

use serde_json::{Value, json};
use taskcenter_server::compat::{Compat, Kingtask};
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::{Moment, Run, RunState, TaskId};
use taskcenter_server::engine::settings::Settings;

use super::{Answer, TestServer, job};
use crate::store::Fixture;
use crate::store::memory::MemoryFixture;
use crate::workers::endpoint::Endpoint;

const SCRIPT: &str = "/api/v1/task/script";
const RPC: &str = "/api/v1/task/rpc";

fn legacy_apis() -> Compat {
    Compat { kingtask: Kingtask { enabled: true, ..Kingtask::default() }, ..Compat::default() }
}

fn start(fixture: &dyn Fixture) -> TestServer {
    TestServer::new(fixture, legacy_apis())
}

/// An answer of this API. The content type is always the same.
fn json_answer(status: u16, body: &str) -> Answer {
    let kind = "application/json; charset=utf-8".to_owned();
    Answer { status, kind, body: body.to_owned() }
}

fn refused(why: &str) -> Answer {
    json_answer(403, &format!("\"{why}\""))
}

/// Submits a job. Returns the UUID that the client gets, and the id of the task.
async fn submit(server: &TestServer, path: &str, body: &Value) -> (String, TaskId) {
    let answer = server.post(path, &body.to_string()).await;
    assert_eq!((answer.status, answer.body.len()), (200, 38), "{answer:?}");
    assert_eq!(answer.kind, "application/json; charset=utf-8");
    let uuid: String = serde_json::from_str(&answer.body).unwrap();
    let id = TaskId::parse(&uuid.replace('-', "")).unwrap();
    (uuid, id)
}

async fn result(server: &TestServer, uuid: &str) -> Answer {
    server.get(&format!("/api/v1/task/result/{uuid}")).await
}

async fn number(server: &TestServer, path: &str) -> String {
    let answer = server.get(path).await;
    assert_eq!((answer.status, answer.kind.as_str()), (200, "application/json; charset=utf-8"));
    answer.body
}

async fn undone(server: &TestServer) -> String {
    number(server, "/api/v1/task/count/undo").await
}

/// Reports a failed attempt as the worker does.
async fn fail(server: &TestServer, run: &Run, why: &str) {
    let pause = job(run)["retry_after_ms"][run.attempt as usize - 1].as_u64();
    let outcome = pause.map_or(Outcome::Dead, |pause| Outcome::Failed { retry_after_ms: Some(pause) });
    server.settle(run, outcome, Some(why)).await;
}

/// Section "3.3.3 调用异步任务例子" of the document, with the printed lengths of the answers.
pub async fn the_transcript_of_the_document_is_reproduced(fixture: &dyn Fixture) {
    let server = start(fixture);
    let (uuid, id) = submit(&server, "/api/v1/task", &json!({"bin_name": "example", "args": "12 34"})).await;
    let run = server.take(&id, "script").await;
    server.succeed(&run, "46").await;
    let script = result(&server, &uuid).await;
    assert_eq!(script, json_answer(200, r#"{"is_result_exist":1,"is_success":1,"message":"46"}"#));
    assert_eq!(script.body.len(), 51);

    let call = json!({"method": "POST", "url": "http://127.0.0.1:1323/sum", "args": "{\"a\":132,\"b\":75}"});
    let (uuid, id) = submit(&server, RPC, &call).await;
    let run = server.take(&id, "rpc").await;
    server.succeed(&run, "207").await;
    let call = result(&server, &uuid).await;
    assert_eq!(call, json_answer(200, r#"{"is_result_exist":1,"is_success":1,"message":"207"}"#));
    assert_eq!(call.body.len(), 52);

    for wrong in ["one", "two"] {
        let (_, id) = submit(&server, SCRIPT, &json!({"bin_name": wrong})).await;
        let run = server.take(&id, "script").await;
        fail(&server, &run, "file not exist").await;
    }
    let today = crate::service::NOW.to_string();
    let (date, _) = today.split_once('T').unwrap();
    assert_eq!(server.get(&format!("/api/v1/task/result/success/{date}")).await, json_answer(200, "2"));
    assert_eq!(server.get(&format!("/api/v1/task/result/failure/{date}")).await, json_answer(200, "2"));
}

pub async fn a_worker_gets_the_script_job_as_submitted(fixture: &dyn Fixture) {
    let server = start(fixture);
    let request = json!({
        "bin_name": "mytask", "args": "12 hello", "start_time": 1_445_562_622, "time_interval": "60 600 3600",
    });
    let (_, id) = submit(&server, SCRIPT, &request).await;
    let run = server.take(&id, "script").await;
    let wanted = json!({
        "bin_name": "mytask", "args": ["12", "hello"],
        "timeout_ms": 30_000, "retry_after_ms": [60_000, 600_000, 3_600_000],
    });
    assert_eq!((job(&run), run.queue.as_deref()), (wanted, Some("script")));
}

pub async fn a_worker_gets_the_call_job_as_submitted(fixture: &dyn Fixture) {
    let server = start(fixture);
    for method in ["GET", "POST", "PUT", "DELETE"] {
        let request = json!({"method": method, "url": "https://a.example/b?c=d", "max_run_time": 7, "args": "{\"a\":1}"});
        let (_, id) = submit(&server, RPC, &request).await;
        let run = server.take(&id, "rpc").await;
        let wanted = json!({
            "method": method, "url": "https://a.example/b?c=d", "body": "{\"a\":1}",
            "content_type": "application/json", "headers": {}, "failure": "body", "timeout_ms": 7_000,
            "retry_after_ms": [],
        });
        assert_eq!((job(&run), run.queue.as_deref()), (wanted, Some("rpc")));
        server.succeed(&run, "").await;
    }
}

pub async fn numbers_may_be_strings(fixture: &dyn Fixture) {
    let server = start(fixture);
    let start = crate::service::NOW.sec() + 60;
    for request in [
        json!({"bin_name": "b", "args": 5, "start_time": start, "max_run_time": 9, "time_interval": 60}),
        json!({"bin_name": "b", "args": "5", "start_time": start.to_string(), "max_run_time": "9", "time_interval": "60"}),
    ] {
        let (_, id) = submit(&server, SCRIPT, &request).await;
        let task = server.stage.service.task(&id).await.unwrap();
        let job: Value = serde_json::from_str(&task.data).unwrap();
        assert_eq!(task.next_due_at.unwrap().sec(), start);
        assert_eq!(job["args"], json!(["5"]));
        assert_eq!((&job["timeout_ms"], &job["retry_after_ms"]), (&json!(9_000), &json!([60_000])));
    }
}

pub async fn the_shared_path_accepts_scripts_and_native_tasks(fixture: &dyn Fixture) {
    let server = start(fixture);
    submit(&server, "/api/v1/task", &json!({"bin_name": "b"})).await;
    assert_eq!(server.post("/api/v1/task", r#"{"bin_name":""}"#).await, refused("invalid argument"));

    let native = server.post("/api/v1/task", r#"{"name":"n","type":1,"data":"d"}"#).await;
    let reply: Value = serde_json::from_str(&native.body).unwrap();
    assert_eq!((native.status, &reply["name"]), (200, &json!("n")));
    let wrong = server.post("/api/v1/task", r#"{"name":"n","type":9,"data":"d"}"#).await;
    assert_eq!(
        (wrong.status, wrong.body.as_str()),
        (400, r#"{"err":400,"msg":"params type error","field":"type"}"#)
    );
    let broken = server.post("/api/v1/task", "{").await;
    assert!(broken.status == 400 && broken.body.contains("request body format error"), "{broken:?}");
    let long = format!(r#"{{"name":"n","type":1,"data":"{}"}}"#, "x".repeat(100_000));
    assert_eq!(server.post("/api/v1/task", &long).await.status, 413);
    // kingtask has no routes under the other prefix.
    assert_eq!(server.post("/v1/api/task", r#"{"bin_name":"b"}"#).await.status, 400);
}

pub async fn missing_and_invalid_fields_are_an_invalid_argument(fixture: &dyn Fixture) {
    let server = start(fixture);
    let wrong_scripts = [
        "",
        "{",
        "[]",
        "7",
        "{}",
        r#"{"bin_name":""}"#,
        r#"{"bin_name":null}"#,
        r#"{"bin_name":["b"]}"#,
        r#"{"args":"1 2"}"#,
        r#"{"bin_name":"b","args":{"a":1}}"#,
        r#"{"bin_name":"b","start_time":-1}"#,
        r#"{"bin_name":"b","start_time":"soon"}"#,
        r#"{"bin_name":"b","start_time":1.5}"#,
        r#"{"bin_name":"b","start_time":99999999999999}"#,
        r#"{"bin_name":"b","time_interval":"60 x"}"#,
        r#"{"bin_name":"b","time_interval":"-1"}"#,
        r#"{"bin_name":"b","time_interval":"99999999999"}"#,
        r#"{"bin_name":"b","max_run_time":"-5"}"#,
        r#"{"bin_name":"b","max_run_time":99999999999}"#,
    ];
    for body in wrong_scripts {
        assert_eq!(server.post(SCRIPT, body).await, refused("invalid argument"), "{body}");
    }
    let wrong_calls = [
        r#"{"url":"http://a/"}"#,
        r#"{"method":"GET"}"#,
        r#"{"method":"PATCH","url":"http://a/"}"#,
        r#"{"method":"get","url":"http://a/"}"#,
        r#"{"method":"GET","url":"a/b"}"#,
        r#"{"method":"GET","url":"file:///etc/passwd"}"#,
        r#"{"method":"GET","url":"http://"}"#,
    ];
    for body in wrong_calls {
        assert_eq!(server.post(RPC, body).await, refused("invalid argument"), "{body}");
    }
    let long = format!(r#"{{"bin_name":"b","args":"{}"}}"#, "x".repeat(5 * 1024 * 1024));
    assert_eq!(server.post(SCRIPT, &long).await, refused("invalid argument"));
    for date in ["2015-13-01", "today", "2015-1-1", "20151030"] {
        let path = format!("/api/v1/task/result/success/{date}");
        assert_eq!(server.get(&path).await, refused("invalid argument"), "{date}");
    }
    assert_eq!(undone(&server).await, "0", "no task was stored");
}

pub async fn a_result_exists_from_the_first_attempt_until_its_retention_ends(fixture: &dyn Fixture) {
    let server = start(fixture);
    let none = refused("result not exist");
    for unknown in ["db3e0b22-a249-4ed2-9532-fc6318ccd321", "x", "..%2f", "0"] {
        assert_eq!(result(&server, unknown).await, none, "{unknown}");
    }
    let (uuid, id) = submit(&server, SCRIPT, &json!({"bin_name": "b"})).await;
    assert_eq!(result(&server, &uuid).await, none, "the run has not started");
    let run = server.take(&id, "script").await;
    assert_eq!(result(&server, &uuid).await, none, "the run is in progress");
    server.succeed(&run, "a \"b\"\nc").await;
    let there = json_answer(200, r#"{"is_result_exist":1,"is_success":1,"message":"a \"b\"\nc"}"#);
    assert_eq!(result(&server, &uuid).await, there);
    let ended = crate::service::NOW;
    server.stage.clock.set(ended.plus_ms(1_000_000));
    assert_eq!(result(&server, &uuid).await, there);
    server.stage.clock.set(ended.plus_ms(1_000_001));
    assert_eq!(result(&server, &uuid).await, none);

    let other = server.post("/v1/api/task", r#"{"name":"n","type":1,"data":"d"}"#).await;
    let other: Value = serde_json::from_str(&other.body).unwrap();
    let id = TaskId::parse(other["taskid"].as_str().unwrap()).unwrap();
    let run = server.take(&id, "n").await;
    server.succeed(&run, "foreign").await;
    assert_eq!(result(&server, id.as_str()).await, none, "a task of another API");
}

pub async fn a_task_waits_for_its_start_time(fixture: &dyn Fixture) {
    let server = start(fixture);
    let start = crate::service::NOW.sec() + 3_600;
    let (_, id) = submit(&server, SCRIPT, &json!({"bin_name": "b", "start_time": start})).await;
    assert_eq!(server.stage.service.task(&id).await.unwrap().next_due_at.unwrap().sec(), start);
    assert_eq!(undone(&server).await, "0", "the task is not due");
    let (_, id) = submit(&server, SCRIPT, &json!({"bin_name": "b", "start_time": 900_000_000})).await;
    let due = server.stage.service.task(&id).await.unwrap().next_due_at.unwrap();
    assert_eq!(due, crate::service::NOW, "a start time in the past is due at once");
}

pub async fn every_retry_waits_for_its_interval_and_only_the_last_failure_counts(fixture: &dyn Fixture) {
    let mut server = start(fixture);
    let request = json!({"bin_name": "b", "time_interval": "60 600 3600"});
    let (uuid, id) = submit(&server, SCRIPT, &request).await;
    let mut run = server.take(&id, "script").await;
    let mut now = crate::service::NOW;
    let day = |now: taskcenter_server::core::Moment| now.to_string()[..10].to_owned();
    for pause_ms in [60_000, 600_000, 3_600_000] {
        fail(&server, &run, &format!("wrong {}", run.attempt)).await;
        let last = format!(r#"{{"is_result_exist":1,"is_success":0,"message":"wrong {}"}}"#, run.attempt);
        assert_eq!(result(&server, &uuid).await, json_answer(200, &last));
        server.stage.clock.set(now.plus_ms(pause_ms - 1));
        server.stage.rescue().await;
        assert!(server.lease("script").await.is_none(), "too early");
        // The retry survives a restart.
        server = TestServer::restarted(fixture, legacy_apis(), &server);
        now = now.plus_ms(pause_ms);
        server.stage.clock.set(now);
        server.stage.rescue().await;
        run = server.lease("script").await.expect("the interval has passed");
        assert_eq!(
            result(&server, &uuid).await,
            json_answer(200, &last),
            "the result is kept until the next attempt ends"
        );
    }
    assert_eq!(run.attempt, 4);
    let failures = format!("/api/v1/task/result/failure/{}", day(now));
    assert_eq!(number(&server, &failures).await, "0");
    fail(&server, &run, "wrong 4").await;
    assert_eq!(number(&server, &failures).await, "1");
    let last = r#"{"is_result_exist":1,"is_success":0,"message":"wrong 4"}"#;
    assert_eq!(result(&server, &uuid).await, json_answer(200, last));
    server.stage.rescue().await;
    assert!(server.lease("script").await.is_none(), "no attempt is left");
    let ended = server.stage.run(&run).await;
    assert_eq!(ended.state, RunState::Dead);
}

pub async fn undo_counts_what_is_due_and_not_finished(fixture: &dyn Fixture) {
    let server = start(fixture);
    assert_eq!(undone(&server).await, "0");
    let request = json!({"bin_name": "b", "time_interval": "60"});
    let (_, id) = submit(&server, SCRIPT, &request).await;
    assert_eq!(undone(&server).await, "1", "due");
    server.stage.fire(&id).await;
    assert_eq!(undone(&server).await, "1", "waiting for a worker");
    let run = server.lease("script").await.unwrap();
    assert_eq!(undone(&server).await, "1", "running");
    fail(&server, &run, "wrong").await;
    assert_eq!(undone(&server).await, "0", "in its retry pause");
    submit(&server, RPC, &json!({"method": "GET", "url": "http://a.example/"})).await;
    assert_eq!(undone(&server).await, "1");
    server.stage.clock.set(crate::service::NOW.plus_ms(60_000));
    assert_eq!(undone(&server).await, "2", "the pause is over");
    server.stage.rescue().await;
    assert_eq!(undone(&server).await, "2");
    let run = server.lease("script").await.unwrap();
    server.succeed(&run, "").await;
    assert_eq!(undone(&server).await, "1");
    server.post("/v1/api/task", r#"{"name":"n","type":1,"data":"d"}"#).await;
    assert_eq!(undone(&server).await, "1", "other tasks do not count");
}

pub async fn outcomes_are_counted_by_day_and_survive_a_restart(fixture: &dyn Fixture) {
    let server = start(fixture);
    let run_one = async |well: bool| {
        let (_, id) = submit(&server, SCRIPT, &json!({"bin_name": "b"})).await;
        let run = server.take(&id, "script").await;
        if well { server.succeed(&run, "").await } else { fail(&server, &run, "wrong").await }
    };
    run_one(true).await;
    run_one(false).await;
    let today = crate::service::NOW;
    let tomorrow = today.plus_ms(86_400_000);
    server.stage.clock.set(tomorrow);
    run_one(true).await;
    run_one(true).await;

    let server = TestServer::restarted(fixture, legacy_apis(), &server);
    let counted = async |at: taskcenter_server::core::Moment| {
        let date = at.to_string()[..10].to_owned();
        let success = number(&server, &format!("/api/v1/task/result/success/{date}")).await;
        (success, number(&server, &format!("/api/v1/task/result/failure/{date}")).await)
    };
    assert_eq!(counted(today).await, ("1".to_owned(), "1".to_owned()));
    assert_eq!(counted(tomorrow).await, ("2".to_owned(), "0".to_owned()));
    assert_eq!(counted(tomorrow.plus_ms(86_400_000)).await, ("0".to_owned(), "0".to_owned()));
}

pub async fn days_are_in_the_time_zone_of_the_server(fixture: &dyn Fixture) {
    let settings = Settings { time_zone: "Asia/Shanghai".to_owned(), ..Settings::default() };
    let server = TestServer::with_settings(fixture, legacy_apis(), settings);
    // 16:00 UTC is midnight in Shanghai.
    let midnight = Moment::from_sec(1_000_051_200);
    assert_eq!(midnight.to_string(), "2001-09-09T16:00:00.000Z");
    for (at, well) in [(midnight.plus_ms(-1), true), (midnight, true), (midnight, false)] {
        server.stage.clock.set(at);
        let (_, id) = submit(&server, SCRIPT, &json!({"bin_name": "b"})).await;
        let run = server.take(&id, "script").await;
        if well { server.succeed(&run, "").await } else { fail(&server, &run, "wrong").await }
    }
    for (day, success, failure) in
        [("2001-09-09", "1", "0"), ("2001-09-10", "1", "1"), ("2001-09-11", "0", "0")]
    {
        assert_eq!(number(&server, &format!("/api/v1/task/result/success/{day}")).await, success, "{day}");
        assert_eq!(number(&server, &format!("/api/v1/task/result/failure/{day}")).await, failure, "{day}");
    }
}

pub async fn undo_counts_no_calls_of_other_legacy_apis(fixture: &dyn Fixture) {
    let server = start(fixture);
    for name in ["easytask.cancel", "easytask_pull.callback", "shop"] {
        let other = Submission {
            queue: Some("rpc".to_owned()),
            dedup: Dedup::Nothing,
            ..Submission::named(name, r#"{"method":"GET","url":"http://a.example/"}"#)
        };
        let id = server.stage.submit(other).await;
        server.stage.fire(&id).await;
    }
    assert_eq!(undone(&server).await, "0");
    for _ in 0..3 {
        let (_, id) = submit(&server, RPC, &json!({"method": "GET", "url": "http://a.example/"})).await;
        server.stage.fire(&id).await;
    }
    assert_eq!(undone(&server).await, "3");
}

pub async fn a_store_failure_is_a_403_with_a_message(fixture: &dyn Fixture) {
    let failing = super::Failing::on(fixture);
    let server = start(&failing);
    let (uuid, _) = submit(&server, SCRIPT, &json!({"bin_name": "b"})).await;
    failing.fail("");
    let answers = [
        server.post(SCRIPT, r#"{"bin_name":"b"}"#).await,
        server.post("/api/v1/task", r#"{"bin_name":"b"}"#).await,
        server.post(RPC, r#"{"method":"GET","url":"http://a.example/"}"#).await,
        result(&server, &uuid).await,
        server.get("/api/v1/task/count/undo").await,
        server.get("/api/v1/task/result/success/2001-09-09").await,
        server.get("/api/v1/task/result/failure/2001-09-09").await,
    ];
    for answer in answers {
        assert_eq!(
            (answer.status, answer.kind.as_str()),
            (403, "application/json; charset=utf-8"),
            "{answer:?}"
        );
        assert!(serde_json::from_str::<String>(&answer.body).is_ok(), "{answer:?}");
    }
    failing.recover();
    assert_eq!(undone(&server).await, "1", "refused tasks are not stored");
}

/// Runs the worker of the queue `rpc`.
#[tokio::test]
async fn a_failed_call_has_the_response_body_as_its_message() {
    let server = start(&MemoryFixture::open().await);
    let endpoint = Endpoint::start().await;
    endpoint.respond_with(500, "no such order\n");
    let (uuid, id) =
        submit(&server, RPC, &json!({"method": "POST", "url": endpoint.url, "args": "{}"})).await;
    let run = server.stage.fire(&id).await;
    let server = server.with_workers(crate::workers::settings(&["rpc"]));
    assert_eq!(server.bench.outcome(&run).await.state, RunState::Dead);
    let request = axum::http::Request::get(format!("/api/v1/task/result/{uuid}"));
    let answer = server.send(request.body(axum::body::Body::empty()).unwrap()).await;
    let wanted = r#"{"is_result_exist":1,"is_success":0,"message":"no such order\n"}"#;
    assert_eq!(answer, json_answer(200, wanted));
    server.bench.stop().await;
}

//! Section 4 of the contract. The built-in workers are played by hand here: what they are given and what they say.

use serde_json::{Value, json};
use taskcenter_server::compat::{Compat, Kingtask};
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::{Moment, Run, RunState, TaskId};
use taskcenter_server::engine::settings::Settings;

use super::{Answer, Desk, job};
use crate::store::Fixture;
use crate::store::memory::MemoryFixture;
use crate::workers::callee::Callee;

const SCRIPT: &str = "/api/v1/task/script";
const RPC: &str = "/api/v1/task/rpc";

fn fronts() -> Compat {
    Compat { kingtask: Kingtask { enabled: true, ..Kingtask::default() }, ..Compat::default() }
}

fn desk(on: &dyn Fixture) -> Desk {
    Desk::on(on, fronts())
}

/// An answer of this front: its kind is always the same.
fn said(status: u16, body: &str) -> Answer {
    let kind = "application/json; charset=utf-8".to_owned();
    Answer { status, kind, body: body.to_owned() }
}

fn refused(why: &str) -> Answer {
    said(403, &format!("\"{why}\""))
}

/// Submits; the UUID as the client got it, and the task's id.
async fn submit(on: &Desk, path: &str, body: &Value) -> (String, TaskId) {
    let answer = on.post(path, &body.to_string()).await;
    assert_eq!((answer.status, answer.body.len()), (200, 38), "{answer:?}");
    assert_eq!(answer.kind, "application/json; charset=utf-8");
    let uuid: String = serde_json::from_str(&answer.body).unwrap();
    let id = TaskId::parse(&uuid.replace('-', "")).unwrap();
    (uuid, id)
}

async fn result(on: &Desk, uuid: &str) -> Answer {
    on.get(&format!("/api/v1/task/result/{uuid}")).await
}

async fn number(on: &Desk, path: &str) -> String {
    let answer = on.get(path).await;
    assert_eq!((answer.status, answer.kind.as_str()), (200, "application/json; charset=utf-8"));
    answer.body
}

async fn undone(on: &Desk) -> String {
    number(on, "/api/v1/task/count/undo").await
}

/// A worker's attempt at a script that fails.
async fn fail(on: &Desk, run: &Run, why: &str) {
    let pause = job(run)["retry_after_ms"][run.attempt as usize - 1].as_u64();
    let outcome = pause.map_or(Outcome::Dead, |pause| Outcome::Failed { retry_after_ms: Some(pause) });
    on.settle(run, outcome, Some(why)).await;
}

/// "3.3.3 调用异步任务例子", with the answers' lengths as printed there.
pub async fn the_documents_transcript(on: &dyn Fixture) {
    let on = desk(on);
    let (uuid, id) = submit(&on, "/api/v1/task", &json!({"bin_name": "example", "args": "12 34"})).await;
    let run = on.take(&id, "script").await;
    on.succeed(&run, "46").await;
    let script = result(&on, &uuid).await;
    assert_eq!(script, said(200, r#"{"is_result_exist":1,"is_success":1,"message":"46"}"#));
    assert_eq!(script.body.len(), 51);

    let call = json!({"method": "POST", "url": "http://127.0.0.1:1323/sum", "args": "{\"a\":132,\"b\":75}"});
    let (uuid, id) = submit(&on, RPC, &call).await;
    let run = on.take(&id, "rpc").await;
    on.succeed(&run, "207").await;
    let call = result(&on, &uuid).await;
    assert_eq!(call, said(200, r#"{"is_result_exist":1,"is_success":1,"message":"207"}"#));
    assert_eq!(call.body.len(), 52);

    for wrong in ["one", "two"] {
        let (_, id) = submit(&on, SCRIPT, &json!({"bin_name": wrong})).await;
        let run = on.take(&id, "script").await;
        fail(&on, &run, "file not exist").await;
    }
    let today = crate::service::NOW.to_string();
    let (date, _) = today.split_once('T').unwrap();
    assert_eq!(on.get(&format!("/api/v1/task/result/success/{date}")).await, said(200, "2"));
    assert_eq!(on.get(&format!("/api/v1/task/result/failure/{date}")).await, said(200, "2"));
}

pub async fn a_script_is_handed_over_as_it_was_asked_for(on: &dyn Fixture) {
    let on = desk(on);
    let asked = json!({
        "bin_name": "mytask", "args": "12 hello", "start_time": 1_445_562_622, "time_interval": "60 600 3600",
    });
    let (_, id) = submit(&on, SCRIPT, &asked).await;
    let run = on.take(&id, "script").await;
    let wanted = json!({
        "bin_name": "mytask", "args": ["12", "hello"],
        "timeout_ms": 30_000, "retry_after_ms": [60_000, 600_000, 3_600_000],
    });
    assert_eq!((job(&run), run.queue.as_deref()), (wanted, Some("script")));
}

pub async fn a_call_is_handed_over_as_it_was_asked_for(on: &dyn Fixture) {
    let on = desk(on);
    for method in ["GET", "POST", "PUT", "DELETE"] {
        let asked = json!({"method": method, "url": "https://a.example/b?c=d", "max_run_time": 7, "args": "{\"a\":1}"});
        let (_, id) = submit(&on, RPC, &asked).await;
        let run = on.take(&id, "rpc").await;
        let wanted = json!({
            "method": method, "url": "https://a.example/b?c=d", "body": "{\"a\":1}",
            "content_type": "application/json", "headers": {}, "failure": "body", "timeout_ms": 7_000,
            "retry_after_ms": [],
        });
        assert_eq!((job(&run), run.queue.as_deref()), (wanted, Some("rpc")));
        on.succeed(&run, "").await;
    }
}

pub async fn numbers_come_as_numbers_or_as_text(on: &dyn Fixture) {
    let on = desk(on);
    let start = crate::service::NOW.sec() + 60;
    for asked in [
        json!({"bin_name": "b", "args": 5, "start_time": start, "max_run_time": 9, "time_interval": 60}),
        json!({"bin_name": "b", "args": "5", "start_time": start.to_string(), "max_run_time": "9", "time_interval": "60"}),
    ] {
        let (_, id) = submit(&on, SCRIPT, &asked).await;
        let task = on.stage.service.task(&id).await.unwrap();
        let job: Value = serde_json::from_str(&task.data).unwrap();
        assert_eq!(task.next_due_at.unwrap().sec(), start);
        assert_eq!(job["args"], json!(["5"]));
        assert_eq!((&job["timeout_ms"], &job["retry_after_ms"]), (&json!(9_000), &json!([60_000])));
    }
}

pub async fn the_shared_path_takes_scripts_and_leaves_the_rest_to_the_native_api(on: &dyn Fixture) {
    let on = desk(on);
    submit(&on, "/api/v1/task", &json!({"bin_name": "b"})).await;
    assert_eq!(on.post("/api/v1/task", r#"{"bin_name":""}"#).await, refused("invalid argument"));

    let native = on.post("/api/v1/task", r#"{"name":"n","type":1,"data":"d"}"#).await;
    let reply: Value = serde_json::from_str(&native.body).unwrap();
    assert_eq!((native.status, &reply["name"]), (200, &json!("n")));
    let wrong = on.post("/api/v1/task", r#"{"name":"n","type":9,"data":"d"}"#).await;
    assert_eq!(
        (wrong.status, wrong.body.as_str()),
        (400, r#"{"err":400,"msg":"params type error","field":"type"}"#)
    );
    let broken = on.post("/api/v1/task", "{").await;
    assert!(broken.status == 400 && broken.body.contains("request body format error"), "{broken:?}");
    let long = format!(r#"{{"name":"n","type":1,"data":"{}"}}"#, "x".repeat(100_000));
    assert_eq!(on.post("/api/v1/task", &long).await.status, 413);
    // The other prefix was never kingtask's.
    assert_eq!(on.post("/v1/api/task", r#"{"bin_name":"b"}"#).await.status, 400);
}

pub async fn what_is_missing_or_invalid_is_an_invalid_argument(on: &dyn Fixture) {
    let on = desk(on);
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
        assert_eq!(on.post(SCRIPT, body).await, refused("invalid argument"), "{body}");
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
        assert_eq!(on.post(RPC, body).await, refused("invalid argument"), "{body}");
    }
    let long = format!(r#"{{"bin_name":"b","args":"{}"}}"#, "x".repeat(5 * 1024 * 1024));
    assert_eq!(on.post(SCRIPT, &long).await, refused("invalid argument"));
    for date in ["2015-13-01", "today", "2015-1-1", "20151030"] {
        let path = format!("/api/v1/task/result/success/{date}");
        assert_eq!(on.get(&path).await, refused("invalid argument"), "{date}");
    }
    assert_eq!(undone(&on).await, "0", "nothing of it was taken");
}

pub async fn there_is_no_result_before_the_first_and_after_the_keeping_time(on: &dyn Fixture) {
    let on = desk(on);
    let none = refused("result not exist");
    for unknown in ["db3e0b22-a249-4ed2-9532-fc6318ccd321", "x", "..%2f", "0"] {
        assert_eq!(result(&on, unknown).await, none, "{unknown}");
    }
    let (uuid, id) = submit(&on, SCRIPT, &json!({"bin_name": "b"})).await;
    assert_eq!(result(&on, &uuid).await, none, "it has not begun");
    let run = on.take(&id, "script").await;
    assert_eq!(result(&on, &uuid).await, none, "it runs");
    on.succeed(&run, "a \"b\"\nc").await;
    let there = said(200, r#"{"is_result_exist":1,"is_success":1,"message":"a \"b\"\nc"}"#);
    assert_eq!(result(&on, &uuid).await, there);
    let ended = crate::service::NOW;
    on.stage.clock.set(ended.plus_ms(1_000_000));
    assert_eq!(result(&on, &uuid).await, there);
    on.stage.clock.set(ended.plus_ms(1_000_001));
    assert_eq!(result(&on, &uuid).await, none);

    let other = on.post("/v1/api/task", r#"{"name":"n","type":1,"data":"d"}"#).await;
    let other: Value = serde_json::from_str(&other.body).unwrap();
    let id = TaskId::parse(other["taskid"].as_str().unwrap()).unwrap();
    let run = on.take(&id, "n").await;
    on.succeed(&run, "not ours").await;
    assert_eq!(result(&on, id.as_str()).await, none, "another front's task");
}

pub async fn a_task_waits_for_its_start(on: &dyn Fixture) {
    let on = desk(on);
    let start = crate::service::NOW.sec() + 3_600;
    let (_, id) = submit(&on, SCRIPT, &json!({"bin_name": "b", "start_time": start})).await;
    assert_eq!(on.stage.service.task(&id).await.unwrap().next_due_at.unwrap().sec(), start);
    assert_eq!(undone(&on).await, "0", "it is not due");
    let (_, id) = submit(&on, SCRIPT, &json!({"bin_name": "b", "start_time": 900_000_000})).await;
    let due = on.stage.service.task(&id).await.unwrap().next_due_at.unwrap();
    assert_eq!(due, crate::service::NOW, "a start that has passed is now");
}

pub async fn every_interval_is_waited_for_and_the_final_failure_counts_once(fixture: &dyn Fixture) {
    let mut on = desk(fixture);
    let asked = json!({"bin_name": "b", "time_interval": "60 600 3600"});
    let (uuid, id) = submit(&on, SCRIPT, &asked).await;
    let mut run = on.take(&id, "script").await;
    let mut now = crate::service::NOW;
    let day = |now: taskcenter_server::core::Moment| now.to_string()[..10].to_owned();
    for pause_ms in [60_000, 600_000, 3_600_000] {
        fail(&on, &run, &format!("wrong {}", run.attempt)).await;
        let last = format!(r#"{{"is_result_exist":1,"is_success":0,"message":"wrong {}"}}"#, run.attempt);
        assert_eq!(result(&on, &uuid).await, said(200, &last));
        on.stage.clock.set(now.plus_ms(pause_ms - 1));
        on.stage.rescue().await;
        assert!(on.lease("script").await.is_none(), "too early");
        // Whatever was planned stands in the ledger.
        on = Desk::again(fixture, fronts(), &on);
        now = now.plus_ms(pause_ms);
        on.stage.clock.set(now);
        on.stage.rescue().await;
        run = on.lease("script").await.expect("the pause is over");
        assert_eq!(
            result(&on, &uuid).await,
            said(200, &last),
            "until the next attempt has come to something"
        );
    }
    assert_eq!(run.attempt, 4);
    let failures = format!("/api/v1/task/result/failure/{}", day(now));
    assert_eq!(number(&on, &failures).await, "0");
    fail(&on, &run, "wrong 4").await;
    assert_eq!(number(&on, &failures).await, "1");
    let last = r#"{"is_result_exist":1,"is_success":0,"message":"wrong 4"}"#;
    assert_eq!(result(&on, &uuid).await, said(200, last));
    on.stage.rescue().await;
    assert!(on.lease("script").await.is_none(), "that was the last");
    let ended = on.stage.run(&run).await;
    assert_eq!(ended.state, RunState::Dead);
}

pub async fn undo_counts_what_is_due_and_not_finished(on: &dyn Fixture) {
    let on = desk(on);
    assert_eq!(undone(&on).await, "0");
    let asked = json!({"bin_name": "b", "time_interval": "60"});
    let (_, id) = submit(&on, SCRIPT, &asked).await;
    assert_eq!(undone(&on).await, "1", "due");
    on.stage.fire(&id).await;
    assert_eq!(undone(&on).await, "1", "waiting for a worker");
    let run = on.lease("script").await.unwrap();
    assert_eq!(undone(&on).await, "1", "running");
    fail(&on, &run, "wrong").await;
    assert_eq!(undone(&on).await, "1", "waiting for its next attempt");
    submit(&on, RPC, &json!({"method": "GET", "url": "http://a.example/"})).await;
    assert_eq!(undone(&on).await, "2");
    on.stage.clock.set(crate::service::NOW.plus_ms(60_000));
    on.stage.rescue().await;
    let run = on.lease("script").await.unwrap();
    on.succeed(&run, "").await;
    assert_eq!(undone(&on).await, "1");
    on.post("/v1/api/task", r#"{"name":"n","type":1,"data":"d"}"#).await;
    assert_eq!(undone(&on).await, "1", "other tasks do not count");
}

pub async fn days_are_counted_apart_and_survive_a_restart(fixture: &dyn Fixture) {
    let on = desk(fixture);
    let run_one = async |well: bool| {
        let (_, id) = submit(&on, SCRIPT, &json!({"bin_name": "b"})).await;
        let run = on.take(&id, "script").await;
        if well { on.succeed(&run, "").await } else { fail(&on, &run, "wrong").await }
    };
    run_one(true).await;
    run_one(false).await;
    let today = crate::service::NOW;
    let tomorrow = today.plus_ms(86_400_000);
    on.stage.clock.set(tomorrow);
    run_one(true).await;
    run_one(true).await;

    let on = Desk::again(fixture, fronts(), &on);
    let counted = async |at: taskcenter_server::core::Moment| {
        let date = at.to_string()[..10].to_owned();
        let success = number(&on, &format!("/api/v1/task/result/success/{date}")).await;
        (success, number(&on, &format!("/api/v1/task/result/failure/{date}")).await)
    };
    assert_eq!(counted(today).await, ("1".to_owned(), "1".to_owned()));
    assert_eq!(counted(tomorrow).await, ("2".to_owned(), "0".to_owned()));
    assert_eq!(counted(tomorrow.plus_ms(86_400_000)).await, ("0".to_owned(), "0".to_owned()));
}

pub async fn a_day_is_one_of_the_servers_time_zone(on: &dyn Fixture) {
    let settings = Settings { time_zone: "Asia/Shanghai".to_owned(), ..Settings::default() };
    let on = Desk::set(on, fronts(), settings);
    // 16:00 in UTC is midnight there.
    let midnight = Moment::from_sec(1_000_051_200);
    assert_eq!(midnight.to_string(), "2001-09-09T16:00:00.000Z");
    for (at, well) in [(midnight.plus_ms(-1), true), (midnight, true), (midnight, false)] {
        on.stage.clock.set(at);
        let (_, id) = submit(&on, SCRIPT, &json!({"bin_name": "b"})).await;
        let run = on.take(&id, "script").await;
        if well { on.succeed(&run, "").await } else { fail(&on, &run, "wrong").await }
    }
    for (day, success, failure) in
        [("2001-09-09", "1", "0"), ("2001-09-10", "1", "1"), ("2001-09-11", "0", "0")]
    {
        assert_eq!(number(&on, &format!("/api/v1/task/result/success/{day}")).await, success, "{day}");
        assert_eq!(number(&on, &format!("/api/v1/task/result/failure/{day}")).await, failure, "{day}");
    }
}

pub async fn undo_counts_no_calls_of_other_fronts(on: &dyn Fixture) {
    let on = desk(on);
    for name in ["easytask.cancel", "easytask_pull.callback", "shop"] {
        let other = Submission {
            queue: Some("rpc".to_owned()),
            dedup: Dedup::Nothing,
            ..Submission::named(name, r#"{"method":"GET","url":"http://a.example/"}"#)
        };
        let id = on.stage.submit(other).await;
        on.stage.fire(&id).await;
    }
    assert_eq!(undone(&on).await, "0");
    for _ in 0..3 {
        let (_, id) = submit(&on, RPC, &json!({"method": "GET", "url": "http://a.example/"})).await;
        on.stage.fire(&id).await;
    }
    assert_eq!(undone(&on).await, "3");
}

pub async fn a_store_that_fails_is_a_403_with_a_text(fixture: &dyn Fixture) {
    let failing = super::Failing::on(fixture);
    let on = desk(&failing);
    let (uuid, _) = submit(&on, SCRIPT, &json!({"bin_name": "b"})).await;
    failing.lose("");
    let asked = [
        on.post(SCRIPT, r#"{"bin_name":"b"}"#).await,
        on.post("/api/v1/task", r#"{"bin_name":"b"}"#).await,
        on.post(RPC, r#"{"method":"GET","url":"http://a.example/"}"#).await,
        result(&on, &uuid).await,
        on.get("/api/v1/task/count/undo").await,
        on.get("/api/v1/task/result/success/2001-09-09").await,
        on.get("/api/v1/task/result/failure/2001-09-09").await,
    ];
    for answer in asked {
        assert_eq!(
            (answer.status, answer.kind.as_str()),
            (403, "application/json; charset=utf-8"),
            "{answer:?}"
        );
        assert!(serde_json::from_str::<String>(&answer.body).is_ok(), "{answer:?}");
    }
    failing.mend();
    assert_eq!(undone(&on).await, "1", "what was refused is not there");
}

/// With the worker that makes the calls.
#[tokio::test]
async fn a_call_that_fails_has_the_answers_body_as_its_message() {
    let on = desk(&MemoryFixture::open().await);
    let callee = Callee::start().await;
    callee.says(500, "no such order\n");
    let (uuid, id) = submit(&on, RPC, &json!({"method": "POST", "url": callee.url, "args": "{}"})).await;
    let run = on.stage.fire(&id).await;
    let on = on.with_workers(crate::workers::settings(&["rpc"]));
    assert_eq!(on.bench.outcome(&run).await.state, RunState::Dead);
    let request = axum::http::Request::get(format!("/api/v1/task/result/{uuid}"));
    let answer = on.send(request.body(axum::body::Body::empty()).unwrap()).await;
    let wanted = r#"{"is_result_exist":1,"is_success":0,"message":"no such order\n"}"#;
    assert_eq!(answer, said(200, wanted));
    on.bench.stop().await;
}

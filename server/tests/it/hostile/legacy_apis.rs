//! Operators of query languages in every field of the legacy APIs, on every store: as text they are
//! data, as structures they are refused.

use reqwest::Method;
use serde_json::{Value, json};

use super::inject::{WORDS, percent_encode, structures};
use super::{DEFAULT_LIMITS, TestServer};
use crate::http::with_changes;
use crate::store::Fixture;

/// Routes, each with a valid body and a text of its refusal of a field.
fn routes() -> Vec<(Method, &'static str, Value, &'static str)> {
    let (post, put) = (Method::POST, Method::PUT);
    let node = json!({
        "name": "shop", "schema": "http", "host": "127.0.0.1", "port": 8_080, "callback_timeout_sec": 5,
        "is_enable_health_check": false,
    });
    let task = json!({"name": "n", "srv_name": "shop", "callback_path": "/up", "arg": "a", "biz_id": "b"});
    let of = |mode: Value| with_changes(task.clone(), &mode);
    let row = json!({
        "ProjectID": "p", "InstanceID": "i", "TaskID": "t", "TaskType": "k", "Status": "待领取", "URL": "http://a",
        "CreateTime": 1, "User": "u", "Checker": "c", "Group": "g", "Reserved": "r",
    });
    let identity =
        json!({"ProjectID": "p", "InstanceID": "i", "TaskID": "t", "TaskType": "k", "Status": "已完成"});
    let script =
        json!({"bin_name": "b", "args": "1", "start_time": 5, "time_interval": "60", "max_run_time": 5});
    let rpc = json!({"method": "GET", "url": "http://a", "args": "1", "start_time": 5, "time_interval": "60", "max_run_time": 5});
    vec![
        (post.clone(), "/api/v1/task/script", script.clone(), "invalid argument"),
        (post.clone(), "/api/v1/task", script, "invalid argument"),
        (post.clone(), "/api/v1/task/rpc", rpc, "invalid argument"),
        (post.clone(), "/add_task_server", node.clone(), "10001"),
        (post.clone(), "/del_task_server", node, "10001"),
        (post.clone(), "/add_task", of(json!({"sched_mode": 1, "time_cron": "* * * * *"})), "10001"),
        (post.clone(), "/add_task", of(json!({"sched_mode": 2, "time_spec_at": 4_000_000_000_u64})), "10001"),
        (post.clone(), "/add_task", of(json!({"sched_mode": 3, "time_interval_sec": 60})), "10001"),
        (
            post.clone(),
            "/confirm_task",
            json!({"task_id": "t", "task_run_times": 1, "is_success": true, "extra": "x"}),
            "10001",
        ),
        (post.clone(), "/stop_task", json!({"task_id": "t"}), "10001"),
        (post.clone(), "/task_log", json!({"task_id": "t", "limit": 1, "before": "r"}), "\"code\":1000"),
        (put.clone(), "/api/putask", json!({"tid": "1", "rid": "1", "task_type": "known"}), "\"code\":-1"),
        (put, "/addtask/known", json!({"tid": "1", "rid": "1"}), "\"code\":-1"),
        (
            post.clone(),
            "/updatetask",
            json!({"id": 1, "stat": 3, "name": "w", "nfid": "n", "img": "i"}),
            "\"code\":-1",
        ),
        (post.clone(), "/rpost/taskRegister", row, "\"errid\":1000"),
        (post.clone(), "/rpost/updateStatus", identity, "\"errid\":1000"),
        (
            post.clone(),
            "/rpost/serviceRegister",
            json!({"URL": "http://a", "Name": "n", "Reserved": "r"}),
            "\"errid\":1000",
        ),
        (post, "/rpost/heartBeat", json!({"URL": "http://a", "Time": 1}), "\"errid\":1000"),
    ]
}

/// Operators as structures: refused in every field, without an effect.
pub async fn operators_are_no_structure(fixture: Box<dyn Fixture>) {
    let server = TestServer::on(fixture, DEFAULT_LIMITS).await;
    assert_eq!(server.request_text(Method::GET, "/newtype?name=known", "").await, (200, "OK".to_owned()));
    for structure in structures() {
        for (method, path, body, refusal) in routes() {
            for name in body.as_object().unwrap().keys() {
                let body = with_changes(body.clone(), &json!({name: structure})).to_string();
                let (status, text) = server.request_text(method.clone(), path, body.clone()).await;
                assert!(status < 500 && text.contains(refusal), "{path} {body}: {status} {text}");
            }
        }
        // The address of the callback is inside the data of the worker.
        let body = json!({"task_type": "known", "task_info": {"callback": structure}}).to_string();
        let (_, text) = server.request_text(Method::PUT, "/api/putask", body).await;
        assert!(text.contains("\"code\":-1"), "{structure}: {text}");
    }
    for (query, refusal) in [
        ("/querytask?type[$ne]=x&name=w&num=1", "\"code\":-1"),
        ("/querytask?type=known&pageno[$gt]=1&pageno={\"$gt\":0}", "\"code\":-1"),
        ("/sayhi?type[$ne]=x&name=w", "参数错误"),
        ("/rget/task?operation=GetTasksByUser&user[$ne]=x", "\"errid\":1000"),
        ("/rget/task?operation[$ne]=x", "\"errid\":1000"),
        ("/rget/task?operation=GetTasksByStatus&status[$gt]=", "\"errid\":1000"),
    ] {
        let (status, text) = server.request_text(Method::GET, query, "").await;
        assert!(status < 500 && text.contains(refusal), "{query}: {status} {text}");
    }
    assert_eq!(server.get("/v1/tasks").await.1["tasks"], json!([]), "no task is created");
    assert_eq!(server.get("/v1/services").await.1["services"], json!([]));
    for list in ["GetTasksNoUser", "GetServices"] {
        let (_, rows) = server.request_text(Method::GET, &format!("/rget/task?operation={list}"), "").await;
        assert_eq!(rows, "[]", "{list}");
    }
    server.close().await;
}

/// Operators as text: each value is stored as sent, and a query finds only this value.
pub async fn operators_are_data(fixture: Box<dyn Fixture>) {
    let server = TestServer::on(fixture, DEFAULT_LIMITS).await;
    for word in WORDS {
        let node = json!({"name": word, "schema": "http", "host": "127.0.0.1", "port": 1}).to_string();
        assert_accepted(&server, Method::POST, "/add_task_server", &node).await;
        let task = json!({"name": word, "srv_name": word, "sched_mode": 3, "time_interval_sec": 60, "arg": word, "biz_id": word});
        assert_accepted(&server, Method::POST, "/add_task", &task.to_string()).await;
        let row = json!({"ProjectID": word, "InstanceID": word, "TaskID": word, "TaskType": word, "User": word, "Group": word});
        assert_accepted(&server, Method::POST, "/rpost/taskRegister", &row.to_string()).await;
        let script = json!({"bin_name": word, "args": word}).to_string();
        assert_accepted(&server, Method::POST, "/api/v1/task/script", &script).await;
        let kind = percent_encode(word);
        assert_accepted(&server, Method::GET, &format!("/newtype?name={kind}"), "").await;
        let put = json!({"task_type": word, "tid": word, "rid": word, "task_info": word}).to_string();
        assert_accepted(&server, Method::PUT, "/api/putask", &put).await;
    }
    for word in WORDS {
        let tasks = server.get(&format!("/v1/tasks?name={}", percent_encode(word))).await.1;
        let tasks = tasks["tasks"].as_array().unwrap().clone();
        assert_eq!(tasks.len(), 2, "a callback task and a pull task: {word}");
        let job = tasks.iter().find(|task| task["queue"] == "callback").expect("a callback");
        let job: Value = serde_json::from_str(job["data"].as_str().unwrap()).unwrap();
        assert_eq!(job["service"], word);
        let (_, rows) = server
            .request_text(
                Method::GET,
                &format!("/rget/task?operation=GetTasksByUser&user={}", percent_encode(word)),
                "",
            )
            .await;
        let rows: Value = serde_json::from_str(&rows).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 1, "{word}: {rows}");
        for name in ["ProjectID", "InstanceID", "TaskID", "TaskType", "User", "Group"] {
            assert_eq!(rows[0][name], word);
        }
        let (_, listed) =
            server.request_text(Method::GET, &format!("/querytask?type={}", percent_encode(word)), "").await;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "{word}: {listed}");
    }
    let services = server.get("/v1/services").await.1;
    assert_eq!(services["services"].as_array().unwrap().len(), WORDS.len());
    server.close().await;
}

async fn assert_accepted(server: &TestServer, method: Method, path: &str, body: &str) {
    let (status, text) = server.request_text(method, path, body.to_owned()).await;
    let refusals = ["\"code\":-1", "\"code\":1000", "errid", "invalid argument"];
    assert!(status == 200 && !refusals.iter().any(|refusal| text.contains(refusal)), "{path} {body}: {text}");
}

//! Operators of query languages in every field of the fronts for older systems' clients, on every store: text is data like any other,
//! structures are refused.

use reqwest::Method;
use serde_json::{Value, json};

use super::inject::{WORDS, path, structures};
use super::{AS_SHIPPED, Front};
use crate::http::with_changes as with;
use crate::store::Fixture;

/// An entry, a body that it takes, and what its refusal of a field holds.
fn entries() -> Vec<(Method, &'static str, Value, &'static str)> {
    let (post, put) = (Method::POST, Method::PUT);
    let node = json!({
        "name": "shop", "schema": "http", "host": "127.0.0.1", "port": 8_080, "callback_timeout_sec": 5,
        "is_enable_health_check": false,
    });
    let task = json!({"name": "n", "srv_name": "shop", "callback_path": "/up", "arg": "a", "biz_id": "b"});
    let of = |mode: Value| with(task.clone(), &mode);
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

/// Operators as structures: refused in every field, and nothing is stored.
pub async fn operators_are_no_structure(fixture: Box<dyn Fixture>) {
    let front = Front::on(fixture, AS_SHIPPED).await;
    assert_eq!(front.say(Method::GET, "/newtype?name=known", "").await, (200, "OK".to_owned()));
    for structure in structures() {
        for (method, path, body, refusal) in entries() {
            for name in body.as_object().unwrap().keys() {
                let body = with(body.clone(), &json!({name: structure})).to_string();
                let (status, said) = front.say(method.clone(), path, body.clone()).await;
                assert!(status < 500 && said.contains(refusal), "{path} {body}: {status} {said}");
            }
        }
        // The callback's address stands within what is otherwise the worker's own.
        let body = json!({"task_type": "known", "task_info": {"callback": structure}}).to_string();
        let (_, said) = front.say(Method::PUT, "/api/putask", body).await;
        assert!(said.contains("\"code\":-1"), "{structure}: {said}");
    }
    for (query, refusal) in [
        ("/querytask?type[$ne]=x&name=w&num=1", "\"code\":-1"),
        ("/querytask?type=known&pageno[$gt]=1&pageno={\"$gt\":0}", "\"code\":-1"),
        ("/sayhi?type[$ne]=x&name=w", "参数错误"),
        ("/rget/task?operation=GetTasksByUser&user[$ne]=x", "\"errid\":1000"),
        ("/rget/task?operation[$ne]=x", "\"errid\":1000"),
        ("/rget/task?operation=GetTasksByStatus&status[$gt]=", "\"errid\":1000"),
    ] {
        let (status, said) = front.say(Method::GET, query, "").await;
        assert!(status < 500 && said.contains(refusal), "{query}: {status} {said}");
    }
    assert_eq!(front.get("/v1/tasks").await.1["tasks"], json!([]), "nothing was created");
    assert_eq!(front.get("/v1/services").await.1["services"], json!([]));
    for list in ["GetTasksNoUser", "GetServices"] {
        let (_, rows) = front.say(Method::GET, &format!("/rget/task?operation={list}"), "").await;
        assert_eq!(rows, "[]", "{list}");
    }
    front.close().await;
}

/// Operators as text: each is found by itself alone, and comes back as it was sent.
pub async fn operators_are_data(fixture: Box<dyn Fixture>) {
    let front = Front::on(fixture, AS_SHIPPED).await;
    for word in WORDS {
        let node = json!({"name": word, "schema": "http", "host": "127.0.0.1", "port": 1}).to_string();
        assert_taken(&front, Method::POST, "/add_task_server", &node).await;
        let task = json!({"name": word, "srv_name": word, "sched_mode": 3, "time_interval_sec": 60, "arg": word, "biz_id": word});
        assert_taken(&front, Method::POST, "/add_task", &task.to_string()).await;
        let row = json!({"ProjectID": word, "InstanceID": word, "TaskID": word, "TaskType": word, "User": word, "Group": word});
        assert_taken(&front, Method::POST, "/rpost/taskRegister", &row.to_string()).await;
        let script = json!({"bin_name": word, "args": word}).to_string();
        assert_taken(&front, Method::POST, "/api/v1/task/script", &script).await;
        let kind = path(word);
        assert_taken(&front, Method::GET, &format!("/newtype?name={kind}"), "").await;
        let put = json!({"task_type": word, "tid": word, "rid": word, "task_info": word}).to_string();
        assert_taken(&front, Method::PUT, "/api/putask", &put).await;
    }
    for word in WORDS {
        let tasks = front.get(&format!("/v1/tasks?name={}", path(word))).await.1;
        let tasks = tasks["tasks"].as_array().unwrap().clone();
        assert_eq!(tasks.len(), 2, "a callback and a task for its pull workers: {word}");
        let job = tasks.iter().find(|task| task["queue"] == "callback").expect("a callback");
        let job: Value = serde_json::from_str(job["data"].as_str().unwrap()).unwrap();
        assert_eq!(job["service"], word);
        let (_, rows) = front
            .say(Method::GET, &format!("/rget/task?operation=GetTasksByUser&user={}", path(word)), "")
            .await;
        let rows: Value = serde_json::from_str(&rows).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 1, "{word}: {rows}");
        for name in ["ProjectID", "InstanceID", "TaskID", "TaskType", "User", "Group"] {
            assert_eq!(rows[0][name], word);
        }
        let (_, listed) = front.say(Method::GET, &format!("/querytask?type={}", path(word)), "").await;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "{word}: {listed}");
    }
    let services = front.get("/v1/services").await.1;
    assert_eq!(services["services"].as_array().unwrap().len(), WORDS.len());
    front.close().await;
}

async fn assert_taken(front: &Front, method: Method, path: &str, body: &str) {
    let (status, said) = front.say(method, path, body.to_owned()).await;
    let refusals = ["\"code\":-1", "\"code\":1000", "errid", "invalid argument"];
    assert!(status == 200 && !refusals.iter().any(|refusal| said.contains(refusal)), "{path} {body}: {said}");
}

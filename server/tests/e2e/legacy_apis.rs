//! The legacy APIs on running nodes with the built-in workers, and across a restart.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::post;
use futures_util::stream::{self, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::cluster::{Cluster, Mode, Server, in_both_modes};
use crate::wait;

in_both_modes! {
    the_transcript_of_the_kingtask_document_is_reproduced
    an_easytask_service_is_called_and_confirms
    an_easytask_pull_worker_ends_a_task_and_its_callback_is_made
    two_workers_claim_ten_thousand_tasks_without_duplicates
}

const LEGACY_APIS: &str = "[callback]\nallow = [\"127.0.0.0/8\"]\n[compat.kingtask]\nenabled = true\n[compat.easytask]\nenabled = true\n\
    [compat.easytask_pull]\nenabled = true\n";

fn with_legacy_apis(mode: Mode, name: &str) -> Cluster {
    let mut cluster = Cluster::on(mode, name);
    cluster.extra = LEGACY_APIS.to_owned();
    cluster
}

async fn request(server: &Server, method: Method, path: &str, body: String) -> Value {
    let request = server.http.request(method, format!("{}{path}", server.url)).body(body);
    let answer = request.send().await.expect("the node answers").bytes().await.expect("the body is complete");
    serde_json::from_slice(&answer).unwrap_or_else(|_| String::from_utf8_lossy(&answer).into())
}

async fn send(server: &Server, path: &str, body: Value) -> Value {
    request(server, Method::POST, path, body.to_string()).await
}

async fn get(server: &Server, path: &str) -> Value {
    request(server, Method::GET, path, String::new()).await
}

/// Serves routes on a free port and returns the port.
async fn listen(routes: Router) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let port = listener.local_addr().expect("the listener has an address").port();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    port
}

/// Creates a directory with the script of the document, which adds its two arguments.
fn scripts(cluster: &Cluster) -> String {
    let directory = format!("{}/{}.scripts", env!("CARGO_TARGET_TMPDIR"), cluster.id);
    std::fs::create_dir_all(&directory).expect("the directory is created");
    let example = format!("{directory}/example");
    std::fs::write(&example, "#!/bin/sh\nprintf %s $(($1 + $2))\n").expect("the script is written");
    std::fs::set_permissions(&example, std::fs::Permissions::from_mode(0o755))
        .expect("the script is executable");
    directory
}

/// The service of the document, which adds `a` and `b`.
async fn sum(body: String) -> String {
    let numbers: Value = serde_json::from_str(&body).expect("the arguments are JSON");
    (numbers["a"].as_i64().expect("a number") + numbers["b"].as_i64().expect("a number")).to_string()
}

async fn wait_for_result(server: &Server, uuid: &Value, message: &str) {
    let path = format!("/api/v1/task/result/{}", uuid.as_str().expect("the answer is the id of the task"));
    let done = json!({"is_result_exist": 1, "is_success": 1, "message": message});
    wait::until(&format!("{path} is {message}"), async || get(server, &path).await == done).await;
}

async fn the_transcript_of_the_kingtask_document_is_reproduced(mode: Mode) {
    let mut cluster = with_legacy_apis(mode, "kingtask");
    cluster.extra = format!("{LEGACY_APIS}[script]\nenabled = true\nbin_path = \"{}\"\n", scripts(&cluster));
    let port = listen(Router::new().route("/sum", post(sum))).await;
    let mut server = cluster.start().await;
    let script = send(&server, "/api/v1/task", json!({"bin_name": "example", "args": "12 34"})).await;
    let url = format!("http://127.0.0.1:{port}/sum");
    let call = json!({"method": "POST", "url": url, "args": "{\"a\":132,\"b\":75}"});
    let call = send(&server, "/api/v1/task/rpc", call).await;
    wait_for_result(&server, &script, "46").await;
    wait_for_result(&server, &call, "207").await;

    assert_eq!(server.stop().await, Some(0));
    let server = cluster.start().await;
    wait_for_result(&server, &script, "46").await;
    wait_for_result(&server, &call, "207").await;
    assert_eq!(get(&server, "/api/v1/task/count/undo").await, 0);
}

/// A callback service. It answers heartbeats and ends a task at once unless the argument is `async`. Returns
/// its port and the received bodies.
async fn callback_service() -> (u16, Arc<Mutex<Vec<Value>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let called = move |body: String| async move {
        let body: Value = serde_json::from_str(&body).expect("a callback is JSON");
        let later = body["arg"] == "async";
        kept.lock().expect("no thread panicked with the lock").push(body);
        json!({"is_run_in_async": later, "is_success": !later, "extra": "at once"}).to_string()
    };
    let alive = async || json!({"pong": true}).to_string();
    (listen(Router::new().route("/", post(alive)).route("/cb", post(called))).await, seen)
}

async fn add(server: &Server, arg: &str) -> Value {
    let task = json!({"name": arg, "srv_name": "srv", "callback_path": "/cb", "sched_mode": 2, "time_spec_at": 1,
        "arg": arg, "biz_id": arg});
    send(server, "/add_task", task).await["task_id"].clone()
}

async fn wait_for_log(server: &Server, id: &Value, status: &str, extra: &str) {
    wait::until(&format!("task {id} is {status}"), async || {
        let log = send(server, "/task_log", json!({"task_id": id})).await;
        let line = &log["data"]["logs"][0];
        (&line["run_times"], &line["status"], &line["extra"]) == (&json!(1), &json!(status), &json!(extra))
    })
    .await;
}

async fn an_easytask_service_is_called_and_confirms(mode: Mode) {
    let (port, seen) = callback_service().await;
    let cluster = with_legacy_apis(mode, "easytask");
    let mut server = cluster.start().await;
    let node = json!({"name": "srv", "schema": "http", "host": "127.0.0.1", "port": port, "callback_timeout_sec": 30,
        "is_enable_health_check": true});
    assert_eq!(send(&server, "/add_task_server", node).await["code"], 0);
    let at_once = add(&server, "sync").await;
    wait_for_log(&server, &at_once, "success", "at once").await;
    let later = add(&server, "async").await;
    wait::until("the service was called", async || {
        seen.lock().expect("no thread panicked with the lock").len() == 2
    })
    .await;

    // The service confirms to another node, or to the same one after a restart.
    assert_eq!(server.stop().await, Some(0));
    let server = cluster.start().await;
    let done = json!({"task_id": later, "task_run_times": 1, "is_success": true, "extra": "later"});
    assert_eq!(send(&server, "/confirm_task", done).await["code"], 0);
    wait_for_log(&server, &later, "success", "later").await;
    let seen = seen.lock().expect("no thread panicked with the lock");
    assert_eq!(
        (&seen[0]["cmd"], &seen[0]["run_times"], &seen[0]["task_id"]),
        (&json!(1), &json!(1), &at_once)
    );
}

async fn an_easytask_pull_worker_ends_a_task_and_its_callback_is_made(mode: Mode) {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&ends);
    let ended = move |axum::extract::RawQuery(query): axum::extract::RawQuery| async move {
        kept.lock().expect("no thread panicked with the lock").push(query.unwrap_or_default());
    };
    let port = listen(Router::new().route("/end", axum::routing::get(ended))).await;
    let server = with_legacy_apis(mode, "easytask_pull").start().await;
    assert_eq!(get(&server, "/newtype?name=download").await, "OK");
    assert_eq!(get(&server, "/sayhi?type=download&name=w").await, "OK");
    let info = json!({"callback": format!("http://127.0.0.1:{port}/end")});
    let task = json!({"rid": "10", "task_type": "download", "task_info": info}).to_string();
    let id = request(&server, Method::PUT, "/api/putask/download", task).await["data"].clone();
    assert!(id.is_u64(), "{id}");
    wait::until("the worker has the task", async || {
        assert_eq!(get(&server, "/beat?type=download&name=w").await, "OK");
        get(&server, "/querytask?type=download&name=w&num=10").await["data"][0]["id"] == id
    })
    .await;
    let done = json!({"id": id, "stat": 3, "remark": "fine", "name": "w"});
    assert_eq!(send(&server, "/updatetask", done).await, json!({"code": 0}));
    wait::until("the callback was made", async || {
        !ends.lock().expect("no thread panicked with the lock").is_empty()
    })
    .await;
    let ends = ends.lock().expect("no thread panicked with the lock");
    assert!(ends[0].contains("type=download") && ends[0].contains("rid=10"), "{ends:?}");
}

/// Puts a task and returns its number.
async fn put(server: &Server) -> u64 {
    let task = json!({"rid": "10", "task_type": "download", "task_info": {}}).to_string();
    let answer = request(server, Method::PUT, "/api/putask/download", task).await;
    answer["data"].as_u64().unwrap_or_else(|| panic!("{answer}"))
}

/// Claims tasks, ten at a time and with four requests in parallel, until none waits. Returns their ids.
async fn claims(server: &Server, name: &str) -> Vec<u64> {
    let path = format!("/querytask?type=download&name={name}&num=10");
    let claim = async || {
        let mut ids = Vec::new();
        loop {
            let answer = get(server, &path).await;
            let rows = answer["data"].as_array().unwrap_or_else(|| panic!("{answer}"));
            // Other requests may have claimed every task of this one.
            if rows.is_empty() && get(server, "/v1/queues/download").await["ready"] != json!(0) {
                continue;
            }
            if rows.is_empty() {
                return ids;
            }
            ids.extend(rows.iter().map(|row| row["id"].as_u64().expect("an id is an integer")));
        }
    };
    let (one, two, three, four) = tokio::join!(claim(), claim(), claim(), claim());
    [one, two, three, four].concat()
}

async fn two_workers_claim_ten_thousand_tasks_without_duplicates(mode: Mode) {
    const TASKS: usize = 10_000;
    let cluster = with_legacy_apis(mode, "claims");
    let server = cluster.start().await;
    let another = cluster.another().await;
    assert_eq!(get(&server, "/newtype?name=download").await, "OK");
    let begun = wait::now_ms();
    let numbers = stream::iter(0..TASKS).map(|_| put(&server)).buffer_unordered(64);
    let numbers: BTreeSet<u64> = numbers.collect().await;
    assert_eq!(numbers.len(), TASKS, "every task has a unique number");
    wait::until("all of them wait for a worker", async || {
        get(&server, "/v1/queues/download").await["ready"] == TASKS
    })
    .await;

    for name in ["w", "x"] {
        assert_eq!(get(&server, &format!("/sayhi?type=download&name={name}")).await, "OK");
    }
    let put_by = wait::now_ms();
    let other = another.as_ref().unwrap_or(&server);
    let (by_first, by_second) = tokio::join!(claims(&server, "w"), claims(other, "x"));
    println!(
        "{TASKS} were put in {} ms and claimed in {} ms; {} went to one worker, {} to the other",
        put_by - begun,
        wait::now_ms() - put_by,
        by_first.len(),
        by_second.len()
    );
    assert!(!by_first.is_empty() && !by_second.is_empty(), "both workers claimed tasks");
    let all = [by_first, by_second].concat();
    assert_eq!(all.len(), TASKS, "every task was claimed once");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), numbers);
}

/// A listener that counts connections.
async fn canary() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let (port, connections) =
        (listener.local_addr().expect("the listener has an address").port(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, connections)
}

/// Callbacks, health checks, requests to task services, and calls of every legacy API, to a loopback address that is
/// not allowed.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_of_a_worker_or_a_legacy_api_reaches_a_denied_address() {
    let (port, connections) = canary().await;
    let mut cluster = Cluster::on(Mode::Embedded, "denied");
    cluster.extra = format!(
        "[callback]\nhealth_interval_ms = 20\n{}[compat.taskdash]\nenabled = true\n",
        LEGACY_APIS.replace("[callback]\nallow = [\"127.0.0.0/8\"]\n", "")
    );
    let server = cluster.start().await;
    let url = format!("http://127.0.0.1:{port}");
    let service =
        json!({"name": "shop", "nodes": [{"url": url}], "health": {"path": "/", "interval_ms": 20}});
    send(&server, "/v1/services", service).await;
    let callback = json!({"service": "shop", "path": "/", "retry_after_ms": []}).to_string();
    send(&server, "/v1/tasks", json!({"name": "called", "queue": "callback", "data": callback})).await;
    // A service without a health check.
    send(&server, "/v1/services", json!({"name": "plain", "nodes": [{"url": url}]})).await;
    let callback = json!({"service": "plain", "path": "/", "retry_after_ms": []}).to_string();
    send(&server, "/v1/tasks", json!({"name": "plain", "queue": "callback", "data": callback})).await;
    send(&server, "/api/v1/task/rpc", json!({"method": "GET", "url": url})).await;
    let node = json!({"name": "srv", "schema": "http", "host": "127.0.0.1", "port": port});
    assert_eq!(send(&server, "/add_task_server", node).await["code"], 0);
    add(&server, "sync").await;
    let register = json!({"URL": format!("{url}/TaskDash/"), "Name": "n"});
    assert_eq!(send(&server, "/rpost/serviceRegister", register).await, "success");
    assert_eq!(get(&server, "/newtype?name=download").await, "OK");
    assert_eq!(get(&server, "/sayhi?type=download&name=w").await, "OK");
    let task = json!({"task_type": "download", "task_info": {"callback": url}}).to_string();
    let id = request(&server, Method::PUT, "/putask", task).await["data"].clone();
    wait::until("the worker has the task", async || {
        get(&server, "/querytask?type=download&name=w&num=1").await["data"][0]["id"] == id
    })
    .await;
    assert_eq!(send(&server, "/updatetask", json!({"id": id, "stat": 3})).await, json!({"code": 0}));

    let tags = ["called", "easytask_pull.callback", "kingtask.rpc", "plain", "sync", "taskdash.ask"];
    wait::until("every call was tried and refused", async || {
        let runs = get(&server, "/v1/runs").await;
        let runs = runs["runs"].as_array().expect("the value is a list");
        tags.iter().all(|tag| {
            runs.iter().any(|run| {
                let why = run["reason"].as_str().unwrap_or_default();
                // The health check was refused before.
                run["tag"] == *tag
                    && (why.contains("is not allowed") || why.contains("no node of the service"))
            })
        })
    })
    .await;
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    let reached = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
    assert!(reached.is_ok());
    wait::until("the canary is reached", async || connections.load(Ordering::SeqCst) == 1).await;
}

/// TaskDash without a broker: over HTTP alone, and across a restart.
#[tokio::test(flavor = "multi_thread")]
async fn taskdash_works_without_a_broker() {
    let new_tasks = |form: String| async move {
        assert_eq!(form, "operation=GetNewTasks&increment=0");
        json!([{"ProjectID": "p", "InstanceID": "i", "TaskID": "fetched", "TaskType": "vidEdit"}]).to_string()
    };
    let port = listen(Router::new().route("/TaskDash/", post(new_tasks))).await;
    let mut cluster = with_legacy_apis(Mode::Embedded, "taskdash");
    cluster.extra.push_str("[compat.taskdash]\nenabled = true\n");
    let mut server = cluster.start().await;
    let form = async |server: &Server, form: &str| {
        request(server, Method::POST, "/rpost/task", form.to_owned()).await
    };
    let register = json!({"URL": format!("http://127.0.0.1:{port}/TaskDash/"), "Name": "annotator"});
    assert_eq!(send(&server, "/rpost/serviceRegister", register).await, "success");
    wait::until("the tasks of the service are fetched", async || {
        form(&server, "operation=GetTasksNoUser").await[0]["TaskID"] == "fetched"
    })
    .await;
    let task = json!({"ProjectID": "p", "InstanceID": "i", "TaskID": "registered", "TaskType": "satEdit"});
    assert_eq!(send(&server, "/rpost/taskRegister", task.clone()).await, "success");
    let rows = form(&server, "operation=GetTasksNoUser").await;
    let registered = rows
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| row["TaskID"] == "registered")
        .expect("the task is listed");
    let id = registered["ID"].as_str().expect("the task has an id").to_owned();
    assert_eq!(form(&server, &format!("operation=TaskBind&id={id}&user=smq")).await, "success");
    assert_eq!(form(&server, &format!("operation=TaskBind&id={id}&user=other")).await, "任务已被他人领取");

    assert_eq!(server.stop().await, Some(0));
    let server = cluster.start().await;
    let claimed = form(&server, "operation=GetTasksByUser&user=smq").await;
    assert_eq!((&claimed[0]["ID"], &claimed[0]["Status"]), (&json!(id), &json!("已领取")));
    let mut edited = task;
    edited["Status"] = json!("编辑中");
    assert_eq!(send(&server, "/rpost/updateStatus", edited).await, "success");
    let edited = form(&server, "operation=GetTasksByStatus&status=编辑中").await;
    assert_eq!(edited[0]["ID"], json!(id));
    assert_eq!(form(&server, "operation=GetServices").await[0]["Status"], "up");
}

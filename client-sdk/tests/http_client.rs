//! The HTTP client against an HTTP server in the process.
#![allow(clippy::disallowed_types, reason = "a test server, not an API of the product")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use taskcenter_client::resources::LeaseRequest;
use taskcenter_client::wire::{OutcomeReport, ReportedOutcome};
use taskcenter_client::{Error, NewTask, ReportError, Reporter, TaskCenter, TaskCenterBuilder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

async fn serve(router: Router) -> TaskCenterBuilder {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    TaskCenter::builder(format!("http://{address}/")).retries(3, Duration::from_millis(1))
}

async fn client(router: Router) -> TaskCenter {
    serve(router).await.build().unwrap()
}

fn error_answer(status: StatusCode, body: Value) -> Response {
    (status, Json(body)).into_response()
}

#[tokio::test]
async fn add_task_sends_all_fields_of_the_builder() {
    async fn add(Json(body): Json<Value>) -> Json<Value> {
        Json(json!({"taskid": body.to_string(), "name": body["name"]}))
    }
    let client = client(Router::new().route("/v1/api/task", post(add))).await;
    let task =
        NewTask::every("tick", "{\"n\":1}", 60).times(3).end_at(9).dedup_key("k").ack(Duration::from_secs(5));
    let echoed = client.add_task(task).await.unwrap();
    let expected = json!({
        "name": "tick", "type": 2, "data": "{\"n\":1}", "loop_time": 60, "loop_count": 3, "start_time": 0,
        "end_time": 9, "max_runtime": 5, "ack": true, "dedup_key": "k",
    });
    assert_eq!(serde_json::from_str::<Value>(&echoed).unwrap(), expected);
}

#[tokio::test]
async fn an_error_has_the_message_of_the_server() {
    async fn add() -> Response {
        let body =
            json!({"err": 400, "msg": "params cron invalid", "field": "crontab", "detail": "no such month"});
        error_answer(StatusCode::BAD_REQUEST, body)
    }
    let client = client(Router::new().route("/v1/api/task", post(add))).await;
    let error = client.add_task(NewTask::cron("n", "d", "* * 34 * *")).await.unwrap_err();
    assert_eq!(error.to_string(), "the server answered 400: params cron invalid");
    assert_eq!((error.status(), error.field()), (Some(400), Some("crontab")));
    let Error::Refused { detail, .. } = error else { panic!("{error:?}") };
    assert_eq!(detail.as_deref(), Some("no such month"));
}

#[tokio::test]
async fn deletes_return_the_deleted_ids() {
    async fn by_ids(Json(body): Json<Value>) -> Json<Value> {
        Json(json!({"SucIds": [body["ids"][1]]}))
    }
    async fn by_name(Json(body): Json<Value>) -> Json<Value> {
        Json(json!({"SucIds": [format!("id of {}", body["name"].as_str().unwrap())]}))
    }
    let router = Router::new().route("/v1/api/delete-task", post(by_ids));
    let client = client(router.route("/v1/api/delete-task-by-name", post(by_name))).await;
    assert_eq!(client.delete_tasks(["gone", "7"]).await.unwrap(), ["7"]);
    assert_eq!(client.delete_tasks_by_name("tick").await.unwrap(), ["id of tick"]);
}

#[tokio::test]
async fn query_task_returns_none_for_an_unknown_task() {
    async fn query(Query(query): Query<Vec<(String, String)>>) -> Response {
        match query[0].1.as_str() {
            "a b&c" => Json(json!({"_id": "a b&c", "name": "n", "type": 1, "created_at": 5})).into_response(),
            "" => error_answer(StatusCode::BAD_REQUEST, json!({"err": 400, "msg": "taskid is empty"})),
            _ => error_answer(StatusCode::NOT_FOUND, json!({"err": 404, "msg": "not found"})),
        }
    }
    let client = client(Router::new().route("/v1/api/query-task-by-id", get(query))).await;
    let task = client.query_task("a b&c").await.unwrap().unwrap();
    assert_eq!((task.id.as_str(), task.created_at, task.crontab.as_str()), ("a b&c", 5, ""));
    assert_eq!(client.query_task("unknown").await.unwrap(), None);
    assert_eq!(client.query_task("").await.unwrap_err().status(), Some(400));
}

#[tokio::test]
async fn a_cursor_selects_the_next_page() {
    async fn query(Query(query): Query<Vec<(String, String)>>) -> Response {
        let parameters: Vec<_> = query.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let page = Json(json!([{"_id": parameters.join("&")}]));
        if parameters.len() == 3 {
            page.into_response()
        } else {
            ([("x-next-cursor", "c1")], page).into_response()
        }
    }
    let client = client(Router::new().route("/v1/api/query-task-by-name", get(query))).await;
    let first = client.query_tasks_by_name("n", Some(1), None).await.unwrap();
    assert_eq!((first.tasks[0].id.as_str(), first.next.as_deref()), ("name=n&limit=1", Some("c1")));
    let last = client.query_tasks_by_name("n", Some(1), first.next.as_deref()).await.unwrap();
    assert_eq!((last.tasks[0].id.as_str(), last.next), ("name=n&limit=1&cursor=c1", None));
}

#[tokio::test]
async fn a_count_that_is_not_a_number_is_an_error() {
    let stat = |body: Value| Router::new().route("/v1/api/task/stat", get(move || async move { Json(body) }));
    let good = client(stat(json!({"total": "3", "tick": "2"}))).await;
    assert_eq!(good.stat().await.unwrap(), [("tick".to_owned(), 2), ("total".to_owned(), 3)].into());
    let bad = client(stat(json!({"total": "many"}))).await;
    assert!(matches!(bad.stat().await, Err(Error::Answer(_))));
}

/// Answers the first `failures` requests with 503.
async fn busy(State((requests, failures)): State<(Arc<AtomicU32>, u32)>) -> Response {
    if requests.fetch_add(1, Ordering::SeqCst) < failures {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    Json(json!({"taskid": "7", "name": "n"})).into_response()
}

async fn busy_client(failures: u32) -> (Arc<AtomicU32>, TaskCenter) {
    let requests = Arc::new(AtomicU32::new(0));
    let state = (Arc::clone(&requests), failures);
    (requests, client(Router::new().route("/v1/api/task", post(busy)).with_state(state)).await)
}

#[tokio::test]
async fn status_503_is_repeated_up_to_the_limit() {
    let (requests, client) = busy_client(3).await;
    assert_eq!(client.add_task(NewTask::once("n", "d")).await.unwrap(), "7");
    assert_eq!(requests.load(Ordering::SeqCst), 4);

    let (requests, client) = busy_client(u32::MAX).await;
    let error = client.add_task(NewTask::once("n", "d")).await.unwrap_err();
    assert_eq!(error.to_string(), "the server answered 503: Service Unavailable");
    assert_eq!(requests.load(Ordering::SeqCst), 4);
}

/// After 503 the server may have executed the request, so a repetition could have a second effect.
#[tokio::test]
async fn only_idempotent_requests_are_repeated_after_503() {
    let requests = Arc::new(AtomicU32::new(0));
    let router = Router::new().fallback(busy).with_state((Arc::clone(&requests), u32::MAX));
    let client = client(router).await;
    let lease = LeaseRequest {
        worker: "w".to_owned(),
        queues: Vec::new(),
        limit: 1,
        lease_ms: 1_000,
        wait_ms: 0,
        request_id: None,
    };
    let times = |requests: &AtomicU32| requests.swap(0, Ordering::SeqCst);
    assert_eq!(client.edit_task("7", 1, &json!({})).await.unwrap_err().status(), Some(503));
    assert_eq!(times(&requests), 1);
    assert_eq!(client.lease(&lease).await.unwrap_err().status(), Some(503));
    assert_eq!(times(&requests), 1);
    assert_eq!(client.retry_run("r").await.unwrap_err().status(), Some(503));
    assert_eq!(times(&requests), 1);
    assert_eq!(client.cancel_run("r").await.unwrap_err().status(), Some(503));
    assert_eq!(times(&requests), 1);
    assert_eq!(client.pause_task("7").await.unwrap_err().status(), Some(503));
    assert_eq!(times(&requests), 4);
    assert_eq!(client.trigger_task("7").await.unwrap_err().status(), Some(503));
    assert_eq!(times(&requests), 4, "the request has an idempotency key");
}

#[tokio::test]
async fn status_500_is_not_repeated() {
    let requests = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&requests);
    let fail = move || async move {
        count.fetch_add(1, Ordering::SeqCst);
        error_answer(StatusCode::INTERNAL_SERVER_ERROR, json!({"err": 500, "msg": "internal error"}))
    };
    let client = client(Router::new().route("/v1/api/task", post(fail))).await;
    let error = client.add_task(NewTask::once("n", "d")).await.unwrap_err();
    assert_eq!((error.status(), requests.load(Ordering::SeqCst)), (Some(500), 1));
}

fn report() -> OutcomeReport {
    let outcome = ReportedOutcome::Failed;
    OutcomeReport {
        attempt: 1,
        token: "t".into(),
        outcome,
        message: None,
        retry_after_ms: Some(5),
        result: None,
        started_at: None,
    }
}

#[tokio::test]
async fn a_failed_connection_is_repeated() {
    // The port has no listener until the first connection has failed.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = TaskCenter::builder(format!("http://{port}")).retries(0, Duration::ZERO).build().unwrap();
    let error = client.add_task(NewTask::once("n", "d")).await.unwrap_err();
    assert!(matches!(&error, Error::Unanswered(cause) if cause.is_connect()), "{error:?}");
    let Err(ReportError::Undelivered(why)) = Reporter::report(&client, "run", report()).await else {
        panic!()
    };
    assert!(
        why.starts_with("the server did not answer: check that it is running and reachable: ")
            && why.contains("refused"),
        "{why}"
    );

    let client = TaskCenter::builder(format!("http://{port}")).retries(1_000, Duration::from_millis(1));
    let client = client.build().unwrap();
    let added = tokio::spawn(async move { client.add_task(NewTask::once("n", "d")).await });
    tokio::task::yield_now().await;
    let listener = TcpListener::bind(port).await.unwrap();
    let reply = || async { Json(json!({"taskid": "7", "name": "n"})) };
    tokio::spawn(
        async move { axum::serve(listener, Router::new().route("/v1/api/task", post(reply))).await },
    );
    assert_eq!(added.await.unwrap().unwrap(), "7");
}

#[tokio::test]
async fn a_server_without_an_answer_is_an_error_after_the_time_limit() {
    let never = || async { std::future::pending::<()>().await };
    let builder = serve(Router::new().route("/v1/api/task/stat", get(never))).await;
    let error = builder.timeout(Duration::from_millis(20)).build().unwrap().stat().await.unwrap_err();
    assert!(matches!(&error, Error::Unanswered(cause) if cause.is_timeout()), "{error:?}");
}

#[tokio::test]
async fn a_reporter_distinguishes_refused_from_undelivered_reports() {
    async fn accept(Path(run_id): Path<String>, Json(report): Json<OutcomeReport>) -> Response {
        match run_id.as_str() {
            "../known" => {
                Json(json!({"run_id": run_id, "state": format!("{:?}", report.outcome)})).into_response()
            }
            "ended" => error_answer(StatusCode::CONFLICT, json!({"err": 409, "msg": "stale token"})),
            "locked" => error_answer(StatusCode::UNAUTHORIZED, json!({"err": 401, "msg": "token required"})),
            _ => error_answer(StatusCode::NOT_FOUND, json!({"err": 404, "msg": "not found"})),
        }
    }
    let client = client(Router::new().route("/v1/runs/{run_id}/report", post(accept))).await;
    let outcome = ReportedOutcome::Failed;
    let body = OutcomeReport {
        attempt: 1,
        token: "t".into(),
        outcome,
        message: None,
        retry_after_ms: Some(5),
        result: None,
        started_at: None,
    };
    let reply = client.report("../known", &body).await.unwrap();
    assert_eq!((reply.run_id.as_str(), reply.state.as_str()), ("../known", "Failed"));
    for run_id in ["ended", "unknown"] {
        let refused = Reporter::report(&client, run_id, body.clone()).await;
        assert!(matches!(refused, Err(ReportError::Refused(_))), "{run_id}: {refused:?}");
    }
    let undelivered = Reporter::report(&client, "locked", body).await;
    assert!(matches!(undelivered, Err(ReportError::Undelivered(_))), "{undelivered:?}");
}

/// Answers single reports only after a signal, and counts the reports of each batch.
#[derive(Clone, Default)]
struct SlowServer {
    arrived: Arc<AtomicU32>,
    release: CancellationToken,
    batches: Arc<Mutex<Vec<usize>>>,
}

impl SlowServer {
    fn router(&self) -> Router {
        async fn one(State(server): State<SlowServer>, Path(run_id): Path<String>) -> Json<Value> {
            server.arrived.fetch_add(1, Ordering::Relaxed);
            server.release.cancelled().await;
            Json(json!({"run_id": run_id, "state": "succeeded"}))
        }
        async fn many(State(server): State<SlowServer>, Json(body): Json<Value>) -> Json<Value> {
            let outcomes = body["outcomes"].as_array().unwrap();
            server.batches.lock().unwrap().push(outcomes.len());
            let answer = |outcome: &Value| match outcome["run_id"].as_str().unwrap() {
                "stale" => json!({"run_id": "stale", "status": 409}),
                run_id => json!({"run_id": run_id, "status": 200, "state": "succeeded"}),
            };
            Json(json!({"results": outcomes.iter().map(answer).collect::<Vec<_>>()}))
        }
        Router::new()
            .route("/v1/runs/settle", post(many))
            .route("/v1/runs/{run_id}/report", post(one))
            .with_state(self.clone())
    }
}

#[tokio::test]
async fn reports_that_gather_during_requests_share_the_next_one() {
    let server = SlowServer::default();
    let client = client(server.router()).await;
    let send = |run_id: &'static str| {
        let client = client.clone();
        tokio::spawn(async move { Reporter::report(&client, run_id, report()).await })
    };
    // A lone report is sent at once, also while a few others are under way.
    let mut first = Vec::new();
    for (sent, run_id) in (1..).zip(["a", "b", "c", "d"]) {
        first.push(send(run_id));
        while server.arrived.load(Ordering::Relaxed) < sent {
            tokio::task::yield_now().await;
        }
    }
    let (mut gathered, stale): (Vec<_>, _) = (["e", "f", "g"].map(send).into(), send("stale"));
    // The test has one thread: the reports are in the queue when it has run all tasks.
    tokio::task::yield_now().await;
    server.release.cancel();
    gathered.extend(first);
    for reported in gathered {
        reported.await.unwrap().unwrap();
    }
    assert!(matches!(stale.await.unwrap(), Err(ReportError::Refused(why)) if why == "409"));
    assert_eq!(*server.batches.lock().unwrap(), [4]);
}

//! The HTTP client on the resource API: the requests that it sends, and the answers that it
//! decodes.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use taskcenter_client::resources::{
    LeaseRequest, LeasedAttempt, Misfire, MisfirePolicy, RenewRequest, RunPayload, ScheduleSpec,
    SettleRequest, Settlement, TaskSpec,
};
use taskcenter_client::wire::{OutcomeReport, ReportedOutcome};
use taskcenter_client::{Error, RunQuery, TaskCenter, TaskCenterBuilder, TaskQuery, Timestamp};
use tokio::net::TcpListener;

/// A received request.
#[derive(Debug, Clone, PartialEq)]
struct Received {
    line: String,
    body: Value,
    key: Option<String>,
    if_match: Option<String>,
    content_type: Option<String>,
}

type Answers = Arc<dyn Fn(usize) -> Response + Send + Sync>;

#[derive(Clone)]
struct Recorder {
    received: Arc<Mutex<Vec<Received>>>,
    answers: Answers,
}

impl Recorder {
    fn lines(&self) -> Vec<String> {
        self.received.lock().unwrap().iter().map(|received| received.line.clone()).collect()
    }

    fn last(&self) -> Received {
        self.received.lock().unwrap().last().unwrap().clone()
    }

    fn keys(&self) -> Vec<Option<String>> {
        self.received.lock().unwrap().iter().map(|received| received.key.clone()).collect()
    }
}

async fn record(State(recorder): State<Recorder>, request: Request) -> Response {
    let (request, body) = request.into_parts();
    let header = |name| request.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut received = Received {
        line: format!("{} {}", request.method, request.uri),
        body: Value::Null,
        key: header("idempotency-key"),
        if_match: header("if-match"),
        content_type: header("content-type"),
    };
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    received.body = serde_json::from_slice(&body).unwrap_or_default();
    let number = {
        let mut all = recorder.received.lock().unwrap();
        all.push(received);
        all.len()
    };
    (recorder.answers)(number)
}

async fn server(
    answers: impl Fn(usize) -> Response + Send + Sync + 'static,
) -> (Recorder, TaskCenterBuilder) {
    let recorder = Recorder { received: Arc::default(), answers: Arc::new(answers) };
    let router = Router::new().fallback(record).with_state(recorder.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (recorder, TaskCenter::builder(format!("http://{address}/")).retries(3, Duration::from_millis(1)))
}

async fn answering(body: Value) -> (Recorder, TaskCenter) {
    let (recorder, builder) = server(move |_| axum::Json(body.clone()).into_response()).await;
    (recorder, builder.build().unwrap())
}

fn task() -> Value {
    json!({
        "id": "7", "name": "n", "data": "d", "schedule": {"kind": "every", "period_ms": 5}, "ack": false,
        "state": "active", "rev": 3, "created_at": "2026-01-01T00:00:00Z", "fired_count": 0,
    })
}

fn run() -> Value {
    json!({
        "run_id": "r", "task_id": "7", "tag": "n", "scheduled_at": "2026-01-01T00:00:00Z", "triggered": true,
        "state": "ready", "attempt": 1, "claim": 0, "result": {"a": 1},
    })
}

fn spec() -> TaskSpec {
    let schedule = ScheduleSpec::Every { period_ms: 5 };
    TaskSpec { name: "n".into(), data: "d".into(), schedule, delay_ms: Some(50), ..TaskSpec::default() }
}

#[tokio::test]
async fn each_create_has_its_own_idempotency_key() {
    let (recorder, center) = answering(task()).await;
    let created = center.create_task(&spec()).await.unwrap();
    assert_eq!((created.id.as_str(), created.rev, created.queue), ("7", 3, None));
    let received = recorder.last();
    assert_eq!(received.line, "POST /v1/tasks");
    let sent = json!({
        "name": "n", "data": "d", "schedule": {"kind": "every", "period_ms": 5}, "delay_ms": 50, "ack": false,
    });
    assert_eq!(received.body, sent);
    center.create_task(&spec()).await.unwrap();
    center.trigger_task("7").await.unwrap_err();
    let keys: HashSet<_> = recorder.keys().into_iter().map(Option::unwrap).collect();
    assert_eq!(keys.len(), 3);
    center.create_task_once(&spec(), "mine").await.unwrap();
    assert_eq!(recorder.last().key.as_deref(), Some("mine"));
}

#[tokio::test]
async fn a_create_is_repeated_with_its_key_after_a_lost_answer() {
    let lost = || {
        let broken = futures_util::stream::once(async { Err::<Bytes, _>(io::Error::other("lost")) });
        Body::from_stream(broken).into_response()
    };
    let (recorder, builder) = server(move |number| match number {
        1 => lost(),
        2 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => axum::Json(task()).into_response(),
    })
    .await;
    assert_eq!(builder.build().unwrap().create_task(&spec()).await.unwrap().id, "7");
    let keys = recorder.keys();
    assert_eq!(keys.len(), 3);
    assert!(keys[0].is_some() && keys.iter().all(|key| *key == keys[0]));
}

#[tokio::test]
async fn a_request_without_a_key_is_not_repeated_after_a_lost_answer() {
    let (recorder, builder) = server(|_| {
        let broken = futures_util::stream::once(async { Err::<Bytes, _>(io::Error::other("lost")) });
        Body::from_stream(broken).into_response()
    })
    .await;
    let error = builder.build().unwrap().retry_run("r").await.unwrap_err();
    assert!(matches!(error, Error::Unanswered(_)), "{error:?}");
    assert_eq!(recorder.lines().len(), 1);
}

#[tokio::test]
async fn create_tasks_returns_one_result_per_task() {
    let answer = json!({"results": [
        {"status": 201, "id": "7"},
        {"status": 400, "problem": {"code": "invalid", "detail": "no", "field": "tasks[1].name"}},
    ]});
    let (recorder, center) = answering(answer).await;
    let created = center.create_tasks(&[spec(), TaskSpec::default()]).await.unwrap().results;
    assert_eq!((created[0].status, created[0].id.as_deref()), (201, Some("7")));
    assert_eq!(created[1].problem.as_ref().unwrap().field.as_deref(), Some("tasks[1].name"));
    assert_eq!(recorder.last().body["tasks"].as_array().unwrap().len(), 2);
    assert!(recorder.last().key.is_some());
}

#[tokio::test]
async fn an_error_has_the_code_of_the_problem() {
    let problem = json!({
        "type": "about:blank", "title": "Bad Request", "status": 400, "detail": "no such month",
        "code": "invalid_schedule", "field": "schedule.cron",
    });
    let (_, builder) =
        server(move |_| (StatusCode::BAD_REQUEST, axum::Json(problem.clone())).into_response()).await;
    let error = builder.build().unwrap().create_task(&spec()).await.unwrap_err();
    assert_eq!(error.to_string(), "the server answered 400: no such month");
    assert_eq!((error.code(), error.field()), (Some("invalid_schedule"), Some("schedule.cron")));
    assert_eq!(error.status(), Some(400));
}

#[tokio::test]
async fn an_unknown_resource_is_none() {
    let (recorder, builder) = server(|_| StatusCode::NOT_FOUND.into_response()).await;
    let center = builder.build().unwrap();
    assert_eq!(center.get_task("../queues").await.unwrap(), None);
    assert_eq!(center.get_run("a b").await.unwrap(), None);
    assert!(center.delete_task("x").await.unwrap_err().is_not_found());
    assert_eq!(recorder.lines(), ["GET /v1/tasks/..%2Fqueues", "GET /v1/runs/a%20b", "DELETE /v1/tasks/x"]);
}

#[tokio::test]
async fn an_edit_sends_the_revision_as_if_match() {
    let (recorder, center) = answering(json!({"task": task(), "open_runs": ["r"]})).await;
    let changed = center.edit_task("7", 3, &json!({"data": "new", "end_at": null})).await.unwrap();
    assert_eq!((changed.task.id.as_str(), changed.open_runs), ("7", vec!["r".to_owned()]));
    let received = recorder.last();
    assert_eq!((received.line.as_str(), received.if_match.as_deref()), ("PATCH /v1/tasks/7", Some("\"3\"")));
    assert_eq!(received.content_type.as_deref(), Some("application/merge-patch+json"));
    assert_eq!(received.body, json!({"data": "new", "end_at": null}));
    center.pause_task("7").await.unwrap();
    center.resume_task("7").await.unwrap();
    center.cancel_task("7").await.unwrap();
    center.delete_task("7").await.unwrap();
    let lines = recorder.lines();
    let expected = [
        "POST /v1/tasks/7/pause",
        "POST /v1/tasks/7/resume",
        "POST /v1/tasks/7/cancel",
        "DELETE /v1/tasks/7",
    ];
    assert_eq!(lines[1..], expected);
}

#[tokio::test]
async fn a_live_task_is_selected_by_its_key() {
    let changed = json!({"task": task(), "open_runs": [], "more_open_runs": false});
    let (recorder, center) = answering(changed).await;
    center.edit_task_by_key("a&b", "k", &json!({"data": "new"})).await.unwrap();
    assert_eq!(recorder.last().body, json!({"data": "new"}));
    center.reschedule_task("n", "k|7", "2030-01-01T00:00:00Z".parse().unwrap()).await.unwrap();
    assert_eq!(recorder.last().body, json!({"start_at": "2030-01-01T00:00:00Z"}));
    center.cancel_task_by_key("n", "k").await.unwrap();
    let expected = [
        "PATCH /v1/tasks?name=a%26b&dedup_key=k",
        "PATCH /v1/tasks?name=n&dedup_key=k%7C7",
        "POST /v1/tasks/cancel?name=n&dedup_key=k",
    ];
    assert_eq!(recorder.lines(), expected);
}

#[tokio::test]
async fn lists_send_the_filter_as_a_query_string() {
    let (recorder, center) = answering(json!({"tasks": [task()], "runs": [run()], "next_cursor": "c"})).await;
    let query = TaskQuery { name: Some("a&b".into()), limit: Some(5), ..TaskQuery::default() };
    let page = center.list_tasks(&query).await.unwrap();
    assert_eq!((page.tasks.len(), page.next_cursor.as_deref()), (1, Some("c")));
    center.list_tasks(&TaskQuery::default()).await.unwrap();
    let labels = [("team".into(), "pay & co".into()), ("tier".into(), "1".into())].into();
    center.list_tasks(&TaskQuery { labels, ..TaskQuery::default() }).await.unwrap();
    let query = RunQuery { state: Some("dead".into()), cursor: Some("c".into()), ..RunQuery::default() };
    let page = center.list_runs(&query).await.unwrap();
    assert_eq!(page.runs[0].result, Some(json!({"a": 1})));
    let expected = [
        "GET /v1/tasks?name=a%26b&limit=5",
        "GET /v1/tasks",
        "GET /v1/tasks?label.team=pay+%26+co&label.tier=1",
        "GET /v1/runs?state=dead&cursor=c",
    ];
    assert_eq!(recorder.lines(), expected);
}

#[tokio::test]
async fn runs_are_triggered_retried_cancelled_and_shown() {
    let (recorder, center) = answering(run()).await;
    assert!(center.trigger_task("7").await.unwrap().triggered);
    assert!(recorder.last().key.is_some());
    center.retry_run("r").await.unwrap();
    center.cancel_run("r").await.unwrap();
    assert_eq!(center.get_run("r").await.unwrap().unwrap().state, "ready");
    let expected =
        ["POST /v1/tasks/7/trigger", "POST /v1/runs/r/retry", "POST /v1/runs/r/cancel", "GET /v1/runs/r"];
    assert_eq!(recorder.lines(), expected);
}

#[tokio::test]
async fn another_payload_is_sent_only_if_there_is_one() {
    let (recorder, center) = answering(run()).await;
    let payload = RunPayload { json: Some(json!({"id": 43})), ..RunPayload::default() };
    center.trigger_task_with("7", &payload).await.unwrap();
    assert_eq!(recorder.last().body, json!({"json": {"id": 43}}));
    assert!(recorder.last().key.is_some());
    let payload = RunPayload { data: Some(String::new()), ..RunPayload::default() };
    center.retry_run_with("r", &payload).await.unwrap();
    assert_eq!(recorder.last().body, json!({"data": ""}));
    center.retry_run("r").await.unwrap();
    assert_eq!(recorder.last().body, json!(null));
    assert_eq!(
        recorder.lines(),
        ["POST /v1/tasks/7/trigger", "POST /v1/runs/r/retry", "POST /v1/runs/r/retry"]
    );
}

#[tokio::test]
async fn the_preview_of_an_absence_is_decoded() {
    let decision = json!({"decision": "fires", "at": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z", "count": 1,
        "late_ms": 5});
    let body = json!({"policy": "skip", "grace_ms": 7, "decisions": [decision], "more": false});
    let (recorder, center) = answering(body).await;
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"));
    let skip = Misfire { policy: Some(MisfirePolicy::Skip), grace_ms: Some(7), max: None };
    let after = center.preview_absence("@daily", Some("UTC"), from, to, skip).await.unwrap();
    assert_eq!((after.grace_ms, after.decisions[0].late_ms), (7, 5));
    let line = "GET /v1/schedule/absence?cron=%40daily&from=2026-01-01T00%3A00%3A00Z&to=2026-01-02T00%3A00%3A00Z&\
        zone=UTC&policy=skip&grace_ms=7";
    assert_eq!(recorder.lines(), [line]);
}

#[tokio::test]
async fn queues_statistics_and_moments_are_decoded() {
    let queue = json!({"queue": "q", "held": 7, "ready": 1, "leased": 2, "retrying": 3,
        "oldest_ready_at": "2026-01-01T00:00:00Z", "leases_per_minute": 8});
    let tag = json!({"tag": "t", "fires_this_minute": 4, "due": 5, "unreported": 6});
    let body = json!({"queues": [queue], "tags": [tag], "moments": ["2026-01-01T00:00:00Z"]});
    let (recorder, center) = answering(body).await;
    let shown = center.queues().await.unwrap().queues.remove(0);
    assert_eq!((shown.held, shown.leased, shown.leases_per_minute), (7, 2, 8));
    assert_eq!(shown.oldest_ready_at, Some("2026-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(center.statistics().await.unwrap().tags[0].unreported, 6);
    let moment: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let next = center.next_moments("0 8 * * *", Some("Asia/Shanghai"), Some(1), Some(moment)).await.unwrap();
    assert_eq!(next.moments, [moment]);
    center.next_moments("@daily", None, None, None).await.unwrap();
    let expected =
        "GET /v1/schedule/next?cron=0+8+*+*+*&zone=Asia%2FShanghai&count=1&after=2026-01-01T00%3A00%3A00Z";
    assert_eq!(
        recorder.lines(),
        ["GET /v1/queues", "GET /v1/stat", expected, "GET /v1/schedule/next?cron=%40daily"]
    );
}

#[tokio::test]
async fn a_worker_leases_renews_and_settles() {
    let lease = json!({
        "run_id": "r", "task_id": "7", "tag": "n", "queue": "n", "data": "d", "scheduled_at": "2026-01-01T00:00:00Z",
        "attempt": 1, "claim": 1, "token": "t", "lease_until": "2026-01-01T00:00:30Z",
    });
    let answer = json!({"run_id": "r", "status": 409, "problem": {"code": "stale"}});
    let (recorder, center) = answering(json!({"runs": [lease], "results": [answer]})).await;
    let (worker, queues) = ("w".to_owned(), vec!["n".to_owned()]);
    let request = LeaseRequest { worker, queues, limit: 2, lease_ms: 30_000, wait_ms: 0, request_id: None };
    assert_eq!(center.lease(&request).await.unwrap().runs[0].token, "t");
    let leased = LeasedAttempt { run_id: "r".into(), attempt: 1, token: "t".into(), progress: None };
    let renewed =
        center.renew(&RenewRequest { runs: vec![leased], lease_ms: 30_000, hand_over: false }).await.unwrap();
    assert_eq!(renewed.results[0].problem.as_ref().unwrap().code, "stale");
    let report = OutcomeReport {
        attempt: 1,
        token: "t".into(),
        outcome: ReportedOutcome::Succeeded,
        message: None,
        retry_after_ms: None,
        result: Some(json!([1])),
        started_at: None,
    };
    let outcomes = vec![Settlement { run_id: "r".into(), report }];
    assert_eq!(center.settle(&SettleRequest { outcomes }).await.unwrap().results[0].status, 409);
    let report = json!({"run_id": "r", "attempt": 1, "token": "t", "outcome": "succeeded", "result": [1]});
    assert_eq!(recorder.last().body, json!({"outcomes": [report]}));
    assert_eq!(recorder.lines(), ["POST /v1/runs/lease", "POST /v1/runs/renew", "POST /v1/runs/settle"]);
}

#[tokio::test]
async fn a_lease_request_has_a_longer_time_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let slow = async || {
        let mut ticks = tokio::time::interval(Duration::from_millis(300));
        ticks.tick().await;
        ticks.tick().await;
        axum::Json(json!({"runs": [], "queues": []}))
    };
    let router = Router::new().fallback(slow);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let center = TaskCenter::builder(format!("http://{address}")).timeout(Duration::from_millis(100));
    let center = center.build().unwrap();
    assert!(center.queues().await.is_err());
    let (worker, queues) = ("w".to_owned(), vec!["n".to_owned()]);
    let request = LeaseRequest { worker, queues, limit: 1, lease_ms: 30_000, wait_ms: 200, request_id: None };
    assert_eq!(center.lease(&request).await.unwrap().runs, []);
}

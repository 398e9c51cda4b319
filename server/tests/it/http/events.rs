//! The stream of events over HTTP: what arrives, how many viewers watch, and when a stream ends.

use reqwest::{Method, Response};
use serde_json::{Value, json};
use taskcenter_client::{EventQuery, TaskCenter};

use super::access::issue;
use super::{Server, Setup, invalid_field, parse_problem, refusal, status_and_body, with_server};

const PATH: &str = "/v1/events";

/// What a client of streams sends.
const ACCEPT: (&str, &str) = ("accept", "text/event-stream");

async fn request(server: &Server, query: &str) -> Response {
    server.send_with(Method::GET, &format!("{PATH}{query}"), &[ACCEPT], &Value::Null).await
}

/// A stream of events that is read event by event.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    async fn open(server: &Server, query: &str) -> Self {
        let response = request(server, query).await;
        assert_eq!(response.status().as_u16(), 200);
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-store"),
            ("x-accel-buffering", "no"),
        ] {
            assert_eq!(response.headers()[name], value);
        }
        Self { response, text: String::new() }
    }

    /// Returns the name and the data of the next event. `None`: the stream has ended.
    async fn next_or_end(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
                let event = (field("event: "), serde_json::from_str(&field("data: ")).unwrap());
                self.text = rest.to_owned();
                if event.0 != "alive" {
                    return Some(event);
                }
                continue;
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn next(&mut self) -> (String, Value) {
        self.next_or_end().await.expect("the stream goes on")
    }
}

pub async fn events_of_tasks_and_runs_arrive_without_payloads(server: &Server) {
    let mut all = Events::open(server, "").await;
    let mut runs = Events::open(server, "?kind=run,queue&tag=mail").await;
    let spec = json!({"name": "mail", "data": "payload-canary", "delay_ms": 60_000, "queue": "mail"});
    let id = server.create(&spec).await["id"].as_str().unwrap().to_owned();
    let task = json!({"kind": "task", "task_id": id, "tag": "mail", "state": "active"});
    assert_eq!(all.next().await, ("task".to_owned(), task));
    let (status, run) = server.post(&format!("/v1/tasks/{id}/trigger"), &json!({})).await;
    assert_eq!(status, 202, "{run}");
    let (name, event) = runs.next().await;
    assert_eq!((name.as_str(), &event["run_id"], &event["task_id"]), ("run", &run["run_id"], &json!(id)));
    assert_eq!(runs.next().await, ("queue".to_owned(), json!({"kind": "queue", "queue": "mail"})));
    let path = format!("/v1/events?task_id={id}&run_id={}", run["run_id"].as_str().unwrap());
    let mut one = Events::open(server, path.strip_prefix(PATH).unwrap()).await;
    server.create(&json!({"name": "other", "delay_ms": 60_000})).await;
    let (status, _) =
        server.post(&format!("/v1/runs/{}/cancel", run["run_id"].as_str().unwrap()), &json!({})).await;
    assert_eq!(status, 200);
    let (_, cancelled) = one.next().await;
    assert_eq!((&cancelled["run_id"], &cancelled["state"]), (&run["run_id"], &json!("cancelled")));
}

#[tokio::test]
async fn the_client_reads_events() {
    with_server(async |server| {
        let center = TaskCenter::new(format!("http://{}", server.address)).unwrap();
        let query = EventQuery { kind: Some("task".to_owned()), ..EventQuery::default() };
        let mut stream = center.events(&query).await.unwrap();
        let task = server.create(&json!({"name": "mail", "delay_ms": 60_000})).await;
        let event = stream.next().await.unwrap().unwrap();
        assert_eq!((event.task_id.as_deref(), event.state.as_deref()), (task["id"].as_str(), Some("active")));
        let invalid = EventQuery { kind: Some("none".to_owned()), ..EventQuery::default() };
        assert_eq!(center.events(&invalid).await.unwrap_err().status(), Some(400));
        server.stop().await;
        assert_eq!(stream.next().await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_with_the_server_at_once() {
    with_server(async |server| {
        let mut stream = Events::open(server, "").await;
        let (ended, ()) = tokio::join!(stream.next_or_end(), server.stop());
        assert_eq!(ended, None);
    })
    .await;
}

#[tokio::test]
async fn invalid_filters_are_refused() {
    with_server(async |server| {
        for query in ["kind=runs", "kind=run,", "task_id=x", "more=1"] {
            let answer = status_and_body(request(server, &format!("?{query}")).await).await;
            let field = query.split('=').next().unwrap();
            assert_eq!(parse_problem(answer), invalid_field(field), "{query}");
        }
        assert_eq!(parse_problem(server.get(PATH).await), invalid_field("Accept"));
        let token = issue(server, &json!({"name": "n", "scopes": ["task:read"], "tags": ["mail"]})).await;
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ACCEPT];
        let path = format!("{PATH}?tag=secret");
        let answer = server.request(Method::GET, &path, &headers, &Value::Null).await;
        assert_eq!(parse_problem(answer), refusal(403, "forbidden"));
    })
    .await;
}

#[tokio::test]
async fn the_number_of_viewers_is_limited() {
    let setup = Setup { max_viewers: 2, ..Setup::default() };
    setup
        .with_server(async |server| {
            let first = Events::open(server, "").await;
            let _second = Events::open(server, "").await;
            let refused = request(server, "").await;
            assert_eq!(refused.headers()["retry-after"], "1");
            assert_eq!(parse_problem(status_and_body(refused).await), refusal(503, "too_many_viewers"));
            drop(first);
            // The server notices the closed connection a moment later.
            while request(server, "").await.status() != 200 {}
        })
        .await;
}

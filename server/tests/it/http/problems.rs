//! Errors outside the legacy task API, all of them problems. The errors of the legacy task API are in
//! `malformed` and `limits`.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::http::HttpLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::faulty::{BrokenClock, CANARY, Silent, Unavailable, with_failing_store};
use super::{LIMITS, SHORT, Server, Setup, parse_problem, refusal, status_and_body, with_server};

fn malformed_body() -> (u16, String, Option<String>) {
    (400, "malformed_body".to_owned(), Some("body".to_owned()))
}

#[tokio::test]
async fn a_body_that_is_not_a_json_object_is_malformed() {
    with_server(async |server| {
        let nested = |levels: usize| format!("{{\"name\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        let (deep, unclosed) = (nested(1_000), format!("{{\"name\":{}", "{\"a\":".repeat(10_000)));
        for body in [
            "",
            "{",
            "[]",
            "null",
            "7",
            "{} {}",
            "name=a",
            "{\"name\":\"a\",}",
            "{\"max_fires\":1e999}",
            &deep,
            &unclosed,
        ] {
            for path in
                ["/v1/tasks", "/v1/runs/lease", "/v1/runs/renew", "/v1/runs/settle", "/v1/runs/x/report"]
            {
                let refused = status_and_body(server.send(Method::POST, path, body.to_owned()).await).await;
                assert_eq!(parse_problem(refused), malformed_body(), "{path} {body:.40}");
            }
        }
        let bytes = b"{\"name\":\"\xff\xfe\"}".to_vec();
        assert_eq!(
            parse_problem(status_and_body(server.send(Method::POST, "/v1/tasks", bytes).await).await),
            malformed_body()
        );
    })
    .await;
}

#[tokio::test]
async fn numbers_out_of_range_are_refused_with_the_name_of_the_field() {
    with_server(async |server| {
        let huge = "9".repeat(400);
        for number in ["1e300", "-1e300", "99999999999999999999", "-1", "0.5", &huge] {
            for name in ["max_fires", "max_runtime_sec", "delay_ms"] {
                let body = format!("{{\"name\":\"n\",\"{name}\":{number}}}");
                let refused =
                    parse_problem(status_and_body(server.send(Method::POST, "/v1/tasks", body).await).await);
                assert_eq!(refused.0, 400, "{name} {number:.30}");
                assert!([Some(name), Some("body")].contains(&refused.2.as_deref()), "{refused:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_long_value_is_not_repeated_in_the_problem() {
    with_server(async |server| {
        let long = "x".repeat(10_000);
        for body in [
            json!({"name": "n", "max_fires": long}),
            json!({"name": "n", "schedule": {"kind": long}}),
            json!({&long: 1}),
        ] {
            // `parse_problem` asserts that the problem is short.
            assert_eq!(parse_problem(server.post("/v1/tasks", &body).await).0, 400);
        }
    })
    .await;
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    with_server(async |server| {
        for path in
            ["/", "/v1", "/v1/", "/v1/task", "/v2/api/task", "/v1/tasks/", "/v1/apis", "/docs/nothing.js"]
        {
            assert_eq!(parse_problem(server.get(path).await), refusal(404, "no_such_route"), "{path}");
        }
        for (method, path, allow) in [
            (Method::PUT, "/v1/tasks", "PATCH,POST,GET,HEAD"),
            (Method::GET, "/v1/runs/lease", "POST"),
            (Method::POST, "/v1/stat", "GET,HEAD"),
            (Method::POST, "/livez", "GET,HEAD"),
        ] {
            let response = server.send(method.clone(), path, "").await;
            let sorted = |list: &str| {
                let mut list: Vec<_> = list.split(',').map(str::to_owned).collect();
                list.sort();
                list
            };
            assert_eq!(
                sorted(response.headers()["allow"].to_str().unwrap()),
                sorted(allow),
                "{method} {path}"
            );
            assert_eq!(
                parse_problem(status_and_body(response).await),
                refusal(405, "method_not_allowed"),
                "{method} {path}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_refused_head_request_has_no_body_but_the_content_length_of_get() {
    with_server(async |server| {
        let path = format!("/v1/tasks/{}", "0".repeat(32));
        let get = server.send(Method::GET, &path, "").await;
        let length = get.headers()["content-length"].clone();
        let body = get.bytes().await.unwrap();
        assert_eq!(length.to_str().unwrap(), body.len().to_string());
        let head = server.send(Method::HEAD, &path, "").await;
        assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (404, &length));
        assert!(head.bytes().await.unwrap().is_empty());
    })
    .await;
}

/// Sends text over a raw connection and returns status and body of the response.
async fn exchange(server: &Server, request: &str) -> (u16, Value) {
    let mut connection = TcpStream::connect(&server.address).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    connection.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?} is no response"));
    assert!(head.contains("application/problem+json"), "{head}");
    (head["HTTP/1.1 ".len()..][..3].parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn a_body_that_is_too_large_or_too_slow_is_a_problem() {
    Setup { limits: HttpLimits { request_timeout: SHORT, ..LIMITS }, ..Setup::default() }
        .with_server(async |server| {
            let head = "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-length:";
            let large = exchange(server, &format!("{head} {}\r\n\r\n", LIMITS.body_limit_bytes + 1)).await;
            assert_eq!(parse_problem(large), refusal(413, "body_too_large"));
            let slow = exchange(server, &format!("{head} 100\r\n\r\n{{")).await;
            assert_eq!(parse_problem(slow), refusal(408, "body_timeout"));
        })
        .await;
}

#[tokio::test]
async fn an_unavailable_store_is_a_problem_without_a_cause() {
    with_failing_store(Setup::default(), Unavailable, async |server| {
        for (method, path, body) in [
            (Method::POST, "/v1/tasks", json!({"name": "n"})),
            (Method::GET, "/v1/tasks", json!({})),
            (Method::GET, "/v1/runs", json!({})),
            (Method::POST, "/v1/runs/lease", json!({"worker": "w", "queues": ["q"]})),
            (Method::GET, "/v1/stat", json!({})),
        ] {
            let response = server.send_with(method, path, &[], &body).await;
            assert_eq!(response.headers()["retry-after"], "1", "{path}");
            let (status, problem) = status_and_body(response).await;
            assert!(
                !problem.to_string().contains("127.0.0.1") && !problem.to_string().contains(CANARY),
                "{problem}"
            );
            assert_eq!(parse_problem((status, problem)), refusal(503, "store_unavailable"), "{path}");
        }
        let several = json!({"tasks": [{"name": "n"}]});
        let (status, reply) = server.post("/v1/tasks", &several).await;
        let result = &reply["results"][0];
        assert_eq!(
            (status, parse_problem((503, result["problem"].clone()))),
            (200, refusal(503, "store_unavailable"))
        );
    })
    .await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_a_problem() {
    let limits = HttpLimits { request_timeout: SHORT, ..LIMITS };
    with_failing_store(Setup { limits, ..Setup::default() }, Silent, async |server| {
        let response = server.send(Method::GET, "/v1/queues", "").await;
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(parse_problem(status_and_body(response).await), refusal(503, "timeout"));
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_panics_is_a_problem() {
    Setup { clock: Some(Arc::new(BrokenClock)), ..Setup::default() }
        .with_server(async |server| {
            let path = "/v1/schedule/next?cron=@daily";
            let response = server.send_with(Method::GET, path, &[("x-request-id", "mine")], &json!({})).await;
            assert_eq!(response.headers()["x-request-id"], "mine");
            assert_eq!(parse_problem(status_and_body(response).await), refusal(500, "internal"));
        })
        .await;
}

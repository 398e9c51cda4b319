//! Values that are too long, too deep, too many, or not valid text.

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::core::submission::MAX_DATA_BYTES;
use tokio::io::AsyncWriteExt;

use super::{DEFAULT_LIMITS, LEGACY_ROUTES, ROUTES, TestServer, exchange, read_to_end, statuses};
use crate::http::{LIMITS, NOW_SEC, invalid_field, one_shot, parse_problem, with_changes};
use crate::store::Fixture;

/// Returns status and field of a refusal, in either shape.
fn status_and_field((status, reply): &(u16, Value)) -> (u16, &str) {
    (*status, reply["field"].as_str().unwrap_or("none"))
}

#[tokio::test]
async fn a_body_of_100_mb_is_refused_before_it_is_read() {
    let server = TestServer::in_memory(DEFAULT_LIMITS).await;
    let head = "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\n";
    let announced = exchange(&server, format!("{head}content-length: 104857600\r\n\r\n").as_bytes()).await;
    assert_eq!(statuses(&announced), ["413"]);

    let mut stream = server.connect().await;
    stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "[".repeat(0x1_0000));
    let mut chunks = 0;
    while chunks < 1_600 && stream.write_all(chunk.as_bytes()).await.is_ok() {
        chunks += 1;
    }
    let answer = read_to_end(&mut stream).await;
    assert!(chunks < 1_600, "the server read {chunks} chunks of 64 KiB");
    // The reset that ends the upload may arrive before the answer.
    assert!(answer.is_empty() || statuses(&answer) == ["413"], "{answer}");
    server.assert_alive().await;
    server.close().await;
}

#[tokio::test]
async fn a_hundred_thousand_levels_are_refused_on_every_route() {
    let server = TestServer::in_memory(DEFAULT_LIMITS).await;
    let levels = 100_000;
    let lists = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let objects = format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    for (method, path) in ROUTES {
        for deep in [
            lists.clone(),
            objects.clone(),
            format!("{{\"name\":\"n\",\"data\":{lists}}}"),
            "[".repeat(levels),
        ] {
            let refused = server.request(method.clone(), path, deep).await;
            assert_eq!(status_and_field(&refused), (400, "body"), "{path}: {}", refused.1);
            assert!(refused.1.to_string().contains("recursion limit"), "{path}: {}", refused.1);
        }
    }
    for (method, path, refusal) in LEGACY_ROUTES {
        for deep in [lists.clone(), objects.clone()] {
            let (status, text) = server.request_text(method.clone(), path, deep).await;
            assert!(status < 500 && text.contains(refusal), "{path}: {status} {text}");
        }
    }
    server.assert_alive().await;
    server.close().await;
}

#[tokio::test]
async fn nesting_below_the_limit_is_refused_with_the_field() {
    let server = TestServer::in_memory(DEFAULT_LIMITS).await;
    let nested = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let refused = server.post("/v1/tasks", &json!({"name": "n", "data": nested})).await;
    assert_eq!(parse_problem(refused), invalid_field("data"));
    server.close().await;
}

#[tokio::test]
async fn invalid_utf8_is_refused_on_every_route() {
    let server = TestServer::in_memory(DEFAULT_LIMITS).await;
    let bodies: [&[u8]; 6] = [
        b"{\"name\":\"\xff\xfe\",\"data\":\"\"}",
        b"{\"name\":\"n\",\"data\":\"\xc0\xaf\"}",
        b"{\"name\":\"\\ud800\",\"data\":\"\"}",
        b"{\"name\":\"a\x00b\"}",
        b"\x00\x01\x02\x03",
        b"\xef\xbb\xbf{\"name\":\"n\"}",
    ];
    for (method, path) in ROUTES {
        for body in bodies {
            let refused = server.request(method.clone(), path, body.to_vec()).await;
            assert_eq!(status_and_field(&refused), (400, "body"), "{path}, {body:?}: {}", refused.1);
        }
    }
    for (method, path, refusal) in LEGACY_ROUTES {
        for body in bodies {
            let (status, text) = server.request_text(method.clone(), path, body.to_vec()).await;
            assert!(status < 500 && text.contains(refusal), "{path}, {body:?}: {status} {text}");
        }
    }
    for path in ["/v1/tasks?name=%ff", "/v1/runs?tag=%c0%af", "/v1/api/query-task-by-name?name=%ff"] {
        let (status, reply) = server.get(path).await;
        assert!(status == 200 || status == 400, "{path}: {reply}");
    }
    assert_eq!(parse_problem(server.get("/v1/tasks/%ff%fe").await), invalid_field("task_id"));
    server.close().await;
}

/// Texts that are unusual and allowed.
const UNUSUAL: [&str; 6] = [
    "\u{0}",
    "a\u{0}b\u{1}\u{1b}[31m",
    "\u{ffff}\u{10ffff}",
    "\u{202e}txt.exe",
    "\r\nset-cookie: a=b",
    "\u{feff}",
];

pub async fn payloads_up_to_the_limit_are_stored_unchanged(fixture: Box<dyn Fixture>) {
    let server = TestServer::on(fixture, DEFAULT_LIMITS).await;
    let largest = "x".repeat(MAX_DATA_BYTES);
    for data in UNUSUAL.into_iter().chain([largest.as_str()]) {
        let task = server.create(&json!({"name": "odd", "data": data, "delay_ms": 60_000})).await;
        let (_, shown) = server.get(&format!("/v1/tasks/{}", task["id"].as_str().unwrap())).await;
        assert!(shown["data"] == data, "{} bytes were changed", data.len());
    }
    let over = json!({"name": "odd", "data": format!("{largest}x")});
    assert_eq!(parse_problem(server.post("/v1/tasks", &over).await), invalid_field("data"));
    let legacy = with_changes(one_shot(), &json!({"data": format!("{largest}x")}));
    assert_eq!(status_and_field(&server.post("/v1/api/task", &legacy).await), (400, "data"));
    let accepted = server.post("/v1/api/task", &with_changes(one_shot(), &json!({"data": largest}))).await;
    assert_eq!(accepted.0, 200, "{}", accepted.1);
    server.close().await;
}

#[tokio::test]
async fn invalid_tags_are_refused() {
    let server = TestServer::in_memory(DEFAULT_LIMITS).await;
    let long = "x".repeat(129);
    for tag in ["", " ", "*", "a|b", "a||b", " a", "a ", "a\n", "\u{0}", "a\u{7f}", "\u{3000}", &long] {
        assert_eq!(
            parse_problem(server.post("/v1/tasks", &json!({"name": tag})).await),
            invalid_field("name"),
            "{tag:?}"
        );
        let queue = json!({"name": "n", "queue": tag});
        assert_eq!(parse_problem(server.post("/v1/tasks", &queue).await), invalid_field("queue"), "{tag:?}");
        let legacy = server.post("/v1/api/task", &with_changes(one_shot(), &json!({"name": tag}))).await;
        assert_eq!(status_and_field(&legacy), (400, "name"), "{tag:?}");
        let lease = json!({"worker": "w", "queues": ["q", tag]});
        assert_eq!(
            parse_problem(server.post("/v1/runs/lease", &lease).await),
            invalid_field("queues[1]"),
            "{tag:?}"
        );
    }
    server.close().await;
}

#[tokio::test]
async fn numbers_out_of_bounds_are_refused_with_the_field() {
    let server = TestServer::in_memory(LIMITS).await;
    let every = |period: &Value| json!({"schedule": {"kind": "every", "period_ms": period}});
    let retry =
        |pause: &Value| json!({"retry": {"max_attempts": 1, "backoff_ms": pause, "max_backoff_ms": 1}});
    for number in [json!(-1), json!(i64::MIN), json!(u64::MAX), json!(1e300), json!(0.5), json!(-0.0)] {
        for (change, name) in [
            (json!({"delay_ms": number}), "delay_ms"),
            (json!({"max_fires": number}), "max_fires"),
            (json!({"max_runtime_sec": number}), "max_runtime_sec"),
            (json!({"start_within_ms": number}), "start_within_ms"),
            (every(&number), "schedule.period_ms"),
            (retry(&number), "retry"),
            (json!({"retry": {"max_attempts": number, "backoff_ms": 1, "max_backoff_ms": 1}}), "retry"),
        ] {
            let (status, problem) =
                server.post("/v1/tasks", &with_changes(json!({"name": "n"}), &change)).await;
            let field = problem["field"].as_str().unwrap_or("none");
            assert!(status == 400 && field.starts_with(name), "{change}: {status} {problem}");
        }
        for legacy in ["loop_count", "start_time", "max_runtime"] {
            let (status, reply) =
                server.post("/v1/api/task", &with_changes(one_shot(), &json!({legacy: number}))).await;
            assert_eq!((status, &reply["field"]), (400, &json!(legacy)), "{number}");
        }
    }
    // A number that no double can hold is invalid JSON.
    let (status, problem) =
        server.request(Method::POST, "/v1/tasks", "{\"name\":\"n\",\"delay_ms\":1e999}").await;
    assert_eq!((status, &problem["field"]), (400, &json!("body")));
    server.close().await;
}

#[tokio::test]
async fn moments_out_of_the_calendar_are_refused() {
    let server = TestServer::in_memory(LIMITS).await;
    for expression in ["@every 99999999999999999999h", "@every 2222222h222222222222h"] {
        let cron = json!({"name": "n", "schedule": {"kind": "cron", "cron": expression}});
        assert_eq!(
            parse_problem(server.post("/v1/tasks", &cron).await),
            invalid_field("schedule.cron"),
            "{expression}"
        );
    }
    for start in ["9999-12-31T23:59:59Z", "-000001-01-01T00:00:00Z", "10000-01-01T00:00:00Z"] {
        let (status, problem) = server.post("/v1/tasks", &json!({"name": "n", "start_at": start})).await;
        assert_eq!((status, &problem["field"]), (400, &json!("start_at")), "{start}");
    }
    server.close().await;
}

#[tokio::test]
async fn a_very_long_cron_expression_is_refused_with_a_short_message() {
    let server = TestServer::in_memory(DEFAULT_LIMITS).await;
    let book = "0-59,".repeat(1_000_000);
    for cron in [format!("{book} * * * *"), format!("TZ={book} * * * * *"), format!("@every {book}")] {
        let spec = json!({"name": "n", "schedule": {"kind": "cron", "cron": cron}});
        assert_eq!(parse_problem(server.post("/v1/tasks", &spec).await), invalid_field("schedule.cron"));
        let legacy = with_changes(one_shot(), &json!({"type": 3, "crontab": cron}));
        let (status, reply) = server.post("/v1/api/task", &legacy).await;
        assert_eq!((status, &reply["field"]), (400, &json!("crontab")));
        assert!(reply.to_string().len() < 1_000);
    }
    let zone = json!({"kind": "cron", "cron": "@daily", "zone": book});
    let refused = server.post("/v1/tasks", &json!({"name": "n", "schedule": zone})).await;
    assert_eq!(parse_problem(refused), invalid_field("schedule.zone"));
    server.close().await;
}

#[tokio::test]
async fn an_invalid_query_string_is_refused_with_the_parameter() {
    let server = TestServer::in_memory(LIMITS).await;
    let many: String = (0..5_000).map(|n| format!("&p{n}=1")).collect::<Vec<_>>().concat();
    let refused = server.get(&format!("/v1/tasks?limit=1{many}")).await;
    assert_eq!(parse_problem(refused), invalid_field("p0"));
    let huge = "a".repeat(60_000);
    for (path, name) in [
        (format!("/v1/tasks?cursor={huge}"), "cursor"),
        (format!("/v1/runs?cursor={huge}"), "cursor"),
        (format!("/v1/runs?cursor=1~{huge}"), "cursor"),
        (format!("/v1/runs?task_id={huge}"), "task_id"),
        (format!("/v1/tasks?limit={huge}"), "limit"),
        (format!("/v1/schedule/next?cron={huge}"), "cron"),
        ("/v1/tasks?limit=-1".to_owned(), "limit"),
        ("/v1/tasks?limit=4294967296".to_owned(), "limit"),
        ("/v1/tasks?limit=1&limit=1".to_owned(), "limit"),
        ("/v1/tasks?name[$gt]=".to_owned(), "name[$gt]"),
    ] {
        assert_eq!(
            parse_problem(server.get(&path).await),
            invalid_field(name),
            "{}",
            &path[..40.min(path.len())]
        );
    }
    let (status, problem) = server.get(&format!("/v1/tasks?{huge}=1")).await;
    assert!(status == 400 && problem.to_string().len() < 1_000, "the message does not repeat a long name");
    let endless = format!("GET /v1/tasks?{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(100_000));
    let answer = exchange(&server, endless.as_bytes()).await;
    assert!(["414", "431"].contains(&statuses(&answer)[0]), "{answer}");
    server.close().await;
}

#[tokio::test]
async fn too_many_or_too_long_headers_are_answered_431() {
    let server = TestServer::in_memory(LIMITS).await;
    let request = |headers: &str| {
        format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")
    };
    let lines = |count: usize| (0..count).map(|n| format!("x-{n}: 1\r\n")).collect::<Vec<_>>().concat();
    for (headers, status) in [
        (lines(98), "200"),
        (lines(99), "431"),
        (lines(3_000), "431"),
        (format!("x-long: {}\r\n", "a".repeat(60_000)), "200"),
        (format!("x-long: {}\r\n", "a".repeat(200_000)), "431"),
        (format!("{}: 1\r\n", "x".repeat(200_000)), "431"),
    ] {
        let answer = exchange(&server, request(&headers).as_bytes()).await;
        assert_eq!(statuses(&answer), [status], "{} bytes of headers", headers.len());
    }
    server.assert_alive().await;
    server.close().await;
}

#[tokio::test]
async fn keys_and_ids_out_of_bounds_are_refused() {
    let server = TestServer::in_memory(LIMITS).await;
    let task = json!({"name": "n"}).to_string();
    for (key, status) in [("k".repeat(255), 201), ("k".repeat(256), 400), ("k".repeat(60_000), 400)] {
        let headers = [("idempotency-key", key.as_str())];
        let response = server.send(Method::POST, "/v1/tasks", &headers, task.clone()).await;
        assert_eq!(response.status(), status, "{} bytes", key.len());
    }
    let id = "x".repeat(60_000);
    let response = server.send(Method::GET, "/livez", &[("x-request-id", &id)], "").await;
    assert!(response.headers()["x-request-id"].len() < 100, "a long request id is replaced");
    for (key, bad) in [("", true), ("k", false), (&"k".repeat(256), false), (&"k".repeat(257), true)] {
        let (status, reply) = server.post("/v1/tasks", &json!({"name": "n", "dedup_key": key})).await;
        assert_eq!(status == 400, bad, "{reply}");
        assert!(!bad || reply["field"] == "dedup_key", "{reply}");
    }
    let start = json!({"name": "n", "end_at": format!("{}", NOW_SEC)});
    assert_eq!(parse_problem(server.post("/v1/tasks", &start).await), invalid_field("end_at"));
    server.close().await;
}

#[tokio::test]
async fn the_limit_of_a_head_is_exact_in_one_piece_and_in_several() {
    let server = TestServer::in_memory(LIMITS).await;
    let head = |bytes: usize| {
        let start = "GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-long: ";
        let end = "\r\n\r\n";
        format!("{start}{}{end}", "a".repeat(bytes - start.len() - end.len()))
    };
    for (bytes, status) in [(65_536, "200"), (65_537, "431"), (66_000, "431"), (100_000, "431")] {
        let head = head(bytes);
        assert_eq!(statuses(&exchange(&server, head.as_bytes()).await), [status], "{bytes} bytes");
        let mut stream = server.connect().await;
        for piece in head.as_bytes().chunks(10_000) {
            // The server may end the connection before the last piece.
            let _ = stream.write_all(piece).await;
            let _ = stream.flush().await;
        }
        let answer = read_to_end(&mut stream).await;
        assert_eq!(statuses(&answer), [status], "{bytes} bytes in pieces");
    }
    server.close().await;
}

//! Bytes on a connection: requests that two servers would read differently, clients that send byte
//! by byte, clients that never read.

use std::convert::Infallible;
use std::time::Duration;

use taskcenter_server::http::HttpLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{DEFAULT_LIMITS, NEVER, TestServer, exchange, read_to_end, statuses};
use crate::http::{LIMITS, SHORT};

/// Request that a client hides in the body of another request.
const SMUGGLED: &str = "POST /v1/api/task HTTP/1.1\r\nhost: localhost\r\nx-request-id: hidden\r\ncontent-length: 39\r\n\r\n{\"name\":\"smuggled\",\"type\":1,\"data\":\"1\"}";

async fn assert_not_smuggled(server: &TestServer, answer: &str, shape: &str) {
    assert!(!answer.contains("hidden"), "{shape:?} was answered {answer}");
    assert_eq!(server.get("/v1/tasks").await.1["tasks"], serde_json::json!([]), "{shape:?}");
}

#[tokio::test]
async fn a_request_with_an_ambiguous_length_is_refused_and_ends_the_connection() {
    let server = TestServer::in_memory(LIMITS).await;
    for shape in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 6\r\n",
        "content-length: +5\r\n",
        "content-length: -1\r\n",
        "content-length: 0x5\r\n",
        "content-length: 5 5\r\n",
        "content-length: 99999999999999999999\r\n",
        "content-length : 5\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding: \u{b}chunked\r\n",
        " folded: 1\r\n",
        "content-length: 5\r\n\u{0}: 1\r\n",
    ] {
        let request = format!("POST /v1/api/task HTTP/1.1\r\nhost: localhost\r\n{shape}\r\n12345{SMUGGLED}");
        let answer = exchange(&server, request.as_bytes()).await;
        let answered = statuses(&answer);
        assert!(answered.len() == 1 && answered[0].starts_with('4'), "{shape:?} was answered {answer}");
        assert_not_smuggled(&server, &answer, shape).await;
    }
    let old = format!("POST /v1/api/task HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}");
    let answer = exchange(&server, old.as_bytes()).await;
    assert_not_smuggled(&server, &answer, "chunked in HTTP/1.0").await;
    server.close().await;
}

#[tokio::test]
async fn a_request_with_two_kinds_of_length_ends_the_connection() {
    let server = TestServer::in_memory(LIMITS).await;
    for (first, second) in [
        ("content-length: 5\r\n", "transfer-encoding: chunked\r\n"),
        ("transfer-encoding: chunked\r\n", "content-length: 5\r\n"),
    ] {
        let request = format!(
            "POST /v1/api/task HTTP/1.1\r\nhost: localhost\r\n{first}{second}\r\n0\r\n\r\n{SMUGGLED}"
        );
        let answer = exchange(&server, request.as_bytes()).await;
        assert_eq!(statuses(&answer).len(), 1, "{answer}");
        assert_not_smuggled(&server, &answer, first).await;
    }
    server.close().await;
}

#[tokio::test]
async fn a_chunk_with_an_invalid_size_ends_the_connection() {
    let server = TestServer::in_memory(LIMITS).await;
    for size in ["g", "-1", "0x5", "ffffffffffffffffff", "5\u{0}", "", " ", "5;\n"] {
        let head = "POST /v1/api/task HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer =
            exchange(&server, format!("{head}{size}\r\n12345\r\n0\r\n\r\n{SMUGGLED}").as_bytes()).await;
        assert!(statuses(&answer).iter().all(|status| status.starts_with('4')), "{size:?}: {answer}");
        assert_not_smuggled(&server, &answer, size).await;
    }
    server.close().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = TestServer::in_memory(LIMITS).await;
    let request = |n: usize, close: &str| {
        format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx-request-id: n{n}\r\n{close}\r\n")
    };
    let mut all: String = (0..499).map(|n| request(n, "")).collect();
    all.push_str(&request(499, "connection: close\r\n"));
    let answer = exchange(&server, all.as_bytes()).await;
    assert_eq!(statuses(&answer), ["200"; 500]);
    let ids: Vec<_> =
        answer.split("x-request-id: ").skip(1).map(|rest| rest.split('\r').next().unwrap()).collect();
    assert_eq!(ids, (0..500).map(|n| format!("n{n}")).collect::<Vec<_>>());
    server.close().await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_disconnected() {
    let limits = HttpLimits { write_timeout: SHORT, max_connections: 1, ..LIMITS };
    let server = TestServer::in_memory(limits).await;
    let mut client = server.connect().await;
    let requests = "GET /v1/openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
    let send = async { while client.write_all(requests.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(NEVER, send).await.expect("the server ends the connection");
    // The only place is free again, although the client keeps its end open.
    server.assert_alive().await;
    let received = tokio::time::timeout(NEVER, async {
        let mut bytes = Vec::new();
        let _ = client.read_to_end(&mut bytes).await;
        bytes.len()
    });
    println!("the server sent {} bytes before", received.await.expect("the connection has ended"));
    server.close().await;
}

/// Sends one byte per tick until the server ends the connection. Returns the answer.
async fn dribble(server: &TestServer, beginning: &str, byte: &[u8]) -> String {
    let mut stream = server.connect().await;
    stream.write_all(beginning.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let dribbling = async {
        loop {
            tick.tick().await;
            if writer.write_all(byte).await.is_err() {
                return std::future::pending::<Infallible>().await;
            }
        }
    };
    tokio::select! {
        ended = tokio::time::timeout(NEVER, reader.read_to_end(&mut answer)) => drop(ended.expect("the server ends the connection")),
        never = dribbling => match never {},
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_head_sent_byte_by_byte_ends_the_connection() {
    let server = TestServer::in_memory(HttpLimits { header_timeout: SHORT, ..LIMITS }).await;
    for beginning in ["", "GET /livez HTTP/1.1\r\nhost: localhost\r\nx-slow: "] {
        let answer = dribble(&server, beginning, b"a").await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    server.close().await;
}

#[tokio::test]
async fn a_body_sent_byte_by_byte_is_answered_408() {
    let server = TestServer::in_memory(HttpLimits { request_timeout: SHORT, ..LIMITS }).await;
    for length in ["content-length: 10000", "transfer-encoding: chunked"] {
        let byte: &[u8] = if length.starts_with('c') { b" " } else { b"1\r\n \r\n" };
        let answer = dribble(
            &server,
            &format!("POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\n{length}\r\n\r\n"),
            byte,
        )
        .await;
        assert!(answer.is_empty() || statuses(&answer) == ["408"], "{answer}");
    }
    server.assert_alive().await;
    server.close().await;
}

#[tokio::test]
async fn bytes_that_are_not_http_are_refused() {
    let server = TestServer::in_memory(DEFAULT_LIMITS).await;
    for noise in [
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET  HTTP/1.1\r\n\r\n",
        "\u{0}\u{0}\u{0}\u{0}\r\n\r\n",
        "*1\r\n$7\r\nCOMMAND\r\n",
        "CONNECT internal:80 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        "GET http://internal/v1/tasks\u{0} HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ] {
        let mut stream = server.connect().await;
        let _ = stream.write_all(noise.as_bytes()).await;
        stream.shutdown().await.ok();
        let answer = read_to_end(&mut stream).await;
        assert!(statuses(&answer).iter().all(|status| status.starts_with('4')), "{noise:?}: {answer}");
    }
    server.assert_alive().await;
    server.close().await;
}

#[tokio::test]
async fn a_request_names_its_host_exactly_once() {
    let server = TestServer::in_memory(DEFAULT_LIMITS).await;
    for (hosts, status) in [
        ("host: localhost\r\n", "200"),
        ("", "400"),
        ("host: localhost\r\nhost: localhost\r\n", "400"),
        ("host: localhost\r\nHOST: other\r\n", "400"),
        ("host: a b\r\n", "400"),
    ] {
        for path in ["/livez", "/v1/tasks", "/v1/api/task/stat", "/querytask"] {
            let request = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{hosts}\r\n");
            let answer = exchange(&server, request.as_bytes()).await;
            assert_eq!(statuses(&answer), [status], "{path} with {hosts:?}: {answer}");
        }
    }
    server.close().await;
}

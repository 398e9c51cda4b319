//! Limits on clients: size, speed and duration of requests and connections.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use taskcenter_server::http::HttpLimits;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::faulty::{BrokenClock, CANARY, Silent, Unavailable, with_failing_store};
use super::{LIMITS, SHORT, Server, Setup, one_shot, with_server};

async fn connect(server: &Server) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(&server.address).await.unwrap())
}

async fn send(connection: &mut BufReader<TcpStream>, text: &str) {
    connection.write_all(text.as_bytes()).await.unwrap();
}

/// Reads until the server closes the connection.
async fn read_to_end(connection: &mut BufReader<TcpStream>) -> String {
    let mut text = String::new();
    connection.read_to_string(&mut text).await.unwrap();
    text
}

/// Returns status and body of a raw response.
fn parse(answer: &str) -> (&str, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?} is no response"));
    (&head["HTTP/1.1 ".len()..][..3], serde_json::from_str(body).unwrap())
}

/// Sends the head of a request and waits until a handler reads the body.
async fn begin_request(connection: &mut BufReader<TcpStream>, length: usize) {
    let head = "POST /v1/api/task HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n";
    send(connection, &format!("{head}content-length: {length}\r\n\r\n")).await;
    for wanted in ["HTTP/1.1 100 Continue\r\n", "\r\n"] {
        let mut line = String::new();
        connection.read_line(&mut line).await.unwrap();
        assert_eq!(line, wanted);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    with_server(async |server| {
        let limit = LIMITS.body_limit_bytes;
        let wanted = json!({"err": 413, "msg": format!("the request body is over {limit} bytes")});

        let mut announced = connect(server).await;
        let head = "POST /v1/api/task HTTP/1.1\r\nhost: localhost\r\n";
        send(&mut announced, &format!("{head}content-length: {}\r\n\r\n", limit + 1)).await;
        assert_eq!(
            parse(&read_to_end(&mut announced).await),
            ("413", wanted.clone()),
            "refused before the body is sent"
        );

        let mut chunked = connect(server).await;
        let chunk = "x".repeat(limit + 1);
        send(&mut chunked, &format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{chunk}", limit + 1))
            .await;
        assert_eq!(parse(&read_to_end(&mut chunked).await), ("413", wanted));

        let mut body = json!({"name": "n", "type": 1, "data": ""}).to_string();
        body.push_str(&" ".repeat(limit - body.len()));
        let response = server.send(reqwest::Method::POST, "/v1/api/task", body).await;
        assert_eq!(response.status(), 200, "a body of exactly the limit is accepted");
    })
    .await;
}

#[tokio::test]
async fn a_slow_head_ends_the_connection() {
    Setup { limits: HttpLimits { header_timeout: SHORT, ..LIMITS }, ..Setup::default() }
        .with_server(async |server| {
            for beginning in ["", "GET /livez HT", "GET /livez HTTP/1.1\r\nhost: localhost\r\nx-slow: "] {
                let mut connection = connect(server).await;
                send(&mut connection, beginning).await;
                let got = read_to_end(&mut connection).await;
                assert!(!got.contains("200"), "{beginning:?} got {got:?}");
            }
        })
        .await;
}

#[tokio::test]
async fn a_slow_body_is_answered_408() {
    Setup { limits: HttpLimits { request_timeout: SHORT, ..LIMITS }, ..Setup::default() }
        .with_server(async |server| {
            let mut connection = connect(server).await;
            begin_request(&mut connection, 100).await;
            send(&mut connection, "{").await;
            let answer = read_to_end(&mut connection).await;
            let wanted = json!({"err": 408, "msg": "the request body did not arrive in time"});
            assert_eq!(parse(&answer), ("408", wanted));
        })
        .await;
}

#[tokio::test]
async fn a_truncated_body_stores_nothing() {
    with_server(async |server| {
        let mut connection = connect(server).await;
        let body = one_shot().to_string();
        begin_request(&mut connection, body.len() + 1).await;
        send(&mut connection, &body).await;
        connection.shutdown().await.unwrap();
        let answer = read_to_end(&mut connection).await;
        assert!(!answer.contains("taskid"), "{answer}");
        assert_eq!(server.get("/v1/api/query-task-by-name?name=order.close").await, (200, json!([])));
    })
    .await;
}

#[tokio::test]
async fn a_store_that_does_not_answer_results_in_503_in_time() {
    let limits = HttpLimits { request_timeout: SHORT, ..LIMITS };
    with_failing_store(Setup { limits, ..Setup::default() }, Silent, async |server| {
        let response = server.send(reqwest::Method::POST, "/v1/api/task", one_shot().to_string()).await;
        assert_eq!(response.headers()["retry-after"], "1");
        let (status, reply) = super::status_and_body(response).await;
        assert_eq!((status, &reply["err"]), (503, &json!(503)));
    })
    .await;
}

#[tokio::test]
async fn an_unavailable_store_results_in_503_without_a_cause() {
    with_failing_store(Setup::default(), Unavailable, async |server| {
        let id = "0".repeat(32);
        for path in [&format!("/v1/api/query-task-by-id?taskid={id}"), "/v1/api/query-task-by-name?name=a"] {
            let (status, reply) = server.get(path).await;
            assert_eq!(status, 503, "{reply}");
            assert!(
                !reply.to_string().contains("127.0.0.1") && !reply.to_string().contains(CANARY),
                "{reply}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_panics_results_in_500() {
    Setup { clock: Some(Arc::new(BrokenClock)), ..Setup::default() }
        .with_server(async |server| {
            let request = server.client.get(format!("http://{}/v1/api/task/stat", server.address));
            let response = request.header("x-request-id", "mine").send().await.unwrap();
            assert_eq!(response.headers()["x-request-id"], "mine");
            assert_eq!(
                super::status_and_body(response).await,
                (500, json!({"err": 500, "msg": "internal error"}))
            );
        })
        .await;
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_for_a_free_one() {
    Setup { limits: HttpLimits { max_connections: 1, ..LIMITS }, ..Setup::default() }
        .with_server(async |server| {
            let body = one_shot().to_string();
            let mut first = connect(server).await;
            begin_request(&mut first, body.len()).await;
            let mut second = connect(server).await;
            send(&mut second, "GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
            let answered = tokio::time::timeout(SHORT, second.fill_buf()).await;
            assert!(answered.is_err(), "the only connection is in use");
            send(&mut first, &body).await;
            first.fill_buf().await.unwrap();
            drop(first);
            assert_eq!(parse(&read_to_end(&mut second).await).0, "200");
        })
        .await;
}

#[tokio::test]
async fn a_stop_waits_for_a_request_in_progress() {
    with_server(async |server| {
        let mut connection = connect(server).await;
        let body = one_shot().to_string();
        begin_request(&mut connection, body.len()).await;
        server.shutdown.cancel();
        send(&mut connection, &body).await;
        let answer = read_to_end(&mut connection).await;
        assert_eq!(parse(&answer).0, "200");
        server.stop().await;
        assert!(TcpStream::connect(&server.address).await.is_err(), "the server accepts no more connections");
    })
    .await;
}

#[tokio::test]
async fn a_stop_aborts_requests_that_exceed_the_grace_period() {
    let limits = HttpLimits { shutdown_grace: Duration::from_millis(50), ..LIMITS };
    Setup { limits, ..Setup::default() }
        .with_server(async |server| {
            let mut connection = connect(server).await;
            begin_request(&mut connection, 100).await;
            server.stop().await;
            assert_eq!(read_to_end(&mut connection).await, "", "the connection ends without a response");
        })
        .await;
}

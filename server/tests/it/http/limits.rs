//! What a caller cannot do to the server: send too much, too slowly, or stay for ever.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use taskcenter_server::http::HttpLimits;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::faulty::{BrokenClock, CANARY, Silent, Unavailable, with_failing_store};
use super::{LIMITS, SHORT, Server, Setup, once, with_server};

async fn connect(server: &Server) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(&server.address).await.unwrap())
}

async fn say(connection: &mut BufReader<TcpStream>, text: &str) {
    connection.write_all(text.as_bytes()).await.unwrap();
}

/// What comes until the server closes the connection.
async fn rest(connection: &mut BufReader<TcpStream>) -> String {
    let mut text = String::new();
    connection.read_to_string(&mut text).await.unwrap();
    text
}

/// The status and the body of a raw answer after which the connection was closed.
fn parsed(answer: &str) -> (&str, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?} is no answer"));
    (&head["HTTP/1.1 ".len()..][..3], serde_json::from_str(body).unwrap())
}

/// Sends a request's head and waits until a handler asks for its body.
async fn begin(connection: &mut BufReader<TcpStream>, length: usize) {
    let head = "POST /v1/api/task HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n";
    say(connection, &format!("{head}content-length: {length}\r\n\r\n")).await;
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
        let head = "POST /v1/api/task HTTP/1.1\r\nhost: x\r\n";
        say(&mut announced, &format!("{head}content-length: {}\r\n\r\n", limit + 1)).await;
        assert_eq!(parsed(&rest(&mut announced).await), ("413", wanted.clone()), "before it is sent");

        let mut chunked = connect(server).await;
        let chunk = "x".repeat(limit + 1);
        say(&mut chunked, &format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{chunk}", limit + 1))
            .await;
        assert_eq!(parsed(&rest(&mut chunked).await), ("413", wanted));

        let mut body = json!({"name": "n", "type": 1, "data": ""}).to_string();
        body.push_str(&" ".repeat(limit - body.len()));
        let response = server.send(reqwest::Method::POST, "/v1/api/task", body).await;
        assert_eq!(response.status(), 200, "a body of just the limit is taken");
    })
    .await;
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_ends_the_connection() {
    Setup { limits: HttpLimits { header_timeout: SHORT, ..LIMITS }, ..Setup::default() }
        .with_server(async |server| {
            for beginning in ["", "GET /livez HT", "GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: "] {
                let mut connection = connect(server).await;
                say(&mut connection, beginning).await;
                let got = rest(&mut connection).await;
                assert!(!got.contains("200"), "{beginning:?} got {got:?}");
            }
        })
        .await;
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_answered_408() {
    Setup { limits: HttpLimits { request_timeout: SHORT, ..LIMITS }, ..Setup::default() }
        .with_server(async |server| {
            let mut connection = connect(server).await;
            begin(&mut connection, 100).await;
            say(&mut connection, "{").await;
            let answer = rest(&mut connection).await;
            let wanted = json!({"err": 408, "msg": "the request body did not arrive in time"});
            assert_eq!(parsed(&answer), ("408", wanted));
        })
        .await;
}

#[tokio::test]
async fn a_body_that_breaks_off_stores_nothing() {
    with_server(async |server| {
        let mut connection = connect(server).await;
        let body = once().to_string();
        begin(&mut connection, body.len() + 1).await;
        say(&mut connection, &body).await;
        connection.shutdown().await.unwrap();
        let answer = rest(&mut connection).await;
        assert!(!answer.contains("taskid"), "{answer}");
        assert_eq!(server.get("/v1/api/query-task-by-name?name=order.close").await, (200, json!([])));
    })
    .await;
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_answered_503_in_time() {
    let limits = HttpLimits { request_timeout: SHORT, ..LIMITS };
    with_failing_store(Setup { limits, ..Setup::default() }, Silent, async |server| {
        let response = server.send(reqwest::Method::POST, "/v1/api/task", once().to_string()).await;
        assert_eq!(response.headers()["retry-after"], "1");
        let (status, reply) = super::answer(response).await;
        assert_eq!((status, &reply["err"]), (503, &json!(503)));
    })
    .await;
}

#[tokio::test]
async fn a_store_that_is_away_is_answered_503_without_a_cause() {
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
async fn a_handler_that_panics_is_answered_500() {
    Setup { clock: Some(Arc::new(BrokenClock)), ..Setup::default() }
        .with_server(async |server| {
            let request = server.client.get(format!("http://{}/v1/api/task/stat", server.address));
            let response = request.header("x-request-id", "mine").send().await.unwrap();
            assert_eq!(response.headers()["x-request-id"], "mine");
            assert_eq!(super::answer(response).await, (500, json!({"err": 500, "msg": "internal error"})));
        })
        .await;
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_for_a_place() {
    Setup { limits: HttpLimits { max_connections: 1, ..LIMITS }, ..Setup::default() }
        .with_server(async |server| {
            let body = once().to_string();
            let mut first = connect(server).await;
            begin(&mut first, body.len()).await;
            let mut second = connect(server).await;
            say(&mut second, "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
            let answered = tokio::time::timeout(SHORT, second.fill_buf()).await;
            assert!(answered.is_err(), "there is one place, and it is taken");
            say(&mut first, &body).await;
            first.fill_buf().await.unwrap();
            drop(first);
            assert_eq!(parsed(&rest(&mut second).await).0, "200");
        })
        .await;
}

#[tokio::test]
async fn a_stop_lets_a_request_under_way_end() {
    with_server(async |server| {
        let mut connection = connect(server).await;
        let body = once().to_string();
        begin(&mut connection, body.len()).await;
        server.shutdown.cancel();
        say(&mut connection, &body).await;
        let answer = rest(&mut connection).await;
        assert_eq!(parsed(&answer).0, "200");
        server.stop().await;
        assert!(TcpStream::connect(&server.address).await.is_err(), "nothing more is accepted");
    })
    .await;
}

#[tokio::test]
async fn a_stop_cuts_off_what_outlasts_the_grace() {
    let limits = HttpLimits { shutdown_grace: Duration::from_millis(50), ..LIMITS };
    Setup { limits, ..Setup::default() }
        .with_server(async |server| {
            let mut connection = connect(server).await;
            begin(&mut connection, 100).await;
            server.stop().await;
            assert_eq!(rest(&mut connection).await, "", "the connection ends without an answer");
        })
        .await;
}

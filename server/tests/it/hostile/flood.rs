//! Too many connections, requests and slow clients at once.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use taskcenter_server::http::HttpLimits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

use super::{DEFAULT_LIMITS, NEVER, TestServer, exchange, read_to_end, statuses};
use crate::http::{LIMITS, PREFIXES};
use crate::store::sqlite::SqliteFixture;

const SLOW: usize = 2_000;
/// Maximum 99th percentile of good requests on an idle machine.
const MAX_P99: Duration = Duration::from_millis(500);
/// On a busy machine: maximum ratio to the 99th percentile without slow clients.
const MAX_RATIO: u32 = 4;
/// Maximum number of tries. Other work on the machine may disturb a try.
const ROUNDS: usize = 3;

#[allow(clippy::disallowed_methods, reason = "the test measures what a client sees")]
fn clock() -> Instant {
    Instant::now()
}

/// Creates tasks with four clients. Returns the times of the requests in ascending order.
async fn good_requests(server: &TestServer, series: &str) -> Vec<Duration> {
    let client = async |client: usize| {
        let mut times = Vec::new();
        for n in 0..75 {
            let task = json!({"name": "good", "data": format!("{series} {client} {n}")});
            let begun = clock();
            server.create(&task).await;
            times.push(begun.elapsed());
        }
        times
    };
    let mut times: Vec<_> = join_all((0..4).map(client)).await.concat();
    times.sort_unstable();
    times
}

fn at(times: &[Duration], part: f64) -> Duration {
    times[((times.len() - 1) as f64 * part) as usize]
}

/// Opens a connection and sends a part of a head or of a body.
async fn slow_client(server: &TestServer, n: usize) -> TcpStream {
    let mut stream = server.connect().await;
    let beginning = match n % 3 {
        0 => "GET /livez HTTP/1.1\r\nhost: localhost\r\nx-slow: ",
        1 => "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n{\"name\":\"",
        _ => "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n",
    };
    stream.write_all(beginning.as_bytes()).await.unwrap();
    stream
}

/// Sends one byte on each connection, again and again.
async fn dribble(streams: &mut [TcpStream]) -> ! {
    let mut tick = tokio::time::interval(Duration::from_secs(2));
    // On a busy machine a turn may take longer than the interval. The next turn must not follow at
    // once.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for (n, stream) in streams.iter_mut().enumerate() {
            let bytes: &[u8] = if n % 3 == 2 { b"1\r\n \r\n" } else { b"a" };
            stream.write_all(bytes).await.expect("the limits allow slow clients");
        }
    }
}

/// Returns the 99th percentile of good requests without slow clients (before and after) and among
/// them. Other work on the machine affects both values.
async fn p99_without_and_among_slow_clients(server: &TestServer, round: usize) -> (Duration, Duration) {
    let before = good_requests(server, &format!("before {round}")).await;
    let mut slow = Vec::new();
    for n in 0..SLOW {
        slow.push(slow_client(server, n).await);
    }
    let series = format!("among {round}");
    let among = tokio::select! {
        times = good_requests(server, &series) => times,
        never = dribble(&mut slow) => never,
    };
    drop(slow);
    let after = good_requests(server, &format!("after {round}")).await;
    let without = at(&before, 0.99).max(at(&after, 0.99));
    println!(
        "good requests, p50 and p99: {:?} and {without:?} alone, {:?} and {:?} among {SLOW} slow connections: {:.2} times",
        at(&before, 0.5),
        at(&among, 0.5),
        at(&among, 0.99),
        at(&among, 0.99).as_secs_f64() / without.as_secs_f64()
    );
    (without, at(&among, 0.99))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_slow_clients_do_not_delay_good_requests() {
    let limits = HttpLimits {
        header_timeout: Duration::from_mins(30),
        request_timeout: Duration::from_mins(30),
        ..DEFAULT_LIMITS
    };
    let server = TestServer::on(Box::new(SqliteFixture::open().await), limits).await;
    good_requests(&server, "warm").await;
    // A defect of the server shows in every round.
    let mut delayed = Vec::new();
    for round in 0..ROUNDS {
        let (without, among) = p99_without_and_among_slow_clients(&server, round).await;
        if among < MAX_P99.max(without * MAX_RATIO) {
            return server.close().await;
        }
        delayed.push((without, among));
    }
    panic!(
        "p99 without and among slow clients: {delayed:?}; expected below {MAX_P99:?} or {MAX_RATIO} times the first"
    );
}

fn assert_counted(server: &TestServer, line: &str) {
    let page = server.state.metrics.encode().unwrap();
    assert!(page.contains(line), "{line} is missing from\n{page}");
}

#[tokio::test]
async fn a_client_above_its_connection_limit_is_disconnected_and_others_are_served() {
    let server = TestServer::in_memory(HttpLimits { max_connections_per_peer: 2, ..LIMITS }).await;
    let mut first = slow_client(&server, 0).await;
    let _second = slow_client(&server, 1).await;
    let mut third = server.connect().await;
    assert_eq!(read_to_end(&mut third).await, "", "the server closes it without an answer");
    assert_counted(&server, "taskcenter_http_connections_refused_total 1");
    let mut other = server.connect_from("127.0.0.2").await;
    other.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_eq!(statuses(&read_to_end(&mut other).await), ["200"]);
    // The end of the first connection frees a place.
    first.write_all(b"\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_eq!(statuses(&read_to_end(&mut first).await), ["200"]);
    let answered = async {
        loop {
            let answer =
                exchange(&server, b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                    .await;
            if statuses(&answer) == ["200"] {
                return;
            }
        }
    };
    tokio::time::timeout(NEVER, answered).await.expect("a later connection is served");
    server.close().await;
}

#[tokio::test]
async fn a_client_above_its_rate_limit_gets_429_with_retry_after() {
    let server = TestServer::in_memory(HttpLimits { peer_requests_per_sec: 5, ..LIMITS }).await;
    for _ in 0..5 {
        assert_eq!(server.get("/v1/tasks").await.0, 200);
    }
    let refused = server.send(Method::GET, "/v1/tasks", &[], "").await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    assert_eq!(
        crate::http::parse_problem(crate::http::status_and_body(refused).await),
        crate::http::refusal(429, "too_many_requests")
    );
    for prefix in PREFIXES {
        let reply = server.post(&format!("{prefix}/task"), &json!({})).await;
        assert_eq!((reply.0, &reply.1["err"]), (429, &json!(429)), "{}", reply.1);
    }
    assert_counted(&server, "taskcenter_http_requests_rate_limited_total 3");
    assert_eq!(server.get("/livez").await.0, 200, "health probes are not limited");
    let mut other = server.connect_from("127.0.0.2").await;
    other.write_all(b"GET /v1/tasks HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_eq!(statuses(&read_to_end(&mut other).await), ["200"], "each address has a rate of its own");
    server.clock.advance_ms(1_000);
    assert_eq!(server.get("/v1/tasks").await.0, 200);
    server.close().await;
}

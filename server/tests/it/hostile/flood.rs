//! Too many at once: connections, requests, and two thousand callers that take their time.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use taskcenter_server::http::HttpLimits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

use super::{AS_SHIPPED, Front, NEVER, exchange, rest, statuses};
use crate::http::{LIMITS, PREFIXES};
use crate::store::sqlite::SqliteFixture;

const SLOW: usize = 2_000;
/// What good requests may take, at the 99th percentile, on a machine that has nothing else to do.
const BOUND: Duration = Duration::from_millis(500);
/// On one that is busy, so many times what they take there without the slow ones.
const TIMES: u32 = 4;
/// Tries: a machine may become busy in the middle of one.
const ROUNDS: usize = 3;

#[allow(clippy::disallowed_methods, reason = "what a caller sees is measured from outside")]
fn clock() -> Instant {
    Instant::now()
}

/// Tasks, created one after another by four callers; how long each took, shortest first.
async fn good_requests(front: &Front, series: &str) -> Vec<Duration> {
    let caller = async |caller: usize| {
        let mut times = Vec::new();
        for n in 0..75 {
            let task = json!({"name": "good", "data": format!("{series} {caller} {n}")});
            let begun = clock();
            front.create(&task).await;
            times.push(begun.elapsed());
        }
        times
    };
    let mut times: Vec<_> = join_all((0..4).map(caller)).await.concat();
    times.sort_unstable();
    times
}

fn at(times: &[Duration], part: f64) -> Duration {
    times[((times.len() - 1) as f64 * part) as usize]
}

/// One of the slow: it stops in the middle of its head, or of its body.
async fn slow_caller(front: &Front, n: usize) -> TcpStream {
    let mut stream = front.connect().await;
    let beginning = match n % 3 {
        0 => "GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: ",
        1 => "POST /v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n{\"name\":\"",
        _ => "POST /v1/tasks HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
    };
    stream.write_all(beginning.as_bytes()).await.unwrap();
    stream
}

/// Sends one byte on each connection again and again.
async fn dribble(streams: &mut [TcpStream]) -> ! {
    let mut tick = tokio::time::interval(Duration::from_secs(2));
    // On a busy machine a turn may take longer than that; the next one must not follow at once.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for (n, stream) in streams.iter_mut().enumerate() {
            let bytes: &[u8] = if n % 3 == 2 { b"1\r\n \r\n" } else { b"a" };
            stream.write_all(bytes).await.expect("the slow are borne for as long as their limits say");
        }
    }
}

/// The 99th percentile of good requests without the slow, on both sides of what it is among them, and there. What the machine is busy
/// with besides shows in both.
async fn without_and_among_the_slow(front: &Front, round: usize) -> (Duration, Duration) {
    let before = good_requests(front, &format!("before {round}")).await;
    let mut slow = Vec::new();
    for n in 0..SLOW {
        slow.push(slow_caller(front, n).await);
    }
    let series = format!("among {round}");
    let among = tokio::select! {
        times = good_requests(front, &series) => times,
        never = dribble(&mut slow) => never,
    };
    drop(slow);
    let after = good_requests(front, &format!("after {round}")).await;
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
async fn two_thousand_slow_callers_do_not_hold_up_the_good() {
    let limits = HttpLimits {
        header_timeout: Duration::from_mins(30),
        request_timeout: Duration::from_mins(30),
        ..AS_SHIPPED
    };
    let front = Front::on(Box::new(SqliteFixture::open().await), limits).await;
    good_requests(&front, "warm").await;
    // Where it is the slow who hold the good up, they do so every time.
    let mut held_up = Vec::new();
    for round in 0..ROUNDS {
        let (without, among) = without_and_among_the_slow(&front, round).await;
        if among < BOUND.max(without * TIMES) {
            return front.close().await;
        }
        held_up.push((without, among));
    }
    panic!(
        "p99 without the slow and among them: {held_up:?}, and should be below {BOUND:?} or {TIMES} times it"
    );
}

fn assert_counted(front: &Front, line: &str) {
    let page = front.state.metrics.encode().unwrap();
    assert!(page.contains(line), "{line} is missing from\n{page}");
}

#[tokio::test]
async fn a_caller_with_its_share_of_connections_is_hung_up_on_and_others_are_not() {
    let front = Front::in_memory(HttpLimits { max_connections_per_peer: 2, ..LIMITS }).await;
    let mut first = slow_caller(&front, 0).await;
    let _second = slow_caller(&front, 1).await;
    let mut third = front.connect().await;
    assert_eq!(rest(&mut third).await, "", "it is closed without an answer");
    assert_counted(&front, "taskcenter_http_connections_refused_total 1");
    let mut other = front.connect_from("127.0.0.2").await;
    other.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_eq!(statuses(&rest(&mut other).await), ["200"]);
    // The first one comes to its end, and leaves a place behind.
    first.write_all(b"\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_eq!(statuses(&rest(&mut first).await), ["200"]);
    let answered = async {
        loop {
            let answer =
                exchange(&front, b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
            if statuses(&answer) == ["200"] {
                return;
            }
        }
    };
    tokio::time::timeout(NEVER, answered).await.expect("it gets in again");
    front.close().await;
}

#[tokio::test]
async fn a_caller_that_asks_too_often_is_told_when_to_come_back() {
    let front = Front::in_memory(HttpLimits { peer_requests_per_sec: 5, ..LIMITS }).await;
    for _ in 0..5 {
        assert_eq!(front.get("/v1/tasks").await.0, 200);
    }
    let refused = front.send(Method::GET, "/v1/tasks", &[], "").await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    assert_eq!(
        crate::http::parse_problem(crate::http::status_and_body(refused).await),
        crate::http::refusal(429, "too_many_requests")
    );
    for prefix in PREFIXES {
        let reply = front.post(&format!("{prefix}/task"), &json!({})).await;
        assert_eq!((reply.0, &reply.1["err"]), (429, &json!(429)), "{}", reply.1);
    }
    assert_counted(&front, "taskcenter_http_requests_rate_limited_total 3");
    assert_eq!(front.get("/livez").await.0, 200, "who watches over the node is always answered");
    let mut other = front.connect_from("127.0.0.2").await;
    other.write_all(b"GET /v1/tasks HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_eq!(statuses(&rest(&mut other).await), ["200"], "another address has its own rate");
    front.clock.advance_ms(1_000);
    assert_eq!(front.get("/v1/tasks").await.0, 200);
    front.close().await;
}

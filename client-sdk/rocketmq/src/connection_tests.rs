//! A connection to a server that the test plays.

use tokio::io::DuplexStream;
use tokio::sync::watch;

use super::*;

const LIMITS: Limits = Limits { max_in_flight: 4, max_frame_bytes: 1 << 20 };
const TIMEOUT: Duration = Duration::from_secs(3);

/// The server's end.
struct Server {
    stream: DuplexStream,
    buffer: BytesMut,
}

impl Server {
    async fn receive(&mut self) -> Command {
        loop {
            if let Some(frame) = frame::take(&mut self.buffer, 1 << 20).unwrap() {
                return frame::decode(frame).unwrap();
            }
            let read = self.stream.read_buf(&mut self.buffer).await.unwrap();
            assert!(read > 0, "the client closed the connection");
        }
    }

    async fn send(&mut self, command: &Command) {
        let mut frame = BytesMut::new();
        frame::encode_head(command, &mut frame);
        frame.extend_from_slice(&command.body);
        self.stream.write_all(&frame).await.unwrap();
    }

    async fn answer(&mut self, request: &Command) {
        self.send(&Command::response(0, request.opaque).with_body(request.body.clone())).await;
    }
}

/// Opens a connection whose stream holds `bytes` in each direction.
fn open(bytes: usize) -> (Arc<Connection>, Server) {
    open_with(bytes, Arc::new(|request: Command| Command::response(3, request.opaque)))
}

fn open_with(bytes: usize, on_request: OnRequest) -> (Arc<Connection>, Server) {
    let (client, server) = tokio::io::duplex(bytes);
    let connection = Connection::start("broker:1".into(), client, LIMITS, on_request, &TaskTracker::new());
    (Arc::new(connection), Server { stream: server, buffer: BytesMut::new() })
}

/// Sends a request in its own task.
fn call(
    connection: &Arc<Connection>,
    body: impl Into<Bytes>,
) -> tokio::task::JoinHandle<Result<Command, Error>> {
    let (connection, request) = (Arc::clone(connection), Command::request(1).with_body(body));
    tokio::spawn(async move { connection.call(request, TIMEOUT).await })
}

fn waiting(connection: &Connection) -> usize {
    connection.shared.calls().waiting.len()
}

#[tokio::test]
async fn responses_reach_their_requests_in_any_order() {
    let (connection, mut server) = open(1 << 16);
    let calls: Vec<_> = (0..4).map(|n| call(&connection, format!("{n}"))).collect();
    let mut requests = Vec::new();
    for _ in 0..4 {
        requests.push(server.receive().await);
    }
    for request in requests.iter().rev() {
        server.answer(request).await;
    }
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap().body, format!("{n}"));
    }
    assert_eq!(waiting(&connection), 0);
}

#[tokio::test(start_paused = true)]
async fn a_time_out_leaves_nothing_behind_and_the_connection_usable() {
    let (connection, mut server) = open(1 << 16);
    let failed = call(&connection, "first");
    let late = server.receive().await;
    let failed = failed.await.unwrap().unwrap_err();
    assert!(matches!(failed, Error::Unanswered { .. }) && failed.may_have_arrived(), "{failed}");
    assert_eq!(waiting(&connection), 0);
    // The late response is ignored.
    server.answer(&late).await;
    let second = call(&connection, "second");
    let request = server.receive().await;
    server.answer(&request).await;
    assert_eq!(second.await.unwrap().unwrap().body, "second");
    assert_eq!(connection.shared.permits.available_permits(), LIMITS.max_in_flight);
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_behind() {
    let (connection, mut server) = open(1 << 16);
    let dropped = call(&connection, "dropped");
    server.receive().await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    assert_eq!(waiting(&connection), 0);
    assert_eq!(connection.shared.permits.available_permits(), LIMITS.max_in_flight);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_not_written_is_certainly_not_processed() {
    // The server reads nothing, so the first request blocks the writer.
    let (connection, mut server) = open(64);
    let first = call(&connection, vec![0; 4096]);
    while waiting(&connection) == 0 || !connection.shared.calls().waiting.values().all(|call| call.taken) {
        tokio::task::yield_now().await;
    }
    let second = call(&connection, "second");
    let first = first.await.unwrap().unwrap_err();
    let second = second.await.unwrap().unwrap_err();
    assert!(matches!(first, Error::Unanswered { .. }), "{first}");
    assert!(matches!(second, Error::Unreachable { .. }) && !second.may_have_arrived(), "{second}");
    // The second request is never written, because nobody waits for its response any more.
    let third = call(&connection, "third");
    assert_eq!(server.receive().await.body.len(), 4096);
    let request = server.receive().await;
    server.answer(&request).await;
    assert_eq!(third.await.unwrap().unwrap().body, "third");
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_are_bounded() {
    let (connection, mut server) = open(1 << 16);
    let calls: Vec<_> = (0..4).map(|_| call(&connection, "x")).collect();
    for _ in 0..4 {
        server.receive().await;
    }
    let failed = connection.call(Command::request(1), Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(failed, Error::Unreachable { .. }), "{failed}");
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn the_end_of_the_connection_answers_all_calls() {
    let (connection, mut server) = open(1 << 16);
    let lost = call(&connection, "lost");
    server.receive().await;
    drop(server);
    let lost = lost.await.unwrap().unwrap_err();
    assert!(matches!(lost, Error::Unanswered { .. }), "{lost}");
    connection.watch_end().cancelled().await;
    let failed = connection.call(Command::request(1), TIMEOUT).await.unwrap_err();
    assert!(matches!(failed, Error::Unreachable { .. }) && !connection.is_usable(), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_loses_the_connection() {
    let (connection, mut server) = open(1 << 16);
    for _ in 0..3 {
        let failed = call(&connection, "x");
        server.receive().await;
        failed.await.unwrap().unwrap_err();
    }
    assert!(!connection.is_usable());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_reads_nothing_loses_the_connection() {
    // The first request blocks the writer, so no further one is written.
    let (connection, _server) = open(64);
    for _ in 0..3 {
        call(&connection, vec![0; 4096]).await.unwrap().unwrap_err();
    }
    assert!(!connection.is_usable());
}

#[tokio::test]
async fn an_answer_at_the_moment_of_the_time_out_counts() {
    let (connection, _server) = open(1 << 16);
    let shared = &*connection.shared;
    let expire = |answered| Waiting { shared, opaque: 7 }.expire(TIMEOUT, answered);
    let (answer, answered) = oneshot::channel();
    shared.register(7, answer).unwrap();
    shared.answer(Command::response(0, 7));
    assert_eq!(expire(answered).unwrap().opaque, 7);
    // The reader has found the request, and has not handed over the answer yet.
    let (_answer, answered) = oneshot::channel();
    assert!(expire(answered).unwrap_err().may_have_arrived());
    // The request still waits for its turn.
    let (answer, answered) = oneshot::channel();
    drop(answer);
    assert!(!expire(answered).unwrap_err().may_have_arrived());
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_does_not_lose_the_connection() {
    let (connection, mut server) = open(1 << 16);
    for _ in 0..5 {
        let failed = call(&connection, "slow");
        server.receive().await;
        let fast = call(&connection, "fast");
        let request = server.receive().await;
        server.answer(&request).await;
        fast.await.unwrap().unwrap();
        failed.await.unwrap().unwrap_err();
    }
    assert!(connection.is_usable());
}

#[tokio::test]
async fn a_malformed_frame_ends_the_connection() {
    for frame in [&u32::MAX.to_be_bytes()[..], &[0, 0, 0, 4, 9, 0, 0, 0], &[0, 0, 0, 0]] {
        let (connection, mut server) = open(1 << 16);
        let failed = call(&connection, "x");
        server.receive().await;
        server.stream.write_all(frame).await.unwrap();
        assert!(failed.await.unwrap().is_err());
        connection.watch_end().cancelled().await;
    }
}

#[tokio::test]
async fn a_request_of_the_server_is_answered_unless_it_is_one_way() {
    let (seen, mut codes) = watch::channel(0);
    let on_request = Arc::new(move |request: Command| {
        seen.send_replace(request.code);
        Command::response(0, request.opaque)
    });
    let (_connection, mut server) = open_with(1 << 16, on_request);
    server.send(&Command::request(40).one_way()).await;
    codes.wait_for(|code| *code == 40).await.unwrap();
    let request = Command { opaque: 7, ..Command::request(41) };
    server.send(&request).await;
    let response = server.receive().await;
    assert_eq!((response.code, response.opaque, response.is_response()), (0, 7, true));
}

#[tokio::test]
async fn a_server_that_goes_away_gets_no_new_requests() {
    let (connection, mut server) = open(1 << 16);
    let refused = call(&connection, "x");
    let request = server.receive().await;
    server.send(&Command::response(codes::GO_AWAY, request.opaque)).await;
    assert_eq!(refused.await.unwrap().unwrap().code, codes::GO_AWAY);
    assert!(!connection.is_usable());
}

#[tokio::test]
async fn frames_that_wait_are_joined() {
    let (connection, mut server) = open(1 << 20);
    let calls: Vec<_> = (0..4).map(|_| call(&connection, "x")).collect();
    while waiting(&connection) < 4 {
        tokio::task::yield_now().await;
    }
    // All frames arrive with one read.
    let mut first = BytesMut::with_capacity(1 << 16);
    server.stream.read_buf(&mut first).await.unwrap();
    let mut frames = 0;
    while frame::take(&mut first, 1 << 20).unwrap().is_some() {
        frames += 1;
    }
    assert_eq!(frames, 4);
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

//! Connections to a server of the test.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::protocol::frame;

const TIMEOUT: Duration = Duration::from_secs(10);

fn connections() -> Connections {
    let config = ClientConfig::new("unused:1");
    let on_request = Arc::new(|request: Command| Command::response(3, request.opaque));
    Connections::new(&config, on_request, CancellationToken::new()).unwrap()
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Answers one request on the stream.
async fn answer(stream: &mut TcpStream) {
    let mut buffer = BytesMut::new();
    let request = loop {
        if let Some(frame) = frame::take(&mut buffer, 1 << 20).unwrap() {
            break frame::decode(frame).unwrap();
        }
        assert!(stream.read_buf(&mut buffer).await.unwrap() > 0, "the client closed the connection");
    };
    let mut frame = BytesMut::new();
    frame::encode_head(&Command::response(0, request.opaque), &mut frame);
    stream.write_all(&frame).await.unwrap();
}

#[tokio::test]
async fn callers_share_one_connection() {
    let (connections, (listener, address)) = (connections(), listen().await);
    let (first, second) = tokio::join!(connections.get(&address), connections.get(&address));
    assert!(Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
    listener.accept().await.unwrap();
    let another = tokio::time::timeout(Duration::from_millis(10), listener.accept()).await;
    assert!(another.is_err(), "a second connection was opened");
}

#[tokio::test]
async fn a_connection_that_ended_is_replaced_at_once() {
    let (connections, (listener, address)) = (connections(), listen().await);
    let mut changes = connections.changes(&address);
    for _ in 0..5 {
        let request = connections.call(&address, Command::request(1), TIMEOUT);
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            answer(&mut stream).await;
            stream
        };
        let (answered, stream) = tokio::join!(request, serve);
        answered.unwrap();
        let ended = connections.get(&address).await.unwrap().watch_end();
        drop(stream);
        ended.cancelled().await;
    }
    // Each connection was opened and has ended.
    changes.wait_for(|count| *count == 10).await.unwrap();
}

#[tokio::test]
async fn attempts_pause_after_a_failure_and_others_are_not_delayed() {
    let connections = connections();
    let failed = connections.call("127.0.0.1:1", Command::request(1), TIMEOUT).await.unwrap_err();
    assert!(failed.to_string().contains("cannot connect"), "{failed}");
    let paused = connections.call("127.0.0.1:1", Command::request(1), TIMEOUT).await.unwrap_err();
    assert!(paused.to_string().contains("the next attempt follows"), "{paused}");
    let (_listener, address) = listen().await;
    connections.get(&address).await.unwrap();
}

#[tokio::test]
async fn a_server_that_ends_connections_at_once_is_not_flooded() {
    let (connections, (listener, address)) = (connections(), listen().await);
    let accepting = tokio::spawn(async move {
        let mut accepted = 0;
        while let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(500), listener.accept()).await {
            accepted += 1;
        }
        accepted
    });
    for _ in 0..200 {
        if let Ok(connection) = connections.get(&address).await {
            connection.watch_end().cancelled().await;
        }
    }
    let accepted = accepting.await.unwrap();
    assert!((1..5).contains(&accepted), "{accepted}");
}

#[test]
fn pauses_grow_up_to_their_bound() {
    let mut backoff = Backoff::default();
    for _ in 0..100 {
        let before = monotonic();
        backoff.fail("reason".to_owned());
        let pause = backoff.next.unwrap().duration_since(before);
        assert!(pause >= FIRST_PAUSE / 2 && pause <= MAX_PAUSE + Duration::from_millis(100), "{pause:?}");
    }
}

#[tokio::test]
async fn a_closed_client_opens_no_connection() {
    let (connections, (_listener, address)) = (connections(), listen().await);
    let connection = connections.get(&address).await.unwrap();
    connections.close().await;
    assert!(!connection.is_usable());
    let failed = connections.call(&address, Command::request(1), TIMEOUT).await.unwrap_err();
    assert_eq!(failed, Error::Closed);
}

//! The claim board (TaskDash): messages of its topics, and replies of task services.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use taskcenter_server::compat::Compat;
use taskcenter_server::compat::taskdash::{MessageOutcome, Reply, fetch_ready, handle_message};

use super::mutate::each;
use crate::compat::TestServer;
use crate::store::Fixture as _;
use crate::store::memory::MemoryFixture;

/// Input: the topic, a newline, the body.
#[tokio::test]
async fn messages_of_the_board() {
    let fixture = MemoryFixture::open().await;
    let desk = TestServer::new(&fixture, Compat::default().all_on());
    let mut accepted = 0;
    each("board", 1_500, async |input| {
        let (topic, body) = input.split_at(input.iter().position(|byte| *byte == b'\n').unwrap_or(0));
        let topic = String::from_utf8_lossy(topic);
        match handle_message(&desk.stage.service, &topic, body).await {
            MessageOutcome::Done => accepted += 1,
            MessageOutcome::Refused(why) => assert!(!why.is_empty() && why.len() < 20_000, "{why}"),
            MessageOutcome::Failed(why) => {
                assert!(topic == "updateStatus" && why.contains("no task"), "{why}");
            }
        }
    })
    .await;
    assert!(accepted > 20, "only {accepted} messages were accepted");
    // The board can be listed after any message.
    let rows = desk.get("/rget/task?operation=GetTasksNoUser").await;
    let rows: Vec<serde_json::Value> = serde_json::from_str(&rows.body).expect("the answer is a list");
    assert!(!rows.is_empty());
    let services = desk.get("/rget/task?operation=GetServices").await;
    serde_json::from_str::<Vec<serde_json::Value>>(&services.body).expect("the answer is a list");
    Box::new(fixture).close().await;
}

#[tokio::test]
async fn replies_of_task_services() {
    const SERVICE: &[u8] = br#"{"URL":"http://a.example:8080","Name":"n"}"#;
    let fixture = MemoryFixture::open().await;
    let desk = TestServer::new(&fixture, Compat::default().all_on());
    let service = &desk.stage.service;
    let replies = Arc::new(AtomicUsize::new(0));
    each("replies", 400, async |input| {
        assert_eq!(handle_message(service, "serviceRegister", SERVICE).await, MessageOutcome::Done);
        desk.fire("taskdash.ask").await;
        let counted = Arc::clone(&replies);
        let reply: Reply = Arc::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            let reply = input.clone();
            async move { Ok(reply) }.boxed()
        });
        assert!(fetch_ready(service, &reply, Duration::ZERO).await.unwrap() > 0, "the service was called");
    })
    .await;
    assert!(replies.load(Ordering::Relaxed) >= 400, "only {replies:?} replies were read");
    let rows = desk.get("/rget/task?operation=GetTasksNoUser").await;
    serde_json::from_str::<Vec<serde_json::Value>>(&rows.body).expect("the answer is a list");
    Box::new(fixture).close().await;
}

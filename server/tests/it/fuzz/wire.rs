//! Data from the network: message properties, answers that the SDK reads, bytes on the server's
//! port.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use taskcenter_client::resources::{
    ChangedTask, CreatedTasks, LeaseRequest, LeasedRuns, NextMoments, Problem, QueueList, RenewRequest,
    RunAnswers, RunList, RunResource, SettleRequest, Stat, TaskList, TaskResource, TaskSpec,
};
use taskcenter_client::wire::OutcomeReport;
use taskcenter_client::{Consumer, Context, HandlerError};
use tokio::io::AsyncWriteExt;

use super::mutate::each;
use crate::hostile::{TestServer, read_to_end};
use crate::http::{LIMITS, SHORT};

/// Checks that a value survives writing and reading. Returns 1 if the bytes are a valid `T`.
fn assert_stable<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) -> usize {
    let Ok(read) = serde_json::from_slice::<T>(bytes) else { return 0 };
    let written = serde_json::to_vec(&read).expect("a decoded value can be encoded");
    let again: T = serde_json::from_slice(&written).expect("an encoded value can be decoded");
    assert_eq!(again, read);
    1
}

#[tokio::test]
async fn answers_that_the_sdk_reads() {
    let mut valid = 0;
    each("answers", 3_000, async |input| {
        valid += assert_stable::<LeasedRuns>(&input)
            + assert_stable::<LeaseRequest>(&input)
            + assert_stable::<RenewRequest>(&input)
            + assert_stable::<SettleRequest>(&input)
            + assert_stable::<RunAnswers>(&input)
            + assert_stable::<RunResource>(&input)
            + assert_stable::<RunList>(&input)
            + assert_stable::<TaskSpec>(&input)
            + assert_stable::<TaskResource>(&input)
            + assert_stable::<TaskList>(&input)
            + assert_stable::<ChangedTask>(&input)
            + assert_stable::<CreatedTasks>(&input)
            + assert_stable::<QueueList>(&input)
            + assert_stable::<NextMoments>(&input)
            + assert_stable::<Stat>(&input)
            + assert_stable::<Problem>(&input)
            + assert_stable::<OutcomeReport>(&input);
    })
    .await;
    assert!(valid > 100, "only {valid} inputs were valid");
}

/// Handler that calls every getter of the context.
async fn read_context(context: Context, _: serde_json::Value) -> Result<(), HandlerError> {
    let _ = (context.lateness(), context.scheduled_at_ms(), context.claim(), context.attempt());
    let _ = (context.run_id().map(str::len), context.property("RUN_ID"), context.tag().len());
    Ok(())
}

/// Input: `name=value` lines, an empty line, the body.
#[tokio::test]
async fn messages() {
    let harness = Consumer::builder().on("*", read_context).harness().unwrap();
    let mut handled = 0;
    each("messages", 1_500, async |input| {
        let text = String::from_utf8_lossy(&input).into_owned();
        let (properties, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let mut delivery = harness.deliver("tag").body(body.as_bytes().to_vec());
        for (name, value) in properties.lines().filter_map(|line| line.split_once('=')) {
            delivery = delivery.property(name, value);
        }
        let delivered = delivery.await;
        handled += usize::from(delivered.outcome == taskcenter_client::Outcome::Succeeded);
    })
    .await;
    assert!(handled > 20, "only {handled} messages reached the handler");
}

#[tokio::test]
async fn bytes_on_the_servers_port() {
    let limits = taskcenter_server::http::HttpLimits { request_timeout: SHORT * 20, ..LIMITS };
    let server = TestServer::in_memory(limits).await;
    each("bytes", 250, async |input| {
        let mut stream = server.connect().await;
        // The server may close the connection before it has read all bytes.
        let _ = stream.write_all(&input).await;
        let _ = stream.shutdown().await;
        let answers = read_to_end(&mut stream).await;
        assert!(answers.is_empty() || answers.starts_with("HTTP/1."), "{answers}");
        assert!(!answers.contains("HTTP/1.1 5") && !answers.contains("HTTP/1.0 5"), "{answers}");
    })
    .await;
    server.assert_alive().await;
    server.close().await;
}

//! The engine on the real ledger, with a broker that says what the test wants.

use std::sync::Arc;

use async_trait::async_trait;
use taskcenter_server::adapters::clock::ManualClock;
use taskcenter_server::adapters::mongo::MongoStore;
use taskcenter_server::adapters::redis::RedisLock;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Moment, Run, RunState, TaskId};
use taskcenter_server::engine::ids::Ids;
use taskcenter_server::engine::metrics::Metrics;
use taskcenter_server::engine::node::Node;
use taskcenter_server::engine::publish;
use taskcenter_server::engine::settings::Settings;
use taskcenter_server::engine::shards::Shards;
use taskcenter_server::engine::skew::Skew;
use taskcenter_server::engine::window::Window;
use taskcenter_server::ports::{Bus, BusMessage, PortError, Result};
use tokio_util::sync::CancellationToken;

use crate::http::mongodb_uri;
use crate::store::samples::unique;

const NOW: Moment = Moment::from_sec(1_800_000_000);

/// Confirms what it is sent, except for two tags.
struct Choosy;

fn answer(message: &BusMessage) -> Result<()> {
    match message.tag.as_str() {
        "refused" => Err(PortError::Refused("broker", "too large".into())),
        "unanswered" => Err(PortError::Unavailable("broker", "no answer".into())),
        _ => Ok(()),
    }
}

#[async_trait]
impl Bus for Choosy {
    async fn publish(&self, messages: Vec<BusMessage>) -> Vec<Result<()>> {
        messages.iter().map(answer).collect()
    }

    async fn lag(&self) -> Result<Vec<(String, u64)>> {
        Ok(Vec::new())
    }

    async fn probe(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) {}
}

fn node(store: &Arc<MongoStore>) -> Node {
    let redis = std::env::var("TASKCENTER_TEST_REDIS_ADDR").unwrap_or_else(|_| "127.0.0.1:16379".to_owned());
    Node {
        name: "node".to_owned(),
        store: store.clone(),
        bus: Arc::new(Choosy),
        lock: Arc::new(RedisLock::new(&redis, &format!("it{:032x}", unique())).unwrap()),
        clock: Arc::new(ManualClock::new(NOW)),
        ids: Arc::new(Ids::new(1)),
        settings: Settings::default(),
        health: Arc::default(),
        hints: Arc::default(),
        metrics: Arc::new(Metrics::new()),
        shards: Shards::default(),
        window: Window::default(),
        skew: Skew::default(),
        shutdown: CancellationToken::new(),
    }
}

/// A run about to be published, of a task with this tag.
fn firing(tag: &str) -> Run {
    let submission = Submission::named(tag, "data");
    let id = TaskId::new(uuid::Uuid::from_u128(unique()));
    let task = submission.accept(id, NOW).unwrap();
    Run::firing(&task, NOW, "node", "token".to_owned(), NOW.plus_ms(10_000))
}

#[tokio::test]
async fn a_message_that_the_broker_refuses_fails_its_attempt_and_holds_nothing_up() {
    let store = Arc::new(MongoStore::new(&mongodb_uri(), &format!("it{:032x}", unique())).await.unwrap());
    let node = node(&store);
    let runs: Vec<Run> = ["refused", "unanswered", "confirmed"].map(firing).into();
    node.store.insert_runs(&runs).await.unwrap();

    publish::publish(&node, runs.clone()).await;

    let mut states = Vec::new();
    for run in &runs {
        let stored = node.store.run(&run.id).await.unwrap().unwrap();
        states.push((stored.state, stored.attempt, stored.attention_at.map(|at| at.since(NOW))));
    }
    let retry = node.settings.retry.pause_after(1).map(|pause| pause as i64);
    assert_eq!(
        states,
        [(RunState::Retrying, 1, retry), (RunState::Firing, 1, Some(10_000)), (RunState::Fired, 1, None),],
        "the refused one waits for its next attempt, the unanswered one for its lease"
    );
    assert!(!node.health.bus.is_down(), "a broker that confirms anything is there");
    store.database().drop().await.unwrap();
}

#[test]
fn the_sdk_reads_the_properties_that_the_engine_writes() {
    use taskcenter_client::wire::property as read;
    use taskcenter_server::engine::publish::property as written;
    let written = [
        written::RUN_ID,
        written::ATTEMPT,
        written::SCHEDULED_AT,
        written::CLAIM,
        written::TOKEN,
        written::ACK,
    ];
    let read = [read::RUN_ID, read::ATTEMPT, read::SCHEDULED_AT, read::CLAIM, read::TOKEN, read::ACK];
    assert_eq!(written, read);
}

//! The engine with brokers whose answers the test decides.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use taskcenter_server::adapters::clock::ManualClock;
use taskcenter_server::adapters::local::LocalLock;
use taskcenter_server::adapters::memory::{MemoryBus, MemoryStore};
use taskcenter_server::adapters::mongo::MongoStore;
use taskcenter_server::adapters::redis::RedisLock;
use taskcenter_server::core::alert::{AlertEvent, AlertTransition, Limits};
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Moment, Run, RunState, Task, TaskId, TaskState};
use taskcenter_server::engine::backlog::Backlog;
use taskcenter_server::engine::ids::Ids;
use taskcenter_server::engine::metrics::Metrics;
use taskcenter_server::engine::node::{Node, NodePorts};
use taskcenter_server::engine::settings::Settings;
use taskcenter_server::engine::{publish, rescue};
use taskcenter_server::ports::{AlertSink, Bus, BusMessage, Clock, Lock, PortError, Result, Store};

use crate::http::mongodb_uri;
use crate::store::samples::unique;

const NOW: Moment = Moment::from_sec(1_800_000_000);

/// Broker that confirms all messages except those with two tags.
struct SelectiveBus;

fn answer(message: &BusMessage) -> Result<()> {
    match message.tag.as_str() {
        "refused" => Err(PortError::Refused("broker", "too large".into())),
        "unanswered" => Err(PortError::Unavailable("broker", "no answer".into())),
        _ => Ok(()),
    }
}

#[async_trait]
impl Bus for SelectiveBus {
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
    node_on(store.clone(), Arc::new(RedisLock::new(&redis, &format!("it{:032x}", unique())).unwrap()))
}

fn node_on(store: Arc<dyn Store>, lock: Arc<dyn Lock>) -> Node {
    Node::new(
        "node",
        NodePorts { store, bus: Arc::new(SelectiveBus), lock, clock: Arc::new(ManualClock::new(NOW)) },
        Arc::new(Ids::new(1)),
        Settings::default(),
    )
}

/// Returns a run with this tag that is about to be published.
fn firing(tag: &str) -> Run {
    let task = task(tag, TaskId::new(uuid::Uuid::from_u128(unique())));
    Run::firing(&task, NOW, "node", "token".to_owned(), NOW.plus_ms(10_000))
}

fn task(tag: &str, id: TaskId) -> Task {
    Submission::named(tag, "data").accept(id, NOW).unwrap()
}

/// Returns the task of a run, advanced past the moment of the run.
fn advanced_task(run: &Run) -> Task {
    Task {
        next_due_at: None,
        last_due_at: Some(run.scheduled_at),
        state: TaskState::Finished,
        dedup_key: None,
        ..task(&run.tag, run.task_id.clone())
    }
}

#[tokio::test]
async fn a_refused_message_fails_its_attempt_and_blocks_no_other() {
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
    let retry = node.settings.retry.pause_after(1, 0).map(|pause| pause as i64);
    assert_eq!(
        states,
        [(RunState::Retrying, 1, retry), (RunState::Firing, 1, Some(10_000)), (RunState::Fired, 1, None),],
        "the refused run waits for its next attempt, the unanswered run for the end of its lease"
    );
    assert!(!node.health.bus.is_down(), "a broker that confirms a message is up");
    store.database().drop().await.unwrap();
}

/// Broker that takes one second per megabyte, while another node rescues overdue runs.
struct SlowBus {
    inner: MemoryBus,
    clock: Arc<ManualClock>,
    other: OnceLock<Node>,
}

#[async_trait]
impl Bus for SlowBus {
    async fn publish(&self, messages: Vec<BusMessage>) -> Vec<Result<()>> {
        let bytes: usize = messages.iter().map(|message| message.body.len()).sum();
        self.clock.advance_ms((bytes / 1_000) as i64);
        let answers = self.inner.publish(messages).await;
        let other = self.other.get().unwrap();
        while rescue::run_once(other, self.clock.now()).await.unwrap() {}
        answers
    }

    async fn lag(&self) -> Result<Vec<(String, u64)>> {
        self.inner.lag().await
    }

    async fn probe(&self) -> Result<()> {
        self.inner.probe().await
    }

    async fn close(&self) {}
}

#[tokio::test]
async fn a_slow_broker_receives_no_message_twice() {
    let clock = Arc::new(ManualClock::new(NOW));
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let fast = Arc::new(MemoryBus::default());
    let slow =
        Arc::new(SlowBus { inner: MemoryBus::default(), clock: clock.clone(), other: OnceLock::new() });
    let lock = Arc::new(LocalLock::new(clock.clone()));
    let on = |name: &str, bus: Arc<dyn Bus>| Node {
        name: name.to_owned(),
        bus,
        clock: clock.clone(),
        ..node_on(store.clone(), lock.clone())
    };
    assert!(slow.other.set(on("other", fast.clone())).is_ok());
    let runs: Vec<Run> = (0..40).map(|_| Run { data: "x".repeat(1_000_000), ..firing("slow") }).collect();
    let tasks = runs.iter().map(advanced_task).collect();
    store.insert_tasks(tasks).await;
    store.insert_runs(&runs).await.unwrap();

    publish::publish(&on("node", slow.clone()), runs.clone()).await;

    let first = slow.inner.since(0).len();
    assert!((1..runs.len()).contains(&first), "{first} messages were sent within their leases");
    clock.advance_ms(10_000);
    while rescue::run_once(slow.other.get().unwrap(), clock.now()).await.unwrap() {}
    let sent = slow.inner.since(0).into_iter().chain(fast.since(0));
    let mut ids: Vec<String> = sent.map(|message| message.properties[0].1.clone()).collect();
    ids.sort();
    let mut expected: Vec<String> = runs.iter().map(|run| run.id.to_string()).collect();
    expected.sort();
    assert_eq!(ids, expected, "each message is sent once");
    for run in &runs {
        assert_eq!(store.run(&run.id).await.unwrap().unwrap().state, RunState::Fired);
    }
}

/// Broker whose consumer groups can become unreachable.
#[derive(Default)]
struct LagBus(AtomicBool);

#[async_trait]
impl Bus for LagBus {
    async fn publish(&self, messages: Vec<BusMessage>) -> Vec<Result<()>> {
        messages.iter().map(answer).collect()
    }

    async fn lag(&self) -> Result<Vec<(String, u64)>> {
        if self.0.load(Ordering::Relaxed) {
            return Err(PortError::Unavailable("broker", "no answer".into()));
        }
        Ok(vec![("group".to_owned(), 7)])
    }

    async fn probe(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) {}
}

/// Alert sink that records its events.
#[derive(Default)]
struct RecordingSink(Mutex<Vec<(Option<String>, AlertTransition)>>);

impl AlertSink for RecordingSink {
    fn send(&self, events: &[AlertEvent]) {
        let events = events.iter().map(|event| (event.key.subject.clone(), event.change));
        self.0.lock().unwrap().extend(events);
    }
}

#[tokio::test]
async fn queues_are_counted_even_if_the_broker_is_down() {
    let clock = Arc::new(ManualClock::new(NOW));
    let store = Arc::new(MemoryStore::new(clock));
    let (bus, metrics, sink) =
        (Arc::new(LagBus::default()), Arc::new(Metrics::new()), Arc::new(RecordingSink::default()));
    let off = (0, 0);
    let limits =
        Limits { fires: off, due: off, unreported: off, lag: (5, 0), clear_ratio: 0.8, remind_ms: None };
    let backlog = Backlog::new(store.clone(), bus.clone(), metrics.clone(), limits, vec![sink.clone()]);
    backlog.run_once(NOW, true).await.unwrap();
    bus.0.store(true, Ordering::Relaxed);
    let queued = |_| {
        let mut run = Run { queue: Some("q".to_owned()), ..firing("q") };
        run.enqueue(NOW).unwrap();
        run
    };
    store.insert_runs(&(0..9).map(queued).collect::<Vec<_>>()).await.unwrap();
    assert!(backlog.run_once(NOW, true).await.is_err(), "the failure is reported");
    let shown = metrics.encode().unwrap();
    assert!(shown.lines().any(|line| line.contains("queue=\"q\"") && line.ends_with(" 9")), "{shown}");
    let expected = [
        (Some("group".to_owned()), AlertTransition::Raised),
        (Some("q".to_owned()), AlertTransition::Raised),
    ];
    assert_eq!(*sink.0.lock().unwrap(), expected, "the alert of the group does not change");
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

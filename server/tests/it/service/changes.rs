//! What viewers are told of changes, on one node and across nodes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use taskcenter_server::adapters::clock::SystemClock;
use taskcenter_server::adapters::local::LocalLock;
use taskcenter_server::core::access::{Grant, Scope};
use taskcenter_server::core::change::ChangeFilter;
use taskcenter_server::core::labels::Labels;
use taskcenter_server::core::operation::{Action, NewOperation, Selection};
use taskcenter_server::core::quota::Quota;
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::engine::change_relay;
use taskcenter_server::engine::service::{
    Caller, ChangeStream, LeaseTerms, MIN_LEASE_MS, Report, Service, ServiceError,
};
use taskcenter_server::engine::settings::Settings;
use taskcenter_server::ports::Lock;

use super::{NOW, Stage};
use crate::store::Fixture as _;
use crate::store::memory::MemoryFixture;
use crate::store::run_logs::batch;

const DEADLINE: Duration = Duration::from_secs(20);

/// The changes that a viewer receives, without signs of life.
struct Viewer {
    stream: ChangeStream,
    received: Vec<Value>,
}

impl Viewer {
    async fn of(service: &Service) -> Self {
        Self::with(service, ChangeFilter::default()).await
    }

    async fn with(service: &Service, filter: ChangeFilter) -> Self {
        Self { stream: service.watch_changes(filter).await.unwrap(), received: Vec::new() }
    }

    /// Receives until a change has these values.
    async fn until(&mut self, values: &[(&str, &str)]) -> Value {
        let found = async {
            loop {
                let is_wanted = |change: &Value| values.iter().all(|(name, value)| change[name] == *value);
                if let Some(at) = self.received.iter().position(is_wanted) {
                    return self.received.remove(at);
                }
                let text = self.stream.next().await.expect("the stream goes on");
                let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
                let changes = data.map(|data| serde_json::from_str::<Value>(data).unwrap());
                self.received.extend(changes.filter(|change| change["kind"] != "alive"));
            }
        };
        let found = tokio::time::timeout(DEADLINE, found).await;
        found.unwrap_or_else(|_| panic!("{values:?} arrives"))
    }
}

/// A task that is not due during a test.
fn later(name: &str, data: &str) -> Submission {
    Submission { start_at: Some(NOW.plus_ms(3_600_000)), ..Submission::named(name, data) }
}

pub async fn viewers_are_told_of_every_change(stage: &Stage) {
    let service = &stage.service;
    let mut viewer = Viewer::of(service).await;
    let run = stage.ready("mail").await;
    let (task, id) = (run.task_id.as_str(), run.id.as_str());
    viewer.until(&[("kind", "task"), ("task_id", task), ("tag", "mail"), ("state", "active")]).await;
    viewer
        .until(&[("kind", "run"), ("run_id", id), ("task_id", task), ("queue", "mail"), ("state", "ready")])
        .await;
    viewer.until(&[("kind", "queue"), ("queue", "mail")]).await;
    let terms = LeaseTerms {
        worker: "w".to_owned(),
        queues: vec!["mail".to_owned()],
        limit: 1,
        lease_ms: MIN_LEASE_MS,
        wait: Duration::ZERO,
        request_id: None,
    };
    let leased = service.lease(&terms).await.unwrap().remove(0);
    viewer.until(&[("kind", "run"), ("run_id", id), ("state", "leased")]).await;
    service.append_log(&batch(&run.id, &["line"]), &leased.token).await.unwrap();
    viewer.until(&[("kind", "log"), ("run_id", id), ("tag", "mail")]).await;
    let (attempt, token) = (leased.attempt, leased.token);
    let outcome = Outcome::Succeeded { result: None };
    let report = Report { attempt, token, outcome, message: None, started_at: None };
    service.report(&run.id, &report).await.unwrap();
    viewer.until(&[("kind", "run"), ("run_id", id), ("state", "succeeded")]).await;

    let task = stage.submit(later("later", "payload-canary")).await;
    let of_task = |state| [("kind", "task"), ("task_id", task.as_str()), ("state", state)];
    service.pause(&task, None).await.unwrap();
    viewer.until(&of_task("paused")).await;
    service.resume(&task, None).await.unwrap();
    viewer.until(&of_task("active")).await;
    let triggered = service.trigger(&task, None).await.unwrap();
    viewer.until(&[("kind", "run"), ("run_id", triggered.id.as_str())]).await;
    service.cancel(&task, None).await.unwrap();
    viewer.until(&of_task("cancelled")).await;
    service.delete_one(&task, None).await.unwrap();
    viewer.until(&of_task("deleted")).await;
    let other = stage.submit(later("later", "other")).await;
    service.delete(std::slice::from_ref(&other)).await.unwrap();
    let deleted = [("kind", "task"), ("task_id", other.as_str()), ("tag", "later"), ("state", "deleted")];
    viewer.until(&deleted).await;
    let all = serde_json::to_string(&viewer.received).unwrap();
    assert!(!all.contains("payload-canary"), "{all}");
}

fn limited(service: &Service, id: &str) -> Service {
    let grant = Grant {
        scopes: vec![Scope::TaskRead, Scope::TaskWrite],
        tags: vec!["mail".to_owned()],
        expires_at: None,
    };
    service.for_caller(Caller { id: id.to_owned(), grant, ..Caller::anonymous() })
}

pub async fn an_operation_is_told_to_its_creator_and_to_callers_without_limits(stage: &Stage) {
    let (creator, other) = (limited(&stage.service, "creator"), limited(&stage.service, "other"));
    let mut all = Viewer::of(&stage.service).await;
    let (mut own, mut others) = (Viewer::of(&creator).await, Viewer::of(&other).await);
    let selection = Selection::Tasks { name: Some("mail".to_owned()), state: None, labels: Labels::new() };
    let new = NewOperation::new(Action::Pause, selection);
    let operation = creator.create_operation(new, None).await.unwrap();
    let running = [("kind", "operation"), ("operation_id", operation.id.as_str()), ("state", "running")];
    let told = all.until(&running).await;
    assert!(told.get("creator").is_none(), "{told}");
    own.until(&running).await;
    creator.abort_operation(&operation.id).await.unwrap();
    let aborted = [("kind", "operation"), ("state", "aborted")];
    all.until(&aborted).await;
    own.until(&aborted).await;
    let task = stage.submit(Submission::named("mail", "last")).await;
    others.until(&[("task_id", task.as_str())]).await;
    assert!(others.received.is_empty(), "{:?}", others.received);
}

#[tokio::test]
async fn a_limited_viewer_sees_its_tags_and_may_name_no_other() {
    let fixture = MemoryFixture::open().await;
    let stage = Stage::on(fixture.one(), fixture.records());
    let service = limited(&stage.service, "reader");
    let mut viewer = Viewer::of(&service).await;
    stage.ready("secret").await;
    let run = stage.ready("mail").await;
    viewer.until(&[("kind", "queue")]).await;
    viewer.until(&[("run_id", run.id.as_str())]).await;
    let all = serde_json::to_string(&viewer.received).unwrap();
    assert!(!all.contains("secret"), "{all}");
    let secret = ChangeFilter { tag: Some("secret".to_owned()), ..ChangeFilter::default() };
    assert!(matches!(service.watch_changes(secret).await, Err(ServiceError::Forbidden(_))));
}

#[tokio::test]
async fn a_burst_of_another_tag_is_no_reason_to_read_again() {
    let fixture = MemoryFixture::open().await;
    let stage = Stage::on(fixture.one(), fixture.records());
    let mut all = Viewer::of(&stage.service).await;
    let mut mail = Viewer::of(&limited(&stage.service, "reader")).await;
    let burst = (0..600).map(|number| Submission::named("burst", number.to_string())).collect();
    stage.service.submit_idempotent(burst, None).await.unwrap();
    all.until(&[("kind", "resync")]).await;
    let run = stage.ready("mail").await;
    mail.until(&[("run_id", run.id.as_str())]).await;
    assert!(mail.received.iter().all(|change| change["kind"] != "resync"), "{:?}", mail.received);
}

#[tokio::test]
async fn a_viewer_loses_its_stream_with_its_token() {
    let fixture = MemoryFixture::open().await;
    let stage = Stage::on(fixture.one(), fixture.records());
    let grant = Grant { scopes: vec![Scope::TaskRead], tags: Vec::new(), expires_at: None };
    let (token, _) = stage.service.issue_token("reader", grant.clone(), Quota::default()).await.unwrap();
    let caller = Caller { id: token.id.clone(), grant, ..Caller::anonymous() };
    let mut stream = stage.service.for_caller(caller).watch_changes(ChangeFilter::default()).await.unwrap();
    tokio::time::pause();
    for _ in 0..3 {
        assert!(stream.next().await.is_some_and(|text| text.contains("event: alive")));
    }
    stage.service.revoke_token(&token.id).await.unwrap();
    assert_eq!(stream.next().await, None);
}

/// A change on one node reaches a viewer of the other one. The changes of the viewer's own node arrive once.
async fn changes_cross_nodes(one: Arc<dyn Lock>, two: Arc<dyn Lock>) {
    let fixture = MemoryFixture::open().await;
    let stage = |lock, name| {
        Stage::with_lock(fixture.one(), fixture.records(), Settings::default(), Some(lock), name)
    };
    let (here, there) = (stage(one, "here"), stage(two, "there"));
    let relays = async { tokio::join!(change_relay::run(&here.node), change_relay::run(&there.node)) };
    let told = async {
        let mut viewer = Viewer::of(&here.service).await;
        while !there.node.hints.changes.is_watched() {
            tokio::task::yield_now().await;
        }
        assert!(!here.node.hints.changes.is_watched_elsewhere());
        // The channel may not be open yet, so the change is repeated.
        let task = there.submit(later("mail", "")).await;
        let repeated = async {
            loop {
                there.service.pause(&task, None).await.unwrap();
                there.service.resume(&task, None).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let arrived = [("kind", "task"), ("task_id", task.as_str())];
        tokio::select! {
            _ = viewer.until(&arrived) => {}
            () = repeated => {}
        }
        let own = here.submit(later("own", "")).await;
        viewer.until(&[("task_id", own.as_str())]).await;
        let last = there.submit(later("last", "")).await;
        viewer.until(&[("task_id", last.as_str())]).await;
        assert!(viewer.received.iter().all(|change| change["task_id"] != own.as_str()));
        drop(viewer);
        while there.node.hints.changes.is_watched_elsewhere() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = relays => panic!("the relays run until their nodes stop"),
        () = told => {}
    }
}

#[tokio::test]
async fn changes_cross_nodes_in_one_process() {
    let one = LocalLock::new(Arc::new(SystemClock));
    let two = one.another();
    changes_cross_nodes(Arc::new(one), Arc::new(two)).await;
}

#[cfg(feature = "cluster")]
#[tokio::test]
async fn changes_cross_nodes_over_redis() {
    use taskcenter_server::adapters::redis::RedisLock;

    let address =
        std::env::var("TASKCENTER_TEST_REDIS_ADDR").unwrap_or_else(|_| "127.0.0.1:16379".to_owned());
    let prefix = format!("it{:032x}", crate::store::samples::unique());
    let lock = || Arc::new(RedisLock::new(&address, &prefix).unwrap());
    changes_cross_nodes(lock(), lock()).await;
}

#[tokio::test]
async fn shared_counts_are_limited_to_the_tags_of_each_caller() {
    let fixture = MemoryFixture::open().await;
    let stage = Stage::on(fixture.one(), fixture.records());
    for name in ["mail", "secret"] {
        stage.ready(name).await;
    }
    let counts = async |service: &Service| {
        let (queues, summary) =
            (service.recent_queues().await.unwrap(), service.recent_summary().await.unwrap());
        let queues: Vec<String> = queues.into_iter().map(|row| row.queue).collect();
        (queues, summary.backlog.into_iter().map(|row| row.tag).collect::<Vec<_>>())
    };
    let all = vec!["mail".to_owned(), "secret".to_owned()];
    assert_eq!(counts(&stage.service).await, (all.clone(), all));
    let mail = vec!["mail".to_owned()];
    assert_eq!(counts(&limited(&stage.service, "reader")).await, (mail.clone(), mail));
}

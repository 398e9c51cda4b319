//! Migration of a file from an older release.

use taskcenter_server::core::headers::Headers;
use taskcenter_server::core::labels::Labels;
use taskcenter_server::core::retry::RetryPolicy;
use taskcenter_server::core::run::Stretch;
use taskcenter_server::core::task::{PastRev, SHARDS};
use taskcenter_server::core::{Moment, Run, RunState, Schedule, Task, TaskId, TaskState};
use taskcenter_server::ports::{
    AppendedLog, Attached, IdempotencyRecord, Order, Page, Record, Records, ReplacedTask, RunFilter, RunPage,
    Store, TaskFilter,
};
use tempfile::TempDir;

use super::requests::insert_request;
use super::run_logs::batch;
use super::samples::{PAST, fire, task};
use super::sqlite::{file, open, version};

const VERSION_1: &str = include_str!("sqlite_version_1.sql");
const VERSION_5: &str = include_str!("sqlite_version_5.sql");
const VERSION_6: &str = include_str!("sqlite_version_6.sql");
const VERSION_7: &str = include_str!("sqlite_version_7.sql");

/// Returns the rows of each old file: a task and a run with every field, and a task and a run that
/// have ended.
fn rows_of_the_old_file() -> ([Task; 2], [Run; 2]) {
    let id = |last: u32| TaskId::parse(&format!("0199a4c80000700080000000{last:08}")).unwrap();
    let retry = Some(RetryPolicy::doubling(3, 1, 2));
    let (begin, data) = (Moment::from_sec(1_000_000_000), "{\"id\":42} 'quoted'");
    let open = Task {
        id: id(1),
        name: "report".to_owned(),
        data: data.to_owned(),
        schedule: Schedule::cron("0 9 * * *", "Asia/Shanghai"),
        start_at: Some(begin),
        end_at: Some(Moment::from_sec(4_000_000_000)),
        max_fires: Some(7),
        ack: true,
        headers: Headers::new(),
        labels: Labels::new(),
        max_runtime_sec: Some(30),
        start_within_ms: None,
        queue: Some("q".to_owned()),
        retry,
        timing: taskcenter_server::core::timing::Timing::default(),
        created_at: begin,
        anchored_at: begin.plus_ms(3),
        rev: 2,
        state: TaskState::Active,
        next_due_at: Some(begin.plus_ms(800_000)),
        nominal_at: None,
        last_due_at: Some(begin.plus_ms(700_000)),
        fired_count: 1,
        dedup_key: Some("key".to_owned()),
        past: vec![PastRev { rev: 1, last_due_at: begin.plus_ms(600_000) }],
        hidden: false,
        stands_for: None,
        write_id: None,
        created_by: None,
        quota_token: None,
        revised: None,
    };
    let finished = Task {
        id: id(2),
        data: String::new(),
        schedule: Schedule::Once,
        created_at: begin,
        anchored_at: begin,
        state: TaskState::Finished,
        next_due_at: None,
        last_due_at: Some(begin),
        fired_count: 1,
        ..task()
    };
    let lease = |task: &Task, at: Moment, token: &str| Run::firing(task, at, "node", token.to_owned(), at);
    let ready = Run {
        state: RunState::Ready,
        // The old release did not count fires.
        number: 0,
        outcome_within_ms: None,
        expires_at: None,
        attempt: 2,
        claim: 3,
        attention_at: Some(Moment::NEVER),
        fired_at: Some(begin.plus_ms(700_001)),
        version: 5,
        ..lease(&open, begin.plus_ms(700_000), "token")
    };
    let skipped = Run {
        state: RunState::Skipped,
        number: 0,
        reason: Some("misfire".to_owned()),
        claim: 1,
        attention_at: None,
        ended_at: Some(begin.plus_ms(9)),
        result: Some("{\"a\":1}".to_owned()),
        stretch: Some(Stretch { to: begin.plus_ms(60_000), count: 2 }),
        version: 1,
        ..lease(&finished, begin, "t")
    };
    ([open, finished], [ready, skipped])
}

#[tokio::test]
async fn a_file_of_the_first_version_is_migrated_without_loss() {
    is_migrated_without_loss(1, VERSION_1).await;
}

#[tokio::test]
async fn a_file_of_the_fifth_version_is_migrated_without_loss() {
    is_migrated_without_loss(5, VERSION_5).await;
}

#[tokio::test]
async fn a_file_of_the_sixth_version_is_migrated_without_loss() {
    is_migrated_without_loss(6, VERSION_6).await;
}

#[tokio::test]
async fn a_file_of_the_seventh_version_is_migrated_without_loss() {
    is_migrated_without_loss(7, VERSION_7).await;
}

async fn is_migrated_without_loss(old: i64, content: &str) {
    let dir = TempDir::new().unwrap();
    file(dir.path()).execute_batch(content).unwrap();
    assert_eq!(version(&file(dir.path())), old);
    let store = open(dir.path()).unwrap();
    let (tasks, runs) = rows_of_the_old_file();
    let ids = tasks.clone().map(|task| task.id);
    assert_eq!(store.tasks(&ids).await.unwrap().rows, tasks);
    for run in &runs {
        assert_eq!(store.run(&run.id).await.unwrap().as_ref(), Some(run));
    }
    let all: Vec<u16> = (0..SHARDS).collect();
    assert_eq!(store.due_tasks(&all, Moment::NEVER, 10, Order::Earliest).await.unwrap().rows, tasks[..1]);
    assert_eq!(store.ready_runs(&["q".to_owned()], 10).await.unwrap().rows, runs[..1]);
    assert_eq!(store.open_runs(&ids[0], None, 10).await.unwrap(), [runs[0].open()]);
    for run in &runs {
        let filter = RunFilter { tag: Some(run.tag.clone()), ..RunFilter::default() };
        let listed = store.list_runs(&filter, &RunPage { limit: 10, before: None }).await.unwrap();
        assert_eq!(listed, std::slice::from_ref(run));
    }
    let lines = batch(&runs[0].id, &["a line of this release"]);
    assert!(matches!(store.append_log(&lines).await.unwrap(), AppendedLog::Stored(_)));
    assert_eq!(store.log(&runs[0].id, 0).await.unwrap().written, 1);
    let minute = Moment::from_ms(1_000_000_680_000);
    assert_eq!(store.fires_in_minute(minute).await.unwrap(), [("report".to_owned(), 4)]);
    let again =
        IdempotencyRecord { key: "request".into(), fingerprint: "g".into(), ids: vec!["b".into()], at: PAST };
    let stored = insert_request(&store, &again, &[]).await.unwrap_err();
    assert_eq!((stored.fingerprint.as_str(), stored.ids), ("f", vec!["a".to_owned()]));

    // Features of later versions work too.
    let record = Record { kind: "k".into(), key: "a".into(), index: None, doc: "{}".into(), version: 0 };
    assert!(store.put_record(&record).await.unwrap());
    assert_eq!(store.advance_tasks(&[fire(&tasks[0])]).await.unwrap(), [true]);
    gets_labels(&store, &tasks[0].id).await;
    drop(store);
    assert!(version(&file(dir.path())) > old);
}

/// Checks that a task of an old file is listed by labels that an edit gives to it.
async fn gets_labels(store: &impl Store, id: &TaskId) {
    let read = store.task(id).await.unwrap().unwrap();
    let labels = Labels::from([("team".to_owned(), "pay".to_owned())]);
    let edited = Task { labels, rev: read.rev + 1, write_id: Some("w".to_owned()), ..read.clone() };
    assert_eq!(store.replace_task(&read, &edited, Attached::NONE).await.unwrap(), ReplacedTask::Done);
    let filter = TaskFilter { label: Some("team=pay".to_owned()), ..TaskFilter::default() };
    let listed = store.list_tasks(&filter, &Page { limit: 9, before: None }).await.unwrap();
    assert_eq!(listed, [edited]);
}

//! The fixture on SQLite: one data directory per test; both nodes share one handle, because one
//! process locks the directory. Tests of this adapter only: the file, the lock, a full disk, the
//! writing thread.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rusqlite::Connection;
use taskcenter_server::adapters::clock::{ManualClock, SystemClock};
use taskcenter_server::adapters::sqlite::{SqliteStore, explained};
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::{Run, Task, TaskId};
use taskcenter_server::engine::service::IdempotencyKey;
use taskcenter_server::ports::{InsertedTask, Order, PortError, Records, Store};
use tempfile::TempDir;

use super::samples::{PAST, due_at, fire, full_run, full_task, run_until, task, unique};
use super::tasks::insert;
use super::{Fixture, lists};
use crate::service::Stage;

pub struct SqliteFixture {
    store: Arc<SqliteStore>,
    dir: TempDir,
}

pub fn open(dir: &Path) -> Result<SqliteStore, PortError> {
    SqliteStore::open(dir, Arc::new(SystemClock))
}

impl SqliteFixture {
    #[allow(clippy::unused_async, reason = "other fixtures need async")]
    pub async fn open() -> Self {
        let dir = TempDir::new().unwrap();
        Self { store: Arc::new(open(dir.path()).unwrap()), dir }
    }

    /// Returns the path of the database file.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("taskcenter.db")
    }
}

#[async_trait::async_trait]
impl Fixture for SqliteFixture {
    fn one(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn two(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn records(&self) -> Arc<dyn Records> {
        self.store.clone()
    }

    async fn close(self: Box<Self>) {
        drop(self.store);
        self.dir.close().unwrap();
    }
}

/// Opens a store that must fail. Returns the error and its cause.
fn open_error(dir: &Path) -> (PortError, String) {
    let error = open(dir).err().expect("opening must fail");
    let cause = error.source().unwrap().to_string();
    (error, cause)
}

/// Opens the database file while no store uses it.
pub fn file(dir: &Path) -> Connection {
    Connection::open(dir.join("taskcenter.db")).unwrap()
}

pub fn version(db: &Connection) -> i64 {
    db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

/// Returns a task with a payload of this length.
fn task_of(bytes: usize) -> Task {
    Task { data: "x".repeat(bytes), ..task() }
}

#[tokio::test]
async fn a_directory_is_locked_for_one_store() {
    let dir = TempDir::new().unwrap();
    let first = open(dir.path()).unwrap();
    let (error, cause) = open_error(dir.path());
    assert!(matches!(error, PortError::Refused(..)), "{error:?}");
    assert!(cause.contains(&dir.path().display().to_string()), "{cause}");
    assert!(cause.contains("in use by another taskcenter") && cause.contains("--data-dir"), "{cause}");
    drop(first);
    open(dir.path()).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_missing_directory_is_created_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("a/b");
    open(&dir).unwrap();
    assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let occupied = parent.path().join("file");
    std::fs::write(&occupied, "").unwrap();
    let (error, cause) = open_error(&occupied);
    assert!(matches!(error, PortError::Refused(..)) && cause.contains("file"), "{error:?}");
}

#[tokio::test]
async fn an_empty_file_is_migrated_to_the_version_of_this_release() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("taskcenter.db"), "").unwrap();
    assert_eq!(version(&file(dir.path())), 0);
    let store = open(dir.path()).unwrap();
    assert_eq!(insert(&store, &task()).await, InsertedTask::New);
    drop(store);
    let migrated_to = version(&file(dir.path()));
    assert!(migrated_to > 0);
    open(dir.path()).unwrap();
    assert_eq!(version(&file(dir.path())), migrated_to, "a second start does not migrate again");
}

#[tokio::test]
async fn a_file_of_a_newer_release_is_refused_and_unchanged() {
    let dir = TempDir::new().unwrap();
    file(dir.path()).pragma_update(None, "user_version", 1_000).unwrap();
    let (error, cause) = open_error(dir.path());
    assert!(matches!(error, PortError::Refused(..)), "{error:?}");
    assert!(cause.contains("1000") && cause.contains("newer taskcenter"), "{cause}");
    assert_eq!(version(&file(dir.path())), 1_000);
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_corrupt_and_unchanged() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("taskcenter.db");
    let text = "This is a letter, not a database. ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let (error, cause) = open_error(dir.path());
    assert!(matches!(error, PortError::Corrupt(..)) && cause.contains("taskcenter.db"), "{error:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn an_unreadable_row_is_corrupt_and_does_not_affect_others() {
    let dir = TempDir::new().unwrap();
    let (readable, damaged) = (task(), task());
    let store = open(dir.path()).unwrap();
    store.insert_tasks(vec![readable.clone(), damaged.clone()]).await;
    drop(store);
    file(dir.path()).execute("UPDATE tasks SET doc = '{}' WHERE id = ?1", [damaged.id.as_str()]).unwrap();
    let store = open(dir.path()).unwrap();
    let error = store.task(&damaged.id).await.unwrap_err();
    assert!(matches!(error, PortError::Corrupt(..)), "{error:?}");
    assert_eq!(store.task(&readable.id).await.unwrap(), Some(readable.clone()));
    assert_eq!(
        store.due_tasks(&(0..SHARDS).collect::<Vec<_>>(), PAST, 10, Order::Earliest).await.unwrap().rows,
        [readable]
    );
}

#[tokio::test]
async fn unreadable_rows_are_skipped_in_lists() {
    let fixture = SqliteFixture::open().await;
    let (tasks, runs) = lists::insert_three_of_each(&*fixture.store).await;
    let db = file(fixture.dir.path());
    for at in [0, 2] {
        db.execute("UPDATE tasks SET doc = '{}' WHERE id = ?1", [tasks[at].id.as_str()]).unwrap();
        db.execute("UPDATE runs SET doc = '{}' WHERE id = ?1", [runs[at].id.as_str()]).unwrap();
    }
    lists::unreadable_rows_are_skipped_in_lists(&*fixture.store, (&tasks[1], &runs[1])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_do_not_delay_the_engine() {
    let fixture = SqliteFixture::open().await;
    let store = &fixture.store;
    let task = task();
    assert_eq!(insert(&**store, &task).await, InsertedTask::New);
    let busy = explained::keep_lists_busy(store);
    let shards: Vec<u16> = (0..SHARDS).collect();
    assert_eq!(
        store.due_tasks(&shards, PAST, 9, Order::Earliest).await.unwrap().rows,
        std::slice::from_ref(&task)
    );
    assert_eq!(store.runs_needing_attention(&shards, PAST, 9, false).await.unwrap().rows, []);
    assert_eq!(store.task(&task.id).await.unwrap(), Some(task));
    drop(busy);
    assert_eq!(store.queues().await.unwrap(), []);
}

/// Checks that a store whose file was lost refuses all work, without an acknowledged write that is lost.
async fn assert_lost(store: &SqliteStore) {
    let inserted = store.insert_tasks(vec![task()]).await.remove(0);
    assert!(matches!(inserted, Err(PortError::Unavailable(..))), "{inserted:?}");
    let now = store.now().await;
    assert!(matches!(now, Err(PortError::Unavailable(..))), "the node is not ready: {now:?}");
    let cause = now.unwrap_err().source().unwrap().to_string();
    assert!(cause.contains("removed or replaced"), "{cause}");
    assert!(store.task(&task().id).await.is_err());
}

#[tokio::test]
async fn writes_are_refused_after_the_file_was_removed() {
    let fixture = SqliteFixture::open().await;
    assert_eq!(insert(&*fixture.store, &task()).await, InsertedTask::New);
    std::fs::remove_file(fixture.path()).unwrap();
    assert_lost(&fixture.store).await;
}

#[tokio::test]
async fn writes_are_refused_after_the_file_was_overwritten() {
    let fixture = SqliteFixture::open().await;
    assert_eq!(insert(&*fixture.store, &task()).await, InsertedTask::New);
    std::fs::write(fixture.path(), "random bytes".repeat(1_000)).unwrap();
    assert_lost(&fixture.store).await;
}

#[tokio::test]
async fn a_lost_file_is_noticed_without_a_write() {
    let fixture = SqliteFixture::open().await;
    assert_eq!(insert(&*fixture.store, &task()).await, InsertedTask::New);
    let other = fixture.dir.path().join("other");
    std::fs::copy(fixture.path(), &other).unwrap();
    std::fs::rename(&other, fixture.path()).unwrap();
    assert!(fixture.store.now().await.is_err());
    assert_lost(&fixture.store).await;
}

#[tokio::test]
async fn writes_are_refused_after_the_log_was_removed() {
    let fixture = SqliteFixture::open().await;
    assert_eq!(insert(&*fixture.store, &task()).await, InsertedTask::New);
    std::fs::remove_file(fixture.dir.path().join("taskcenter.db-wal")).unwrap();
    assert_lost(&fixture.store).await;
}

/// Without this lock, a program that reads the file removes the log when it closes the file.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_database_file_stays_locked() {
    use std::os::unix::fs::MetadataExt as _;
    let fixture = SqliteFixture::open().await;
    assert_eq!(insert(&*fixture.store, &task()).await, InsertedTask::New);
    fixture.store.now().await.unwrap();
    let file = format!(":{} ", fixture.path().metadata().unwrap().ino());
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let process = format!(" {} ", std::process::id());
    let is_own = |line: &&str| line.contains(&file) && line.contains(&process) && line.contains("POSIX");
    assert!(locks.lines().any(|line| is_own(&line)), "{file} {locks}");
}

#[tokio::test]
async fn acknowledged_writes_survive_a_restart() {
    let dir = TempDir::new().unwrap();
    let (task, run) = (full_task(), full_run());
    let store = open(dir.path()).unwrap();
    assert_eq!(insert(&store, &task).await, InsertedTask::New);
    store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(store.task(&task.id).await.unwrap(), Some(task));
    assert_eq!(store.run(&run.id).await.unwrap(), Some(run));
}

/// A copy of the files during use is what a killed process leaves.
#[tokio::test]
async fn acknowledged_writes_survive_a_crash() {
    let (dir, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(dir.path()).unwrap();
    let tasks: Vec<Task> = (0..3_000).map(|_| task()).collect();
    store.insert_tasks(tasks.clone()).await;
    for name in ["taskcenter.db", "taskcenter.db-wal"] {
        std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.clone()).collect();
    assert_eq!(open(copy.path()).unwrap().tasks(&ids).await.unwrap().rows, tasks);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_checkpointed_during_writes() {
    let fixture = SqliteFixture::open().await;
    let path = fixture.dir.path().join("taskcenter.db");
    fixture.store.insert_tasks((0..2_000).map(|_| task_of(10_000)).collect()).await;
    let checkpointed = async {
        while path.metadata().unwrap().len() < 10_000_000 {
            fixture.store.count_fires(PAST, &[]).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(10), checkpointed).await.expect("the log is checkpointed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing_and_recovers_with_free_space() {
    let fixture = SqliteFixture::open().await;
    let store = &fixture.store;
    explained::limit_pages(store, 500).await.unwrap();
    let tasks: Vec<Task> = (0..200).map(|_| task_of(20_000)).collect();
    let answers = join_all(tasks.iter().map(|task| store.insert_tasks(vec![task.clone()]))).await;
    let mut stored = 0;
    for (task, answer) in tasks.iter().zip(answers.into_iter().flatten()) {
        let found = store.task(&task.id).await.unwrap();
        match answer {
            Ok(InsertedTask::New) => assert_eq!(found.as_ref(), Some(task)),
            Err(PortError::Full(..)) => assert_eq!(found, None),
            other => panic!("{other:?}"),
        }
        stored += usize::from(found.is_some());
    }
    assert!(stored < tasks.len(), "the disk never became full");
    let run = Run { data: "x".repeat(4_000_000), ..full_run() };
    assert!(matches!(store.insert_runs(&[run]).await, Err(PortError::Full(..))));

    explained::limit_pages(store, 1_000_000).await.unwrap();
    let again = store.insert_tasks(tasks.clone()).await;
    assert!(again.into_iter().all(|answer| answer.unwrap() == InsertedTask::New));
    assert_eq!(
        store.due_tasks(&[tasks[0].id.shard()], PAST, 1, Order::Earliest).await.unwrap().rows.len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_share_commits() {
    let fixture = SqliteFixture::open().await;
    let store = &fixture.store;
    let tasks: Vec<Task> = (0..500).map(|_| task()).collect();
    let before = explained::commits(store);
    let answers = join_all(tasks.iter().map(|task| insert(&**store, task))).await;
    let commits = explained::commits(store) - before;
    assert!(answers.iter().all(|answer| *answer == InsertedTask::New));
    // The number of commits depends on the machine. Without sharing it would be 500.
    assert!(commits < 100, "{commits} commits");
}

#[tokio::test]
async fn a_request_with_an_idempotency_key_is_one_commit() {
    let fixture = SqliteFixture::open().await;
    let stage = Stage::on(fixture.one(), fixture.records());
    for n in 1..=5 {
        let before = explained::commits(&fixture.store);
        let key = IdempotencyKey { key: n.to_string(), fingerprint: "f".to_owned() };
        let batch = (0..n).map(|_| Submission::named("n", format!("{}", unique()))).collect();
        let answers = stage.service.submit_idempotent(batch, Some(key)).await.unwrap();
        assert!(answers.iter().all(Result::is_ok) && answers.len() == n, "{answers:?}");
        assert_eq!(explained::commits(&fixture.store) - before, 1);
    }
}

#[tokio::test]
async fn a_write_happens_after_its_caller_went_away() {
    let fixture = SqliteFixture::open().await;
    let task = task();
    {
        let insert = fixture.store.insert_tasks(vec![task.clone()]);
        tokio::pin!(insert);
        assert!(futures_util::poll!(&mut insert).is_pending());
    }
    // The writer runs jobs in order.
    fixture.store.count_fires(PAST, &[]).await.unwrap();
    assert!(fixture.store.task(&task.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_step_waits_for_the_stores_clock() {
    let dir = TempDir::new().unwrap();
    let clock = Arc::new(ManualClock::new(PAST));
    let store = SqliteStore::open(dir.path(), clock.clone()).unwrap();
    let task = due_at(PAST.plus_ms(2));
    insert(&store, &task).await;
    assert_eq!(store.now().await.unwrap(), PAST);
    assert_eq!(store.advance_tasks(&[fire(&task)]).await.unwrap(), [false]);
    clock.advance_ms(1);
    assert_eq!(
        store.advance_tasks(&[fire(&task)]).await.unwrap(),
        [true],
        "the tolerance is one millisecond"
    );
}

#[tokio::test]
async fn one_read_returns_a_limited_size() {
    const FOUR_MIB: usize = 4 * 1024 * 1024;
    let fixture = SqliteFixture::open().await;
    let store = &fixture.store;
    let tasks: Vec<Task> = (0..18).map(|_| task_of(FOUR_MIB)).collect();
    store.insert_tasks(tasks.clone()).await;
    let shards: Vec<u16> = (0..SHARDS).collect();
    let due = store.due_tasks(&shards, PAST, 1_000, Order::Earliest).await.unwrap().rows;
    assert_eq!(due.len(), 16, "the sixteenth task exceeds 64 MiB");
    let run = run_until(&tasks[0], PAST);
    store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
    assert_eq!(store.run(&run.id).await.unwrap(), Some(run));
}

/// Allowed scans: they read an index that contains only relevant rows, from its head.
const ALLOWED_SCANS: [&str; 3] = [
    "SCAN runs USING INDEX runs_ready_by_tag",
    "SCAN runs USING INDEX runs_latest",
    "SCAN runs USING COVERING INDEX runs_latest",
];

#[tokio::test]
async fn every_statement_uses_an_index_and_no_sort() {
    let fixture = SqliteFixture::open().await;
    let plans = explained::plans(&fixture.store).await.unwrap();
    assert!(plans.len() > 40, "{plans:#?}");
    // Sums per tag need a sort of open rows.
    let sums = ["overdue", "firing", "retrying", "unreported"];
    for (name, steps) in plans {
        for step in steps {
            let is_count = name.starts_with("count ");
            // The rows of the inner list of a count: its limit bounds them.
            let is_of_count = is_count && step.starts_with("SCAN (subquery");
            let is_allowed = is_of_count || ALLOWED_SCANS.contains(&step.as_str());
            assert!(!step.starts_with("SCAN") || is_allowed, "{name}: {step}");
            let is_covered = !step.contains("INDEX") || step.contains("COVERING");
            assert!(!name.starts_with("count TaskFilter") || is_covered, "{name}: {step}");
            assert!(name != "recent runs" || is_covered, "{name}: {step}");
            assert!(!step.contains("TEMP B-TREE") || sums.contains(&name.as_str()), "{name}: {step}");
            let uses_index = step.contains("INDEX") || step.contains("PRIMARY KEY");
            assert!(uses_index || !step.starts_with("SEARCH"), "{name}: {step}");
        }
    }
}

#[tokio::test]
async fn each_statement_uses_its_own_index() {
    let fixture = SqliteFixture::open().await;
    let plans = explained::plans(&fixture.store).await.unwrap();
    let expected = [
        ("due", "SEARCH tasks USING INDEX tasks_due (next_due_at<?)"),
        ("attention", "SEARCH runs USING INDEX runs_attention (attention_at<?)"),
        ("next ready queue", "SEARCH runs USING INDEX runs_ready_of_queue (queue>?)"),
        ("next ready tag", "SEARCH runs USING COVERING INDEX runs_ready_of_tag (queue=? AND tag>?)"),
        ("ready of queue", "SEARCH runs USING INDEX runs_ready_of_queue (queue=?)"),
        ("ready of tag", "SEARCH runs USING INDEX runs_ready_of_tag (queue=? AND tag=?)"),
        ("ready by tag", ALLOWED_SCANS[0]),
        ("open", "SEARCH runs USING INDEX runs_open_by_task (task_id=? AND id>?)"),
        ("queues", "SEARCH runs USING COVERING INDEX runs_open (state=?)"),
    ];
    for (table, rows) in [("task", "tasks"), ("run", "runs")] {
        let labelled =
            plans.iter().filter(|(_, steps)| steps.iter().any(|step| step.starts_with("SEARCH l ")));
        let lists = labelled.filter(|(name, _)| name.starts_with("list "));
        let labelled: Vec<_> =
            lists.filter(|(name, _)| name.starts_with("list runs") == (table == "run")).collect();
        assert!(labelled.len() >= 12, "{table}: {labelled:#?}");
        for (name, steps) in labelled {
            let reads_rows_by_id =
                format!("SEARCH {} USING INDEX sqlite_autoindex_{rows}_1 (id=?)", &table[..1]);
            assert!(steps.contains(&reads_rows_by_id), "{name}: {steps:#?}");
            let by_label = steps.iter().filter(|step| step.starts_with("SEARCH l "));
            assert!(by_label.clone().all(|step| step.contains("(label=? AND state=?")), "{name}: {steps:#?}");
        }
    }
    for (name, step) in expected {
        let (_, steps) = plans.iter().find(|(statement, _)| statement == name).unwrap();
        assert_eq!(steps, &[step.to_owned()], "{name}");
    }
    let (_, merge) = plans.iter().find(|(statement, _)| statement == "ready in queue").unwrap();
    for index in ["runs_ready_of_queue", "runs_ready_of_others"] {
        assert!(merge.contains(&format!("SEARCH runs USING INDEX {index} (queue=?)")), "{merge:#?}");
    }
}

#[test]
fn an_existing_directory_and_its_files_become_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("data");
    std::fs::create_dir(&dir).unwrap();
    drop(open(&dir).unwrap());
    let change = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    change(&dir, 0o755);
    change(&dir.join("taskcenter.db"), 0o644);
    change(&dir.join("lock"), 0o664);
    std::fs::write(dir.join("notes"), "").unwrap();
    change(&dir.join("notes"), 0o644);
    let store = open(&dir).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("notes")), 0o644, "a file of another program");
    for entry in std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
        assert!(entry.ends_with("notes") || mode(&entry) == 0o600, "{}", entry.display());
    }
    drop(store);
}

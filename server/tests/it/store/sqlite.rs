//! The fixture on SQLite: a data directory a test, and one handle for both nodes, since one process has the file. And what only
//! this adapter has: a file, a directory that is locked, a disk that can be full, a thread that writes.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rusqlite::Connection;
use taskcenter_server::adapters::clock::{ManualClock, SystemClock};
use taskcenter_server::adapters::sqlite::{SqliteStore, explained};
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::{Run, Task, TaskId};
use taskcenter_server::ports::{InsertedTask, PortError, Records, Store};
use tempfile::TempDir;

use super::Fixture;
use super::samples::{PAST, due_at, fire, full_run, full_task, run_until, task};
use super::tasks::insert;

pub struct SqliteFixture {
    store: Arc<SqliteStore>,
    dir: TempDir,
}

pub fn open(dir: &Path) -> Result<SqliteStore, PortError> {
    SqliteStore::open(dir, Arc::new(SystemClock))
}

impl SqliteFixture {
    #[allow(clippy::unused_async, reason = "every fixture is opened alike")]
    pub async fn open() -> Self {
        let dir = TempDir::new().unwrap();
        Self { store: Arc::new(open(dir.path()).unwrap()), dir }
    }

    /// The file itself.
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

/// What cannot be opened, and why.
fn problem(dir: &Path) -> (PortError, String) {
    let error = open(dir).err().expect("it cannot be opened");
    let cause = error.source().unwrap().to_string();
    (error, cause)
}

/// The file, seen from outside while no store has it.
pub fn file(dir: &Path) -> Connection {
    Connection::open(dir.join("taskcenter.db")).unwrap()
}

pub fn version(db: &Connection) -> i64 {
    db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

/// A task whose payload is so many bytes long.
fn heavy(bytes: usize) -> Task {
    Task { data: "x".repeat(bytes), ..task() }
}

#[tokio::test]
async fn a_directory_is_used_by_one_at_a_time() {
    let dir = TempDir::new().unwrap();
    let first = open(dir.path()).unwrap();
    let (error, cause) = problem(dir.path());
    assert!(matches!(error, PortError::Refused(..)), "{error:?}");
    assert!(cause.contains(&dir.path().display().to_string()), "{cause}");
    assert!(cause.contains("in use by another taskcenter") && cause.contains("--data-dir"), "{cause}");
    drop(first);
    open(dir.path()).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_directory_that_is_missing_is_made_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("a/b");
    open(&dir).unwrap();
    assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let taken = parent.path().join("file");
    std::fs::write(&taken, "").unwrap();
    let (error, cause) = problem(&taken);
    assert!(matches!(error, PortError::Refused(..)) && cause.contains("file"), "{error:?}");
}

#[tokio::test]
async fn an_empty_file_is_brought_to_the_version_of_this_release() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("taskcenter.db"), "").unwrap();
    assert_eq!(version(&file(dir.path())), 0);
    let store = open(dir.path()).unwrap();
    assert_eq!(insert(&store, &task()).await, InsertedTask::New);
    drop(store);
    let brought_to = version(&file(dir.path()));
    assert!(brought_to > 0);
    open(dir.path()).unwrap();
    assert_eq!(version(&file(dir.path())), brought_to, "and no further by another start");
}

#[tokio::test]
async fn a_file_of_a_newer_release_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    file(dir.path()).pragma_update(None, "user_version", 1_000).unwrap();
    let (error, cause) = problem(dir.path());
    assert!(matches!(error, PortError::Refused(..)), "{error:?}");
    assert!(cause.contains("1000") && cause.contains("newer taskcenter"), "{cause}");
    assert_eq!(version(&file(dir.path())), 1_000);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt_and_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("taskcenter.db");
    let text = "This is a letter, not a database. ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let (error, cause) = problem(dir.path());
    assert!(matches!(error, PortError::Corrupt(..)) && cause.contains("taskcenter.db"), "{error:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_corrupt_and_harms_no_other() {
    let dir = TempDir::new().unwrap();
    let (good, bad) = (task(), task());
    let store = open(dir.path()).unwrap();
    store.insert_tasks(vec![good.clone(), bad.clone()]).await;
    drop(store);
    file(dir.path()).execute("UPDATE tasks SET doc = '{}' WHERE id = ?1", [bad.id.as_str()]).unwrap();
    let store = open(dir.path()).unwrap();
    let error = store.task(&bad.id).await.unwrap_err();
    assert!(matches!(error, PortError::Corrupt(..)), "{error:?}");
    assert_eq!(store.task(&good.id).await.unwrap(), Some(good.clone()));
    assert_eq!(store.due_tasks(&(0..SHARDS).collect::<Vec<_>>(), PAST, 10).await.unwrap(), [good]);
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
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

/// A copy of the files at one moment is what a process that was killed leaves behind.
#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash() {
    let (dir, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(dir.path()).unwrap();
    let tasks: Vec<Task> = (0..3_000).map(|_| task()).collect();
    store.insert_tasks(tasks.clone()).await;
    for name in ["taskcenter.db", "taskcenter.db-wal"] {
        std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.clone()).collect();
    assert_eq!(open(copy.path()).unwrap().tasks(&ids).await.unwrap(), tasks);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_brought_over_while_the_store_is_in_use() {
    let fixture = SqliteFixture::open().await;
    let path = fixture.dir.path().join("taskcenter.db");
    fixture.store.insert_tasks((0..2_000).map(|_| heavy(10_000)).collect()).await;
    let brought_over = async {
        while path.metadata().unwrap().len() < 10_000_000 {
            fixture.store.count_fires(PAST, &[]).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(10), brought_over).await.expect("it stays in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing_and_is_over_once_there_is_room() {
    let fixture = SqliteFixture::open().await;
    let store = &fixture.store;
    explained::limit_pages(store, 500).await.unwrap();
    let tasks: Vec<Task> = (0..200).map(|_| heavy(20_000)).collect();
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
    assert!(stored < tasks.len(), "it never became full");
    let run = Run { data: "x".repeat(4_000_000), ..full_run() };
    assert!(matches!(store.insert_runs(&[run]).await, Err(PortError::Full(..))));

    explained::limit_pages(store, 1_000_000).await.unwrap();
    let again = store.insert_tasks(tasks.clone()).await;
    assert!(again.into_iter().all(|answer| answer.unwrap() == InsertedTask::New));
    assert_eq!(store.due_tasks(&[tasks[0].id.shard()], PAST, 1).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_at_the_same_time_share_their_commits() {
    let fixture = SqliteFixture::open().await;
    let store = &fixture.store;
    let tasks: Vec<Task> = (0..500).map(|_| task()).collect();
    let before = explained::commits(store);
    let answers = join_all(tasks.iter().map(|task| insert(&**store, task))).await;
    let commits = explained::commits(store) - before;
    assert!(answers.iter().all(|answer| *answer == InsertedTask::New));
    // How many it takes is up to the machine; without sharing it would be one a task.
    assert!(commits < 100, "{commits} commits");
}

#[tokio::test]
async fn a_write_is_done_though_its_caller_went_away() {
    let fixture = SqliteFixture::open().await;
    let task = task();
    {
        let insert = fixture.store.insert_tasks(vec![task.clone()]);
        tokio::pin!(insert);
        assert!(futures_util::poll!(&mut insert).is_pending());
    }
    // The jobs are done in order.
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
    assert_eq!(store.advance_tasks(&[fire(&task)]).await.unwrap(), [true], "one millisecond is forgiven");
}

#[tokio::test]
async fn one_read_holds_a_bounded_part_of_large_payloads() {
    const FOUR_MIB: usize = 4 * 1024 * 1024;
    let fixture = SqliteFixture::open().await;
    let store = &fixture.store;
    let tasks: Vec<Task> = (0..18).map(|_| heavy(FOUR_MIB)).collect();
    store.insert_tasks(tasks.clone()).await;
    let shards: Vec<u16> = (0..SHARDS).collect();
    let due = store.due_tasks(&shards, PAST, 1_000).await.unwrap();
    assert_eq!(due.len(), 16, "with the sixteenth it is more than 64 MiB");
    let run = run_until(&tasks[0], PAST);
    store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
    assert_eq!(store.run(&run.id).await.unwrap(), Some(run));
}

/// Walks that begin at the head of an index which holds nothing but what is asked for.
const HEADS: [&str; 2] = ["SCAN runs USING INDEX runs_ready_by_tag", "SCAN runs USING INDEX runs_latest"];

#[tokio::test]
async fn every_statement_goes_by_an_index_and_none_sorts_what_it_finds() {
    let fixture = SqliteFixture::open().await;
    let plans = explained::plans(&fixture.store).await.unwrap();
    assert!(plans.len() > 40, "{plans:#?}");
    // Sums by tag are put together from rows that are open.
    let sums = ["overdue", "firing", "retrying", "unreported"];
    for (name, steps) in plans {
        for step in steps {
            assert!(!step.starts_with("SCAN") || HEADS.contains(&step.as_str()), "{name}: {step}");
            assert!(!step.contains("TEMP B-TREE") || sums.contains(&name.as_str()), "{name}: {step}");
            let keyed = step.contains("INDEX") || step.contains("PRIMARY KEY");
            assert!(keyed || !step.starts_with("SEARCH"), "{name}: {step}");
        }
    }
}

#[tokio::test]
async fn each_walk_takes_the_index_that_was_made_for_it() {
    let fixture = SqliteFixture::open().await;
    let plans = explained::plans(&fixture.store).await.unwrap();
    let expected = [
        ("due", "SEARCH tasks USING INDEX tasks_due (next_due_at<?)"),
        ("attention", "SEARCH runs USING INDEX runs_attention (attention_at<?)"),
        ("ready in queue", "SEARCH runs USING INDEX runs_ready_in_queue (queue=?)"),
        ("ready by tag", HEADS[0]),
        ("open", "SEARCH runs USING INDEX runs_open_by_task (task_id=?)"),
        ("queues", "SEARCH runs USING COVERING INDEX runs_open_by_state (state=? AND queue>?)"),
    ];
    for (name, step) in expected {
        let (_, steps) = plans.iter().find(|(of, _)| of == name).unwrap();
        assert_eq!(steps, &[step.to_owned()], "{name}");
    }
}

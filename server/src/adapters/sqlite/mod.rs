//! The ledger in one SQLite file, for one process: a data directory, one writing thread and a few
//! reading threads.

mod audit;
mod backlog;
mod checkpointer;
mod counters;
mod datadir;
mod durability;
mod errors;
#[doc(hidden)]
pub mod explained;
mod fire;
#[cfg(test)]
mod flush_tests;
mod flusher;
mod idempotency;
mod inbox;
mod job;
mod labels;
mod lists;
mod open_file;
mod prune;
mod rates;
mod readers;
mod ready;
mod records;
mod repairs;
mod revisions;
mod rows;
mod run_logs;
mod runs;
mod schema;
mod slots;
mod tasks;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags};

use self::checkpointer::Checkpointer;
use self::datadir::DataDir;
use self::durability::Durability;
use self::errors::refused;
use self::open_file::OpenFile;
use self::readers::Readers;
use self::rows::{Db, RunRow, shard_mask};
use self::writer::Writer;
use crate::core::audit::{AuditEntry, AuditPage, AuditSelection};
use crate::core::rate::{Permits, RateLimit};
use crate::core::run::{FairnessKey, LeaseSlots, LeasedRun, OpenRun, RunMark};
use crate::core::run_log::{LogBatch, LogPart};
use crate::core::wait_group::WaitGroup;
use crate::core::{Moment, Run, RunId, Task, TaskId};
use crate::ports::{
    Advance, AppendedLog, Attached, BacklogRow, Clock, Fire, Fired, Found, Head, IdempotencyRecord,
    InsertedRequest, InsertedRun, InsertedTask, Order, OutcomeCount, Page, PortError, QueueRow, Record,
    Records, ReplacedTask, Result, RunFilter, RunPage, Store, TaskFilter, Tombstone, UnreadableRows,
};

/// How long a statement waits while another program reads the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of threads that read single rows and heads of queues, for callers.
const LOOKUP_READERS: usize = 2;
/// Number of threads that read pages and counts.
const LIST_READERS: usize = 2;
/// Longest run of a query for a page or a count.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// Page caches of the writer and of each reader, in KiB. The operating system caches the rest.
const WRITER_CACHE_KIB: i64 = 32 * 1024;
const READER_CACHE_KIB: i64 = 8 * 1024;
/// Number of prepared statements that each connection caches.
const STATEMENTS: usize = 64;
/// Size to which a restarted write-ahead log is truncated, in bytes.
const LOG_BYTES: i64 = 64 * 1024 * 1024;

/// The ledger in a SQLite file. Dropping the store waits for the pending writes, closes the
/// database, and unlocks the directory.
pub struct SqliteStore {
    // In the order of dropping: the last connection, which must be able to write, removes the log.
    /// Reads for the engine. No other query delays it.
    engine: Readers,
    lookups: Readers,
    lists: Readers,
    writer: Writer,
    file: Arc<OpenFile>,
    clock: Arc<dyn Clock>,
    _dir: DataDir,
}

impl SqliteStore {
    /// Opens the ledger in the directory `dir`, and creates a missing directory. `clock` is the
    /// store's own clock. Blocks during disk access.
    ///
    /// # Errors
    /// `Refused` if another taskcenter uses the directory, the directory is unusable, or a newer
    /// release has written the file; `Corrupt` if the file is not a database; `Full` if no space is
    /// left.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>) -> std::result::Result<Self, PortError> {
        Self::open_with(dir, clock, None)
    }

    /// Opens the ledger. `steps` counts the steps of all reads, in place of the time limit of lists.
    fn open_with(
        dir: &Path,
        clock: Arc<dyn Clock>,
        steps: Option<&Arc<AtomicU64>>,
    ) -> std::result::Result<Self, PortError> {
        let dir = DataDir::lock(dir)?;
        let path = dir.database();
        let opened = start(&path, steps).map_err(|error| at_start(&path, &error));
        let Opened { engine, lookups, lists, writer, file } = opened?;
        Ok(Self { engine, lookups, lists, writer, file, clock, _dir: dir })
    }
}

/// Names the file, and says what to do if it is damaged or no database.
fn at_start(path: &Path, error: &PortError) -> PortError {
    let error = error.in_context(&path.display().to_string());
    match error {
        PortError::Corrupt(name, why) => PortError::Corrupt(
            name,
            format!("{why}: restore the file from a backup, or use another directory with --data-dir").into(),
        ),
        error => error,
    }
}

struct Opened {
    engine: Readers,
    lookups: Readers,
    lists: Readers,
    writer: Writer,
    file: Arc<OpenFile>,
}

fn start(path: &Path, steps: Option<&Arc<AtomicU64>>) -> Result<Opened> {
    let mut db = connect(path, WRITER_CACHE_KIB)?;
    enable_wal(&db)?;
    schema::migrate(&mut db)?;
    let unreadable = Arc::default();
    // The flusher flushes the log after each commit, so the commit itself need not.
    db.pragma_update(None, "synchronous", "NORMAL")?;
    let (file, durability) = (Arc::new(OpenFile::new(path)), Arc::new(Durability::default()));
    let reader = |_| Ok(Db::new(connect_reader(path, steps)?, &unreadable));
    let start = |threads: usize, timeout| {
        Readers::start((0..threads).map(reader).collect::<Result<_>>()?, timeout, &file, &durability)
    };
    let (engine, lookups) = (start(1, None)?, start(LOOKUP_READERS, None)?);
    // A connection has one handler: a counter takes the place of the time limit.
    let lists = start(LIST_READERS, steps.is_none().then_some(LIST_TIMEOUT))?;
    let checkpointer = Checkpointer::start(connect(path, READER_CACHE_KIB)?)?;
    let (db, flush) = (Db::new(db, &unreadable), flusher::of_log(path)?);
    let writer = Writer::start(db, checkpointer, flush, &file, &durability)?;
    Ok(Opened { engine, lookups, lists, writer, file })
}

fn connect(path: &Path, cache_kib: i64) -> Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", false)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    // A negative size means KiB.
    db.pragma_update(None, "cache_size", -cache_kib)?;
    Ok(db)
}

fn connect_reader(path: &Path, steps: Option<&Arc<AtomicU64>>) -> Result<Connection> {
    let mut db = connect(path, READER_CACHE_KIB)?;
    if let Some(steps) = steps {
        explained::count_steps(&mut db, steps)?;
    }
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}

/// Enables the write-ahead log, with which readers and the writer do not wait for each other.
fn enable_wal(db: &Connection) -> Result<()> {
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(refused(
            "the file system of the data directory does not support a write-ahead log: use a local file system",
        ));
    }
    db.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |row| row.get::<_, i64>(0))?;
    // The checkpointer does this.
    db.pragma_update_and_check(None, "wal_autocheckpoint", 0, |row| row.get::<_, i64>(0))?;
    Ok(())
}

#[async_trait]
impl Records for SqliteStore {
    async fn record(&self, kind: &str, key: &str) -> Result<Option<Record>> {
        let (kind, key) = (kind.to_owned(), key.to_owned());
        self.lookups.read(move |db| records::by_key(db, &kind, &key)).await
    }

    async fn put_record(&self, record: &Record) -> Result<bool> {
        let record = record.clone();
        self.writer.write(move |db| records::put(db, &record)).await
    }

    async fn remove_record(&self, record: &Record) -> Result<bool> {
        let record = record.clone();
        self.writer.write(move |db| records::remove(db, &record)).await
    }

    async fn records(
        &self,
        kind: &str,
        index: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Record>> {
        let (kind, index, after) = (kind.to_owned(), index.map(str::to_owned), after.map(str::to_owned));
        self.lists.read(move |db| records::list(db, &kind, index.as_deref(), after.as_deref(), limit)).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn insert_tasks(&self, tasks: Vec<Task>) -> Vec<Result<InsertedTask>> {
        match self.insert_all(&tasks).await {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(error) => tasks.iter().map(|_| Err(error.duplicate())).collect(),
        }
    }

    /// The record and the tasks are one transaction.
    async fn insert_request(&self, record: &IdempotencyRecord, tasks: &[Task]) -> Result<InsertedRequest> {
        let rows = tasks.iter().map(tasks::new_row).collect::<Result<Vec<_>>>()?;
        let (record, clock) = (record.clone(), Arc::clone(&self.clock));
        let insert = move |db: &Db| {
            if let Some(stored) = idempotency::insert(db, &record)? {
                return Ok(InsertedRequest::Known(stored));
            }
            let inserted = tasks::insert(db, &rows, clock.now())?;
            Ok(InsertedRequest::New(inserted.into_iter().map(Ok).collect()))
        };
        self.writer.write(insert).await
    }

    async fn task(&self, id: &TaskId) -> Result<Option<Task>> {
        let id = id.clone();
        self.lookups.read(move |db| tasks::by_id(db, &id)).await
    }

    async fn tasks(&self, ids: &[TaskId]) -> Result<Found<Task, TaskId>> {
        let ids = ids.to_vec();
        self.engine.read(move |db| tasks::by_ids(db, &ids)).await
    }

    async fn list_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<Vec<Task>> {
        let (filter, page) = (filter.clone(), page.clone());
        self.lists.read(move |db| lists::tasks(db, &filter, &page)).await
    }

    async fn count_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<u64> {
        let (filter, page) = (filter.clone(), page.clone());
        self.lists.read(move |db| lists::count_tasks(db, &filter, &page)).await
    }

    async fn latest_task(&self, id: &TaskId) -> Result<Option<Task>> {
        self.task(id).await
    }

    async fn task_by_key(&self, key: &str) -> Result<Option<Task>> {
        let key = key.to_owned();
        self.lookups.read(move |db| tasks::by_key(db, &key)).await
    }

    async fn replace_task(&self, read: &Task, task: &Task, rows: Attached<'_>) -> Result<ReplacedTask> {
        let (read, task, clock) = (read.clone(), task.clone(), Arc::clone(&self.clock));
        let rows = tasks::AttachedRows::new(rows)?;
        self.writer.write(move |db| tasks::replace(db, &read, &task, &rows, clock.now())).await
    }

    async fn past_definitions(&self, id: &TaskId, before: u32, limit: u32) -> Result<Vec<Task>> {
        let id = id.clone();
        self.lists.read(move |db| revisions::before(db, &id, before, limit)).await
    }

    async fn cancel_tasks(
        &self,
        ids: &[TaskId],
        rev: Option<u32>,
        hide: bool,
        now: Moment,
    ) -> Result<Vec<Tombstone>> {
        let ids = ids.to_vec();
        self.writer.write(move |db| tasks::cancel(db, &ids, rev, hide, now)).await
    }

    async fn due_tasks(&self, shards: &[u16], until: Moment, limit: u32, order: Order) -> Result<Head<Task>> {
        let mask = shard_mask(shards);
        if mask == 0 {
            return Ok(Head { rows: Vec::new(), more: false });
        }
        self.engine.read(move |db| tasks::due(db, mask, until, limit, order)).await
    }

    async fn insert_runs(&self, runs: &[Run]) -> Result<Vec<InsertedRun>> {
        let rows = runs.iter().map(RunRow::new).collect::<Result<Vec<_>>>()?;
        self.writer.write(move |db| runs::insert(db, &rows)).await
    }

    async fn advance_tasks(&self, advances: &[Advance]) -> Result<Vec<bool>> {
        let (advances, clock) = (advances.to_vec(), Arc::clone(&self.clock));
        self.writer.write(move |db| tasks::advance(db, &advances, clock.now())).await
    }

    async fn fire(&self, fires: Vec<Fire<'_>>) -> Result<Vec<Fired>> {
        self.fire_all(fires).await
    }

    fn fires_in_one_write(&self) -> bool {
        true
    }

    async fn run(&self, id: &RunId) -> Result<Option<Run>> {
        let id = id.clone();
        self.lookups.read(move |db| runs::by_id(db, &id)).await
    }

    async fn runs(&self, ids: &[RunId]) -> Result<Found<Run, RunId>> {
        let ids = ids.to_vec();
        self.lookups.read(move |db| runs::by_ids(db, &ids)).await
    }

    async fn open_runs(&self, task_id: &TaskId, after: Option<&RunId>, limit: u32) -> Result<Vec<OpenRun>> {
        let (task_id, after) = (task_id.clone(), after.cloned());
        self.lookups.read(move |db| runs::open(db, &task_id, after.as_ref(), limit)).await
    }

    async fn list_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<Run>> {
        let (filter, page) = (filter.clone(), page.clone());
        self.lists.read(move |db| lists::runs(db, &filter, &page)).await
    }

    async fn count_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<u64> {
        let (filter, page) = (filter.clone(), page.clone());
        self.lists.read(move |db| lists::count_runs(db, &filter, &page)).await
    }

    async fn ready_runs(&self, queues: &[String], limit: u32) -> Result<Head<Run>> {
        let queues = queues.to_vec();
        self.lookups.read_for_write(move |db| ready::earliest(db, &queues, limit)).await
    }

    async fn ready_keys(
        &self,
        queues: &[String],
        after: Option<&FairnessKey>,
        limit: u32,
    ) -> Result<Vec<FairnessKey>> {
        let (queues, after) = (queues.to_vec(), after.cloned());
        self.lookups.read_for_write(move |db| ready::keys(db, &queues, after.as_ref(), limit)).await
    }

    async fn ready_runs_of(&self, keys: &[FairnessKey], each: u32) -> Result<Vec<Run>> {
        let keys = keys.to_vec();
        self.lookups.read_for_write(move |db| ready::of_keys(db, &keys, each)).await
    }

    async fn runs_in_slots(&self, slots: &LeaseSlots) -> Result<Vec<Run>> {
        let slots = slots.clone();
        self.lookups.read(move |db| runs::in_slots(db, &slots)).await
    }

    async fn slots_in_use(&self, keys: &[String]) -> Result<Vec<(String, RunId)>> {
        let keys = keys.to_vec();
        self.engine.read(move |db| slots::in_use(db, &keys)).await
    }

    async fn held_runs(&self, task_id: &TaskId, limit: u32) -> Result<Vec<OpenRun>> {
        let task_id = task_id.clone();
        self.engine.read(move |db| slots::held(db, &task_id, limit)).await
    }

    async fn held_groups(&self, key: Option<&str>, after: &str, limit: u32) -> Result<Vec<WaitGroup>> {
        let (key, after) = (key.map(str::to_owned), after.to_owned());
        self.engine.read(move |db| slots::groups(db, key.as_deref(), &after, limit)).await
    }

    async fn held_in_group(&self, group: &WaitGroup, limit: u32) -> Result<Vec<OpenRun>> {
        let group = group.clone();
        self.engine.read(move |db| slots::in_group(db, &group, limit)).await
    }

    async fn count_held(&self, key: &str, limit: u32) -> Result<u64> {
        let key = key.to_owned();
        self.engine.read(move |db| slots::count_held(db, &key, limit)).await
    }

    async fn take_permits(&self, limit: &RateLimit, least: u32, most: u32) -> Result<Permits> {
        let (limit, clock) = (limit.clone(), Arc::clone(&self.clock));
        self.writer.write(move |db| rates::take(db, &limit, least, most, clock.now())).await
    }

    async fn next_permit(&self, limit: &RateLimit) -> Result<Moment> {
        let limit = limit.clone();
        self.lookups.read(move |db| Ok(limit.next_at(rates::tat_us(db, &limit.key)?))).await
    }

    async fn recent_runs(&self, tasks: &[TaskId], limit: u32) -> Result<Vec<Vec<RunMark>>> {
        let tasks = tasks.to_vec();
        self.lists.read(move |db| lists::recent_runs(db, &tasks, limit)).await
    }

    async fn leased_runs(&self, limit: u32) -> Result<Head<LeasedRun>> {
        self.lists.read(move |db| lists::leased_runs(db, limit)).await
    }

    async fn queues(&self) -> Result<Vec<QueueRow>> {
        self.lists.read(|db| backlog::queues(db)).await
    }

    async fn update_runs(&self, runs: &[Run]) -> Result<Vec<bool>> {
        let rows = runs.iter().map(RunRow::next).collect::<Result<Vec<_>>>()?;
        self.writer.write(move |db| runs::update(db, &rows)).await
    }

    async fn runs_needing_attention(
        &self,
        shards: &[u16],
        now: Moment,
        limit: u32,
        queued_only: bool,
    ) -> Result<Head<Run>> {
        let mask = shard_mask(shards);
        if mask == 0 {
            return Ok(Head { rows: Vec::new(), more: false });
        }
        self.engine.read(move |db| runs::needing_attention(db, mask, now, limit, queued_only)).await
    }

    async fn idempotency_record(&self, key: &str) -> Result<Option<IdempotencyRecord>> {
        let key = key.to_owned();
        self.lookups.read(move |db| idempotency::by_key(db, &key)).await
    }

    async fn count_fires(&self, at: Moment, fires: &[(String, u64)]) -> Result<()> {
        let fires = fires.to_vec();
        self.writer.write(move |db| counters::count(db, at, &fires)).await
    }

    async fn fires_in_minute(&self, at: Moment) -> Result<Vec<(String, u64)>> {
        self.lists.read(move |db| counters::in_minute(db, at)).await
    }

    async fn count_outcomes(&self, day: Moment, counts: &[OutcomeCount]) -> Result<()> {
        let counts = counts.to_vec();
        self.writer.write(move |db| counters::count_outcomes(db, day, &counts)).await
    }

    async fn outcomes_on(&self, day: Moment) -> Result<Vec<OutcomeCount>> {
        self.lists.read(move |db| counters::outcomes_on(db, day)).await
    }

    async fn backlog(&self, now: Moment) -> Result<Vec<BacklogRow>> {
        self.lists.read(move |db| backlog::rows(db, now)).await
    }

    async fn append_log(&self, batch: &LogBatch) -> Result<AppendedLog> {
        let batch = batch.clone();
        self.writer.write(move |db| run_logs::append(db, &batch)).await
    }

    async fn log(&self, id: &RunId, from: u64) -> Result<LogPart> {
        let id = id.clone();
        self.lookups.read(move |db| run_logs::read(db, &id, from)).await
    }

    async fn append_audit(&self, entries: &[AuditEntry]) -> Result<()> {
        let entries = entries.to_vec();
        self.writer.write(move |db| audit::append(db, &entries)).await
    }

    async fn audit(&self, selection: &AuditSelection, page: &AuditPage) -> Result<Vec<AuditEntry>> {
        let (selection, page) = (selection.clone(), page.clone());
        self.lists.read(move |db| audit::list(db, &selection, &page)).await
    }

    async fn prune(&self, ended_before: Moment, idempotency_before: Moment, limit: u32) -> Result<u64> {
        prune::run(self, ended_before, idempotency_before, limit).await
    }

    async fn unreadable_rows(&self) -> Result<Option<UnreadableRows>> {
        self.engine.read(repairs::unreadable_rows).await
    }

    async fn now(&self) -> Result<Moment> {
        let file = Arc::clone(&self.file);
        self.engine.read(move |_| file.check()).await?;
        Ok(self.clock.now())
    }
}

impl SqliteStore {
    async fn insert_all(&self, tasks: &[Task]) -> Result<Vec<InsertedTask>> {
        let rows = tasks.iter().map(tasks::new_row).collect::<Result<Vec<_>>>()?;
        let clock = Arc::clone(&self.clock);
        self.writer.write(move |db| tasks::insert(db, &rows, clock.now())).await
    }
}

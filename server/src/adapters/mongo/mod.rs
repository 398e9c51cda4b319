//! The ledger in MongoDB: a replica set, single-document operations, majority-acknowledged and
//! journaled writes.

mod audit;
mod backlog;
mod batches;
mod coalesce;
mod counters;
mod errors;
#[doc(hidden)]
pub mod explained;
mod idempotency;
mod keys;
mod leased;
mod lists;
mod once;
mod options;
mod outdated;
mod prune;
mod rates;
mod ready;
mod recent;
mod records;
mod replace;
mod revisions;
mod rows;
mod run_logs;
mod run_statements;
mod runs;
mod schema;
mod slots;
mod tasks;
mod updates;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use mongodb::bson::{Document, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection, Database};

use self::audit::AuditRow;
use self::coalesce::Coalesce;
use self::errors::{bounded, corrupt, refused, unavailable};
use self::idempotency::IdempotencyRow;
use self::once::Once;
use self::options::{strict, uri_error};
use self::outdated::Outdated;
use self::records::RecordRow;
use self::revisions::RevisionRow;
use self::rows::{RunRow, TaskRow};
use self::run_logs::LogRow;
use crate::adapters::unreadable::Unreadable;
use crate::core::audit::{AuditEntry, AuditPage, AuditSelection};
use crate::core::rate::{Permits, RateLimit};
use crate::core::run::{FairnessKey, LeaseSlots, LeasedRun, OpenRun, RunMark};
use crate::core::run_log::{LogBatch, LogPart};
use crate::core::wait_group::WaitGroup;
use crate::core::{Moment, Run, RunId, Task, TaskId};
use crate::ports::{
    Advance, AppendedLog, Attached, BacklogRow, Found, Head, IdempotencyRecord, InsertedRequest, InsertedRun,
    InsertedTask, Order, OutcomeCount, Page, PortError, QueueRow, Record, Records, ReplacedTask, Result,
    RunFilter, RunPage, Store, TaskFilter, Tombstone, UnreadableRows,
};

/// Maximum number of statements or ids per command. Larger commands are not faster.
const CHUNK: usize = 1_000;

/// The ledger in MongoDB.
pub struct MongoStore {
    db: Ledger,
    prepared: Once,
    tasks: Coalesce<Task, Result<InsertedTask>>,
    requests: Coalesce<IdempotencyRecord, idempotency::Inserted>,
}

/// The collections; cheap to clone.
#[derive(Clone)]
struct Ledger {
    db: Database,
    tasks: Collection<TaskRow>,
    runs: Collection<RunRow>,
    run_logs: Collection<LogRow>,
    revisions: Collection<RevisionRow>,
    audit: Collection<AuditRow>,
    counters: Collection<Document>,
    idempotency: Collection<IdempotencyRow>,
    records: Collection<RecordRow>,
    unreadable: Arc<Unreadable>,
    outdated: Arc<Outdated>,
}

/// Time for the end of the driver's connections.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl MongoStore {
    /// Creates a store on the database `db_name` of the deployment at `uri`. Resolves an SRV name;
    /// connects and creates the indexes at the first operation. Needs a Tokio runtime.
    ///
    /// # Errors
    /// If the URI or the name is invalid. The error never contains the password.
    pub async fn new(uri: &str, db_name: &str) -> std::result::Result<Self, PortError> {
        if db_name.is_empty() || db_name.len() > 63 || db_name.contains(['/', '\\', '.', ' ', '"', '$', '\0'])
        {
            return Err(refused(format!(
                "{db_name:?} is not a valid database name: use 1 to 63 bytes without / \\ . \" $ and spaces"
            )));
        }
        let options = ClientOptions::parse(uri).await.map_err(|error| uri_error(uri, error))?;
        let client = Client::with_options(strict(options)).map_err(|error| uri_error(uri, error))?;
        Ok(Self::on(client.database(db_name)))
    }

    /// Refuses a standalone server, and creates missing indexes.
    ///
    /// # Errors
    /// If the server is unreachable or standalone.
    async fn prepare(&self) -> Result<()> {
        schema::refuse_standalone(&self.db.hello().await?)?;
        schema::create_indexes(&self.db).await
    }

    /// Returns the database, for tests.
    #[doc(hidden)]
    pub fn database(&self) -> &Database {
        &self.db.db
    }

    fn on(db: Database) -> Self {
        let db = Ledger {
            tasks: db.collection("tasks"),
            runs: db.collection("runs"),
            run_logs: db.collection("run_logs"),
            revisions: db.collection("revisions"),
            audit: db.collection("audit"),
            counters: db.collection("counters"),
            idempotency: db.collection("remembered"),
            records: db.collection("records"),
            unreadable: Arc::default(),
            outdated: Arc::default(),
            db,
        };
        let (for_tasks, for_requests) = (db.clone(), db.clone());
        let tasks = Coalesce::new(Box::new(move |batch| {
            let db = for_tasks.clone();
            Box::pin(async move { tasks::insert(&db, batch).await })
        }));
        let requests = Coalesce::new(Box::new(move |batch| {
            let db = for_requests.clone();
            Box::pin(async move { idempotency::insert(&db, batch).await })
        }));
        Self { db, prepared: Once::default(), tasks, requests }
    }

    /// Returns the ledger after [`prepare`](Self::prepare). A node may start before its store.
    /// Without the indexes, duplicates and slow queries would be possible.
    async fn ready(&self) -> Result<&Ledger> {
        self.prepared.run(Box::pin(self.prepare())).await?;
        Ok(&self.db)
    }

    /// Stores an item as part of a batch.
    async fn submit<T, A>(&self, item: T, to: &Coalesce<T, Result<A>>) -> Result<A>
    where
        T: Send + 'static,
        A: Send + 'static,
    {
        self.ready().await?;
        to.submit(item).await.unwrap_or_else(|| Err(unavailable("the server is shutting down")))
    }
}

impl Ledger {
    async fn hello(&self) -> Result<Document> {
        bounded(self.db.run_command(doc! { "hello": 1 }).into_future()).await
    }

    async fn now(&self) -> Result<Moment> {
        let hello = self.hello().await?;
        hello.get_datetime("localTime").map(|at| rows::moment(*at)).map_err(corrupt)
    }
}

#[async_trait]
impl Records for MongoStore {
    async fn record(&self, kind: &str, key: &str) -> Result<Option<Record>> {
        records::by_key(self.ready().await?, kind, key).await
    }

    async fn put_record(&self, record: &Record) -> Result<bool> {
        records::put(self.ready().await?, record).await
    }

    async fn remove_record(&self, record: &Record) -> Result<bool> {
        records::remove(self.ready().await?, record).await
    }

    async fn records(
        &self,
        kind: &str,
        index: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Record>> {
        records::list(self.ready().await?, kind, index, after, limit).await
    }
}

#[async_trait]
impl Store for MongoStore {
    async fn insert_tasks(&self, tasks: Vec<Task>) -> Vec<Result<InsertedTask>> {
        join_all(tasks.into_iter().map(|task| self.submit(task, &self.tasks))).await
    }

    /// Both inserts share their batches with concurrent requests.
    async fn insert_request(&self, record: &IdempotencyRecord, tasks: &[Task]) -> Result<InsertedRequest> {
        if let Some(stored) = self.submit(record.clone(), &self.requests).await? {
            return Ok(InsertedRequest::Known(stored));
        }
        Ok(InsertedRequest::New(self.insert_tasks(tasks.to_vec()).await))
    }

    async fn task(&self, id: &TaskId) -> Result<Option<Task>> {
        tasks::one(self.ready().await?, id).await
    }

    async fn tasks(&self, ids: &[TaskId]) -> Result<Found<Task, TaskId>> {
        tasks::by_id(self.ready().await?, ids).await
    }

    async fn list_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<Vec<Task>> {
        lists::tasks(self.ready().await?, filter, page).await
    }

    async fn count_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<u64> {
        lists::count_tasks(self.ready().await?, filter, page).await
    }

    async fn latest_task(&self, id: &TaskId) -> Result<Option<Task>> {
        tasks::latest(self.ready().await?, id).await
    }

    async fn task_by_key(&self, key: &str) -> Result<Option<Task>> {
        tasks::latest_by_key(self.ready().await?, key).await
    }

    async fn replace_task(&self, read: &Task, task: &Task, rows: Attached<'_>) -> Result<ReplacedTask> {
        replace::task(self.ready().await?, read, task, rows).await
    }

    async fn past_definitions(&self, id: &TaskId, before: u32, limit: u32) -> Result<Vec<Task>> {
        revisions::before(self.ready().await?, id, before, limit).await
    }

    async fn cancel_tasks(
        &self,
        ids: &[TaskId],
        rev: Option<u32>,
        hide: bool,
        now: Moment,
    ) -> Result<Vec<Tombstone>> {
        tasks::cancel(self.ready().await?, ids, rev, hide, now).await
    }

    async fn due_tasks(&self, shards: &[u16], until: Moment, limit: u32, order: Order) -> Result<Head<Task>> {
        tasks::due(self.ready().await?, shards, until, limit, order).await
    }

    async fn insert_runs(&self, runs: &[Run]) -> Result<Vec<InsertedRun>> {
        runs::insert(self.ready().await?, runs).await
    }

    async fn advance_tasks(&self, advances: &[Advance]) -> Result<Vec<bool>> {
        tasks::advance(self.ready().await?, advances).await
    }

    async fn run(&self, id: &RunId) -> Result<Option<Run>> {
        runs::one(self.ready().await?, id).await
    }

    async fn runs(&self, ids: &[RunId]) -> Result<Found<Run, RunId>> {
        runs::by_id(self.ready().await?, ids).await
    }

    async fn list_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<Run>> {
        lists::runs(self.ready().await?, filter, page).await
    }

    async fn count_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<u64> {
        lists::count_runs(self.ready().await?, filter, page).await
    }

    async fn ready_runs(&self, queues: &[String], limit: u32) -> Result<Head<Run>> {
        ready::earliest(self.ready().await?, queues, limit).await
    }

    async fn ready_keys(
        &self,
        queues: &[String],
        after: Option<&FairnessKey>,
        limit: u32,
    ) -> Result<Vec<FairnessKey>> {
        ready::keys(self.ready().await?, queues, after, limit).await
    }

    async fn ready_runs_of(&self, keys: &[FairnessKey], each: u32) -> Result<Vec<Run>> {
        ready::of_keys(self.ready().await?, keys, each).await
    }

    async fn runs_in_slots(&self, slots: &LeaseSlots) -> Result<Vec<Run>> {
        runs::in_slots(self.ready().await?, slots).await
    }

    async fn recent_runs(&self, tasks: &[TaskId], limit: u32) -> Result<Vec<Vec<RunMark>>> {
        recent::runs(self.ready().await?, tasks, limit).await
    }

    async fn leased_runs(&self, limit: u32) -> Result<Head<LeasedRun>> {
        leased::runs(self.ready().await?, limit).await
    }

    async fn queues(&self) -> Result<Vec<QueueRow>> {
        backlog::queues(self.ready().await?).await
    }

    async fn open_runs(&self, task_id: &TaskId, after: Option<&RunId>, limit: u32) -> Result<Vec<OpenRun>> {
        runs::open(self.ready().await?, task_id, after, limit).await
    }

    async fn slots_in_use(&self, keys: &[String]) -> Result<Vec<(String, RunId)>> {
        slots::in_use(self.ready().await?, keys).await
    }

    async fn take_permits(&self, limit: &RateLimit, least: u32, most: u32) -> Result<Permits> {
        rates::take(self.ready().await?, limit, least, most).await
    }

    async fn next_permit(&self, limit: &RateLimit) -> Result<Moment> {
        rates::next(self.ready().await?, limit).await
    }

    async fn held_runs(&self, task_id: &TaskId, limit: u32) -> Result<Vec<OpenRun>> {
        slots::held(self.ready().await?, task_id, limit).await
    }

    async fn count_held(&self, key: &str, limit: u32) -> Result<u64> {
        slots::count_held(self.ready().await?, key, limit).await
    }

    async fn held_groups(&self, key: Option<&str>, after: &str, limit: u32) -> Result<Vec<WaitGroup>> {
        slots::groups(self.ready().await?, key, after, limit).await
    }

    async fn held_in_group(&self, group: &WaitGroup, limit: u32) -> Result<Vec<OpenRun>> {
        slots::in_group(self.ready().await?, group, limit).await
    }

    async fn update_runs(&self, runs: &[Run]) -> Result<Vec<bool>> {
        runs::update(self.ready().await?, runs).await
    }

    async fn runs_needing_attention(
        &self,
        shards: &[u16],
        now: Moment,
        limit: u32,
        queued_only: bool,
    ) -> Result<Head<Run>> {
        runs::needing_attention(self.ready().await?, shards, now, limit, queued_only).await
    }

    async fn idempotency_record(&self, key: &str) -> Result<Option<IdempotencyRecord>> {
        idempotency::by_key(self.ready().await?, key).await
    }

    async fn count_fires(&self, at: Moment, fires: &[(String, u64)]) -> Result<()> {
        counters::count(self.ready().await?, at, fires).await
    }

    async fn fires_in_minute(&self, at: Moment) -> Result<Vec<(String, u64)>> {
        counters::in_minute(self.ready().await?, at).await
    }

    async fn count_outcomes(&self, day: Moment, counts: &[OutcomeCount]) -> Result<()> {
        counters::count_outcomes(self.ready().await?, day, counts).await
    }

    async fn outcomes_on(&self, day: Moment) -> Result<Vec<OutcomeCount>> {
        counters::outcomes_on(self.ready().await?, day).await
    }

    async fn backlog(&self, now: Moment) -> Result<Vec<BacklogRow>> {
        backlog::rows(self.ready().await?, now).await
    }

    async fn append_log(&self, batch: &LogBatch) -> Result<AppendedLog> {
        run_logs::append(self.ready().await?, batch).await
    }

    async fn log(&self, id: &RunId, from: u64) -> Result<LogPart> {
        run_logs::read(self.ready().await?, id, from).await
    }

    async fn append_audit(&self, entries: &[AuditEntry]) -> Result<()> {
        audit::append(self.ready().await?, entries).await
    }

    async fn audit(&self, selection: &AuditSelection, page: &AuditPage) -> Result<Vec<AuditEntry>> {
        audit::list(self.ready().await?, selection, page).await
    }

    async fn prune(&self, ended_before: Moment, idempotency_before: Moment, limit: u32) -> Result<u64> {
        let ledger = self.ready().await?;
        outdated::drop_unused(ledger, idempotency_before).await?;
        audit::expire(ledger, idempotency_before).await?;
        let records = idempotency::prune(ledger, idempotency_before).await?;
        Ok(records + prune::run(ledger, ended_before, limit).await?)
    }

    async fn unreadable_rows(&self) -> Result<Option<UnreadableRows>> {
        updates::unreadable_rows(self.ready().await?).await
    }

    async fn now(&self) -> Result<Moment> {
        self.ready().await?.now().await
    }

    async fn close(&self) {
        // A task of the driver that asks for a connection while the runtime ends would panic.
        let closed = self.db.db.client().clone().shutdown().immediate(true);
        if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::debug!("the connections to MongoDB did not close in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn uri_problem(uri: &str) -> String {
        match MongoStore::new(uri, "db").await {
            Ok(_) => String::new(),
            Err(error) => format!("{error}: {}", std::error::Error::source(&error).unwrap()),
        }
    }

    #[tokio::test]
    async fn an_invalid_uri_is_reported_without_its_password() {
        assert!(uri_problem("mongodb://localhost/?tls=perhaps").await.contains("tls"));
        for uri in ["mongodb://user:se/cret@host", "mongodb://user:se:cret@host", "mongo://user:secret@host"]
        {
            let text = uri_problem(uri).await;
            assert!(text.contains("percent-encoded"), "{text}");
            assert!(
                !text.contains("cret@") && !text.contains("se/cret") && !text.contains("secret"),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn an_invalid_database_name_is_refused() {
        for name in ["", "a.b", "a/b", "a b"] {
            assert!(MongoStore::new("mongodb://localhost", name).await.is_err(), "{name:?}");
        }
    }
}

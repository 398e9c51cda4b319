//! The statements of the store, for tests of their query plans.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, params, params_from_iter};

use super::{
    SqliteStore, audit, backlog, counters, idempotency, labels, lists, prune, rates, ready, revisions, rows,
    run_logs, runs, slots, tasks,
};
use crate::core::{Run, RunState, Task, TaskId, TaskState};
use crate::ports::{Clock, Page, Result, RunFilter, RunPage, TaskFilter};

/// Returns the name of each statement, and the steps of its plan.
///
/// # Errors
/// Errors of the database.
pub async fn plans(store: &SqliteStore) -> Result<Vec<(String, Vec<String>)>> {
    let explain =
        |db: &rows::Db| statements().into_iter().map(|(name, sql)| Ok((name, steps(db, &sql)?))).collect();
    store.lists.read(explain).await
}

fn steps(db: &Connection, sql: &str) -> Result<Vec<String>> {
    let mut explain = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
    // The plan does not depend on the values of the parameters.
    let steps = explain.raw_query().mapped(|row| row.get(3));
    Ok(steps.collect::<rusqlite::Result<_>>()?)
}

/// Returns how many indexes the statement `name` writes.
///
/// # Errors
/// Errors of the database.
pub async fn written_indexes(store: &SqliteStore, name: &'static str) -> Result<usize> {
    let count = move |db: &rows::Db| {
        let (_, sql) = statements().into_iter().find(|(statement, _)| statement == name).unwrap_or_default();
        let mut explain = db.prepare(&format!("EXPLAIN {sql}"))?;
        let operations = explain.raw_query().mapped(|row| row.get::<_, String>(1));
        let operations: Vec<String> = operations.collect::<rusqlite::Result<_>>()?;
        Ok(operations.iter().filter(|operation| *operation == "IdxInsert").count())
    };
    store.lists.read(count).await
}

fn statements() -> Vec<(String, String)> {
    let fixed = [
        ("task", tasks::BY_ID),
        ("task by key", tasks::BY_KEY),
        ("key holder", tasks::KEY_HOLDER),
        ("due", tasks::DUE),
        ("due latest", tasks::DUE_LATEST),
        ("step", rows::STEP_TASK),
        ("run", runs::BY_ID),
        ("insert run", rows::INSERT_RUN),
        ("step run", rows::STEP_RUN),
        ("replace run", rows::REPLACE_RUN),
        ("state of a run", rows::RUN_STATE),
        ("remove label of a task", labels::REMOVE_TASK),
        ("remove label of a run", labels::REMOVE_RUN),
        ("audit", audit::ALL),
        ("audit of an actor", audit::OF_ACTOR),
        ("audit of an action", audit::OF_ACTION),
        ("audit of an object", audit::OF_OBJECT),
        ("expire audit", audit::EXPIRE),
        ("past definitions", revisions::BEFORE),
        ("remove oldest definitions", revisions::REMOVE_OLDEST),
        ("remove definitions", revisions::REMOVE_ALL),
        ("slot holder", slots::HOLDER),
        ("remove slots", slots::REMOVE),
        ("slots in use", slots::IN_USE),
        ("remove held", slots::REMOVE_HELD),
        ("held", slots::HELD),
        ("next group", slots::NEXT_GROUP),
        ("next group of a key", slots::NEXT_GROUP_OF_KEY),
        ("held in group", slots::IN_GROUP),
        ("count held", slots::COUNT_HELD),
        ("rate", rates::TAT),
        ("expire rates", rates::EXPIRE),
        ("open", runs::OPEN),
        ("attention", runs::NEEDING_ATTENTION),
        ("ready in queue", ready::IN_QUEUE),
        ("ready by tag", ready::BY_TAG),
        ("next ready queue", ready::NEXT_QUEUE),
        ("next ready tag", ready::NEXT_TAG),
        ("ready of queue", ready::OF_QUEUE),
        ("ready of tag", ready::OF_TAG),
        ("overdue", backlog::OVERDUE),
        ("firing", backlog::FIRING),
        ("retrying", backlog::RETRYING),
        ("unreported", backlog::UNREPORTED),
        ("held backlog", backlog::HELD),
        ("queues", backlog::QUEUES),
        ("fires", counters::IN_MINUTE),
        ("outcomes", counters::ON_DAY),
        ("expire", counters::EXPIRE),
        ("idempotency record", idempotency::BY_KEY),
        ("prune idempotency records", idempotency::PRUNE),
        ("log run", run_logs::HAS_RUN),
        ("log batch", run_logs::HAS_BATCH),
        ("log end", run_logs::END),
        ("insert log", run_logs::INSERT),
        ("remove log", run_logs::REMOVE),
        ("log", run_logs::FROM),
        ("prune logs", prune::LOGS),
        ("prune runs", prune::RUNS),
        ("prune tasks", prune::TASKS),
        ("prune task", prune::TASK),
    ];
    let fixed = fixed.into_iter().map(|(name, sql)| (name.to_owned(), sql.to_owned()));
    let recent = [("recent runs".to_owned(), lists::recent_query())];
    fixed.chain(recent).chain(task_lists()).chain(run_lists()).collect()
}

fn task_lists() -> Vec<(String, String)> {
    let before = "f".to_owned();
    let mut lists = Vec::new();
    for name in [None, Some("n".to_owned())] {
        for state in [None, Some(TaskState::Paused), Some(TaskState::Cancelled)] {
            for before in [None, Some(&before)] {
                for label in [None, Some("team=pay".to_owned())] {
                    let filter = TaskFilter { name: name.clone(), state, label };
                    let sql = lists::task_query(&filter, before).0;
                    // Callers count by a name or by a label: only one of them is an index.
                    if filter.name.is_none() || filter.label.is_none() {
                        lists
                            .push((format!("count {filter:?} {before:?}"), lists::count_statement(&sql, 10)));
                    }
                    lists.push((format!("list {filter:?} {before:?}"), sql));
                }
            }
        }
    }
    lists
}

fn run_lists() -> Vec<(String, String)> {
    let before = (0, "f".to_owned());
    let value = "v".to_owned();
    let mut lists = Vec::new();
    for given in 0..16 {
        let is_given = |bit: u32| given >> bit & 1 == 1;
        let wanted = lists::WantedRuns {
            task_id: is_given(0).then_some(&value),
            tag: is_given(1).then_some(&value),
            state: is_given(2).then_some(RunState::Dead),
            label: is_given(3).then_some(&value),
        };
        for before in [None, Some(&before)] {
            let sql = lists::run_query(&wanted, before).0;
            lists.push((format!("count runs {given} {before:?}"), lists::count_statement(&sql, 10)));
            lists.push((format!("list runs {given} {before:?}"), sql));
        }
    }
    lists
}

/// Opens a store that counts the steps of SQLite's machine in all reads. Returns the store and the counter.
///
/// # Errors
/// Those of [`SqliteStore::open`].
pub fn open_counted(dir: &Path, clock: Arc<dyn Clock>) -> Result<(SqliteStore, Arc<AtomicU64>)> {
    let steps = Arc::default();
    Ok((SqliteStore::open_with(dir, clock, Some(&steps))?, steps))
}

/// Counts the steps of a connection.
pub(super) fn count_steps(db: &mut Connection, steps: &Arc<AtomicU64>) -> Result<()> {
    let steps = Arc::clone(steps);
    let count = move || {
        steps.fetch_add(1, Ordering::Relaxed);
        false
    };
    Ok(db.progress_handler(1, Some(count))?)
}

/// What a list has cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    pub rows: usize,
    /// Steps of SQLite's machine. Each row that is examined needs at least one.
    pub steps: usize,
}

impl Cost {
    fn of(rows: usize, statement: &rusqlite::Statement<'_>) -> Self {
        let steps = statement.get_status(rusqlite::StatementStatus::VmStep);
        Self { rows, steps: usize::try_from(steps).unwrap_or_default() }
    }
}

/// Lists tasks, and returns what the list has cost.
///
/// # Errors
/// Errors of the database.
pub async fn cost_of_tasks(store: &SqliteStore, filter: &TaskFilter, page: &Page) -> Result<Cost> {
    let (filter, page) = (filter.clone(), page.clone());
    let list = move |db: &rows::Db| {
        let before = page.before.as_ref().map(|before| before.as_str().to_owned());
        let (sql, values) = lists::task_query(&filter, before.as_ref());
        let mut find = db.prepare(&sql)?;
        let listed = rows::page::<Task>(db, find.query(params_from_iter(values))?, page.limit)?.len();
        Ok(Cost::of(listed, &find))
    };
    store.lists.read(list).await
}

/// Lists runs, and returns what the list has cost.
///
/// # Errors
/// Errors of the database.
pub async fn cost_of_runs(store: &SqliteStore, filter: &RunFilter, page: &RunPage) -> Result<Cost> {
    let (filter, page) = (filter.clone(), page.clone());
    let list = move |db: &rows::Db| {
        let task_id = filter.task_id.as_ref().map(|id| id.as_str().to_owned());
        let before = page.before.as_ref().map(|(at, id)| (at.ms(), id.as_str().to_owned()));
        let wanted = lists::WantedRuns::of(&filter, task_id.as_ref());
        let (sql, values) = lists::run_query(&wanted, before.as_ref());
        let mut find = db.prepare(&sql)?;
        let listed = rows::page::<Run>(db, find.query(params_from_iter(values))?, page.limit)?.len();
        Ok(Cost::of(listed, &find))
    };
    store.lists.read(list).await
}

/// Reads the latest runs of a task, and returns what the read has cost.
///
/// # Errors
/// Errors of the database.
pub async fn cost_of_recent(store: &SqliteStore, task: &TaskId, limit: u32) -> Result<Cost> {
    let task = task.clone();
    let list = move |db: &rows::Db| {
        let mut find = db.prepare(&lists::recent_query())?;
        let listed = lists::marks(find.query(params![task.as_str(), limit])?)?.len();
        Ok(Cost::of(listed, &find))
    };
    store.lists.read(list).await
}

/// Keeps the threads that read lists busy until the value is dropped.
pub struct BusyLists(
    #[expect(dead_code, reason = "dropping a sender ends a query")] Vec<std::sync::mpsc::Sender<()>>,
);

/// Starts a query on each thread that reads lists.
pub fn keep_lists_busy(store: &Arc<SqliteStore>) -> BusyLists {
    let block = |_| {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let store = Arc::clone(store);
        tokio::spawn(async move { store.lists.read(move |_| Ok(ended.recv().is_err())).await });
        end
    };
    BusyLists((0..super::LIST_READERS).map(block).collect())
}

/// Limits the size of the database, in pages of 4 KiB.
///
/// # Errors
/// Errors of the database.
pub async fn limit_pages(store: &SqliteStore, pages: u32) -> Result<()> {
    let limit = move |db: &rows::Db| {
        db.pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))?;
        Ok(())
    };
    store.writer.write(limit).await
}

/// Returns the number of committed transactions.
pub fn commits(store: &SqliteStore) -> u64 {
    store.writer.commits()
}

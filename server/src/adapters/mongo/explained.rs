//! The commands of the hot paths, for tests of their query plans: same filters, sorts and hints.

use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};

use super::rows::{date, shard_numbers};
use super::{
    MongoStore, audit, backlog, leased, lists, prune, ready, recent, revisions, run_logs, run_statements,
    runs, schema, slots, tasks,
};
use crate::core::audit::{AuditPage, AuditSelection};
use crate::core::run::{FairnessKey, LeaseSlots};
use crate::core::wait_group::WaitGroup;
use crate::core::{Moment, Run, RunId, Task, TaskId};
use crate::ports::{Advance, Page, Result, RunFilter, RunPage, TaskFilter};

/// [`due_tasks`](crate::ports::Store::due_tasks)
pub fn due_tasks(shards: &[u16], until: Moment, limit: u32) -> Document {
    let filter = tasks::due_filter(&shard_numbers(shards), until);
    find("tasks", filter, doc! { "next_due_at": 1 }, schema::due_index(), limit)
}

/// [`runs_needing_attention`](crate::ports::Store::runs_needing_attention)
pub fn runs_needing_attention(shards: &[u16], now: Moment, limit: u32, queued_only: bool) -> Document {
    let (filter, index) = runs::attention(&shard_numbers(shards), now, queued_only);
    find("runs", filter, doc! { "attention_at": 1 }, index, limit)
}

/// [`list_tasks`](crate::ports::Store::list_tasks)
pub fn list_tasks(filter: &TaskFilter, page: &Page) -> Document {
    let (rows, index) = (lists::task_filter(filter, page), lists::task_index(filter));
    find("tasks", rows, doc! { "_id": -1 }, index, page.limit)
}

/// [`list_runs`](crate::ports::Store::list_runs)
pub fn list_runs(filter: &RunFilter, page: &RunPage) -> Document {
    let (rows, index) = (lists::run_filter(filter, page), lists::run_index(filter));
    find("runs", rows, schema::latest_first(&[]), index, page.limit)
}

/// [`leased_runs`](crate::ports::Store::leased_runs)
pub fn leased_runs(limit: u32) -> Document {
    let (rows, index) = leased::query();
    find("runs", rows, schema::latest_first(&[]), index, limit)
}

/// [`recent_runs`](crate::ports::Store::recent_runs) of one task
pub fn recent_runs(task: &TaskId, limit: u32) -> Document {
    let (rows, index) = recent::query(task);
    let mut find = find("runs", rows, schema::latest_first(&[]), index, limit);
    find.insert("projection", recent::fields());
    find
}

/// [`ready_runs`](crate::ports::Store::ready_runs) of one queue, or of all queues named after their
/// runs' tags
pub fn ready_runs(queue: Option<&String>, limit: u32) -> Document {
    ready_query(ready::earliest_query(queue), limit)
}

/// [`ready_keys`](crate::ports::Store::ready_keys): the next queue after `last`
pub fn next_ready_queue(queues: &[String], last: &str) -> Document {
    ready::next_queue(queues, last).map(|query| ready_query(query, 1)).unwrap_or_default()
}

/// [`ready_keys`](crate::ports::Store::ready_keys): the first tag in the next queue after `last`
pub fn next_ready_queue_of_other_tags(queues: &[String], last: &str) -> Document {
    ready::next_queue_of_other_tags(queues, last).map(|query| ready_query(query, 1)).unwrap_or_default()
}

/// [`ready_keys`](crate::ports::Store::ready_keys): the next tag in the queue of a key
pub fn next_ready_tag(last: &FairnessKey) -> Document {
    ready_query(ready::next_tag(last), 1)
}

/// [`ready_runs_of`](crate::ports::Store::ready_runs_of) one key
pub fn ready_runs_of(key: &FairnessKey, each: u32) -> Document {
    ready_query(ready::key_query(key), each)
}

fn ready_query(query: ready::Query, limit: u32) -> Document {
    find("runs", query.filter, query.sort, query.index, limit)
}

/// [`runs_in_slots`](crate::ports::Store::runs_in_slots)
pub fn runs_in_slots(slots: &LeaseSlots) -> Document {
    find("runs", runs::slot_filter(slots), schema::slot_index(), schema::slot_index(), 1_000)
}

/// [`slots_in_use`](crate::ports::Store::slots_in_use) of one key
pub fn slots_in_use(key: &str) -> Document {
    doc! { "find": "runs", "filter": slots::in_use_filter(key), "hint": schema::slots_index() }
}

/// [`held_runs`](crate::ports::Store::held_runs)
pub fn held_runs(task_id: &TaskId, limit: u32) -> Document {
    let index = schema::latest_first(&["task_id", "state"]);
    find("runs", slots::held_filter(task_id), slots::earliest_first(), index, limit)
}

/// [`held_in_group`](crate::ports::Store::held_in_group)
pub fn held_in_group(group: &WaitGroup, limit: u32) -> Document {
    let filter = doc! { "wait_group": group.as_str() };
    find("runs", filter, slots::earliest_first(), schema::group_index(), limit)
}

/// [`held_groups`](crate::ports::Store::held_groups) of a key: one query for each group
pub fn next_group(key: &str, after: &str) -> Document {
    let filter = slots::next_group_filter(key, after);
    find("runs", filter, doc! { "wait_group": 1 }, schema::waits_index(), 1)
}

/// [`held_groups`](crate::ports::Store::held_groups) of all keys
pub fn all_groups(after: &str, limit: u32) -> Document {
    aggregate("runs", slots::all_groups_query(after, limit).into(), schema::group_index())
}

/// [`open_runs`](crate::ports::Store::open_runs)
pub fn open_runs(task_id: &TaskId, after: Option<&RunId>, limit: u32) -> Document {
    let filter = runs::open_filter(task_id, after);
    find("runs", filter, doc! { "_id": 1 }, schema::open_index(), limit)
}

/// [`log`](crate::ports::Store::log), whose first chunk begins with the line `first`
pub fn log(id: &RunId, first: u32) -> Document {
    let filter = run_logs::log_filter(id, i64::from(first), u64::from(first));
    find("run_logs", filter, schema::log_index(), schema::log_index(), 1_000)
}

/// [`audit`](crate::ports::Store::audit)
pub fn audit_page(selection: &AuditSelection, page: &AuditPage) -> Document {
    let (filter, index) = audit::query(selection, page);
    find("audit", filter, doc! { "_id": -1 }, index, page.limit)
}

/// [`past_definitions`](crate::ports::Store::past_definitions)
pub fn past_definitions(id: &TaskId, before: u32, limit: u32) -> Document {
    let filter = revisions::filter(id, before);
    find("revisions", filter, doc! { "rev": -1 }, schema::revisions_index(), limit)
}

/// The first query of [`prune`](crate::ports::Store::prune) in a collection, or the query after a
/// row
pub fn ended(collection: &str, after: Option<(&TaskId, Moment)>, before: Moment, limit: u32) -> Document {
    let after = after.map(|(id, at)| prune::Ended { id: id.to_string(), ended_at: date(at) });
    let filter = after.map_or_else(|| prune::ended(before), |last| prune::ended_after(&last, before));
    find(collection, filter, schema::ended_index(), schema::ended_index(), limit)
}

/// [`backlog`](crate::ports::Store::backlog), of tasks and of runs
pub fn backlog(now: Moment) -> [Document; 2] {
    let tasks = aggregate("tasks", backlog::overdue(now), schema::due_index());
    [tasks, aggregate("runs", backlog::waiting(now), schema::attention_index())]
}

/// [`queues`](crate::ports::Store::queues)
pub fn queues() -> Document {
    aggregate("runs", backlog::queue_counts(), schema::queued_attention_index())
}

/// Lists tasks with a query that takes longer than its time limit.
///
/// # Errors
/// Always.
pub async fn slow_list(store: &MongoStore) -> Result<Vec<Task>> {
    let ledger = store.ready().await?;
    let find = || ledger.tasks.find(doc! { "$where": "sleep(60000) || true" });
    lists::rows(ledger, find, 1, Duration::from_millis(100)).await
}

fn aggregate(collection: &str, pipeline: Vec<Document>, index: Document) -> Document {
    doc! { "aggregate": collection, "pipeline": pipeline, "hint": index, "cursor": {} }
}

fn find(collection: &str, filter: Document, sort: Document, index: Document, limit: u32) -> Document {
    doc! { "find": collection, "filter": filter, "sort": sort, "hint": index, "limit": i64::from(limit) }
}

/// The first statement of [`advance_tasks`](crate::ports::Store::advance_tasks)
pub fn advance(advances: &[Advance]) -> Document {
    let statements = tasks::advance_statements(advances);
    doc! { "update": "tasks", "updates": &statements[..1] }
}

/// One statement of [`update_runs`](crate::ports::Store::update_runs)
pub fn update(run: &Run) -> Document {
    doc! { "update": "runs", "updates": [run_statements::for_run(run, ObjectId::new())] }
}

/// [`update_runs`](crate::ports::Store::update_runs)
///
/// # Errors
/// If the stored runs cannot be read.
pub async fn update_many(store: &MongoStore, runs: &[Run]) -> Result<Document> {
    let statements = run_statements::for_runs(store.ready().await?, runs, ObjectId::new()).await?;
    Ok(doc! { "update": "runs", "updates": statements })
}

/// Runs the statements of [`update_runs`](crate::ports::Store::update_runs) twice, as after a lost answer.
///
/// # Errors
/// A port's error.
pub async fn repeated_update(store: &MongoStore, runs: &[Run]) -> Result<Vec<bool>> {
    let (ledger, write_id) = (store.ready().await?, ObjectId::new());
    let statements = run_statements::for_runs(ledger, runs, write_id).await?;
    runs::apply(ledger, runs, &statements, write_id).await?;
    runs::apply(ledger, runs, &statements, write_id).await
}

/// [`cancel_tasks`](crate::ports::Store::cancel_tasks)
pub fn cancel(ids: &[TaskId], now: Moment) -> Document {
    let ids: Vec<&str> = ids.iter().map(TaskId::as_str).collect();
    let (live, tombstone) = tasks::tombstone_update(&ids, now, ObjectId::new());
    let statement = doc! { "q": live, "u": tombstone, "hint": { "_id": 1 }, "multi": true };
    doc! { "update": "tasks", "updates": [statement] }
}

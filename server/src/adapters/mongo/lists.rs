//! Pages of tasks and runs.

use std::fmt::Display;
use std::time::Duration;

use mongodb::action::Find;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::Hint;
use serde::de::DeserializeOwned;

use super::errors::{READ_TIMEOUT, interruptible};
use super::rows::date;
use super::{Ledger, schema, updates};
use crate::adapters::unreadable::Row;
use crate::core::{Run, RunState, Task, TaskState};
use crate::ports::{Page, Result, RunFilter, RunPage, TaskFilter};

/// States in a listing without a state filter.
const LISTED: [TaskState; 3] = [TaskState::Active, TaskState::Paused, TaskState::Finished];

pub async fn tasks(ledger: &Ledger, filter: &TaskFilter, page: &Page) -> Result<Vec<Task>> {
    let find = || ledger.tasks.find(task_filter(filter, page)).sort(doc! { "_id": -1 });
    let find = || find().hint(Hint::Keys(task_index(filter)));
    rows(ledger, find, page.limit, READ_TIMEOUT).await
}

/// Returns the first rows of a list. The server interrupts the query after `timeout`.
pub async fn rows<'a, R, T>(
    ledger: &Ledger,
    find: impl Fn() -> Find<'a, R>,
    limit: u32,
    timeout: Duration,
) -> Result<Vec<T>>
where
    R: DeserializeOwned + Send + Sync + 'a,
    T: TryFrom<R, Error: Display> + Row,
{
    let find = || find().max_time(timeout);
    Ok(interruptible(updates::head(ledger, find, limit)).await?.rows)
}

/// Each state is a scan of the index from its head, so that MongoDB merges the scans without a sort.
pub fn task_filter(wanted: &TaskFilter, page: &Page) -> Document {
    let states = wanted.state.map_or(LISTED.to_vec(), |state| vec![state]);
    let states: Vec<&str> = states.into_iter().map(TaskState::as_str).collect();
    let mut filter = doc! { "state": { "$in": states }, "hidden": Bson::Null };
    if let Some(name) = &wanted.name {
        filter.insert("name", name);
    }
    if let Some(label) = &wanted.label {
        filter.insert("labels", label);
    }
    if let Some(before) = &page.before {
        filter.insert("_id", doc! { "$lt": before.as_str() });
    }
    filter
}

pub fn task_index(wanted: &TaskFilter) -> Document {
    if wanted.label.is_some() {
        return schema::labelled_tasks_index();
    }
    schema::tasks_index(wanted.name.is_some())
}

pub async fn runs(ledger: &Ledger, filter: &RunFilter, page: &RunPage) -> Result<Vec<Run>> {
    let sort = doc! { "scheduled_at": -1, "_id": -1 };
    let find = || ledger.runs.find(run_filter(filter, page)).sort(sort.clone());
    let find = || find().hint(Hint::Keys(run_index(filter)));
    rows(ledger, find, page.limit, READ_TIMEOUT).await
}

/// Counts matching tasks up to the limit of the page.
pub async fn count_tasks(ledger: &Ledger, filter: &TaskFilter, page: &Page) -> Result<u64> {
    if page.limit == 0 {
        return Ok(0);
    }
    let count = ledger.tasks.count_documents(task_filter(filter, page)).limit(page.limit.into());
    let count = count.hint(Hint::Keys(task_index(filter))).max_time(READ_TIMEOUT);
    interruptible(count.into_future()).await
}

/// Counts matching runs up to the limit of the page.
pub async fn count_runs(ledger: &Ledger, filter: &RunFilter, page: &RunPage) -> Result<u64> {
    if page.limit == 0 {
        return Ok(0);
    }
    let count = ledger.runs.count_documents(run_filter(filter, page)).limit(page.limit.into());
    let count = count.hint(Hint::Keys(run_index(filter))).max_time(READ_TIMEOUT);
    interruptible(count.into_future()).await
}

pub fn run_filter(wanted: &RunFilter, page: &RunPage) -> Document {
    let mut filter = Document::new();
    if let Some(task_id) = &wanted.task_id {
        filter.insert("task_id", task_id.as_str());
    }
    if let Some(tag) = &wanted.tag {
        filter.insert("tag", tag);
    }
    if let Some(label) = &wanted.label {
        filter.insert("labels", label);
    }
    if let Some(state) = wanted.state {
        filter.insert("state", state.as_str());
    } else if !filter.is_empty() {
        // Each state is a scan of the index of the task, of the tag or of the label.
        filter.insert("state", doc! { "$in": RunState::ALL.map(RunState::as_str).to_vec() });
    }
    if let Some((at, id)) = &page.before {
        filter.insert("scheduled_at", doc! { "$lte": date(*at) });
        let earlier = doc! { "scheduled_at": { "$lt": date(*at) } };
        filter.insert("$or", [earlier, doc! { "_id": { "$lt": id.as_str() } }].to_vec());
    }
    filter
}

/// All runs of a task usually have the same tag.
pub fn run_index(wanted: &RunFilter) -> Document {
    schema::latest_first(match wanted {
        RunFilter { label: Some(_), .. } => &["labels", "state"],
        RunFilter { task_id: Some(_), .. } => &["task_id", "state"],
        RunFilter { tag: Some(_), .. } => &["tag", "state"],
        RunFilter { state: Some(_), .. } => &["state"],
        _ => &[],
    })
}

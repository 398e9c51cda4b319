//! Pages of tasks and runs, and the heads of queues.

use mongodb::bson::{Bson, Document, doc};
use mongodb::options::Hint;

use super::errors::bounded;
use super::rows::date;
use super::{Ledger, schema, updates};
use crate::core::{Run, Task};
use crate::ports::{Page, Result, RunFilter, RunPage, TaskFilter};

pub async fn tasks(ledger: &Ledger, filter: &TaskFilter, page: &Page) -> Result<Vec<Task>> {
    let find = || ledger.tasks.find(task_filter(filter, page)).sort(doc! { "_id": -1 });
    let find = || find().hint(Hint::Keys(task_index(filter)));
    Ok(bounded(updates::head(ledger, find, page.limit)).await?.rows)
}

pub fn task_filter(wanted: &TaskFilter, page: &Page) -> Document {
    let mut filter = doc! { "hidden": { "$ne": true } };
    filter.insert(
        "state",
        wanted.state.map_or_else(|| doc! { "$ne": "cancelled" }, |state| doc! { "$eq": state.as_str() }),
    );
    if let Some(name) = &wanted.name {
        filter.insert("name", name);
    }
    if let Some(before) = &page.before {
        filter.insert("_id", doc! { "$lt": before.as_str() });
    }
    filter
}

pub fn task_index(wanted: &TaskFilter) -> Document {
    match (&wanted.name, wanted.state) {
        (Some(_), _) => doc! { "name": 1, "_id": -1 },
        (None, Some(_)) => doc! { "state": 1, "_id": -1 },
        (None, None) => doc! { "_id": 1 },
    }
}

pub async fn runs(ledger: &Ledger, filter: &RunFilter, page: &RunPage) -> Result<Vec<Run>> {
    let sort = doc! { "scheduled_at": -1, "_id": -1 };
    let find = || ledger.runs.find(run_filter(filter, page)).sort(sort.clone());
    let find = || find().hint(Hint::Keys(run_index(filter)));
    Ok(bounded(updates::head(ledger, find, page.limit)).await?.rows)
}

pub fn run_filter(wanted: &RunFilter, page: &RunPage) -> Document {
    let mut filter = Document::new();
    if let Some(task_id) = &wanted.task_id {
        filter.insert("task_id", task_id.as_str());
    }
    if let Some(tag) = &wanted.tag {
        filter.insert("tag", tag);
    }
    if let Some(state) = wanted.state {
        filter.insert("state", state.as_str());
    }
    if let Some((at, id)) = &page.before {
        filter.insert("scheduled_at", doc! { "$lte": date(*at) });
        let earlier = doc! { "scheduled_at": { "$lt": date(*at) } };
        filter.insert("$or", [earlier, doc! { "_id": { "$lt": id.as_str() } }].to_vec());
    }
    filter
}

/// Returns the most selective index: a task has few runs, and a state such as `dead` usually has
/// fewer runs than a tag.
pub fn run_index(wanted: &RunFilter) -> Document {
    let field = match wanted {
        RunFilter { task_id: Some(_), .. } => Some("task_id"),
        RunFilter { state: Some(_), .. } => Some("state"),
        RunFilter { tag: Some(_), .. } => Some("tag"),
        _ => None,
    };
    schema::latest_first(field)
}

/// Returns the earliest ready runs. Runs one query per queue, because a query over several queues
/// would need a sort.
pub async fn ready_runs(ledger: &Ledger, queues: &[String], limit: u32) -> Result<Vec<Run>> {
    if queues.is_empty() {
        return ready(ledger, None, limit).await;
    }
    let mut found = Vec::new();
    for queue in queues {
        found.extend(ready(ledger, Some(queue), limit).await?);
    }
    found.sort_by(|a: &Run, b: &Run| (a.scheduled_at, &a.id).cmp(&(b.scheduled_at, &b.id)));
    found.dedup_by(|a, b| a.id == b.id);
    found.truncate(limit as usize);
    Ok(found)
}

/// Returns the filter for ready runs of a queue. `None`: of every queue whose name equals the run's
/// tag.
pub fn ready_filter(queue: Option<&String>) -> Document {
    if let Some(queue) = queue {
        return doc! { "state": "ready", "queue": queue };
    }
    // Rows without `by_tag` are from an earlier release. They are few, so `$expr` examines each of
    // them.
    let mut filter = doc! { "state": "ready", "by_tag": { "$in": [true, Bson::Null] } };
    filter.insert("$expr", doc! { "$eq": ["$queue", "$tag"] });
    filter
}

async fn ready(ledger: &Ledger, queue: Option<&String>, limit: u32) -> Result<Vec<Run>> {
    let find = || ledger.runs.find(ready_filter(queue)).sort(doc! { "scheduled_at": 1, "_id": 1 });
    let find = || find().hint(Hint::Keys(schema::ready_index(queue.is_some())));
    Ok(bounded(updates::head(ledger, find, limit)).await?.rows)
}

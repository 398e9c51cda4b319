//! Slots of runs, and runs that wait for slots.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::bson::{Document, doc};
use mongodb::options::Hint;
use serde::Deserialize;

use super::errors::bounded;
use super::runs::OpenRow;
use super::{Ledger, schema, updates};
use crate::core::run::OpenRun;
use crate::core::wait_group::WaitGroup;
use crate::core::{RunId, TaskId};
use crate::ports::Result;

/// Keys whose slots are read at the same time.
const KEYS_AT_ONCE: usize = 16;

/// Returns the slots with these keys that runs have.
pub async fn in_use(ledger: &Ledger, keys: &[String]) -> Result<Vec<(String, RunId)>> {
    let reads: Vec<_> = keys.iter().map(|key| in_use_of(ledger, key)).collect();
    let reads = stream::iter(reads).buffer_unordered(KEYS_AT_ONCE);
    Ok(reads.try_collect::<Vec<_>>().await?.concat())
}

async fn in_use_of(ledger: &Ledger, key: &str) -> Result<Vec<(String, RunId)>> {
    #[derive(Deserialize)]
    struct Holder {
        #[serde(rename = "_id")]
        id: RunId,
        slots: Vec<String>,
    }
    let runs = ledger.runs.clone_with_type::<Holder>();
    let find = runs.find(in_use_filter(key)).projection(doc! { "slots": 1 });
    let find = find.hint(Hint::Keys(schema::slots_index()));
    let holders: Vec<Holder> = bounded(async { find.await?.try_collect().await }).await?;
    let is_of_key = |slot: &String| slot.rsplit_once('#').is_some_and(|(of, _)| of == key);
    let slots = |holder: Holder| {
        let id = holder.id;
        holder.slots.into_iter().filter(is_of_key).map(move |slot| (slot, id.clone()))
    };
    Ok(holders.into_iter().flat_map(slots).collect())
}

/// Returns the filter for the runs that have a slot of the key.
pub fn in_use_filter(key: &str) -> Document {
    // '$' follows '#'. Without $elemMatch, each bound could match another slot, and the index would serve one bound.
    doc! { "slots": { "$elemMatch": { "$gte": format!("{key}#"), "$lt": format!("{key}$") } } }
}

/// Returns the runs of a task that wait for admission, earliest first.
pub async fn held(ledger: &Ledger, task_id: &TaskId, limit: u32) -> Result<Vec<OpenRun>> {
    waiting(ledger, held_filter(task_id), schema::latest_first(&["task_id", "state"]), limit).await
}

/// Returns the filter for the runs of a task that wait for admission.
pub fn held_filter(task_id: &TaskId) -> Document {
    doc! { "task_id": task_id.as_str(), "state": "held" }
}

/// Returns runs of a group that wait for admission, earliest first.
pub async fn in_group(ledger: &Ledger, group: &WaitGroup, limit: u32) -> Result<Vec<OpenRun>> {
    waiting(ledger, doc! { "wait_group": group.as_str() }, schema::group_index(), limit).await
}

async fn waiting(ledger: &Ledger, filter: Document, index: Document, limit: u32) -> Result<Vec<OpenRun>> {
    let runs = ledger.runs.clone_with_type::<OpenRow>();
    let find = || runs.find(filter.clone()).sort(earliest_first()).projection(OpenRow::fields());
    let find = || find().hint(Hint::Keys(index.clone()));
    Ok(bounded(updates::head(ledger, find, limit)).await?.rows)
}

/// Returns the order of waiting runs.
pub fn earliest_first() -> Document {
    doc! { "scheduled_at": 1, "_id": 1 }
}

/// Returns groups of runs that wait for admission, by name.
pub async fn groups(ledger: &Ledger, key: Option<&str>, after: &str, limit: u32) -> Result<Vec<WaitGroup>> {
    match key {
        Some(key) => groups_of_key(ledger, key, after, limit).await,
        None => all_groups(ledger, after, limit).await,
    }
}

async fn all_groups(ledger: &Ledger, after: &str, limit: u32) -> Result<Vec<WaitGroup>> {
    #[derive(Deserialize)]
    struct Group {
        #[serde(rename = "_id")]
        name: String,
    }
    let find = ledger.runs.aggregate(all_groups_query(after, limit));
    let find = find.hint(Hint::Keys(schema::group_index())).with_type::<Group>();
    let groups: Vec<Group> = bounded(async { find.await?.try_collect().await }).await?;
    Ok(groups.into_iter().map(|group| WaitGroup::from_text(group.name)).collect())
}

/// Returns the stages that list all groups. The index serves them: one key is examined for each group.
pub fn all_groups_query(after: &str, limit: u32) -> [Document; 4] {
    [
        doc! { "$match": { "wait_group": { "$gt": after } } },
        doc! { "$group": { "_id": "$wait_group" } },
        doc! { "$sort": { "_id": 1 } },
        doc! { "$limit": i64::from(limit) },
    ]
}

/// Returns the groups of a key, one query for each group: the index has several keys for one run, so an aggregation
/// would examine all runs of the key.
async fn groups_of_key(ledger: &Ledger, key: &str, after: &str, limit: u32) -> Result<Vec<WaitGroup>> {
    #[derive(Deserialize)]
    struct Row {
        wait_group: String,
    }
    let runs = ledger.runs.clone_with_type::<Row>();
    let mut groups: Vec<WaitGroup> = Vec::new();
    while groups.len() < limit as usize {
        let after = groups.last().map_or(after, WaitGroup::as_str);
        let find = runs.find_one(next_group_filter(key, after)).sort(doc! { "wait_group": 1 });
        let find = find.projection(doc! { "wait_group": 1 }).hint(Hint::Keys(schema::waits_index()));
        let Some(row) = bounded(find.into_future()).await? else { break };
        groups.push(WaitGroup::from_text(row.wait_group));
    }
    Ok(groups)
}

/// Returns the filter for the runs that wait for slots of the key, in groups after the name `after`.
pub fn next_group_filter(key: &str, after: &str) -> Document {
    doc! { "waits_for": key, "wait_group": { "$gt": after } }
}

/// Returns the number of runs that wait for slots of a key, at most `limit`. The index serves it.
pub async fn count_held(ledger: &Ledger, key: &str, limit: u32) -> Result<u64> {
    let count = ledger.runs.count_documents(doc! { "waits_for": key }).limit(limit.into());
    bounded(count.hint(Hint::Keys(schema::waits_index())).into_future()).await
}

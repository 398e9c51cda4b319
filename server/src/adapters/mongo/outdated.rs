//! Drops the indexes that this release has replaced. A node of an earlier release names its indexes
//! in its queries, and such a query fails without its index. So an index is dropped only after no
//! node has used one of the outdated indexes for a while.

use std::sync::{Mutex, PoisonError};

use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::ReadConcern;

use super::Ledger;
use super::errors::{bounded, port_error, timed};
use crate::core::Moment;
use crate::ports::{BoxError, PortError, Result};

/// Time without a use, in milliseconds. A node queries due tasks twice a second.
const UNUSED_MS: i64 = 60_000;
/// Error code of an index that another node has dropped.
const INDEX_NOT_FOUND: i32 = 27;

/// What a node knows about outdated indexes.
#[derive(Debug, Default)]
pub struct Outdated(Mutex<Watch>);

#[derive(Debug, Default, Clone)]
enum Watch {
    #[default]
    Unknown,
    /// The outdated indexes and the counters of their uses, at a moment.
    Since(Moment, Vec<Index>),
    /// No outdated index is left to drop.
    Done,
}

#[derive(Debug, Clone, PartialEq)]
struct Index {
    collection: &'static str,
    name: String,
    /// Counters of each server.
    uses: Vec<Document>,
}

/// Returns the names of the outdated indexes of a collection.
fn outdated(collection: &str) -> &'static [&'static str] {
    match collection {
        "tasks" => &["shard_1_next_due_at_1", "name_1__id_-1", "state_1__id_-1"],
        _ => &[
            "shard_1_attention_at_1",
            "shard_1_attention_at_1_queue_1",
            "shard_1_attention_at_1_queue_1_state_1",
            "task_id_1_scheduled_at_-1__id_-1",
            "tag_1_scheduled_at_-1__id_-1",
            "queue_1_scheduled_at_1__id_1",
        ],
    }
}

/// Drops the outdated indexes if no node has used one of them since an earlier call. `now` may be any
/// moment that advances with time.
pub async fn drop_unused(ledger: &Ledger, now: Moment) -> Result<()> {
    let watch = ledger.outdated.watch();
    if matches!(watch, Watch::Done) {
        return Ok(());
    }
    let found = find(ledger).await?;
    let next = match watch {
        _ if found.is_empty() => Watch::Done,
        Watch::Since(at, last) if last == found && now < at.plus_ms(UNUSED_MS) => Watch::Since(at, last),
        Watch::Since(_, last) if last == found => {
            drop_all(ledger, &found).await?;
            Watch::Done
        }
        _ => Watch::Since(now, found),
    };
    ledger.outdated.set(next);
    Ok(())
}

impl Outdated {
    fn watch(&self) -> Watch {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, watch: Watch) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = watch;
    }
}

/// Returns the outdated indexes, or none if the node may not read how often they are used.
async fn find(ledger: &Ledger) -> Result<Vec<Index>> {
    let mut found = in_collection(&ledger.tasks, "tasks").await?;
    found.extend(in_collection(&ledger.runs, "runs").await?);
    match read_uses(ledger, &mut found).await {
        Ok(()) => Ok(found),
        Err(PortError::Refused(_, cause)) => {
            log_remaining(&found, &cause);
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

fn log_remaining(indexes: &[Index], cause: &BoxError) {
    let names: Vec<&str> = indexes.iter().map(|index| index.name.as_str()).collect();
    tracing::warn!(
        indexes = names.join(" "),
        %cause,
        "indexes of an earlier release remain: drop them when no node of that release runs"
    );
}

async fn read_uses(ledger: &Ledger, indexes: &mut [Index]) -> Result<()> {
    for index in indexes {
        index.uses = uses(ledger, index).await?;
    }
    Ok(())
}

async fn in_collection<T: Send + Sync>(collection: &Collection<T>, name: &'static str) -> Result<Vec<Index>> {
    let names = bounded(collection.list_index_names().into_future()).await?;
    let index = |index: String| Index { collection: name, name: index, uses: Vec::new() };
    Ok(names.into_iter().filter(|index| outdated(name).contains(&index.as_str())).map(index).collect())
}

/// Returns how often each server has used an index, and since when it counts.
async fn uses(ledger: &Ledger, index: &Index) -> Result<Vec<Document>> {
    let stats = vec![
        doc! { "$indexStats": {} },
        doc! { "$match": { "name": &index.name } },
        doc! { "$project": { "host": 1, "accesses": 1, "building": 1 } },
        doc! { "$sort": { "host": 1 } },
    ];
    let collection = ledger.db.collection::<Document>(index.collection);
    let stats = collection.aggregate(stats).read_concern(ReadConcern::local());
    bounded(async { stats.await?.try_collect().await }).await
}

async fn drop_all(ledger: &Ledger, indexes: &[Index]) -> Result<()> {
    for Index { collection, name, .. } in indexes {
        let rows = ledger.db.collection::<Document>(collection);
        match timed(rows.drop_index(name).into_future()).await? {
            Ok(()) => tracing::info!(collection, index = name, "index of an earlier release dropped"),
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(port_error(error)),
        }
    }
    Ok(())
}

fn is_not_found(error: &mongodb::error::Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if command.code == INDEX_NOT_FOUND)
}

//! Owners of deduplication keys.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use mongodb::bson::doc;
use mongodb::options::Hint;
use serde::Deserialize;

use super::Ledger;
use super::errors::{bounded, unavailable};
use crate::core::TaskId;
use crate::ports::{PortError, Result};

/// Attempts of a write whose deduplication key belonged to a task that vanished before it was read.
pub const ATTEMPTS: usize = 5;

/// Returns the error after [`ATTEMPTS`].
pub fn contended() -> PortError {
    unavailable("the owner of the deduplication key keeps changing")
}

#[derive(Deserialize)]
struct Owner {
    #[serde(rename = "_id")]
    id: TaskId,
    dedup_key: String,
}

/// Returns the live tasks that have these keys, by key.
pub async fn owners(ledger: &Ledger, keys: &[&str]) -> Result<HashMap<String, TaskId>> {
    let find = ledger.tasks.clone_with_type::<Owner>();
    let find = find
        .find(doc! { "dedup_key": { "$in": keys, "$exists": true } })
        .hint(Hint::Keys(doc! { "dedup_key": 1 }))
        .projection(doc! { "dedup_key": 1 });
    let owners: Vec<Owner> = bounded(async { find.await?.try_collect().await }).await?;
    Ok(owners.into_iter().map(|owner| (owner.dedup_key, owner.id)).collect())
}

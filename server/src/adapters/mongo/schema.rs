//! What the deployment must be, and the indexes: partial ones, so that what has ended costs nothing.

use std::time::Duration;

use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;

use super::Ledger;
use super::errors::{bounded, refused};
use crate::ports::Result;

/// A standalone server acknowledges `w: majority` by itself alone.
pub fn refuse_standalone(hello: &Document) -> Result<()> {
    if hello.contains_key("setName") || hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
        return Ok(());
    }
    Err(refused(
        "the server is not a member of a replica set: start mongod with --replSet rs0, run rs.initiate() in its shell, \
         and add replicaSet=rs0 to the URI",
    ))
}

/// The sort and bounds of [`due_tasks`](crate::ports::Store::due_tasks).
pub fn due_index() -> Document {
    doc! { "shard": 1, "next_due_at": 1 }
}

/// The sort and bounds of [`runs_needing_attention`](crate::ports::Store::runs_needing_attention).
pub fn attention_index() -> Document {
    doc! { "shard": 1, "attention_at": 1 }
}

pub async fn create_indexes(ledger: &Ledger) -> Result<()> {
    let only = |field: &str| doc! { field: { "$exists": true } };
    let tasks = [
        partial(due_index(), doc! { "state": "active" }),
        unique(doc! { "dedup_key": 1 }, only("dedup_key")),
        index(doc! { "name": 1, "_id": -1 }),
        partial(doc! { "ended_at": 1 }, only("ended_at")),
    ];
    let runs = [
        partial(attention_index(), only("attention_at")),
        partial(doc! { "task_id": 1 }, only("attention_at")),
        partial(doc! { "ended_at": 1 }, only("ended_at")),
    ];
    bounded(ledger.tasks.create_indexes(tasks).into_future()).await?;
    bounded(ledger.runs.create_indexes(runs).into_future()).await?;
    bounded(ledger.counters.create_index(expiring("expire_at")).into_future()).await?;
    Ok(())
}

fn index(keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).build()
}

fn partial(keys: Document, filter: Document) -> IndexModel {
    with(keys, IndexOptions::builder().partial_filter_expression(filter).build())
}

fn unique(keys: Document, filter: Document) -> IndexModel {
    with(keys, IndexOptions::builder().unique(true).partial_filter_expression(filter).build())
}

fn expiring(field: &str) -> IndexModel {
    with(doc! { field: 1 }, IndexOptions::builder().expire_after(Duration::ZERO).build())
}

fn with(keys: Document, options: IndexOptions) -> IndexModel {
    IndexModel::builder().keys(keys).options(options).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standalone_server_is_refused_with_what_to_do() {
        assert!(refuse_standalone(&doc! { "setName": "rs0" }).is_ok());
        assert!(refuse_standalone(&doc! { "msg": "isdbgrid" }).is_ok());
        let error = refuse_standalone(&doc! { "isWritablePrimary": true }).unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("rs.initiate()"));
    }
}

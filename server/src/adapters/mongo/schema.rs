//! Requirements on the deployment, and the indexes. They are partial where possible, so that ended
//! rows cost nothing.

use std::time::Duration;

use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;

use super::Ledger;
use super::errors::{bounded, refused};
use crate::ports::Result;

/// Refuses a standalone server, which acknowledges `w: majority` without a replica.
pub fn refuse_standalone(hello: &Document) -> Result<()> {
    if hello.contains_key("setName") || hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
        return Ok(());
    }
    Err(refused(
        "the server is not a member of a replica set: start mongod with --replSet rs0, run rs.initiate() in its shell, \
         and add replicaSet=rs0 to the URI",
    ))
}

/// Index of [`due_tasks`](crate::ports::Store::due_tasks). With its last fields, the index covers
/// the overdue tasks of [`backlog`](crate::ports::Store::backlog): no document is read.
pub fn due_index() -> Document {
    doc! { "shard": 1, "next_due_at": 1, "state": 1, "name": 1 }
}

/// Index of [`runs_needing_attention`](crate::ports::Store::runs_needing_attention). With its last
/// fields, the index covers the open runs of [`backlog`](crate::ports::Store::backlog).
pub fn attention_index() -> Document {
    doc! { "shard": 1, "attention_at": 1, "state": 1, "tag": 1, "scheduled_at": 1 }
}

/// Index of [`open_runs`](crate::ports::Store::open_runs).
pub fn open_index() -> Document {
    doc! { "task_id": 1, "_id": 1 }
}

/// Index of [`runs_needing_attention`](crate::ports::Store::runs_needing_attention) with
/// `queued_only`: while the bus is unavailable, the query must not read its many overdue runs.
/// With its last fields, the index covers [`queues`](crate::ports::Store::queues).
pub fn queued_attention_index() -> Document {
    doc! { "shard": 1, "attention_at": 1, "queue": 1, "state": 1, "scheduled_at": 1 }
}

/// Index of [`ready_runs`](crate::ports::Store::ready_runs) of all queues.
pub fn ready_index() -> Document {
    doc! { "by_tag": 1, "scheduled_at": 1, "_id": 1 }
}

/// Index of [`ready_runs`](crate::ports::Store::ready_runs) of one queue, and of the fairness keys of runs whose tag is the
/// name of their queue.
pub fn ready_of_queue_index() -> Document {
    doc! { "by_tag": 1, "queue": 1, "scheduled_at": 1, "_id": 1 }
}

/// Index of the fairness keys of runs with another tag than the name of their queue. Other runs are not part of the
/// index.
pub fn ready_of_tag_index() -> Document {
    doc! { "queue": 1, "tag": 1, "scheduled_at": 1, "_id": 1 }
}

/// Index of [`runs_in_slots`](crate::ports::Store::runs_in_slots).
pub fn slot_index() -> Document {
    doc! { "lease_slot": 1 }
}

/// Index of [`slots_in_use`](crate::ports::Store::slots_in_use): a run has several slots, and a slot one run.
pub fn slots_index() -> Document {
    doc! { "slots": 1 }
}

/// Index of [`held_in_group`](crate::ports::Store::held_in_group), and of all groups of
/// [`held_groups`](crate::ports::Store::held_groups).
pub fn group_index() -> Document {
    doc! { "wait_group": 1, "scheduled_at": 1, "_id": 1 }
}

/// Index of [`held_groups`](crate::ports::Store::held_groups) of one key. A run waits for several keys.
pub fn waits_index() -> Document {
    doc! { "waits_for": 1, "wait_group": 1 }
}

/// Index of [`prune`](crate::ports::Store::prune): ended longest ago first.
pub fn ended_index() -> Document {
    doc! { "ended_at": 1, "_id": 1 }
}

/// Index of [`list_tasks`](crate::ports::Store::list_tasks). A listing never contains hidden tasks.
pub fn tasks_index(by_name: bool) -> Document {
    if by_name {
        doc! { "name": 1, "state": 1, "hidden": 1, "_id": -1 }
    } else {
        doc! { "state": 1, "hidden": 1, "_id": -1 }
    }
}

/// Index of [`list_tasks`](crate::ports::Store::list_tasks) with a label. Tasks without labels are not part
/// of the index.
pub fn labelled_tasks_index() -> Document {
    doc! { "labels": 1, "state": 1, "hidden": 1, "_id": -1 }
}

/// Index of [`list_runs`](crate::ports::Store::list_runs), for one value of each of `fields`.
/// Without fields, also the sort.
pub fn latest_first(fields: &[&str]) -> Document {
    let mut keys: Document = fields.iter().map(|field| ((*field).to_owned(), 1.into())).collect();
    keys.insert("scheduled_at", -1);
    keys.insert("_id", -1);
    keys
}

/// Index of [`records`](crate::ports::Records::records) with a secondary key.
pub fn records_index() -> Document {
    doc! { "kind": 1, "found_by": 1, "key": 1 }
}

/// Index of [`log`](crate::ports::Store::log), and the order of the chunks of a run.
pub fn log_index() -> Document {
    doc! { "run_id": 1, "first_line": 1 }
}

/// Index of [`past_definitions`](crate::ports::Store::past_definitions).
pub fn revisions_index() -> Document {
    doc! { "task_id": 1, "rev": 1 }
}

/// Index of [`audit`](crate::ports::Store::audit) by a field.
pub fn audit_index(field: &str) -> Document {
    doc! { field: 1, "_id": 1 }
}

pub async fn create_indexes(ledger: &Ledger) -> Result<()> {
    let only = |field: &str| doc! { field: { "$exists": true } };
    let tasks = [
        partial(due_index(), doc! { "state": "active" }),
        unique(doc! { "dedup_key": 1 }, only("dedup_key")),
        index(tasks_index(true)),
        index(tasks_index(false)),
        partial(ended_index(), only("ended_at")),
        partial(labelled_tasks_index(), only("labels")),
    ];
    let open_in_queues = doc! { "attention_at": { "$exists": true }, "queue": { "$exists": true } };
    let runs = [
        partial(attention_index(), only("attention_at")),
        partial(queued_attention_index(), open_in_queues),
        partial(open_index(), only("attention_at")),
        partial(ready_index(), doc! { "state": "ready" }),
        partial(ready_of_queue_index(), doc! { "state": "ready" }),
        partial(ready_of_tag_index(), doc! { "state": "ready", "by_tag": false }),
        unique(slot_index(), only("lease_slot")),
        unique(slots_index(), only("slots")),
        partial(group_index(), only("wait_group")),
        partial(waits_index(), only("waits_for")),
        index(latest_first(&["task_id", "state"])),
        index(latest_first(&["tag", "state"])),
        index(latest_first(&["state"])),
        index(latest_first(&[])),
        partial(ended_index(), only("ended_at")),
        partial(latest_first(&["labels", "state"]), only("labels")),
    ];
    bounded(ledger.tasks.create_indexes(tasks).into_future()).await?;
    bounded(ledger.runs.create_indexes(runs).into_future()).await?;
    bounded(ledger.counters.create_index(expiring("expire_at")).into_future()).await?;
    let records =
        [unique(doc! { "kind": 1, "key": 1 }, only("key")), partial(records_index(), only("found_by"))];
    bounded(ledger.records.create_indexes(records).into_future()).await?;
    let logs = unique(log_index(), only("run_id"));
    bounded(ledger.run_logs.create_index(logs).into_future()).await?;
    bounded(ledger.revisions.create_index(index(revisions_index())).into_future()).await?;
    let audit = ["actor", "action", "object"].map(|field| index(audit_index(field)));
    bounded(ledger.audit.create_indexes(audit).into_future()).await?;
    bounded(ledger.idempotency.create_index(index(doc! { "at": 1 })).into_future()).await?;
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
    fn the_error_for_a_standalone_server_says_what_to_do() {
        assert!(refuse_standalone(&doc! { "setName": "rs0" }).is_ok());
        assert!(refuse_standalone(&doc! { "msg": "isdbgrid" }).is_ok());
        let error = refuse_standalone(&doc! { "isWritablePrimary": true }).unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("rs.initiate()"));
    }
}

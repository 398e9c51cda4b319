//! The commands behind the hot paths, made of the same filters, sorts and hints, for a test to ask for their plans.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};

use super::rows::shard_numbers;
use super::{runs, schema, tasks};
use crate::core::{Moment, Run, RunId, TaskId};
use crate::ports::Advance;

/// [`due_tasks`](crate::ports::Store::due_tasks)
pub fn due_tasks(shards: &[u16], until: Moment, limit: u32) -> Document {
    doc! {
        "find": "tasks",
        "filter": tasks::due_filter(&shard_numbers(shards), until),
        "sort": { "next_due_at": 1 },
        "hint": schema::due_index(),
        "limit": i64::from(limit),
    }
}

/// [`runs_needing_attention`](crate::ports::Store::runs_needing_attention)
pub fn runs_needing_attention(shards: &[u16], now: Moment, limit: u32) -> Document {
    doc! {
        "find": "runs",
        "filter": runs::attention_filter(&shard_numbers(shards), now),
        "sort": { "attention_at": 1 },
        "hint": schema::attention_index(),
        "limit": i64::from(limit),
    }
}

/// [`open_runs`](crate::ports::Store::open_runs)
pub fn open_runs(task_id: &TaskId, after: Option<&RunId>, limit: u32) -> Document {
    doc! {
        "find": "runs",
        "filter": runs::open_filter(task_id, after),
        "sort": { "_id": 1 },
        "hint": schema::open_index(),
        "limit": i64::from(limit),
    }
}

/// The first statement of [`advance_tasks`](crate::ports::Store::advance_tasks)
pub fn advance(advances: &[Advance]) -> Document {
    let statements = tasks::advance_statements(advances);
    doc! { "update": "tasks", "updates": &statements[..1] }
}

/// One statement of [`update_runs`](crate::ports::Store::update_runs)
pub fn update(run: &Run) -> Document {
    doc! { "update": "runs", "updates": [runs::update_statement(run, ObjectId::new())] }
}

/// [`cancel_tasks`](crate::ports::Store::cancel_tasks)
pub fn cancel(ids: &[TaskId], now: Moment) -> Document {
    let ids: Vec<&str> = ids.iter().map(TaskId::as_str).collect();
    let (live, tombstone) = tasks::burial(&ids, now);
    let statement = doc! { "q": live, "u": tombstone, "hint": { "_id": 1 }, "multi": true };
    doc! { "update": "tasks", "updates": [statement] }
}

//! Replaces a task by compare-and-set, after a change by a user.

use mongodb::bson::{Document, doc};
use mongodb::options::Hint;
use serde::Deserialize;

use super::errors::{bounded, corrupt, is_duplicate, port_error, unavailable, with_retries};
use super::rows::{TaskRow, date};
use super::updates::by_id_hint;
use super::{Ledger, tasks};
use crate::core::{Task, TaskId};
use crate::ports::{ReplacedTask, Result};

/// Attempts of a change whose deduplication key belonged to a task that vanished before it was
/// read.
const HOLDER_TRIES: usize = 5;

pub async fn task(ledger: &Ledger, read: &Task, task: &Task) -> Result<ReplacedTask> {
    for _ in 0..HOLDER_TRIES {
        crate::failpoint!("mongo::before_replace");
        let attempt = with_retries(|| replace(ledger, read, task)).await?;
        crate::failpoint!("mongo::replaced");
        match attempt {
            Attempt::Replaced => return Ok(ReplacedTask::Done),
            Attempt::Moved => return moved_or_done(ledger, task).await,
            Attempt::KeyHeld => {}
        }
        if let Some(holder) = key_holder(ledger, task).await? {
            return Ok(ReplacedTask::KeyHeld(holder));
        }
    }
    Err(unavailable("the owner of the deduplication key keeps changing"))
}

enum Attempt {
    Replaced,
    Moved,
    KeyHeld,
}

async fn replace(ledger: &Ledger, read: &Task, task: &Task) -> Result<Attempt> {
    let replacement = TaskRow::from(task);
    let replace = ledger.tasks.replace_one(at_position(read), &replacement).hint(by_id_hint());
    // `bounded` alone would turn a duplicate key, which is a result, into an error.
    let attempt = bounded(async {
        match replace.await {
            Ok(answer) if answer.matched_count == 1 => Ok(Ok(Attempt::Replaced)),
            Ok(_) => Ok(Ok(Attempt::Moved)),
            Err(error) if is_duplicate(&error) => Ok(Ok(Attempt::KeyHeld)),
            Err(error) => Ok(Err(port_error(error))),
        }
    });
    attempt.await?
}

/// Returns the filter for the position at which the task was read: see [`Task::position`].
fn at_position(read: &Task) -> Document {
    let next = read.next_due_at.map_or(doc! { "$exists": false }, |due| doc! { "$eq": date(due) });
    doc! { "_id": read.id.as_str(), "rev": i64::from(read.rev), "state": read.state.as_str(), "next_due_at": next }
}

/// Reads the task after a failed compare-and-set: an earlier attempt of the same change may have
/// succeeded.
async fn moved_or_done(ledger: &Ledger, task: &Task) -> Result<ReplacedTask> {
    let stored = tasks::by_id(ledger, std::slice::from_ref(&task.id)).await?.pop();
    Ok(ReplacedTask::from_stored(stored.as_ref(), task))
}

#[derive(Deserialize)]
struct KeyHolder {
    #[serde(rename = "_id")]
    id: TaskId,
}

async fn key_holder(ledger: &Ledger, task: &Task) -> Result<Option<TaskId>> {
    let Some(key) = &task.dedup_key else {
        return Err(corrupt("duplicate key of a task without a deduplication key"));
    };
    let find = ledger.tasks.clone_with_type::<KeyHolder>();
    let find = find
        .find_one(doc! { "dedup_key": { "$eq": key, "$exists": true } })
        .hint(Hint::Keys(doc! { "dedup_key": 1 }))
        .projection(doc! { "_id": 1 });
    Ok(bounded(find.into_future()).await?.map(|holder| holder.id).filter(|id| *id != task.id))
}

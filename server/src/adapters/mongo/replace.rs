//! Replaces a task by compare-and-set, after a change by a user.

use mongodb::bson::{Document, doc};

use super::errors::{corrupt, is_duplicate, port_error, timed, with_retries};
use super::rows::{TaskRow, date};
use super::updates::by_id_hint;
use super::{Ledger, keys, tasks};
use crate::core::{Task, TaskId};
use crate::ports::{ReplacedTask, Result};

pub async fn task(ledger: &Ledger, read: &Task, task: &Task) -> Result<ReplacedTask> {
    for _ in 0..keys::ATTEMPTS {
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
    Err(keys::contended())
}

enum Attempt {
    Replaced,
    Moved,
    KeyHeld,
}

async fn replace(ledger: &Ledger, read: &Task, task: &Task) -> Result<Attempt> {
    let replacement = TaskRow::from(task);
    let replace = ledger.tasks.replace_one(at_position(read), &replacement).hint(by_id_hint());
    match timed(replace.into_future()).await? {
        Ok(answer) if answer.matched_count == 1 => Ok(Attempt::Replaced),
        Ok(_) => Ok(Attempt::Moved),
        Err(error) if is_duplicate(&error) => Ok(Attempt::KeyHeld),
        Err(error) => Err(port_error(error)),
    }
}

/// Returns the filter for the position at which the task was read: see [`Task::position`].
fn at_position(read: &Task) -> Document {
    let next = read.next_due_at.map_or(doc! { "$exists": false }, |due| doc! { "$eq": date(due) });
    doc! { "_id": read.id.as_str(), "rev": i64::from(read.rev), "state": read.state.as_str(), "next_due_at": next }
}

/// Reads the task after a failed compare-and-set: an earlier attempt of the same change may have
/// succeeded.
async fn moved_or_done(ledger: &Ledger, task: &Task) -> Result<ReplacedTask> {
    let stored = tasks::one(ledger, &task.id).await?;
    Ok(ReplacedTask::from_stored(stored.as_ref(), task))
}

async fn key_holder(ledger: &Ledger, task: &Task) -> Result<Option<TaskId>> {
    let Some(key) = &task.dedup_key else {
        return Err(corrupt("duplicate key of a task without a deduplication key"));
    };
    Ok(keys::owners(ledger, &[key]).await?.remove(key).filter(|owner| *owner != task.id))
}

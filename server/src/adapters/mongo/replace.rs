//! A person's change to a task, by compare-and-set.

use mongodb::bson::{Document, doc};
use mongodb::options::Hint;
use serde::Deserialize;

use super::errors::{bounded, corrupt, is_duplicate, persistent, port_error, unavailable};
use super::rows::{TaskRow, date};
use super::updates::by_id_hint;
use super::{Ledger, tasks};
use crate::core::{Task, TaskId};
use crate::ports::{ReplacedTask, Result};

/// How often a change is tried whose key was held by a task that was gone when it was looked up.
const HOLDER_TRIES: usize = 5;

pub async fn task(ledger: &Ledger, read: &Task, task: &Task) -> Result<ReplacedTask> {
    for _ in 0..HOLDER_TRIES {
        crate::failpoint!("mongo::before_replace");
        let tried = persistent(|| replace(ledger, read, task)).await?;
        crate::failpoint!("mongo::replaced");
        match tried {
            Tried::Replaced => return Ok(ReplacedTask::Done),
            Tried::NotThere => return moved_or_done(ledger, task).await,
            Tried::KeyHeld => {}
        }
        if let Some(holder) = holder(ledger, task).await? {
            return Ok(ReplacedTask::KeyHeld(holder));
        }
    }
    Err(unavailable("the dedup key changes hands faster than it can be looked up"))
}

enum Tried {
    Replaced,
    NotThere,
    KeyHeld,
}

async fn replace(ledger: &Ledger, read: &Task, task: &Task) -> Result<Tried> {
    let replacement = TaskRow::from(task);
    let replace = ledger.tasks.replace_one(stands(read), &replacement).hint(by_id_hint());
    // Not `bounded` alone: a duplicate key is an answer.
    let tried = bounded(async {
        match replace.await {
            Ok(answer) if answer.matched_count == 1 => Ok(Ok(Tried::Replaced)),
            Ok(_) => Ok(Ok(Tried::NotThere)),
            Err(error) if is_duplicate(&error) => Ok(Ok(Tried::KeyHeld)),
            Err(error) => Ok(Err(port_error(error))),
        }
    });
    tried.await?
}

/// Where the task stood when it was read: see [`Task::stand`].
fn stands(read: &Task) -> Document {
    let next = read.next_due_at.map_or(doc! { "$exists": false }, |due| doc! { "$eq": date(due) });
    doc! { "_id": read.id.as_str(), "rev": i64::from(read.rev), "state": read.state.as_str(), "next_due_at": next }
}

/// It does not stand where it was read: this very change may have been made by an earlier try, and may have been followed by fires.
async fn moved_or_done(ledger: &Ledger, task: &Task) -> Result<ReplacedTask> {
    let stored = tasks::by_id(ledger, std::slice::from_ref(&task.id)).await?.pop();
    let done = stored.is_some_and(|stored| stored == *task);
    Ok(if done { ReplacedTask::Done } else { ReplacedTask::Moved })
}

#[derive(Deserialize)]
struct Holder {
    #[serde(rename = "_id")]
    id: TaskId,
}

async fn holder(ledger: &Ledger, task: &Task) -> Result<Option<TaskId>> {
    let Some(key) = &task.dedup_key else { return Err(corrupt("a key that is not there is held")) };
    let find = ledger.tasks.clone_with_type::<Holder>();
    let find = find
        .find_one(doc! { "dedup_key": { "$eq": key, "$exists": true } })
        .hint(Hint::Keys(doc! { "dedup_key": 1 }))
        .projection(doc! { "_id": 1 });
    Ok(bounded(find.into_future()).await?.map(|holder| holder.id).filter(|id| *id != task.id))
}

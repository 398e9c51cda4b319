//! Replaces a task by compare-and-set, after a change by a user.

use mongodb::bson::{Document, doc};
use mongodb::error::Error;
use mongodb::{ClientSession, Collection};
use serde::Serialize;

use super::errors::{
    bounded, corrupt, has_aborted, is_duplicate, port_error, timed, unavailable, with_counted_retries,
};
use super::rows::{RunRow, TaskRow, date};
use super::updates::by_id_hint;
use super::{Ledger, keys, revisions, tasks};
use crate::core::{Task, TaskId};
use crate::ports::{Attached, ReplacedTask, Result};

/// Rows that a replacement inserts.
struct Rows {
    skipped: Option<RunRow>,
    answer: Option<TaskRow>,
}

pub async fn task(ledger: &Ledger, read: &Task, task: &Task, rows: Attached<'_>) -> Result<ReplacedTask> {
    let rows = Rows { skipped: rows.skipped.map(RunRow::from), answer: rows.answer.map(TaskRow::from) };
    if task.begins_definition() {
        revisions::keep(ledger, read).await?;
    }
    for _ in 0..keys::ATTEMPTS {
        crate::failpoint!("mongo::before_replace");
        let (attempt, retries) = with_counted_retries(|| attempt(ledger, read, task, &rows)).await?;
        crate::failpoint!("mongo::replaced");
        match attempt {
            Attempt::Replaced => {
                if task.begins_definition() {
                    revisions::remove_oldest(ledger, &task.id).await;
                }
                return Ok(ReplacedTask::Done);
            }
            Attempt::Moved => return moved_or_done(ledger, task, retries > 0).await,
            Attempt::Answered => return Ok(ReplacedTask::Answered),
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
    Answered,
}

impl Attempt {
    fn of(error: Error) -> Result<Self> {
        match () {
            () if is_duplicate(&error) => Ok(Self::KeyHeld),
            () if has_aborted(&error) => Ok(Self::Moved),
            () => Err(port_error(error)),
        }
    }
}

async fn attempt(ledger: &Ledger, read: &Task, task: &Task, rows: &Rows) -> Result<Attempt> {
    if rows.skipped.is_some() || rows.answer.is_some() {
        replace_with_rows(ledger, read, task, rows).await
    } else {
        replace(ledger, read, task, None).await
    }
}

async fn replace(
    ledger: &Ledger,
    read: &Task,
    task: &Task,
    session: Option<&mut ClientSession>,
) -> Result<Attempt> {
    let replacement = TaskRow::from(task);
    let replace = ledger.tasks.replace_one(at_position(read), &replacement).hint(by_id_hint());
    let answer = match session {
        Some(session) => timed(replace.session(session).into_future()).await?,
        None => timed(replace.into_future()).await?,
    };
    match answer {
        Ok(answer) if answer.matched_count == 1 => Ok(Attempt::Replaced),
        Ok(_) => Ok(Attempt::Moved),
        Err(error) => Attempt::of(error),
    }
}

/// Replaces the task and inserts the rows in one transaction. A row of skipped moments that exists belongs to
/// an earlier release, which inserted the row first: the caller must read the row. After an error, dropping
/// the session aborts the transaction.
async fn replace_with_rows(ledger: &Ledger, read: &Task, task: &Task, rows: &Rows) -> Result<Attempt> {
    let mut session = bounded(ledger.db.client().start_session().into_future()).await?;
    bounded(session.start_transaction().into_future()).await?;
    let mut attempt = replace(ledger, read, task, Some(&mut session)).await?;
    if let (Attempt::Replaced, Some(row)) = (&attempt, &rows.answer) {
        attempt = insert(&ledger.tasks, row, &mut session, Attempt::Answered).await?;
    }
    if let (Attempt::Replaced, Some(row)) = (&attempt, &rows.skipped) {
        attempt = insert(&ledger.runs, row, &mut session, Attempt::Moved).await?;
    }
    if !matches!(attempt, Attempt::Replaced) {
        abort(session).await;
        return Ok(attempt);
    }
    crate::failpoint!("mongo::before_commit");
    match timed(session.commit_transaction().into_future()).await? {
        Ok(()) => Ok(Attempt::Replaced),
        Err(error) => Attempt::of(error),
    }
}

/// Inserts a row. If its id exists, the result is `exists`.
async fn insert<T: Serialize + Send + Sync>(
    rows: &Collection<T>,
    row: &T,
    session: &mut ClientSession,
    exists: Attempt,
) -> Result<Attempt> {
    match timed(rows.insert_one(row).session(session).into_future()).await? {
        Ok(_) => Ok(Attempt::Replaced),
        Err(error) if is_duplicate(&error) => Ok(exists),
        Err(error) => Attempt::of(error),
    }
}

/// Aborts a transaction that has nothing to commit. Without the call, its locks would delay the next
/// attempt for a moment.
async fn abort(mut session: ClientSession) {
    if let Err(error) = bounded(session.abort_transaction().into_future()).await {
        tracing::debug!(%error, "a transaction was not aborted; the server ends it");
    }
}

/// Returns the filter for the position at which the task was read: see [`Task::position`].
fn at_position(read: &Task) -> Document {
    let next = read.next_due_at.map_or(doc! { "$exists": false }, |due| doc! { "$eq": date(due) });
    doc! { "_id": read.id.as_str(), "rev": i64::from(read.rev), "state": read.state.as_str(), "next_due_at": next }
}

/// Reads the task after a failed compare-and-set: an earlier attempt of the same change may have
/// succeeded. If the answer to an attempt was lost, a later change may have replaced the task since.
async fn moved_or_done(ledger: &Ledger, task: &Task, was_repeated: bool) -> Result<ReplacedTask> {
    let stored = tasks::latest(ledger, &task.id).await?;
    let answer = ReplacedTask::from_stored(stored.as_ref(), task);
    let is_later = stored.is_some_and(|stored| stored.rev > task.rev);
    if answer == ReplacedTask::Moved && was_repeated && is_later {
        return Err(unavailable("the answer to the change was lost, and a later change replaced the task"));
    }
    Ok(answer)
}

async fn key_holder(ledger: &Ledger, task: &Task) -> Result<Option<TaskId>> {
    let Some(key) = &task.dedup_key else {
        return Err(corrupt("duplicate key of a task without a deduplication key"));
    };
    Ok(keys::owners(ledger, &[key]).await?.remove(key).filter(|owner| *owner != task.id))
}

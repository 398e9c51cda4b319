//! Many different updates in one round trip: the `update` command with many statements. The
//! driver's bulk write would need MongoDB 8.

use std::fmt::Display;

use futures_util::TryStreamExt;
use mongodb::action::Find;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::Hint;
use mongodb::{Collection, Cursor};
use serde::de::DeserializeOwned;

use super::errors::{DUPLICATE_KEY, bounded, corrupt, is_unavailable, refused, unavailable};
use super::{CHUNK, Ledger};
use crate::adapters::unreadable::{self, Row as _};
use crate::core::{Run, Task};
use crate::ports::{Head, MAX_RESULT_BYTES, PortError, Result, UnreadableRows};

/// Returns the hint for queries by id. Without it, the planner may use the index on `state` and
/// read all of it.
pub fn by_id_hint() -> Hint {
    Hint::Keys(doc! { "_id": 1 })
}

/// Returns one statement of an `update` command.
pub fn statement(filter: Document, update: Document) -> Document {
    doc! { "q": filter, "u": update, "hint": { "_id": 1 } }
}

/// Runs the statements, each independently. Returns the number of changed documents. After an
/// error, some may have changed.
pub async fn apply(ledger: &Ledger, collection: &str, statements: &[Document]) -> Result<usize> {
    let mut modified = 0;
    for chunk in statements.chunks(CHUNK) {
        modified += read_answer(&run_chunk(ledger, collection, chunk).await?)?;
    }
    Ok(modified)
}

/// Same as [`apply`]. A statement that would duplicate a key changes nothing, and is not an error.
pub async fn apply_unique(ledger: &Ledger, collection: &str, statements: &[Document]) -> Result<usize> {
    let mut modified = 0;
    for chunk in statements.chunks(CHUNK) {
        let mut answer = run_chunk(ledger, collection, chunk).await?;
        if let Ok(errors) = answer.get_array_mut("writeErrors") {
            errors.retain(|error| error_code(error) != Some(DUPLICATE_KEY));
        }
        modified += read_answer(&answer)?;
    }
    Ok(modified)
}

async fn run_chunk(ledger: &Ledger, collection: &str, statements: &[Document]) -> Result<Document> {
    // The driver does not add the write concern to a command.
    let concern =
        ledger.db.write_concern().map(mongodb::bson::serialize_to_bson).transpose().map_err(corrupt)?;
    let command = doc! {
        "update": collection,
        "updates": statements.to_vec(),
        "ordered": false,
        "writeConcern": concern,
    };
    crate::failpoint!("mongo::before_update");
    let answer = bounded(ledger.db.run_command(command).into_future()).await?;
    crate::failpoint!("mongo::updated");
    Ok(answer)
}

fn read_answer(answer: &Document) -> Result<usize> {
    if let Ok(error) = answer.get_document("writeConcernError") {
        return Err(unavailable(error.to_string()));
    }
    if let Some(error) = answer.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
        return Err(statement_error(error));
    }
    let modified = answer.get_i32("nModified").map_err(corrupt)?;
    Ok(modified as usize)
}

fn statement_error(error: &Bson) -> PortError {
    match error_code(error) {
        // Two concurrent upserts of one counter: the failed one did not happen.
        Some(code) if code == DUPLICATE_KEY || is_unavailable(code) => unavailable(error.to_string()),
        _ => refused(error.to_string()),
    }
}

fn error_code(error: &Bson) -> Option<i32> {
    error.as_document().and_then(|error| error.get_i32("code").ok())
}

/// Returns the documents with these ids that match `filter`.
pub async fn find_by_id<T, R>(
    collection: &Collection<T>,
    ids: &[&str],
    mut filter: Document,
    projection: Option<Document>,
) -> Result<Vec<R>>
where
    T: Send + Sync,
    R: DeserializeOwned + Send + Sync + Unpin,
{
    let collection = collection.clone_with_type::<R>();
    let mut found = Vec::new();
    for chunk in ids.chunks(CHUNK) {
        filter.insert("_id", doc! { "$in": chunk });
        let mut find = collection.find(filter.clone()).hint(by_id_hint()).batch_size(CHUNK as u32);
        if let Some(projection) = &projection {
            find = find.projection(projection.clone());
        }
        found.extend(bounded(async { find.await?.try_collect::<Vec<R>>().await }).await?);
    }
    Ok(found)
}

/// Returns the readable rows with these ids, and the ids of the unreadable ones.
pub async fn read_by_id<R, T>(
    ledger: &Ledger,
    collection: &Collection<R>,
    ids: &[&str],
) -> Result<(Vec<T>, Vec<String>)>
where
    R: DeserializeOwned + Send + Sync,
    T: TryFrom<R, Error: Display> + unreadable::Row,
{
    let (mut rows, mut unreadable) = (Vec::new(), Vec::new());
    for chunk in ids.chunks(CHUNK) {
        let find = collection.find(doc! { "_id": { "$in": chunk } }).hint(by_id_hint());
        let read = bounded(async {
            read(ledger, find.batch_size(CHUNK as u32).await?, usize::MAX, usize::MAX).await
        });
        let read = read.await?;
        rows.extend(read.rows);
        unreadable.extend(read.unreadable);
    }
    Ok((rows, unreadable))
}

/// Returns the first `limit` readable rows. Stops after the row that exceeds [`MAX_RESULT_BYTES`].
pub async fn head<'a, R, T>(
    ledger: &Ledger,
    find: impl Fn() -> Find<'a, R>,
    limit: u32,
) -> mongodb::error::Result<Head<T>>
where
    R: DeserializeOwned + Send + Sync + 'a,
    T: TryFrom<R, Error: Display> + unreadable::Row,
{
    head_within(ledger, find, limit, MAX_RESULT_BYTES).await
}

/// Same as [`head`]. Stops after the row that exceeds `max_bytes`.
pub async fn head_within<'a, R, T>(
    ledger: &Ledger,
    find: impl Fn() -> Find<'a, R>,
    limit: u32,
    max_bytes: usize,
) -> mongodb::error::Result<Head<T>>
where
    R: DeserializeOwned + Send + Sync + 'a,
    T: TryFrom<R, Error: Display> + unreadable::Row,
{
    if limit == 0 {
        return Ok(Head { rows: Vec::new(), more: true });
    }
    let rows = find().limit(i64::from(limit)).batch_size(limit).await?;
    let first = read(ledger, rows, limit as usize, max_bytes).await?;
    if first.unreadable.is_empty() {
        return Ok(first.head(limit));
    }
    // Unreadable rows counted towards the limit. This is rare enough for a second query.
    let rows = find().batch_size(limit).await?;
    Ok(read(ledger, rows, limit as usize, max_bytes).await?.head(limit))
}

/// Rows of a cursor.
struct ReadRows<T> {
    rows: Vec<T>,
    /// Ids of the unreadable rows.
    unreadable: Vec<String>,
    /// Whether the byte bound has cut the result.
    is_cut: bool,
}

impl<T> ReadRows<T> {
    fn head(self, limit: u32) -> Head<T> {
        let more = self.is_cut || self.rows.len() >= limit as usize;
        Head { rows: self.rows, more }
    }
}

/// Reads at most `limit` rows. Stops after the row that exceeds `max_bytes`.
async fn read<R, T>(
    ledger: &Ledger,
    mut cursor: Cursor<R>,
    limit: usize,
    max_bytes: usize,
) -> mongodb::error::Result<ReadRows<T>>
where
    R: DeserializeOwned,
    T: TryFrom<R, Error: Display> + unreadable::Row,
{
    let (mut rows, mut unreadable, mut bytes) = (Vec::new(), Vec::new(), 0);
    while bytes <= max_bytes && rows.len() < limit && cursor.advance().await? {
        let row = cursor.deserialize_current().map_err(|error| error.to_string());
        match row.and_then(|row| T::try_from(row).map_err(|error| error.to_string())) {
            Ok(row) => {
                bytes += cursor.current().as_bytes().len();
                rows.push(row);
            }
            Err(cause) => {
                let id = cursor.current().get_str("_id").unwrap_or("?");
                ledger.unreadable.note::<T>("MongoDB", id, &cause);
                unreadable.push(id.to_owned());
            }
        }
    }
    Ok(ReadRows { rows, unreadable, is_cut: bytes > max_bytes })
}

/// Reads the rows again that were unreadable. Returns those that still are.
pub async fn unreadable_rows(ledger: &Ledger) -> Result<Option<UnreadableRows>> {
    let rows = ledger.unreadable.to_check();
    let (tasks, runs): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.0 == Task::KIND);
    let unreadable = read_by_id::<_, Task>(ledger, &ledger.tasks, &ids(&tasks)).await?.1;
    forget_readable(ledger, &tasks, &unreadable);
    let unreadable = read_by_id::<_, Run>(ledger, &ledger.runs, &ids(&runs)).await?.1;
    forget_readable(ledger, &runs, &unreadable);
    Ok(ledger.unreadable.summary())
}

fn ids(rows: &[unreadable::RowId]) -> Vec<&str> {
    rows.iter().map(|row| row.1.as_str()).collect()
}

fn forget_readable(ledger: &Ledger, rows: &[unreadable::RowId], unreadable: &[String]) {
    for row in rows.iter().filter(|row| !unreadable.contains(&row.1)) {
        ledger.unreadable.forget(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_any_error_is_an_error() {
        assert_eq!(read_answer(&doc! { "ok": 1.0, "n": 2, "nModified": 2 }).unwrap(), 2);
        let unknown = doc! { "nModified": 2, "writeConcernError": { "code": 64 } };
        assert!(matches!(read_answer(&unknown), Err(PortError::Unavailable(..))));
        let errors =
            |code| doc! { "nModified": 1, "writeErrors": [{ "index": 0, "code": code, "errmsg": "" }] };
        assert!(matches!(read_answer(&errors(10107)), Err(PortError::Unavailable(..))));
        assert!(matches!(read_answer(&errors(2)), Err(PortError::Refused(..))));
    }
}

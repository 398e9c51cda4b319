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
use crate::adapters::unreadable;
use crate::ports::{MAX_RESULT_BYTES, PortError, Result};

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
        modified += apply_chunk(ledger, collection, chunk).await?;
    }
    Ok(modified)
}

async fn apply_chunk(ledger: &Ledger, collection: &str, statements: &[Document]) -> Result<usize> {
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
    read_answer(&answer)
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
    let code = error.as_document().and_then(|error| error.get_i32("code").ok());
    match code {
        // Two concurrent upserts of one counter: the failed one did not happen.
        Some(code) if code == DUPLICATE_KEY || is_unavailable(code) => unavailable(error.to_string()),
        _ => refused(error.to_string()),
    }
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

/// Returns the cursor's rows. Stops after the row that exceeds [`MAX_RESULT_BYTES`]; skips unreadable
/// rows.
pub async fn within_bytes<R, T>(rows: Cursor<R>) -> mongodb::error::Result<Vec<T>>
where
    R: DeserializeOwned,
    T: TryFrom<R, Error: Display>,
{
    Ok(read(rows, usize::MAX).await?.0)
}

/// Returns the first `limit` readable rows, or fewer as in [`within_bytes`]. An empty result means
/// that no readable row exists.
pub async fn page<'a, R, T>(find: impl Fn() -> Find<'a, R>, limit: u32) -> mongodb::error::Result<Vec<T>>
where
    R: DeserializeOwned + Send + Sync + 'a,
    T: TryFrom<R, Error: Display>,
{
    if limit == 0 {
        return Ok(Vec::new());
    }
    let (rows, unreadable) =
        read(find().limit(i64::from(limit)).batch_size(limit).await?, limit as usize).await?;
    if unreadable == 0 {
        return Ok(rows);
    }
    // Unreadable rows counted towards the limit. This is rare enough for a second query.
    Ok(read(find().batch_size(limit).await?, limit as usize).await?.0)
}

/// Returns at most `limit` rows, and the number of unreadable ones.
async fn read<R, T>(mut rows: Cursor<R>, limit: usize) -> mongodb::error::Result<(Vec<T>, usize)>
where
    R: DeserializeOwned,
    T: TryFrom<R, Error: Display>,
{
    let (mut documents, mut bytes, mut unreadable) = (Vec::new(), 0, 0);
    while bytes <= MAX_RESULT_BYTES && documents.len() < limit && rows.advance().await? {
        let row = rows.deserialize_current().map_err(|error| error.to_string());
        match row.and_then(|row| T::try_from(row).map_err(|error| error.to_string())) {
            Ok(row) => {
                bytes += rows.current().as_bytes().len();
                documents.push(row);
            }
            Err(cause) => {
                unreadable += 1;
                unreadable::log("MongoDB", rows.current().get_str("_id").unwrap_or("?"), &cause);
            }
        }
    }
    Ok((documents, unreadable))
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

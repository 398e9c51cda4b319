//! Rows: a JSON document, and the columns that queries use. Only this module writes tasks and runs.

mod run;
mod task;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use rusqlite::types::FromSqlError;
use rusqlite::{Connection, Row, Rows, ToSql};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::run::{INSERT_RUN, REPLACE_RUN, RUN_STATE, RunRow, STEP_RUN};
pub use self::task::{INSERT_TASK, ROWS, STEP_TASK, TaskChange, TaskRow, insert_tasks, replace_task};
use super::errors::{corrupt, refused};
use crate::adapters::unreadable::{self, Unreadable};
use crate::core::task::SHARDS;
use crate::ports::{Found, Head, MAX_RESULT_BYTES, PortError, Result};

/// A connection, and the unreadable rows that the store's connections have met.
pub struct Db {
    connection: Connection,
    unreadable: Arc<Unreadable>,
}

impl Db {
    pub fn new(connection: Connection, unreadable: &Arc<Unreadable>) -> Self {
        Self { connection, unreadable: Arc::clone(unreadable) }
    }

    /// Returns the unreadable rows that the store's connections have met.
    pub fn unreadable(&self) -> &Unreadable {
        &self.unreadable
    }
}

impl DerefMut for Db {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Deref for Db {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

fn document(of: &impl Serialize) -> Result<String> {
    serde_json::to_string(of).map_err(refused)
}

const _: () = assert!(SHARDS <= 64, "a shard mask has one bit per shard in an i64");

/// Returns the shards as a bit mask.
pub fn shard_mask(shards: &[u16]) -> i64 {
    shards.iter().filter(|shard| **shard < SHARDS).fold(0, |mask, shard| mask | 1 << shard)
}

/// Parses a document.
///
/// # Errors
/// If this release cannot read the document.
pub fn parse<T: DeserializeOwned>(doc: &str) -> Result<T> {
    serde_json::from_str(doc).map_err(corrupt)
}

/// Returns the document in a row's first column, and its length in bytes.
fn parse_row<T: DeserializeOwned>(row: &Row<'_>) -> Result<(T, usize)> {
    let unreadable = |error: FromSqlError| corrupt(error);
    let doc = row.get_ref(0)?.as_str().map_err(unreadable)?;
    Ok((parse(doc)?, doc.len()))
}

/// Returns the first `limit` readable documents. The first column of a row is its document, the
/// second one its id. Stops after the document that exceeds [`MAX_RESULT_BYTES`]. A `LIMIT` in the
/// statement would also count unreadable rows.
///
/// # Errors
/// Errors of the database.
pub fn head<T>(db: &Db, rows: Rows<'_>, limit: u32) -> Result<Head<T>>
where
    T: DeserializeOwned + unreadable::Row,
{
    head_within(db, rows, limit, MAX_RESULT_BYTES)
}

/// Same as [`head`]. Stops after the document that exceeds `max_bytes`.
///
/// # Errors
/// Errors of the database.
pub fn head_within<T>(db: &Db, mut rows: Rows<'_>, limit: u32, max_bytes: usize) -> Result<Head<T>>
where
    T: DeserializeOwned + unreadable::Row,
{
    let (mut documents, mut bytes) = (Vec::new(), 0);
    while bytes <= max_bytes && documents.len() < limit as usize {
        let Some(row) = rows.next()? else { return Ok(Head { rows: documents, more: false }) };
        if let Some((document, length)) = readable(db, row)? {
            bytes += length;
            documents.push(document);
        }
    }
    Ok(Head { rows: documents, more: true })
}

/// Same as [`head`], for callers that read until a page is empty.
///
/// # Errors
/// Errors of the database.
pub fn page<T>(db: &Db, rows: Rows<'_>, limit: u32) -> Result<Vec<T>>
where
    T: DeserializeOwned + unreadable::Row,
{
    Ok(head(db, rows, limit)?.rows)
}

/// Returns the document in a row and its length, and notes a row that is unreadable.
fn readable<T>(db: &Db, row: &Row<'_>) -> Result<Option<(T, usize)>>
where
    T: DeserializeOwned + unreadable::Row,
{
    match parse_row(row) {
        Ok(parsed) => Ok(Some(parsed)),
        Err(error @ PortError::Corrupt(..)) => {
            let id = row.get_ref(1)?.as_str().unwrap_or("?");
            let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
            db.unreadable.note::<T>("SQLite", id, &cause);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Result of reading a row by its id.
pub enum Read<T> {
    Row(T),
    Missing,
    /// The row exists, and is unreadable.
    Unreadable,
}

/// Reads the document that `sql` finds for `id`.
///
/// # Errors
/// Errors of the database.
pub fn read<T>(db: &Db, sql: &str, id: &str) -> Result<Read<T>>
where
    T: DeserializeOwned + unreadable::Row,
{
    let mut find = db.prepare_cached(sql)?;
    let mut rows = find.query([id])?;
    let Some(row) = rows.next()? else { return Ok(Read::Missing) };
    Ok(readable(db, row)?.map_or(Read::Unreadable, |(document, _)| Read::Row(document)))
}

/// Reads the documents that `sql` finds, one for each of `ids`.
///
/// # Errors
/// Errors of the database.
pub fn read_all<'a, T, Id>(
    db: &Db,
    sql: &str,
    ids: &'a [Id],
    text: impl Fn(&'a Id) -> &'a str,
) -> Result<Found<T, Id>>
where
    T: DeserializeOwned + unreadable::Row,
    Id: Clone,
{
    let mut found = Found::default();
    for id in ids {
        match read(db, sql, text(id))? {
            Read::Row(row) => found.rows.push(row),
            Read::Unreadable => found.unreadable.push(id.clone()),
            Read::Missing => {}
        }
    }
    Ok(found)
}

/// Returns the document that `sql` finds for `key`.
///
/// # Errors
/// Errors of the database, and an unreadable document.
pub fn one<T: DeserializeOwned>(db: &Connection, sql: &str, key: &dyn ToSql) -> Result<Option<T>> {
    let mut find = db.prepare_cached(sql)?;
    let mut rows = find.query([key])?;
    rows.next()?.map(|row| Ok(parse_row(row)?.0)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_mask_has_one_bit_per_shard() {
        let all: Vec<u16> = (0..SHARDS).collect();
        assert_eq!((shard_mask(&all), shard_mask(&[])), (-1, 0));
        assert_eq!((shard_mask(&[0, 5]), shard_mask(&[63, 64])), (33, i64::MIN));
    }
}

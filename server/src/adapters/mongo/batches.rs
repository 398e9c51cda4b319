//! Inserts of many rows by one command.

use mongodb::Collection;
use mongodb::error::ErrorKind;
use serde::Serialize;

use super::errors::{DUPLICATE_KEY, is_unavailable, port_error, timed, unavailable};
use crate::ports::Result;

/// Failed rows of a batch: positions with a duplicate key, and positions that MongoDB refused.
#[derive(Debug, Default, Clone)]
pub struct Collisions {
    pub duplicates: Vec<usize>,
    pub refused: Vec<(usize, String)>,
}

/// Inserts rows, each independently. Returns the failed rows.
pub async fn insert<T: Serialize + Send + Sync>(rows: &[T], into: &Collection<T>) -> Result<Collisions> {
    let insert = into.insert_many(rows).ordered(false);
    match timed(insert.into_future()).await? {
        Ok(_) => Ok(Collisions::default()),
        Err(error) => collisions(error),
    }
}

/// Returns the failed rows. An error that concerns the whole batch stays an error.
fn collisions(error: mongodb::error::Error) -> Result<Collisions> {
    let ErrorKind::InsertMany(insert) = error.kind.as_ref() else { return Err(port_error(error)) };
    if insert.write_concern_error.is_some() {
        return Err(port_error(error));
    }
    let mut collisions = Collisions::default();
    for write in insert.write_errors.iter().flatten() {
        match write.code {
            DUPLICATE_KEY => collisions.duplicates.push(write.index),
            code if is_unavailable(code) => return Err(unavailable(write.message.clone())),
            _ => collisions.refused.push((write.index, write.message.clone())),
        }
    }
    Ok(collisions)
}

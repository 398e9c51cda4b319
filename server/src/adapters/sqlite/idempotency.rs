//! Idempotency records.

use rusqlite::{Connection, OptionalExtension, params};

use super::errors::{corrupt, refused};
use crate::core::Moment;
use crate::ports::{IdempotencyRecord, Result};

const INSERT: &str =
    "INSERT INTO remembered (key, fingerprint, ids, at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";

pub const BY_KEY: &str = "SELECT fingerprint, ids, at FROM remembered WHERE key = ?1";

pub const PRUNE: &str = "DELETE FROM remembered WHERE key IN
    (SELECT key FROM remembered INDEXED BY remembered_at WHERE at < ?1 ORDER BY at LIMIT ?2)";

/// Stores the record, unless its key exists. Returns the record of another request that has the key.
pub fn insert(db: &Connection, record: &IdempotencyRecord) -> Result<Option<IdempotencyRecord>> {
    let ids = serde_json::to_string(&record.ids).map_err(refused)?;
    let mut insert = db.prepare_cached(INSERT)?;
    if insert.execute(params![record.key, record.fingerprint, ids, record.at.ms()])? == 1 {
        return Ok(None);
    }
    let stored = by_key(db, &record.key)?;
    let stored = stored.ok_or_else(|| corrupt("an idempotency record vanished within a transaction"))?;
    Ok((!record.has_written(&stored)).then_some(stored))
}

/// Returns the record that is stored under a key.
pub fn by_key(db: &Connection, key: &str) -> Result<Option<IdempotencyRecord>> {
    let mut find = db.prepare_cached(BY_KEY)?;
    let row: Option<(String, String, i64)> =
        find.query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    let record = |(fingerprint, ids, at): (String, String, i64)| {
        let ids = serde_json::from_str(&ids).map_err(corrupt)?;
        Ok(IdempotencyRecord { key: key.to_owned(), fingerprint, ids, at: Moment::from_ms(at) })
    };
    row.map(record).transpose()
}

/// Removes at most `limit` of the oldest records from before `before`. Returns their number.
pub fn prune(db: &Connection, before: Moment, limit: u64) -> Result<u64> {
    Ok(db.prepare_cached(PRUNE)?.execute(params![before.ms(), limit as i64])? as u64)
}

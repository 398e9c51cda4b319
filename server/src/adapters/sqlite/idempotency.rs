//! What requests with an idempotency key have set out to do.

use rusqlite::{Connection, params};

use super::errors::{corrupt, refused};
use crate::core::Moment;
use crate::ports::{IdempotencyRecord, Result};

const REMEMBER: &str =
    "INSERT INTO remembered (key, fingerprint, ids, at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";

pub const BY_KEY: &str = "SELECT fingerprint, ids, at FROM remembered WHERE key = ?1";

pub const FORGET: &str = "DELETE FROM remembered WHERE key IN
    (SELECT key FROM remembered INDEXED BY remembered_at WHERE at < ?1 ORDER BY at LIMIT ?2)";

/// Stores the request unless its key is known; what stands under the key now.
pub fn insert(db: &Connection, request: &IdempotencyRecord) -> Result<IdempotencyRecord> {
    let ids = serde_json::to_string(&request.ids).map_err(refused)?;
    let mut insert = db.prepare_cached(REMEMBER)?;
    insert.execute(params![request.key, request.fingerprint, ids, request.at.ms()])?;
    let mut find = db.prepare_cached(BY_KEY)?;
    let (fingerprint, ids, at): (String, String, i64) =
        find.query_row([&request.key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let ids = serde_json::from_str(&ids).map_err(corrupt)?;
    Ok(IdempotencyRecord { key: request.key.clone(), fingerprint, ids, at: Moment::from_ms(at) })
}

/// Removes the oldest of what was remembered before `before`, at most `limit`; how many.
pub fn forget(db: &Connection, before: Moment, limit: u64) -> Result<u64> {
    Ok(db.prepare_cached(FORGET)?.execute(params![before.ms(), limit as i64])? as u64)
}

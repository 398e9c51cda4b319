//! Theoretical arrival times of rate limits.

use rusqlite::{Connection, OptionalExtension, params};

use crate::core::Moment;
use crate::core::rate::{Permits, RateLimit};
use crate::ports::Result;

pub const TAT: &str = "SELECT tat_us FROM rates WHERE key = ?1";
pub const PUT: &str = "INSERT INTO rates (key, tat_us) VALUES (?1, ?2)
    ON CONFLICT DO UPDATE SET tat_us = excluded.tat_us";
pub const EXPIRE: &str = "DELETE FROM rates WHERE tat_us < ?1";

/// Takes permits of a rate limit, in the transaction of the caller.
pub fn take(db: &Connection, limit: &RateLimit, least: u32, most: u32, now: Moment) -> Result<Permits> {
    let before = tat_us(db, &limit.key)?;
    let (after, permits) = limit.take(before, least, most, now);
    if permits.granted > 0 {
        db.prepare_cached(PUT)?.execute(params![limit.key, after])?;
    }
    Ok(permits)
}

/// Returns the TAT of a key. A key without a row has 0.
pub fn tat_us(db: &Connection, key: &str) -> Result<i64> {
    let mut find = db.prepare_cached(TAT)?;
    Ok(find.query_row([key], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Removes the TATs that have passed before `before`: a key without a row is unused.
pub fn expire(db: &Connection, before: Moment) -> Result<()> {
    db.prepare_cached(EXPIRE)?.execute([before.ms().saturating_mul(1_000)])?;
    Ok(())
}

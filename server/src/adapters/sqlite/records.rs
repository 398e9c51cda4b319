//! Records: small documents beside the ledger.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::ports::{Record, Result};

const BY_KEY: &str = "SELECT kind, key, found_by, doc, version FROM records WHERE kind = ?1 AND key = ?2";
const INSERT: &str = "INSERT INTO records (kind, key, found_by, doc, version) VALUES (?1, ?2, ?3, ?4, 1) ON CONFLICT DO NOTHING";
const REPLACE: &str = "UPDATE records SET found_by = ?3, doc = ?4, version = version + 1
    WHERE kind = ?1 AND key = ?2 AND version = ?5";
const REMOVE: &str = "DELETE FROM records WHERE kind = ?1 AND key = ?2 AND version = ?3";
const LIST: &str = "SELECT kind, key, found_by, doc, version FROM records
    WHERE kind = ?1 AND key > ?2 ORDER BY key LIMIT ?3";
const LIST_BY_INDEX: &str = "SELECT kind, key, found_by, doc, version FROM records
    WHERE kind = ?1 AND found_by = ?4 AND key > ?2 ORDER BY key LIMIT ?3";

pub fn by_key(db: &Connection, kind: &str, key: &str) -> Result<Option<Record>> {
    Ok(db.prepare_cached(BY_KEY)?.query_row([kind, key], read).optional()?)
}

pub fn put(db: &Connection, record: &Record) -> Result<bool> {
    let Record { kind, key, index, doc, version } = record;
    let changed = match version {
        0 => db.prepare_cached(INSERT)?.execute(params![kind, key, index, doc])?,
        version => db.prepare_cached(REPLACE)?.execute(params![kind, key, index, doc, *version as i64])?,
    };
    Ok(changed == 1)
}

pub fn remove(db: &Connection, record: &Record) -> Result<bool> {
    db.prepare_cached(REMOVE)?.execute(params![record.kind, record.key, record.version as i64])?;
    Ok(by_key(db, &record.kind, &record.key)?.is_none())
}

pub fn list(
    db: &Connection,
    kind: &str,
    index: Option<&str>,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<Record>> {
    let after = after.unwrap_or_default();
    let rows = match index {
        Some(index) => db
            .prepare_cached(LIST_BY_INDEX)?
            .query_map(params![kind, after, limit, index], read)?
            .collect::<rusqlite::Result<_>>()?,
        None => db
            .prepare_cached(LIST)?
            .query_map(params![kind, after, limit], read)?
            .collect::<rusqlite::Result<_>>()?,
    };
    Ok(rows)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Record> {
    let version: i64 = row.get(4)?;
    Ok(Record {
        kind: row.get(0)?,
        key: row.get(1)?,
        index: row.get(2)?,
        doc: row.get(3)?,
        version: version as u64,
    })
}

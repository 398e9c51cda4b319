//! The audit log.

use rusqlite::{Connection, params};

use super::errors::{corrupt, refused};
use crate::core::Moment;
use crate::core::audit::{AUDIT_KEPT_MS, AuditEntry, AuditPage, AuditSelection, first_id};
use crate::ports::Result;

const INSERT: &str =
    "INSERT INTO audit (id, actor, action, object, doc) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
pub const ALL: &str = "SELECT doc FROM audit WHERE id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
pub const OF_ACTOR: &str = "SELECT doc FROM audit INDEXED BY audit_by_actor
    WHERE actor = ?4 AND id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
pub const OF_ACTION: &str = "SELECT doc FROM audit INDEXED BY audit_by_action
    WHERE action = ?4 AND id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
pub const OF_OBJECT: &str = "SELECT doc FROM audit INDEXED BY audit_by_object
    WHERE object = ?4 AND id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
pub const EXPIRE: &str =
    "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < ?1 ORDER BY id LIMIT ?2)";

/// Entries that one call of [`expire`] removes.
const EXPIRED_AT_ONCE: u32 = 500;

/// Stores entries, in the transaction of the caller.
pub fn append(db: &Connection, entries: &[AuditEntry]) -> Result<()> {
    let mut insert = db.prepare_cached(INSERT)?;
    for entry in entries {
        let doc = serde_json::to_string(entry).map_err(refused)?;
        insert.execute(params![entry.id, entry.actor, entry.action, entry.object, doc])?;
    }
    Ok(())
}

/// Returns a page of entries, newest first.
pub fn list(db: &Connection, selection: &AuditSelection, page: &AuditPage) -> Result<Vec<AuditEntry>> {
    let (first, below) = page.ids();
    let of = |sql: &str, value: &str| -> Result<Vec<String>> {
        let docs = db
            .prepare_cached(sql)?
            .query_map(params![first, below, page.limit, value], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(docs)
    };
    let docs: Vec<String> = match selection {
        AuditSelection::All => db
            .prepare_cached(ALL)?
            .query_map(params![first, below, page.limit], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?,
        AuditSelection::Actor(actor) => of(OF_ACTOR, actor)?,
        AuditSelection::Action(action) => of(OF_ACTION, action)?,
        AuditSelection::Object(object) => of(OF_OBJECT, object)?,
    };
    docs.iter().map(|doc| serde_json::from_str(doc).map_err(corrupt)).collect()
}

/// Removes some of the entries that are too old to be kept.
pub fn expire(db: &Connection, now: Moment) -> Result<()> {
    db.prepare_cached(EXPIRE)?.execute(params![first_id(now.plus_ms(-AUDIT_KEPT_MS)), EXPIRED_AT_ONCE])?;
    Ok(())
}

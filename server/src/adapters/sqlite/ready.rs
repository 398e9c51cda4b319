//! Ready runs of queues: the earliest ones, and those of each fairness key.

use std::collections::BTreeSet;
use std::ops::Bound;

use rusqlite::OptionalExtension;

use super::rows::{self, Db};
use crate::core::Run;
use crate::core::run::FairnessKey;
use crate::ports::{Head, MAX_RESULT_BYTES, Result};

/// Merges the runs with the tag of the queue and the other ones: each of them has an index of its own.
pub const IN_QUEUE: &str = "SELECT doc, id, scheduled_at FROM runs INDEXED BY runs_ready_of_queue
    WHERE state = 'ready' AND queue = tag AND queue = ?1
    UNION ALL SELECT doc, id, scheduled_at FROM runs INDEXED BY runs_ready_of_others
    WHERE state = 'ready' AND queue <> tag AND queue = ?1
    ORDER BY scheduled_at, id";

pub const BY_TAG: &str = "SELECT doc, id FROM runs INDEXED BY runs_ready_by_tag
    WHERE state = 'ready' AND queue = tag ORDER BY scheduled_at, id";

pub const NEXT_QUEUE: &str = "SELECT queue FROM runs INDEXED BY runs_ready_of_queue
    WHERE state = 'ready' AND queue = tag AND queue > ?1 ORDER BY queue LIMIT 1";

pub const NEXT_TAG: &str = "SELECT tag FROM runs INDEXED BY runs_ready_of_tag
    WHERE state = 'ready' AND queue <> tag AND queue = ?1 AND tag > ?2 ORDER BY tag LIMIT 1";

/// Runs whose tag is the name of their queue.
pub const OF_QUEUE: &str = "SELECT doc, id FROM runs INDEXED BY runs_ready_of_queue
    WHERE state = 'ready' AND queue = tag AND queue = ?1 ORDER BY scheduled_at, id";

pub const OF_TAG: &str = "SELECT doc, id FROM runs INDEXED BY runs_ready_of_tag
    WHERE state = 'ready' AND queue <> tag AND queue = ?1 AND tag = ?2 ORDER BY scheduled_at, id";

/// Returns the earliest ready runs. Runs one query per queue, because a query over several queues would need a sort.
pub fn earliest(db: &Db, queues: &[String], limit: u32) -> Result<Head<Run>> {
    if queues.is_empty() {
        return rows::head(db, db.prepare_cached(BY_TAG)?.query([])?, limit);
    }
    let mut found = Head { rows: Vec::new(), more: false };
    for queue in queues.iter().collect::<BTreeSet<_>>() {
        let head = rows::head::<Run>(db, db.prepare_cached(IN_QUEUE)?.query([queue])?, limit)?;
        found.more |= head.more;
        found.rows.extend(head.rows);
    }
    found.rows.sort_by(|a, b| (a.scheduled_at, &a.id).cmp(&(b.scheduled_at, &b.id)));
    found.more |= found.rows.len() > limit as usize;
    found.rows.truncate(limit as usize);
    Ok(found)
}

/// Returns the fairness keys that have ready runs. Reads one row for each key.
pub fn keys(db: &Db, queues: &[String], after: Option<&FairnessKey>, limit: u32) -> Result<Vec<FairnessKey>> {
    let mut keys = Vec::new();
    if queues.is_empty() {
        add_queues(db, after, limit, &mut keys)?;
    } else {
        let queues: BTreeSet<&str> = queues.iter().map(String::as_str).collect();
        let from = after.map_or("", |after| &after.queue);
        for queue in queues.range::<str, _>((Bound::Included(from), Bound::Unbounded)) {
            let after = after.filter(|after| after.queue == *queue);
            add_keys_of_queue(db, queue, after, limit, &mut keys)?;
        }
    }
    keys.truncate(limit as usize);
    Ok(keys)
}

/// Adds the keys of all queues after a key, without other tags.
fn add_queues(db: &Db, after: Option<&FairnessKey>, limit: u32, keys: &mut Vec<FairnessKey>) -> Result<()> {
    let mut next = db.prepare_cached(NEXT_QUEUE)?;
    while keys.len() < limit as usize {
        let last = keys.last().or(after).map_or("", |last| &last.queue);
        let queue: Option<String> = next.query_row([last], |row| row.get(0)).optional()?;
        let Some(queue) = queue else { break };
        keys.push(FairnessKey::of_queue(queue));
    }
    Ok(())
}

/// Adds the keys of a queue. With `after`, only keys after this key of the queue.
fn add_keys_of_queue(
    db: &Db,
    queue: &str,
    after: Option<&FairnessKey>,
    limit: u32,
    keys: &mut Vec<FairnessKey>,
) -> Result<()> {
    if keys.len() >= limit as usize {
        return Ok(());
    }
    if after.is_none() && db.prepare_cached(OF_QUEUE)?.exists([queue])? {
        keys.push(FairnessKey::of_queue(queue));
    }
    let mut last = after.and_then(|after| after.other_tag.clone()).unwrap_or_default();
    let mut next = db.prepare_cached(NEXT_TAG)?;
    while keys.len() < limit as usize {
        let tag: Option<String> = next.query_row([queue, &last], |row| row.get(0)).optional()?;
        let Some(tag) = tag else { break };
        keys.push(FairnessKey::new(queue, &tag));
        last = tag;
    }
    Ok(())
}

/// Returns the earliest ready runs of each key.
pub fn of_keys(db: &Db, keys: &[FairnessKey], each: u32) -> Result<Vec<Run>> {
    let max_bytes = MAX_RESULT_BYTES / keys.len().max(1);
    let mut found = Vec::new();
    for FairnessKey { queue, other_tag } in keys {
        let mut find = db.prepare_cached(if other_tag.is_some() { OF_TAG } else { OF_QUEUE })?;
        let rows = match other_tag {
            Some(tag) => find.query([queue, tag])?,
            None => find.query([queue])?,
        };
        found.extend(rows::head_within::<Run>(db, rows, each, max_bytes)?.rows);
    }
    Ok(found)
}

//! Tables, and the migration of older files.
//!
//! `doc` contains the whole task or run as JSON. The other columns repeat the fields that queries
//! use. Indexes are partial where possible, so that ended rows cost nothing.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::errors::refused;
use crate::core::Moment;
use crate::ports::Result;

/// A migration from one version to the next.
type Step = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// The step at index `n` migrates version `n` to `n + 1`. Never change a released step: add another
/// one.
const STEPS: &[Step] = &[
    |db| db.execute_batch(FIRST),
    |db| db.execute_batch(RECORDS),
    |db| db.execute_batch(OPEN_RUNS),
    |db| db.execute_batch(LISTS),
    |db| db.execute_batch(LEASE_SLOTS),
    |db| db.execute_batch(FEWER_INDEX_WRITES),
    |db| db.execute_batch(RUN_LOGS),
    |db| db.execute_batch(LABELS),
    |db| db.execute_batch(REVISIONS),
    |db| db.execute_batch(AUDIT),
    |db| db.execute_batch(SLOTS),
    |db| db.execute_batch(HELD_RUNS),
    |db| db.execute_batch(RATES),
    |db| db.execute_batch(READY_KEYS),
];

const FIRST: &str = "
CREATE TABLE tasks (
    id TEXT NOT NULL UNIQUE,
    shard INTEGER NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    next_due_at INTEGER,
    dedup_key TEXT,
    hidden INTEGER NOT NULL,
    ended_at INTEGER,
    doc TEXT NOT NULL
) STRICT;
CREATE INDEX tasks_due ON tasks (next_due_at, shard, name) WHERE state = 'active';
CREATE UNIQUE INDEX tasks_key ON tasks (dedup_key) WHERE dedup_key IS NOT NULL;
CREATE INDEX tasks_by_state ON tasks (state, id) WHERE hidden = 0;
CREATE INDEX tasks_by_name ON tasks (name, state, id) WHERE hidden = 0;
CREATE INDEX tasks_ended ON tasks (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE runs (
    id TEXT NOT NULL UNIQUE,
    task_id TEXT NOT NULL,
    shard INTEGER NOT NULL,
    tag TEXT NOT NULL,
    queue TEXT,
    state TEXT NOT NULL,
    scheduled_at INTEGER NOT NULL,
    attention_at INTEGER,
    ended_at INTEGER,
    version INTEGER NOT NULL,
    doc TEXT NOT NULL
) STRICT;
CREATE INDEX runs_attention ON runs (attention_at, shard) WHERE attention_at IS NOT NULL;
CREATE INDEX runs_open_by_task ON runs (task_id) WHERE attention_at IS NOT NULL;
CREATE INDEX runs_open_by_state ON runs (state, queue, tag, attention_at, scheduled_at) WHERE attention_at IS NOT NULL;
CREATE INDEX runs_ready_in_queue ON runs (queue, scheduled_at, id) WHERE state = 'ready';
CREATE INDEX runs_ready_by_tag ON runs (scheduled_at, id) WHERE state = 'ready' AND queue = tag;
CREATE INDEX runs_by_task ON runs (task_id, scheduled_at, id);
CREATE INDEX runs_by_tag ON runs (tag, scheduled_at, id);
CREATE INDEX runs_by_state ON runs (state, scheduled_at, id);
CREATE INDEX runs_latest ON runs (scheduled_at, id);
CREATE INDEX runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE fires (
    period TEXT NOT NULL,
    starts_at INTEGER NOT NULL,
    tag TEXT NOT NULL,
    fires INTEGER NOT NULL,
    PRIMARY KEY (period, starts_at, tag)
) STRICT, WITHOUT ROWID;

CREATE TABLE remembered (
    key TEXT NOT NULL PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    ids TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX remembered_at ON remembered (at);
";

const RECORDS: &str = "
CREATE TABLE records (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    found_by TEXT,
    doc TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX records_found_by ON records (kind, found_by, key) WHERE found_by IS NOT NULL;
";

/// Pages of open runs are ordered by id.
const OPEN_RUNS: &str = "
DROP INDEX runs_open_by_task;
CREATE INDEX runs_open_by_task ON runs (task_id, id) WHERE attention_at IS NOT NULL;
";

/// Pages of runs of a task or a tag, and of a state.
const LISTS: &str = "
DROP INDEX runs_by_task;
CREATE INDEX runs_by_task ON runs (task_id, state, scheduled_at, id);
DROP INDEX runs_by_tag;
CREATE INDEX runs_by_tag ON runs (tag, state, scheduled_at, id);
";

/// Leased runs of a lease request with an id.
const LEASE_SLOTS: &str = "
ALTER TABLE runs ADD COLUMN lease_slot TEXT;
CREATE UNIQUE INDEX runs_lease_slot ON runs (lease_slot) WHERE lease_slot IS NOT NULL;
";

/// Indexes that a transition of an open run leaves unchanged, or that contain fewer runs.
///
/// - Due tasks of one moment are read by id, so that the rows of one batch are close to each other in
///   the tables and indexes.
/// - A run that waits without a time limit needs no attention: [`WITHOUT_LIMIT`].
/// - One index has the open runs by state and tag, for counts and for pages of a tag. `ended_at` is
///   one of its columns, because SQLite otherwise reads the row to check it. The ended runs of
///   a tag have an index of their own, which is written once.
const FEWER_INDEX_WRITES: &str = "
DROP INDEX tasks_due;
CREATE INDEX tasks_due ON tasks (next_due_at, id, shard, name) WHERE state = 'active';
DROP INDEX runs_attention;
CREATE INDEX runs_attention ON runs (attention_at, shard) WHERE attention_at <> 253402207200000;
DROP INDEX runs_open_by_task;
CREATE INDEX runs_open_by_task ON runs (task_id, id) WHERE ended_at IS NULL;
DROP INDEX runs_open_by_state;
CREATE INDEX runs_open ON runs (state, tag, scheduled_at, id, queue, attention_at, ended_at)
    WHERE ended_at IS NULL;
DROP INDEX runs_by_tag;
CREATE INDEX runs_ended_by_tag ON runs (tag, state, scheduled_at, id) WHERE ended_at IS NOT NULL;
";

/// Lines that scripts and handlers write. A log has a table of its own, so that a line writes neither the row
/// of its run nor the indexes of that row.
const RUN_LOGS: &str = "
CREATE TABLE run_logs (
    run_id TEXT NOT NULL,
    first_line INTEGER NOT NULL,
    end_line INTEGER NOT NULL,
    first_byte INTEGER NOT NULL,
    end_byte INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    batch_id TEXT NOT NULL,
    lines TEXT NOT NULL,
    PRIMARY KEY (run_id, first_line)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX run_logs_batch ON run_logs (run_id, batch_id);
";

/// Labels, in tables whose order is that of the lists. The column `labels` has the labels of a row, so
/// that its rows in the tables can be removed; it is `NULL` without labels.
const LABELS: &str = "
ALTER TABLE tasks ADD COLUMN labels TEXT;
ALTER TABLE runs ADD COLUMN labels TEXT;
CREATE TABLE task_labels (
    label TEXT NOT NULL,
    state TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (label, state, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE run_labels (
    label TEXT NOT NULL,
    state TEXT NOT NULL,
    scheduled_at INTEGER NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (label, state, scheduled_at, id)
) STRICT, WITHOUT ROWID;
";

/// Earlier definitions of tasks, by the revision that began them.
const REVISIONS: &str = "
CREATE TABLE revisions (
    task_id TEXT NOT NULL,
    rev INTEGER NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (task_id, rev)
) STRICT, WITHOUT ROWID;
";

/// Entries of the audit log. Ids sort by time.
const AUDIT: &str = "
CREATE TABLE audit (
    id TEXT NOT NULL PRIMARY KEY,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    doc TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_by_actor ON audit (actor, id);
CREATE INDEX audit_by_action ON audit (action, id);
CREATE INDEX audit_by_object ON audit (object, id);
";

/// Slots of runs, in a table: an index of `runs` would cost a check in each write of a run.
const SLOTS: &str = "
CREATE TABLE run_slots (
    slot TEXT NOT NULL PRIMARY KEY,
    run_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX run_slots_by_run ON run_slots (run_id);
";

/// Runs that wait for admission: one row per key for whose slots the run waits. Until this step, they waited for the slot
/// of their task.
const HELD_RUNS: &str = "
CREATE TABLE held_runs (
    key TEXT NOT NULL,
    wait_group TEXT NOT NULL,
    scheduled_at INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    PRIMARY KEY (key, wait_group, scheduled_at, run_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX held_runs_by_group ON held_runs (wait_group);
CREATE INDEX held_runs_by_run ON held_runs (run_id);
INSERT INTO held_runs SELECT 'task:' || task_id, 'task:' || task_id, scheduled_at, id
    FROM runs WHERE ended_at IS NULL AND state = 'held';
";

/// Theoretical arrival times of rate limits, in microseconds.
const RATES: &str = "
CREATE TABLE rates (
    key TEXT NOT NULL PRIMARY KEY,
    tat_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX rates_by_tat ON rates (tat_us);
";

/// Ready runs of each queue and tag. A run whose tag is the name of its queue is in two indexes, as before this step. The
/// other runs of a queue are in indexes of their own: the earliest ones, and those of each tag.
const READY_KEYS: &str = "
DROP INDEX runs_ready_in_queue;
CREATE INDEX runs_ready_of_queue ON runs (queue, scheduled_at, id) WHERE state = 'ready' AND queue = tag;
CREATE INDEX runs_ready_of_others ON runs (queue, scheduled_at, id) WHERE state = 'ready' AND queue <> tag;
CREATE INDEX runs_ready_of_tag ON runs (queue, tag, scheduled_at, id) WHERE state = 'ready' AND queue <> tag;
";

/// The `attention_at` of runs that wait without a time limit.
const WITHOUT_LIMIT: i64 = 253_402_207_200_000;
const _: () = assert!(Moment::NEVER.ms() == WITHOUT_LIMIT, "the statements contain this number");

/// Migrates the file to the version of this release, in one transaction.
///
/// # Errors
/// If a newer release has written the file, or the file is not writable.
pub fn migrate(db: &mut Connection) -> Result<()> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = usize::try_from(version).ok();
    let missing = known.and_then(|version| STEPS.get(version..)).ok_or_else(|| too_new(version))?;
    for step in missing {
        step(&tx)?;
    }
    if !missing.is_empty() {
        tx.pragma_update(None, "user_version", STEPS.len() as i64)?;
    }
    Ok(tx.commit()?)
}

fn too_new(version: i64) -> crate::ports::PortError {
    refused(format!(
        "the database has version {version}, but this release supports versions up to {}: start a newer taskcenter",
        STEPS.len()
    ))
}

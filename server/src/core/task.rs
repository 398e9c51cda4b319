//! A task: what to send, when, how often.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::retry::RetryPolicy;
use super::schedule::Rule;
use super::{Moment, Schedule};

/// How many parts the tasks are spread over; each is watched by one node at a time.
pub const SHARDS: u16 = 64;

/// Identifies a task: 32 lower-case hexadecimal digits, a UUID of version 7.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(String);

impl TaskId {
    /// Wraps a fresh UUID.
    pub fn new(id: uuid::Uuid) -> Self {
        Self(id.simple().to_string())
    }

    /// Reads an id that came from outside; `None` for anything that this program cannot have given out.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 32 && text.bytes().all(hex)).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part of the tasks that this one belongs to, below [`SHARDS`].
    pub fn shard(&self) -> u16 {
        (stable_hash(self.0.as_bytes()) % u64::from(SHARDS)) as u16
    }
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It has a next moment.
    Active,
    /// Held by a person; it keeps its place.
    Paused,
    /// Its last moment has passed.
    Finished,
    /// Deleted; kept as a tombstone until its runs have ended.
    Cancelled,
}

/// A stored task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its identity.
    pub id: TaskId,
    /// Its name, which is the tag of its messages.
    pub name: String,
    /// What is sent, byte for byte.
    pub data: String,
    /// When it is due.
    pub schedule: Schedule,
    /// Not before, as the user gave it.
    pub start_at: Option<Moment>,
    /// Not after, as the user gave it.
    pub end_at: Option<Moment>,
    /// Fires in all; `None` for no limit.
    pub max_fires: Option<u64>,
    /// Whether the server waits for an outcome report of each run.
    pub ack: bool,
    /// How long it waits for one, in seconds, as the user gave it.
    pub max_runtime_sec: Option<u64>,
    /// The queue in which its runs wait for workers; `None`: they are published on the bus.
    pub queue: Option<String>,
    /// When failed attempts are tried again; `None`: as the server is set.
    pub retry: Option<RetryPolicy>,
    /// When it was accepted.
    pub created_at: Moment,
    /// When its schedule was accepted as it is now: it begins there, or at its start if that is later.
    pub anchored_at: Moment,
    /// Counts the definitions this task has had, from 1. A pause and its end count as well: what a person stopped must not come back
    /// by a step that was under way.
    pub rev: u32,
    /// Where it stands.
    pub state: TaskState,
    /// The next moment; `None` once there is none.
    pub next_due_at: Option<Moment>,
    /// The last moment that fired or was skipped: the proof that a run's moment has been decided.
    pub last_due_at: Option<Moment>,
    /// Moments that fired; skipped ones do not count.
    pub fired_count: u64,
    /// At most one live task has this key.
    pub dedup_key: Option<String>,
    /// How far earlier revisions came, as long as runs of theirs are open.
    pub past: Vec<PastRev>,
    /// Deleted, and so no longer shown to anybody.
    pub hidden: bool,
}

/// How far a revision came before the next one took its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRev {
    /// The revision.
    pub rev: u32,
    /// The last moment that it decided.
    pub last_due_at: Moment,
}

impl Task {
    /// The first moment on which its schedule stands: its start, or its acceptance if that is later or there is no start.
    pub fn anchor(&self) -> Moment {
        self.start_at.map_or(self.anchored_at, |start| start.max(self.anchored_at))
    }

    /// The first moment, if one lies before the end.
    pub fn first_due(&self) -> Option<Moment> {
        self.within_end(self.schedule.first(self.anchor()))
    }

    /// The moment after `due`, when `fired` moments have fired in all.
    pub fn due_after(&self, due: Moment, fired: u64) -> Option<Moment> {
        self.due_by(&self.schedule.rule(), due, fired)
    }

    /// The same, by the rule of its schedule.
    pub fn due_by(&self, rule: &Rule, due: Moment, fired: u64) -> Option<Moment> {
        if self.max_fires.is_some_and(|max| fired >= max) {
            return None;
        }
        self.within_end(rule.after(due))
    }

    fn within_end(&self, due: Option<Moment>) -> Option<Moment> {
        due.filter(|due| self.end_at.is_none_or(|end| *due <= end))
    }

    /// Whether the moment `due` of revision `rev` has been decided: the linearization of a fire (or skip) has happened.
    pub fn has_passed(&self, rev: u32, due: Moment) -> bool {
        let last = if self.rev == rev { self.last_due_at } else { self.last_of(rev) };
        last.is_some_and(|last| last >= due)
    }

    fn last_of(&self, rev: u32) -> Option<Moment> {
        self.past.iter().find(|past| past.rev == rev).map(|past| past.last_due_at)
    }

    /// Where it stands in its life. Every step of it changes this, so that a change which was decided on one stand is not made on
    /// another.
    pub fn stand(&self) -> (u32, TaskState, Option<Moment>) {
        (self.rev, self.state, self.next_due_at)
    }

    /// The same task as a new revision. `open` are the revisions of its runs that have not ended: how far those came is kept.
    #[must_use]
    pub fn revised(&self, open: &[u32]) -> Self {
        let mut next = self.clone();
        next.past.extend(self.last_due_at.map(|last_due_at| PastRev { rev: self.rev, last_due_at }));
        next.past.retain(|past| open.contains(&past.rev));
        next.rev += 1;
        next
    }
}

/// The key that keeps a second live task with the same name and data away (v1 contract, "Duplicate").
pub fn pair_key(name: &str, data: &str) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    // The length keeps ("ab", "c") and ("a", "bc") apart.
    hash.update((name.len() as u64).to_be_bytes());
    hash.update(name.as_bytes());
    hash.update(data.as_bytes());
    hash.finalize().iter().fold("pair:".to_owned(), |mut key, byte| {
        // Writing to a string cannot fail.
        let _ = write!(key, "{byte:02x}");
        key
    })
}

/// The key for a caller's own dedup key; never equal to a [`pair_key`].
pub fn explicit_key(name: &str, key: &str) -> String {
    format!("key:{name}|{key}")
}

/// A hash that is the same in every release and on every machine: shards are stored with it, and nodes agree by it. FNV-1a, with
/// splitmix64's last steps, since the high bits of a short FNV-1a hash are poor.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

//! A task: what is sent, when, and how often.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::headers::Headers;
use super::labels::{self, Labels, calendar_text, token_text};
use super::retry::RetryPolicy;
use super::revision::Revised;
use super::schedule::Rule;
use super::timing::Timing;
use super::{Moment, Schedule};

/// Number of shards that the tasks are divided into. One node at a time watches a shard.
pub const SHARDS: u16 = 64;

/// Identifies a task: a UUID of version 7 as 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(String);

impl TaskId {
    /// Wraps a fresh UUID.
    pub fn new(id: uuid::Uuid) -> Self {
        Self(id.simple().to_string())
    }

    /// Reads an id from outside. `None`: the text is not 32 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 32 && text.bytes().all(hex)).then(|| Self(text.to_owned()))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the task's shard, below [`SHARDS`].
    pub fn shard(&self) -> u16 {
        (stable_hash(self.0.as_bytes()) % u64::from(SHARDS)) as u16
    }
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// State of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// The task has a next moment.
    Active,
    /// A user paused the task. It keeps its next moment.
    Paused,
    /// The last moment has passed.
    Finished,
    /// A user cancelled or deleted the task. It stays as a tombstone until its runs have ended.
    Cancelled,
}

impl TaskState {
    pub const ALL: [Self; 4] = [Self::Active, Self::Paused, Self::Finished, Self::Cancelled];
    /// States of a live task.
    pub const LIVE: [Self; 2] = [Self::Active, Self::Paused];

    /// Returns the state as the API and the stores spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns whether the task never fires again by its schedule.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled)
    }
}

impl std::fmt::Display for TaskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A stored task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    /// Name, which is also the tag of the task's messages.
    pub name: String,
    /// Payload, sent byte for byte.
    pub data: String,
    /// Headers that every delivery carries.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
    /// Labels, which the runs carry.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    pub schedule: Schedule,
    /// Earliest moment of the first fire, as the user gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Moment>,
    /// Latest moment of a fire, as the user gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_at: Option<Moment>,
    /// Maximum number of fires. `None`: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fires: Option<u64>,
    /// Whether the server waits for an outcome report of each run.
    pub ack: bool,
    /// Longest wait for an outcome, in seconds, as the user gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runtime_sec: Option<u64>,
    /// Milliseconds after its moment within which the first attempt of a run must start. `None`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_within_ms: Option<u64>,
    /// Queue in which runs wait for workers. `None`: runs are published on the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Retry policy. `None`: the server's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// Rules about how the moments fire.
    #[serde(default, skip_serializing_if = "Timing::is_default")]
    pub timing: Timing,
    /// When the server accepted the task.
    pub created_at: Moment,
    /// When the server accepted the current schedule. The schedule starts at `anchored_at`, or at
    /// `start_at` if that is later.
    pub anchored_at: Moment,
    /// Number of the definition, from 1. Pause and resume count too, so that an advance which was
    /// decided before a pause cannot move the paused task.
    pub rev: u32,
    pub state: TaskState,
    /// When the next moment fires; `None` once there is no further one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_due_at: Option<Moment>,
    /// The next nominal moment of a task with jitter. `None`: `next_due_at` is the nominal moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nominal_at: Option<Moment>,
    /// Last nominal moment that fired or was skipped: proof that a run's moment is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_due_at: Option<Moment>,
    /// Number of fires. Skipped moments do not count.
    pub fired_count: u64,
    /// Deduplication key: at most one live task has the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
    /// Last decided moments of earlier revisions that have open runs.
    pub past: Vec<PastRev>,
    /// Whether a user deleted the task. A deleted task is no longer visible.
    pub hidden: bool,
    /// The task with which a request with an idempotency key was answered, because it had the same
    /// deduplication key. Set only on the hidden tombstone that keeps this answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_for: Option<TaskId>,
    /// Unique id of the last pause, resume or edit. The write recognises itself by the id when its
    /// answer was lost. `None`: never changed, or changed by an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_id: Option<String>,
    /// Name of the caller that created the task. `None`: an earlier release has created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Id of the token whose quota of live tasks counts this task. `None`: no quota counts the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_token: Option<String>,
    /// The edit that began the current definition. `None`: the definition is the first one, or an earlier
    /// release edited the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revised: Option<Box<Revised>>,
}

/// The last decided moment of an earlier revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRev {
    pub rev: u32,
    pub last_due_at: Moment,
}

impl Task {
    /// Returns the first moment, if one exists before the end.
    pub fn first_due(&self) -> Option<Moment> {
        let first = self.schedule.first(self.start_at, self.anchored_at);
        match &self.timing.calendars {
            None => self.within_end(first),
            Some(_) => self.within_end(self.rule().open_from(first?)),
        }
    }

    /// Returns the parsed schedule with the calendars of the task. Every computation of moments uses this rule.
    pub fn rule(&self) -> Rule {
        self.schedule.rule_within(self.timing.calendars.as_deref())
    }

    /// Returns the texts by which a store finds the task in an index: its labels, its calendars, and the token whose
    /// quota counts the task.
    pub fn index_texts(&self) -> Vec<String> {
        let calendars = self.timing.calendars.iter().flat_map(|calendars| calendars.all());
        let calendars = calendars.map(|calendar| calendar_text(&calendar.name));
        let token = self.quota_token.as_deref().map(token_text);
        labels::texts(&self.labels).into_iter().chain(calendars).chain(token).collect()
    }

    /// Returns the moment after `due`, after a total of `fired` fires.
    pub fn due_after(&self, due: Moment, fired: u64) -> Option<Moment> {
        self.due_after_by(&self.rule(), due, fired)
    }

    /// Same as [`due_after`](Self::due_after), with the parsed [`rule`](Self::rule) of the task.
    pub fn due_after_by(&self, rule: &Rule, due: Moment, fired: u64) -> Option<Moment> {
        if self.max_fires.is_some_and(|max| fired >= max) {
            return None;
        }
        self.within_end(rule.after(due))
    }

    /// Returns whether only the calendars of the task leave no moment after `due`, after a total of `fired` fires.
    /// Such a task waits: another version of a calendar may have a moment.
    pub fn waits_after(&self, due: Moment, fired: u64) -> bool {
        let has_fires = self.max_fires.is_none_or(|max| fired < max);
        let unlimited = || self.within_end(self.rule().after_unlimited(due));
        self.timing.calendars.is_some() && has_fires && unlimited().is_some()
    }

    /// Returns whether the task is live and has no next moment, because its calendars leave none.
    pub fn waits_for_calendar(&self) -> bool {
        !self.state.has_ended() && self.next_due_at.is_none()
    }

    pub(super) fn within_end(&self, due: Option<Moment>) -> Option<Moment> {
        due.filter(|due| self.end_at.is_none_or(|end| *due <= end))
    }

    /// Returns whether the moment `due` of revision `rev` is decided: fired or skipped.
    pub fn has_passed(&self, rev: u32, due: Moment) -> bool {
        let last = if self.rev == rev { self.last_due_at } else { self.last_of(rev) };
        last.is_some_and(|last| last >= due)
    }

    fn last_of(&self, rev: u32) -> Option<Moment> {
        self.past.iter().find(|past| past.rev == rev).map(|past| past.last_due_at)
    }

    /// Returns revision, state and next moment. Every change of a task changes one of the three, so
    /// a compare-and-set on the position never overwrites a change that the caller has not read.
    pub fn position(&self) -> (u32, TaskState, Option<Moment>) {
        (self.rev, self.state, self.next_due_at)
    }

    /// Returns the task as a new revision. `open`: revisions of runs that have not ended; the task
    /// keeps the last decided moments of these revisions.
    #[must_use]
    pub fn next_revision(&self, open: &[u32]) -> Self {
        let mut next = self.clone();
        next.past.extend(self.last_due_at.map(|last_due_at| PastRev { rev: self.rev, last_due_at }));
        next.past.retain(|past| open.contains(&past.rev));
        next.rev += 1;
        next
    }

    /// Returns the task after a cancellation or, with `hide`, after a deletion. A tombstone has no
    /// next moment and no deduplication key. A hidden task stays hidden.
    #[must_use]
    pub fn tombstone(&self, hide: bool) -> Self {
        Self {
            state: TaskState::Cancelled,
            next_due_at: None,
            nominal_at: None,
            dedup_key: None,
            hidden: self.hidden || hide,
            ..self.clone()
        }
    }
}

impl Task {
    /// Returns the hidden tombstone that keeps the answer to this new task's request: `holder` had the
    /// same deduplication key.
    #[must_use]
    pub fn standing_for(&self, holder: TaskId) -> Self {
        Self {
            data: String::new(),
            headers: Headers::new(),
            labels: Labels::new(),
            quota_token: None,
            stands_for: Some(holder),
            ..self.tombstone(true)
        }
    }
}

/// Returns the deduplication key of name and data (v1 contract, "Duplicate").
pub fn pair_key(name: &str, data: &str) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    // The length separates ("ab", "c") from ("a", "bc").
    hash.update((name.len() as u64).to_be_bytes());
    hash.update(name.as_bytes());
    hash.update(data.as_bytes());
    hash.finalize().iter().fold("pair:".to_owned(), |mut key, byte| {
        // Writing to a string cannot fail.
        let _ = write!(key, "{byte:02x}");
        key
    })
}

/// Returns the deduplication key of a caller's own key. It never equals a [`pair_key`].
pub fn explicit_key(name: &str, key: &str) -> String {
    format!("key:{name}|{key}")
}

/// Returns a hash that never changes between releases and machines: stored shards, and agreements
/// between nodes, depend on it. FNV-1a with splitmix64's finalizer, because the high bits of a
/// short FNV-1a hash are poorly distributed.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_and_as_str_spell_a_state_alike() {
        for state in TaskState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}

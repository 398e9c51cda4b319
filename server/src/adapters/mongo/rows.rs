//! Documents: flat, readable in a shell, without derived fields except `shard`, `by_tag` and
//! `ended_at`.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde::{Deserialize, Serialize};

use crate::core::retry::RetryPolicy;
use crate::core::run::Stretch;
use crate::core::task::{PastRev, SHARDS};
use crate::core::{Moment, Run, RunId, RunState, Schedule, Task, TaskId, TaskState};

/// Converts a moment to a BSON date.
pub fn date(moment: Moment) -> DateTime {
    DateTime::from_millis(moment.ms())
}

/// Converts a BSON date to a moment.
pub fn moment(date: DateTime) -> Moment {
    Moment::from_ms(date.timestamp_millis())
}

/// Converts shards to BSON integers.
pub fn shard_numbers(shards: &[u16]) -> Vec<i32> {
    shards.iter().map(|shard| i32::from(*shard)).collect()
}

/// Returns every shard, so that a query over all shards can use an index that begins with the
/// shard.
pub fn all_shards() -> Vec<i32> {
    (0..i32::from(SHARDS)).collect()
}

/// A document of `tasks`.
#[derive(Debug, Serialize, Deserialize)]
pub struct TaskRow {
    #[serde(rename = "_id")]
    pub id: TaskId,
    shard: i32,
    name: String,
    pub data: String,
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    period_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_fires: Option<i64>,
    ack: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_runtime_sec: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<RetryRow>,
    created_at: DateTime,
    /// Missing in rows of the first release, in which every schedule started with its task.
    #[serde(skip_serializing_if = "Option::is_none")]
    anchored_at: Option<DateTime>,
    rev: i64,
    state: TaskState,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_due_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_due_at: Option<DateTime>,
    fired_count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dedup_key: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    past: Vec<PastRow>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    hidden: bool,
    /// When the task finished or was cancelled. Prune uses the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<DateTime>,
}

/// A retry policy. BSON has no unsigned integers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct RetryRow {
    max_attempts: i64,
    backoff_ms: i64,
    max_backoff_ms: i64,
}

impl From<RetryPolicy> for RetryRow {
    fn from(retry: RetryPolicy) -> Self {
        Self {
            max_attempts: i64::from(retry.max_attempts),
            backoff_ms: retry.backoff_ms as i64,
            max_backoff_ms: retry.max_backoff_ms as i64,
        }
    }
}

impl From<RetryRow> for RetryPolicy {
    fn from(row: RetryRow) -> Self {
        Self {
            max_attempts: row.max_attempts as u32,
            backoff_ms: row.backoff_ms as u64,
            max_backoff_ms: row.max_backoff_ms as u64,
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct PastRow {
    rev: i64,
    last_due_at: DateTime,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Once,
    Every,
    Cron,
}

/// A row without a field that its schedule needs.
#[derive(Debug, thiserror::Error)]
#[error("{0} has no field {1}")]
pub struct Incomplete(String, &'static str);

impl From<&Task> for TaskRow {
    fn from(task: &Task) -> Self {
        let (kind, period_ms, cron, zone) = match &task.schedule {
            Schedule::Once => (Kind::Once, None, None, None),
            Schedule::Every { period_ms } => (Kind::Every, Some(*period_ms), None, None),
            Schedule::Cron { expression, zone } => {
                (Kind::Cron, None, Some(expression.clone()), Some(zone.clone()))
            }
        };
        Self {
            shard: i32::from(task.id.shard()),
            id: task.id.clone(),
            name: task.name.clone(),
            data: task.data.clone(),
            kind,
            period_ms,
            cron,
            zone,
            start_at: task.start_at.map(date),
            end_at: task.end_at.map(date),
            max_fires: task.max_fires.map(|n| n as i64),
            ack: task.ack,
            max_runtime_sec: task.max_runtime_sec.map(|n| n as i64),
            queue: task.queue.clone(),
            retry: task.retry.map(RetryRow::from),
            created_at: date(task.created_at),
            anchored_at: Some(date(task.anchored_at)),
            rev: i64::from(task.rev),
            state: task.state,
            next_due_at: task.next_due_at.map(date),
            last_due_at: task.last_due_at.map(date),
            fired_count: task.fired_count as i64,
            dedup_key: task.dedup_key.clone(),
            past: task.past.iter().map(past_row).collect(),
            hidden: task.hidden,
            ended_at: None,
        }
    }
}

fn past_row(past: &PastRev) -> PastRow {
    PastRow { rev: i64::from(past.rev), last_due_at: date(past.last_due_at) }
}

fn past_rev(row: PastRow) -> PastRev {
    PastRev { rev: row.rev as u32, last_due_at: moment(row.last_due_at) }
}

impl TaskRow {
    fn schedule(&mut self) -> Result<Schedule, Incomplete> {
        let missing = |field| Incomplete(format!("task {}", self.id), field);
        Ok(match self.kind {
            Kind::Once => Schedule::Once,
            Kind::Every => Schedule::Every { period_ms: self.period_ms.ok_or_else(|| missing("period_ms"))? },
            Kind::Cron => Schedule::Cron {
                expression: self.cron.take().ok_or_else(|| missing("cron"))?,
                zone: self.zone.take().ok_or_else(|| missing("zone"))?,
            },
        })
    }
}

impl TryFrom<TaskRow> for Task {
    type Error = Incomplete;

    fn try_from(mut row: TaskRow) -> Result<Self, Incomplete> {
        Ok(Self {
            schedule: row.schedule()?,
            id: row.id,
            name: row.name,
            data: row.data,
            start_at: row.start_at.map(moment),
            end_at: row.end_at.map(moment),
            max_fires: row.max_fires.map(|n| n as u64),
            ack: row.ack,
            max_runtime_sec: row.max_runtime_sec.map(|n| n as u64),
            queue: row.queue,
            retry: row.retry.map(RetryPolicy::from),
            created_at: moment(row.created_at),
            anchored_at: moment(row.anchored_at.unwrap_or(row.created_at)),
            rev: row.rev as u32,
            state: row.state,
            next_due_at: row.next_due_at.map(moment),
            last_due_at: row.last_due_at.map(moment),
            fired_count: row.fired_count as u64,
            dedup_key: row.dedup_key,
            past: row.past.into_iter().map(past_rev).collect(),
            hidden: row.hidden,
        })
    }
}

/// A document of `runs`.
#[derive(Debug, Serialize, Deserialize)]
pub struct RunRow {
    #[serde(rename = "_id")]
    pub id: RunId,
    shard: i32,
    task_id: TaskId,
    rev: i64,
    scheduled_at: DateTime,
    #[serde(default)]
    number: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    triggered: bool,
    tag: String,
    pub data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    /// Whether the queue's name equals the tag. Missing without a queue, and in rows of earlier
    /// releases.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_tag: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<RetryRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome_within_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stretch_to: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stretch_count: Option<i64>,
    state: RunState,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    attempt: i64,
    token: String,
    holder: String,
    claim: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fired_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    version: i64,
}

/// Returns the update that stores `run` with the next version. `write_id` identifies the call, so
/// that a repeated write recognises its first attempt.
pub fn run_update(run: &Run, write_id: ObjectId) -> Document {
    // Every field is named: a new one must be added to one of the two groups.
    let Run {
        // Never changes.
        id: _,
        task_id: _,
        rev: _,
        scheduled_at: _,
        number: _,
        triggered: _,
        tag: _,
        data: _,
        queue: _,
        retry: _,
        outcome_within_ms: _,
        stretch: _,
        // Changes.
        state,
        reason,
        attempt,
        token,
        holder,
        claim,
        attention_at,
        fired_at,
        ended_at,
        result,
        version,
    } = run;
    let mut set = doc! {
        "state": state.as_str(),
        "attempt": i64::from(*attempt),
        "token": token,
        "holder": holder,
        "claim": i64::from(*claim),
        "version": *version as i64 + 1,
        "write_id": write_id,
    };
    let mut unset = Document::new();
    let mut put = |name: &str, value: Option<Bson>| match value {
        Some(value) => set.insert(name, value),
        None => unset.insert(name, ""),
    };
    put("reason", reason.clone().map(Bson::from));
    put("attention_at", attention_at.map(date).map(Bson::from));
    put("fired_at", fired_at.map(date).map(Bson::from));
    put("result", result.clone().map(Bson::from));
    put("ended_at", ended_at.map(date).map(Bson::from));
    let mut update = doc! { "$set": set };
    // MongoDB refuses an empty $unset.
    if !unset.is_empty() {
        update.insert("$unset", unset);
    }
    update
}

impl From<&Run> for RunRow {
    fn from(run: &Run) -> Self {
        Self {
            id: run.id.clone(),
            shard: i32::from(run.task_id.shard()),
            task_id: run.task_id.clone(),
            rev: i64::from(run.rev),
            scheduled_at: date(run.scheduled_at),
            number: run.number as i64,
            triggered: run.triggered,
            tag: run.tag.clone(),
            data: run.data.clone(),
            by_tag: run.queue.as_ref().map(|queue| *queue == run.tag),
            queue: run.queue.clone(),
            retry: run.retry.map(RetryRow::from),
            outcome_within_ms: run.outcome_within_ms,
            stretch_to: run.stretch.map(|stretch| date(stretch.to)),
            stretch_count: run.stretch.map(|stretch| stretch.count as i64),
            state: run.state,
            reason: run.reason.clone(),
            attempt: i64::from(run.attempt),
            token: run.token.clone(),
            holder: run.holder.clone(),
            claim: i64::from(run.claim),
            attention_at: run.attention_at.map(date),
            fired_at: run.fired_at.map(date),
            ended_at: run.ended_at.map(date),
            result: run.result.clone(),
            version: run.version as i64,
        }
    }
}

impl From<RunRow> for Run {
    fn from(row: RunRow) -> Self {
        let stretch = row.stretch_to.zip(row.stretch_count);
        Self {
            id: row.id,
            task_id: row.task_id,
            rev: row.rev as u32,
            scheduled_at: moment(row.scheduled_at),
            number: row.number as u64,
            triggered: row.triggered,
            tag: row.tag,
            data: row.data,
            queue: row.queue,
            retry: row.retry.map(RetryPolicy::from),
            outcome_within_ms: row.outcome_within_ms,
            stretch: stretch.map(|(to, count)| Stretch { to: moment(to), count: count as u64 }),
            state: row.state,
            reason: row.reason,
            attempt: row.attempt as u32,
            token: row.token,
            holder: row.holder,
            claim: row.claim as u32,
            attention_at: row.attention_at.map(moment),
            fired_at: row.fired_at.map(moment),
            ended_at: row.ended_at.map(moment),
            result: row.result,
            version: row.version as u64,
        }
    }
}

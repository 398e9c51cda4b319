use mongodb::bson::DateTime;
use serde::{Deserialize, Serialize};

use super::{RetryRow, date, moment};
use crate::core::cron::CronOptions;
use crate::core::labels;
use crate::core::retry::RetryPolicy;
use crate::core::revision::Revised;
use crate::core::task::PastRev;
use crate::core::timing::Timing;
use crate::core::{Schedule, Task, TaskId, TaskState};

/// A document of `tasks`.
#[derive(Debug, Serialize, Deserialize)]
pub struct TaskRow {
    #[serde(rename = "_id")]
    pub id: TaskId,
    shard: i32,
    name: String,
    pub data: String,
    /// Pairs, because a name may contain a dot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    /// Labels as texts, for the index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    period_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    #[serde(default, skip_serializing_if = "CronOptions::is_default")]
    cron_options: CronOptions,
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
    start_within_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<RetryRow>,
    #[serde(default, skip_serializing_if = "Timing::is_default")]
    timing: Timing,
    created_at: DateTime,
    /// Missing in rows of the first release, in which every schedule started with its task.
    #[serde(skip_serializing_if = "Option::is_none")]
    anchored_at: Option<DateTime>,
    rev: i64,
    state: TaskState,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_due_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nominal_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_due_at: Option<DateTime>,
    fired_count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dedup_key: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    past: Vec<PastRow>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    hidden: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stands_for: Option<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quota_token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revised: Option<RevisedRow>,
    /// When the task finished or was cancelled. Prune uses the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<DateTime>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct PastRow {
    rev: i64,
    last_due_at: DateTime,
}

#[derive(Debug, Serialize, Deserialize)]
struct RevisedRow {
    rev: i64,
    at: DateTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_due_at: Option<DateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_due_at: Option<DateTime>,
    fired_count: i64,
}

impl From<Revised> for RevisedRow {
    fn from(revised: Revised) -> Self {
        let Revised { rev, at, by, first_due_at, last_due_at, fired_count } = revised;
        Self {
            rev: i64::from(rev),
            at: date(at),
            by,
            first_due_at: first_due_at.map(date),
            last_due_at: last_due_at.map(date),
            fired_count: fired_count as i64,
        }
    }
}

impl From<RevisedRow> for Revised {
    fn from(row: RevisedRow) -> Self {
        let RevisedRow { rev, at, by, first_due_at, last_due_at, fired_count } = row;
        Self {
            rev: rev as u32,
            at: moment(at),
            by,
            first_due_at: first_due_at.map(moment),
            last_due_at: last_due_at.map(moment),
            fired_count: fired_count as u64,
        }
    }
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
        // Every field is named, so that a new one cannot be forgotten.
        let Task {
            id,
            name,
            data,
            headers,
            labels: _,
            schedule,
            start_at,
            end_at,
            max_fires,
            ack,
            max_runtime_sec,
            start_within_ms,
            queue,
            retry,
            timing,
            created_at,
            anchored_at,
            rev,
            state,
            next_due_at,
            nominal_at,
            last_due_at,
            fired_count,
            dedup_key,
            past,
            hidden,
            stands_for,
            write_id,
            created_by,
            quota_token,
            revised,
        } = task.clone();
        let mut cron_options = CronOptions::default();
        let (kind, period_ms, cron, zone) = match schedule {
            Schedule::Once => (Kind::Once, None, None, None),
            Schedule::Every { period_ms } => (Kind::Every, Some(period_ms), None, None),
            Schedule::Cron { expression, zone, options } => {
                cron_options = options;
                (Kind::Cron, None, Some(expression), Some(zone))
            }
        };
        Self {
            shard: i32::from(id.shard()),
            id,
            name,
            data,
            headers: headers.into_iter().collect(),
            labels: task.index_texts(),
            kind,
            period_ms,
            cron,
            zone,
            cron_options,
            start_at: start_at.map(date),
            end_at: end_at.map(date),
            max_fires: max_fires.map(|n| n as i64),
            ack,
            max_runtime_sec: max_runtime_sec.map(|n| n as i64),
            start_within_ms: start_within_ms.map(|n| n as i64),
            queue,
            retry: retry.map(RetryRow::from),
            timing,
            created_at: date(created_at),
            anchored_at: Some(date(anchored_at)),
            rev: i64::from(rev),
            state,
            next_due_at: next_due_at.map(date),
            nominal_at: nominal_at.map(date),
            last_due_at: last_due_at.map(date),
            fired_count: fired_count as i64,
            dedup_key,
            past: past.iter().map(past_row).collect(),
            hidden,
            stands_for,
            write_id,
            created_by,
            quota_token,
            revised: revised.map(|revised| RevisedRow::from(*revised)),
            // Only a task that ends with its insert: later ends are updates of this field.
            ended_at: state.has_ended().then_some(date(created_at)),
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
                options: std::mem::take(&mut self.cron_options),
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
            headers: row.headers.into_iter().collect(),
            labels: labels::parse(&row.labels),
            start_at: row.start_at.map(moment),
            end_at: row.end_at.map(moment),
            max_fires: row.max_fires.map(|n| n as u64),
            ack: row.ack,
            max_runtime_sec: row.max_runtime_sec.map(|n| n as u64),
            start_within_ms: row.start_within_ms.map(|n| n as u64),
            queue: row.queue,
            retry: row.retry.map(RetryPolicy::from),
            timing: row.timing,
            created_at: moment(row.created_at),
            anchored_at: moment(row.anchored_at.unwrap_or(row.created_at)),
            rev: row.rev as u32,
            state: row.state,
            next_due_at: row.next_due_at.map(moment),
            nominal_at: row.nominal_at.map(moment),
            last_due_at: row.last_due_at.map(moment),
            fired_count: row.fired_count as u64,
            dedup_key: row.dedup_key,
            past: row.past.into_iter().map(past_rev).collect(),
            hidden: row.hidden,
            stands_for: row.stands_for,
            write_id: row.write_id,
            created_by: row.created_by,
            quota_token: row.quota_token,
            revised: row.revised.map(|row| Box::new(row.into())),
        })
    }
}

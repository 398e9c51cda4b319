use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde::{Deserialize, Serialize};

use super::edited::{self, EditedRow};
use super::progress::{self, ProgressRow};
use super::{RetryRow, date, moment};
use crate::core::concurrency::Limit;
use crate::core::labels;
use crate::core::overlap::Overlap;
use crate::core::rate::Rate;
use crate::core::retry::RetryPolicy;
use crate::core::run::{CancelRequest, FailedAttempt, HoldMark, Permit, Stretch};
use crate::core::{Run, RunId, RunState, TaskId};

/// A document of `runs`.
#[derive(Debug, Serialize, Deserialize)]
pub struct RunRow {
    #[serde(rename = "_id")]
    pub id: RunId,
    shard: i32,
    task_id: TaskId,
    rev: i64,
    scheduled_at: DateTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<DateTime>,
    #[serde(default)]
    number: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    triggered: bool,
    tag: String,
    pub data: String,
    /// Pairs, because a name may contain a dot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    /// Labels as texts, for the index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
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
    expires_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stretch_to: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stretch_count: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overlap: Option<Overlap>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    concurrency: Vec<Limit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<Rate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    permit: Option<Permit>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    slots: Vec<String>,
    /// Group in which the run waits for admission, and the keys for whose slots the group waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wait_group: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    waits_for: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<HoldMark>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blocked_by: Option<RunId>,
    state: RunState,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    attempt: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    postponed: bool,
    token: String,
    holder: String,
    claim: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fired_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leased_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_slot: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handed_over_claim: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_requested_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_forced_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<ProgressRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    failed_attempts: Vec<FailedAttemptRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    edited: Option<EditedRow>,
    version: i64,
}

/// A failed attempt inside a document of `runs`.
#[derive(Debug, Serialize, Deserialize)]
struct FailedAttemptRow {
    attempt: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<DateTime>,
    ended_at: DateTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<FailedAttempt> for FailedAttemptRow {
    fn from(failed: FailedAttempt) -> Self {
        let FailedAttempt { attempt, worker, started_at, ended_at, error } = failed;
        Self {
            attempt: i64::from(attempt),
            worker,
            started_at: started_at.map(date),
            ended_at: date(ended_at),
            error,
        }
    }
}

impl From<FailedAttemptRow> for FailedAttempt {
    fn from(row: FailedAttemptRow) -> Self {
        Self {
            attempt: row.attempt as u32,
            worker: row.worker,
            started_at: row.started_at.map(moment),
            ended_at: moment(row.ended_at),
            error: row.error,
        }
    }
}

/// Returns the history as a value of a document. `None`: there is no history.
fn history(failed: &[FailedAttempt]) -> Option<Bson> {
    let document = |failed: &FailedAttempt| {
        let FailedAttempt { attempt, worker, started_at, ended_at, error } = failed;
        let mut document = doc! { "attempt": i64::from(*attempt), "ended_at": date(*ended_at) };
        document.extend(worker.as_ref().map(|worker| ("worker".to_owned(), Bson::from(worker.as_str()))));
        document.extend(started_at.map(|at| ("started_at".to_owned(), Bson::from(date(at)))));
        document.extend(error.as_ref().map(|error| ("error".to_owned(), Bson::from(error.as_str()))));
        document
    };
    (!failed.is_empty()).then(|| Bson::Array(failed.iter().map(document).map(Bson::from).collect()))
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
        due_at: _,
        number: _,
        triggered: _,
        tag: _,
        labels: _,
        queue: _,
        retry: _,
        outcome_within_ms: _,
        expires_at: _,
        overlap: _,
        concurrency: _,
        rate: _,
        stretch: _,
        // Changes.
        permit,
        slots,
        hold,
        blocked_by,
        state,
        reason,
        attempt,
        postponed,
        token,
        holder,
        claim,
        attention_at,
        fired_at,
        leased_at,
        started_at,
        lease_slot,
        handed_over_claim,
        cancel_request,
        progress,
        ended_at,
        result,
        failed_attempts,
        version,
        // Change in an edit of the payload only.
        data,
        headers,
        edited,
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
    put("postponed", postponed.then_some(Bson::Boolean(true)));
    put("attention_at", attention_at.map(date).map(Bson::from));
    put("fired_at", fired_at.map(date).map(Bson::from));
    put("leased_at", leased_at.map(date).map(Bson::from));
    put("started_at", started_at.map(date).map(Bson::from));
    put("lease_slot", lease_slot.clone().map(Bson::from));
    if run.may_wait() {
        let group = run.wait_group();
        put("permit", permit.map(|permit| Bson::from(permit.as_str())));
        put("slots", (!slots.is_empty()).then(|| Bson::from(slots.clone())));
        put("wait_group", group.as_ref().map(|group| Bson::from(group.as_str())));
        put("waits_for", group.as_ref().map(|group| Bson::from(group.keys())));
        put("hold", hold.map(|hold| Bson::from(hold.as_str())));
        put("blocked_by", blocked_by.as_ref().map(|id| Bson::from(id.as_str())));
    }
    put("failed_attempts", history(failed_attempts));
    put("result", result.clone().map(Bson::from));
    put("ended_at", ended_at.map(date).map(Bson::from));
    // These are never removed.
    let forced_at = cancel_request.and_then(|request| request.forced_at);
    set.extend(handed_over_claim.map(|claim| ("handed_over_claim".to_owned(), Bson::from(i64::from(claim)))));
    set.extend(
        cancel_request
            .map(|request| ("cancel_requested_at".to_owned(), Bson::from(date(request.requested_at)))),
    );
    set.extend(
        progress.as_ref().map(|progress| ("progress".to_owned(), progress::document(progress).into())),
    );
    set.extend(forced_at.map(|at| ("cancel_forced_at".to_owned(), Bson::from(date(at)))));
    // The other changes need not write the payload again: a batch of them would be too large.
    if let Some(edited) = edited.as_ref().filter(|_| run.is_edit()) {
        set.extend(edited::fields(data, headers, edited));
    }
    let mut update = doc! { "$set": set };
    // MongoDB refuses an empty $unset.
    if !unset.is_empty() {
        update.insert("$unset", unset);
    }
    update
}

impl From<&Run> for RunRow {
    fn from(run: &Run) -> Self {
        let group = run.wait_group();
        // Every field is named, so that a new one cannot be forgotten.
        let Run {
            id,
            task_id,
            rev,
            scheduled_at,
            due_at,
            number,
            triggered,
            tag,
            data,
            headers,
            labels,
            queue,
            retry,
            outcome_within_ms,
            expires_at,
            overlap,
            concurrency,
            rate,
            permit,
            slots,
            hold,
            blocked_by,
            state,
            reason,
            attempt,
            postponed,
            token,
            holder,
            claim,
            attention_at,
            fired_at,
            leased_at,
            started_at,
            lease_slot,
            handed_over_claim,
            cancel_request,
            progress,
            ended_at,
            result,
            failed_attempts,
            edited,
            stretch,
            version,
        } = run.clone();
        Self {
            id,
            shard: i32::from(task_id.shard()),
            task_id,
            rev: i64::from(rev),
            scheduled_at: date(scheduled_at),
            due_at: due_at.map(date),
            number: number as i64,
            triggered,
            by_tag: queue.as_ref().map(|queue| *queue == tag),
            tag,
            data,
            headers: headers.into_iter().collect(),
            labels: labels::texts(&labels),
            queue,
            retry: retry.map(RetryRow::from),
            outcome_within_ms,
            expires_at: expires_at.map(date),
            stretch_to: stretch.map(|stretch| date(stretch.to)),
            stretch_count: stretch.map(|stretch| stretch.count as i64),
            overlap,
            concurrency,
            rate,
            permit,
            slots,
            wait_group: group.as_ref().map(|group| group.as_str().to_owned()),
            waits_for: group.map(|group| group.keys()).unwrap_or_default(),
            hold,
            blocked_by,
            state,
            reason,
            attempt: i64::from(attempt),
            postponed,
            token,
            holder,
            claim: i64::from(claim),
            attention_at: attention_at.map(date),
            fired_at: fired_at.map(date),
            leased_at: leased_at.map(date),
            started_at: started_at.map(date),
            lease_slot,
            handed_over_claim: handed_over_claim.map(i64::from),
            cancel_requested_at: cancel_request.map(|request| date(request.requested_at)),
            cancel_forced_at: cancel_request.and_then(|request| request.forced_at).map(date),
            progress: progress.map(|progress| ProgressRow::from(*progress)),
            failed_attempts: failed_attempts.into_iter().map(FailedAttemptRow::from).collect(),
            edited: edited.map(|edited| EditedRow::from(*edited)),
            ended_at: ended_at.map(date),
            result,
            version: version as i64,
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
            due_at: row.due_at.map(moment),
            number: row.number as u64,
            triggered: row.triggered,
            tag: row.tag,
            data: row.data,
            headers: row.headers.into_iter().collect(),
            labels: labels::parse(&row.labels),
            queue: row.queue,
            retry: row.retry.map(RetryPolicy::from),
            outcome_within_ms: row.outcome_within_ms,
            expires_at: row.expires_at.map(moment),
            stretch: stretch.map(|(to, count)| Stretch { to: moment(to), count: count as u64 }),
            overlap: row.overlap,
            concurrency: row.concurrency,
            rate: row.rate,
            permit: row.permit,
            slots: row.slots,
            hold: row.hold,
            blocked_by: row.blocked_by,
            state: row.state,
            reason: row.reason,
            attempt: row.attempt as u32,
            postponed: row.postponed,
            token: row.token,
            holder: row.holder,
            claim: row.claim as u32,
            attention_at: row.attention_at.map(moment),
            fired_at: row.fired_at.map(moment),
            leased_at: row.leased_at.map(moment),
            started_at: row.started_at.map(moment),
            lease_slot: row.lease_slot,
            handed_over_claim: row.handed_over_claim.map(|claim| claim as u32),
            cancel_request: row.cancel_requested_at.map(|requested_at| CancelRequest {
                requested_at: moment(requested_at),
                forced_at: row.cancel_forced_at.map(moment),
            }),
            progress: row.progress.map(|progress| Box::new(progress.into())),
            failed_attempts: row.failed_attempts.into_iter().map(FailedAttempt::from).collect(),
            edited: row.edited.map(|edited| Box::new(edited.into())),
            ended_at: row.ended_at.map(moment),
            result: row.result,
            version: row.version as u64,
        }
    }
}

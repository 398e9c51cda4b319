//! Rows and links that several pages show.

use super::super::frame::Frame;
use super::super::html::{self, Markup};
use super::super::time::duration;
use super::super::words::{Words, fill};
use super::labels::{self, RowLabels};
use super::limits;
use crate::core::hold::{Hold, HoldScope};
use crate::core::run::RunState;
use crate::core::{Moment, Run, RunId, TaskId};
use crate::engine::service::Blocker;

/// Longest part of an error that a row shows, in bytes.
const ERROR_BYTES: usize = 240;

/// Returns the path of a task's page.
pub fn task_href(id: &TaskId) -> String {
    format!("/console/tasks/{id}")
}

/// Returns the path of a run's page.
pub fn run_href(run: &Run) -> String {
    run_href_of(&run.id)
}

/// Returns the path of the page of the run with an id.
pub fn run_href_of(id: &RunId) -> String {
    let id: String = form_urlencoded::byte_serialize(id.as_str().as_bytes()).collect();
    format!("/console/runs/{id}")
}

/// A run in a list.
pub struct RunRow {
    pub id: String,
    pub href: String,
    pub task_href: String,
    pub tag: String,
    pub at: Moment,
    pub pill: Markup,
    /// Word for a run that the schedule has not fired. Empty: it has.
    pub by_hand: String,
    pub late: String,
    pub attempt: u32,
    pub ran: String,
    pub error: String,
    pub result: String,
    pub labels: RowLabels,
}

impl RunRow {
    pub fn new(run: &Run, t: &Words) -> Self {
        let error = run.reason.as_deref().unwrap_or_default();
        Self {
            id: run.id.to_string(),
            href: run_href(run),
            task_href: task_href(&run.task_id),
            tag: run.tag.clone(),
            at: run.scheduled_at,
            pill: html::run_pill(run.state, t),
            by_hand: by_hand(run, t).to_owned(),
            late: late(run, t).unwrap_or_else(|| "–".to_owned()),
            attempt: run.attempt,
            ran: ran(run, t).unwrap_or_else(|| "–".to_owned()),
            error: error[..error.floor_char_boundary(ERROR_BYTES)].to_owned(),
            result: run.result.clone().unwrap_or_default(),
            labels: RowLabels::new(&run.labels, labels::RUNS),
        }
    }
}

/// Returns the word for a run that the schedule has not fired. Empty: it has.
fn by_hand<'a>(run: &Run, t: &'a Words) -> &'a str {
    if run.id.backfill().is_some() {
        return &t.backfill;
    }
    if run.triggered { &t.triggered } else { "" }
}

/// Returns how late the first attempt was handed over.
pub fn late(run: &Run, t: &Words) -> Option<String> {
    let first = run.attempt == 1 && !run.triggered;
    let fired_at = run.fired_at.filter(|_| first)?;
    Some(format!("+{}", duration(fired_at.since(run.effective_at()), t)))
}

/// Returns how long the current attempt ran, if it has ended.
pub fn ran(run: &Run, t: &Words) -> Option<String> {
    let has_worked = matches!(run.state, RunState::Succeeded | RunState::Dead);
    let (started, ended) = (run.attempt_started_at()?, run.ended_at.filter(|_| has_worked)?);
    Some(duration(ended.since(started), t))
}

/// Returns that runs wait for the end of a hold: which one, until when, who created it, and why.
pub fn why_held(hold: &Hold, f: &Frame) -> String {
    let t = f.t;
    let what = match hold.scope {
        HoldScope::Queue => fill(&t.hold_waits_queue, &[&hold.name]),
        HoldScope::Tag => fill(&t.hold_waits_tag, &[&hold.name]),
    };
    let until = hold.until.map(|until| fill(&t.hold_ends_at, &[&f.text(until)]));
    let by = Some(&hold.created_by).filter(|by| !by.is_empty()).map(|by| fill(&t.hold_by, &[by]));
    let reason = Some(hold.reason.clone()).filter(|reason| !reason.is_empty());
    [Some(what), until, by, reason].into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// Returns what a run waits for, in one sentence. `None`: the run has ended.
pub fn why_waits(
    run: &Run,
    has_worker: bool,
    blocker: Option<&Blocker>,
    until: Option<String>,
    t: &Words,
) -> Option<String> {
    let queue = run.queue.as_deref().unwrap_or(&run.tag);
    match run.state {
        RunState::Firing => Some(t.run_waits_bus.clone()),
        RunState::Held => Some(match blocker.map(|blocker| &blocker.limit) {
            Some(Some(limit)) => fill(&t.run_waits_limit, &[&limits::in_words(limit, t)]),
            Some(None) => t.run_waits_slot.clone(),
            None => t.run_starts_next.clone(),
        }),
        RunState::Ready if has_worker => Some(fill(&t.run_waits_free, &[queue])),
        RunState::Ready => Some(fill(&t.no_worker_on_queue, &[queue])),
        RunState::Leased if run.cancel_request.is_some() => {
            let why = if run.blocked_by.is_some() { &t.run_waits_replaced } else { &t.run_waits_stop };
            Some(fill(why, &[&run.holder, &until.unwrap_or_default()]))
        }
        RunState::Leased => Some(fill(&t.run_waits_worker, &[&run.holder])),
        RunState::Retrying => Some(fill(&t.pause_before_retry, &[&until.unwrap_or_default()])),
        RunState::Fired if !run.has_ended() => Some(t.run_waits_outcome.clone()),
        _ => None,
    }
}

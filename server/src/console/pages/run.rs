//! A run: why it waits, its states, attempts, payload and result.

use askama::Template;
use axum::response::Response;

use super::super::charts::{Span, SpanBar};
use super::super::copy_as::{self, Recipe, Request};
use super::super::frame::{Frame, Section};
use super::super::html::{self as h, Markup, Payload};
use super::super::problem::Result;
use super::super::time::duration;
use super::super::visit::{Segment, Visit};
use super::super::words::{Words, fill};
use super::confirm::Action;
use super::labels::{self, LabelLink};
use super::rate_draft;
use super::rows::{self, RunRow};
use super::run_actions;
use super::run_log::Log;
use crate::core::run::{PayloadDigest, Progress, ReportedProgress};
use crate::core::{Moment, Run, RunId, RunState};

struct Step {
    pill: Markup,
    name: String,
    /// Class of the colour of the time until the next step.
    class: &'static str,
    at: Moment,
    after: String,
    is_current: bool,
}

struct Attempt {
    number: u32,
    pill: Markup,
    worker: String,
    started: Option<Moment>,
    took: String,
    error: String,
    /// Size and digest of what the attempt delivered, if the payload was edited.
    delivered: String,
}

#[derive(Template)]
#[template(path = "run.html")]
struct Page {
    f: Frame,
    run: RunRow,
    rev: u32,
    labels: Vec<LabelLink>,
    actions: Vec<Action>,
    /// Whether the run waits for the end of a hold.
    is_on_hold: bool,
    why: Option<String>,
    /// Page of a run with a slot for which the run waits.
    blocker: Option<(String, String)>,
    path: Vec<Step>,
    /// Time in each state. `None`: no time has passed.
    stages: Option<SpanBar>,
    attempts: Vec<Attempt>,
    payload: Payload,
    original: Option<Payload>,
    result: Option<Payload>,
    log: Log,
    facts: Vec<(String, String)>,
}

pub async fn show(visit: Visit, Segment(id): Segment) -> Response {
    super::answer(&visit, page(&visit, &id).await)
}

async fn page(visit: &Visit, id: &str) -> Result<askama::Result<String>> {
    let t = visit.lang.words();
    let run = visit.service.run(&RunId::from_text(id)).await?;
    let mut f = Frame::new(visit, Section::Runs, "").below(&t.runs, "/console/runs");
    f.title = f.text(run.scheduled_at);
    let f = f.below(&run.tag, &rows::task_href(&run.task_id));
    let f = f.api(&run_api(&run), &[]);
    let recipes = run_recipes(&run, &f);
    let f = f.with_recipes(recipes);
    let f = if run.has_ended() { f } else { f.events("run,log", &[("run_id", Some(run.id.as_str()))]) };
    let queue = run.queue.as_deref().unwrap_or(&run.tag);
    let has_worker = visit.service.attendance(queue).is_attended(f.now);
    let until = run.attention_at.filter(|at| *at < Moment::NEVER).map(|at| f.text(at));
    let log = Log::read(visit, &run).await?;
    let hold = visit.service.hold_of_run(&run).await?;
    let blocker = visit.service.blocker(&run).await?.filter(|_| hold.is_none());
    let why = match &hold {
        Some(hold) => Some(rows::why_held(hold, &f)),
        None => match visit.service.next_permit(&run).await?.filter(|_| blocker.is_none()) {
            Some((rate, at)) => {
                Some(fill(&t.run_waits_rate, &[&rate_draft::in_words(&rate, t), &f.text(at)]))
            }
            None => rows::why_waits(&run, has_worker, blocker.as_ref(), until, t),
        },
    };
    let path = path(&run, t);
    let page = Page {
        log,
        rev: run.rev,
        labels: labels::links(&run.labels, labels::RUNS),
        actions: run_actions::allowed(&run)
            .into_iter()
            .map(|action| action.words(t).link(&rows::run_href(&run), action.as_str()))
            .collect(),
        is_on_hold: hold.is_some(),
        why,
        blocker: blocker.and_then(|by| by.run).map(|id| (rows::run_href_of(&id), id.to_string())),
        stages: SpanBar::new("stages", &t.time_in_states, spans(&path, &f)),
        path,
        attempts: attempts(&run, t),
        payload: Payload::new(&run.data, t),
        original: run.edited.as_ref().map(|edited| Payload::new(&edited.original.data, t)),
        result: run.result.as_deref().map(|result| Payload::new(result, t)),
        facts: facts(&run, &f),
        run: RunRow::new(&run, t),
        f,
    };
    Ok(page.render())
}

fn run_api(run: &Run) -> String {
    rows::run_href(run).replacen("/console/", "/v1/", 1)
}

/// Returns the log of a run and the actions on the run as texts to copy.
fn run_recipes(run: &Run, f: &Frame) -> Vec<Recipe> {
    let path = format!("{}/log", run_api(run));
    let command = copy_as::words(&["run", "log", run.id.as_str()]);
    let log = Recipe::new(f.shell, &f.t.copy_log, &Request::get(&path), Some(&command));
    let allowed = run_actions::allowed(run).into_iter().filter(|_| f.rights.write);
    std::iter::once(log).chain(allowed.map(|action| run_actions::recipe(run, action, f))).collect()
}

/// Returns the known states of the current attempt, in order.
fn path(run: &Run, t: &Words) -> Vec<Step> {
    let handed_over = if run.queue.is_some() { RunState::Ready } else { RunState::Fired };
    let of_state = |state: RunState, at| (h::run_pill(state, t), h::run_word(state, t), class_of(state), at);
    let mut known = Vec::new();
    for failed in &run.failed_attempts {
        if failed.attempt < run.attempt || run.state == RunState::Retrying {
            known.push((
                h::pill("dead", "x", &t.state_failed),
                t.state_failed.as_str(),
                "f-retry",
                failed.ended_at,
            ));
        }
    }
    let hand_over = run.fired_at.filter(|_| run.state != RunState::Retrying);
    known.extend(hand_over.map(|at| of_state(handed_over, at)));
    known.sort_by_key(|(.., at)| *at);
    // A lease counts from the latest time that the clocks of the nodes may show, so it can be later than the end.
    let leased = run.leased_at.filter(|_| run.state != RunState::Retrying);
    known.extend(leased.map(|at| of_state(RunState::Leased, at)));
    known.extend(run.ended_at.map(|at| of_state(run.state, at)));
    let scheduled = (
        h::pill("none", "clock", &t.state_scheduled),
        t.state_scheduled.as_str(),
        "f-wait",
        run.effective_at(),
    );
    let mut steps: Vec<Step> = Vec::new();
    for (pill, name, class, at) in std::iter::once(scheduled).chain(known) {
        let before = steps.last().map(|step| step.at);
        let after = before.map_or_else(String::new, |before| format!("+{}", duration(passed(before, at), t)));
        steps.push(Step { pill, name: name.to_owned(), class, at, after, is_current: false });
    }
    if let Some(last) = steps.last_mut() {
        last.is_current = true;
    }
    steps
}

/// Returns the milliseconds between two steps. The clocks of two nodes can differ.
fn passed(from: Moment, to: Moment) -> i64 {
    to.since(from).max(0)
}

/// Returns the class of the colour of the time in a state.
const fn class_of(state: RunState) -> &'static str {
    match state {
        RunState::Leased => "f-run",
        RunState::Held => "f-hold",
        _ => "f-wait",
    }
}

/// Returns the time in each state but the last one: until the next step.
fn spans(path: &[Step], f: &Frame) -> Vec<Span> {
    let span = |pair: &[Step]| {
        let ms = passed(pair[0].at, pair[1].at);
        let title = format!("{}: {}", pair[0].name, duration(ms, f.t));
        Span { class: pair[0].class, ms: ms.unsigned_abs(), title }
    };
    path.windows(2).map(span).collect()
}

/// Returns the attempts, newest first.
fn attempts(run: &Run, t: &Words) -> Vec<Attempt> {
    let failed = run.failed_attempts.iter().map(|failed| Attempt {
        number: failed.attempt,
        pill: h::pill("dead", "x", &t.state_failed),
        worker: failed.worker.clone().unwrap_or_default(),
        started: failed.started_at,
        took: failed.started_at.map_or(String::new(), |start| duration(failed.ended_at.since(start), t)),
        error: failed.error.clone().unwrap_or_default(),
        delivered: delivered(run, failed.attempt, t),
    });
    let mut all: Vec<Attempt> = failed.collect();
    if all.last().is_none_or(|last| last.number < run.attempt) {
        let has_failed = matches!(run.state, RunState::Dead | RunState::Retrying);
        let error = run.reason.clone().filter(|_| has_failed || run.has_ended());
        all.push(Attempt {
            number: run.attempt,
            pill: h::run_pill(run.state, t),
            worker: run.worker().unwrap_or_default().to_owned(),
            started: run.attempt_started_at(),
            took: rows::ran(run, t).unwrap_or_default(),
            error: error.unwrap_or_default(),
            delivered: delivered(run, run.attempt, t),
        });
    }
    all.reverse();
    all
}

fn delivered(run: &Run, attempt: u32, t: &Words) -> String {
    const DIGITS: usize = 12;
    let words = |payload: PayloadDigest| {
        let size = fill(&t.bytes, &[&h::count(payload.bytes)]);
        fill(&t.bytes_delivered, &[&size, payload.sha256.get(..DIGITS).unwrap_or_default()])
    };
    run.payload_of(attempt).map(words).unwrap_or_default()
}

fn progress(reported: &ReportedProgress, f: &Frame) -> String {
    let Progress { percent, text } = &reported.progress;
    let separator = if text.is_empty() { "" } else { " · " };
    format!("{percent} %{separator}{text} · {}", f.text(reported.at))
}

/// Returns facts about the run as names and values.
fn facts(run: &Run, f: &Frame) -> Vec<(String, String)> {
    let t = f.t;
    let mut facts = vec![
        (&t.queue, run.queue.clone().unwrap_or_else(|| t.queue_bus.clone())),
        (&t.moment, f.text(run.scheduled_at)),
    ];
    if let Some(due_at) = run.due_at {
        facts.push((&t.due, f.text(due_at)));
    }
    facts.extend(run.id.backfill().map(|of| (&t.backfill, of.operation.to_owned())));
    if run.number > 0 {
        facts.push((&t.moment_number, h::count(run.number)));
    }
    facts.extend(run.fired_at.map(|at| (&t.fired, f.text(at))));
    facts.extend(run.expires_at.map(|at| (&t.expires, f.text(at))));
    if run.state == RunState::Leased {
        facts.push((&t.claimed_by, run.holder.clone()));
    } else {
        facts.extend(run.worker().map(|worker| (&t.worker, worker.to_owned())));
    }
    facts.extend(run.current_progress().map(|reported| (&t.progress, progress(reported, f))));
    let requested_at = run.cancel_request.map(|request| request.requested_at);
    facts.extend(requested_at.map(|at| (&t.cancel_requested, f.text(at))));
    facts.extend(run.blocked_by.as_ref().map(|id| (blocked_word(run.state, t), id.to_string())));
    facts.extend(run.reason.clone().map(|reason| (&t.note, reason)));
    if !run.headers.is_empty() {
        let headers = run.headers.iter().map(|(name, value)| format!("{name}: {value}"));
        facts.push((&t.headers, headers.collect::<Vec<_>>().join(", ")));
    }
    if let Some(stretch) = run.stretch {
        let moments = fill("{} · {}", &[&h::count(stretch.count), &f.text(stretch.to)]);
        facts.push((&t.next_moments, moments));
    }
    facts.into_iter().map(|(name, value)| (name.clone(), value)).collect()
}

/// Returns the label of the run for which this run ended, or was requested to stop. A worker may ignore the request.
fn blocked_word(state: RunState, t: &Words) -> &String {
    match state {
        RunState::Skipped | RunState::Cancelled => &t.blocked_by,
        _ => &t.stop_requested_for,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::words::Lang;
    use crate::core::TaskId;
    use crate::core::submission::Submission;

    #[test]
    fn the_end_is_the_last_step_even_if_the_lease_counts_from_later() {
        let now = Moment::from_sec(1_000);
        let submission = Submission { queue: Some("q".to_owned()), ..Submission::named("n", "d") };
        let task = submission.accept(TaskId::new(uuid::Uuid::nil()), now).unwrap();
        let run = Run {
            state: RunState::Dead,
            fired_at: Some(now.plus_ms(5)),
            leased_at: Some(now.plus_ms(30)),
            ended_at: Some(now.plus_ms(20)),
            ..Run::firing(&task, now, "node", "token".to_owned(), now)
        };
        let steps = path(&run, Lang::En.words());
        let ended: Vec<bool> = steps.iter().map(|step| step.at == now.plus_ms(20)).collect();
        assert_eq!(ended, [false, false, false, true]);
        assert!(steps[3].is_current);
        assert!(steps.iter().all(|step| !step.after.contains('-')));
    }
}

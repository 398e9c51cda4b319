//! Overview: problems first, then what is due now.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use askama::Template;
use axum::response::Response;

use super::super::filter::href;
use super::super::filter_line;
use super::super::frame::{Frame, Section};
use super::super::html::{self as h, Markup};
use super::super::listing;
use super::super::problem::Result;
use super::super::visit::Visit;
use super::super::words::{Words, fill};
use super::activity::Activity;
use super::alert_rows::{AlertLine, silence_href};
use super::dead_letters;
use super::queues::{self, QueueLine};
use super::rows::run_href;
use super::silences::may_silence;
use crate::core::alert::{Measure, Severity};
use crate::core::{Moment, RunState};
use crate::engine::service::{
    Alert, Check, Condition, Health, OutcomeCount, RaisedAlerts, RunFilter, Summary,
};

/// Rows of each list.
const MOST: usize = 8;
/// Rule of the alert that a queue without workers raises.
const NO_WORKER: &str = Measure::NoWorker.rule();
/// Alerts at the top.
const MOST_ALERTS: usize = 5;

struct Warning {
    kind: &'static str,
    what: String,
    detail: String,
    href: String,
    /// Path of the form that silences the alert. Empty: the warning is no alert, or the reader may not silence it.
    silence_href: String,
    /// What the silence is about, for a link that is read without the row around it.
    silence_label: String,
}

impl Warning {
    /// Returns a warning that is no alert.
    fn new(kind: &'static str, what: String, detail: String, href: &str) -> Self {
        Self {
            kind,
            what,
            detail,
            href: href.to_owned(),
            silence_href: String::new(),
            silence_label: String::new(),
        }
    }
}

struct BackEnd {
    name: String,
    reason: String,
    pill: Markup,
}

/// Numbers of nodes and of workers.
struct Members {
    nodes: u64,
    workers: u64,
}

struct DeadLine {
    id: String,
    href: String,
    tag: String,
    error: String,
    at: Moment,
}

/// Dead runs of today with one tag.
struct DeadTag {
    tag: String,
    href: String,
    runs: u64,
}

struct TagLine {
    tag: String,
    href: String,
    due: u64,
    held: u64,
    ready: u64,
    unreported: u64,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Page {
    f: Frame,
    problems: Vec<Warning>,
    due: u64,
    unreported: u64,
    ready: u64,
    fires: u64,
    dead_today: u64,
    ended_today: u64,
    dead: Vec<DeadLine>,
    dead_tags: Vec<DeadTag>,
    checks: Vec<BackEnd>,
    /// `None`: the reader may not see all nodes.
    members: Option<Members>,
    tags: Vec<TagLine>,
    queues: Vec<QueueLine>,
    /// Whether the table of queues has every column.
    is_whole: bool,
    activity: Option<Activity>,
}

pub async fn show(visit: Visit) -> Response {
    super::answer(&visit, page(&visit).await)
}

pub async fn redirect(visit: Visit) -> Response {
    visit.redirect("/")
}

async fn page(visit: &Visit) -> Result<askama::Result<String>> {
    let (service, t) = (&visit.service, visit.lang.words());
    let Summary { backlog, fires, outcomes } = service.recent_summary().await?;
    let fires = fires.into_iter().map(|(_, fires)| fires).sum();
    let of_state = |state| outcomes.iter().filter(|row| row.state == state).map(|row| row.runs).sum();
    let mut queues = queues::lines(visit).await?;
    let checks = checks(&visit.console.health, t);
    let found = service.alerts().await?;
    let mut problems = problems(visit, &checks, &queues, &found.alerts);
    problems.extend(alerts(visit, found, &checks, &queues));
    queues.truncate(MOST);
    let sum = |part: fn(&_) -> u64| backlog.iter().map(part).sum();
    let page = Page {
        f: Frame::new(visit, Section::Overview, &t.overview)
            .events("run,operation", &[])
            .api("/v1/stat", &[]),
        problems,
        due: sum(|row| row.due),
        unreported: sum(|row| row.unreported),
        ready: sum(|row| row.ready),
        fires,
        dead_today: of_state(RunState::Dead),
        ended_today: outcomes.iter().map(|row| row.runs).sum(),
        dead: latest_dead(visit).await?,
        dead_tags: dead_tags(outcomes),
        checks: checks.into_iter().map(|(back_end, _)| back_end).collect(),
        members: members(visit).await?,
        tags: {
            let mut rows = backlog;
            rows.retain(|row| row.due + row.held + row.ready + row.unreported > 0);
            rows.sort_by_key(|row| Reverse((row.due, row.ready, row.unreported, row.held)));
            rows.into_iter().take(MOST).map(tag_line).collect()
        },
        queues,
        is_whole: false,
        activity: Activity::read(visit).await?,
    };
    Ok(page.render())
}

async fn members(visit: &Visit) -> Result<Option<Members>> {
    if visit.service.caller().grant.is_limited() {
        return Ok(None);
    }
    let nodes = visit.service.nodes().await?.rows;
    let workers = nodes.iter().flat_map(|node| &node.workers).map(|worker| worker.name.as_str());
    let workers: BTreeSet<&str> = workers.collect();
    Ok(Some(Members { nodes: nodes.len() as u64, workers: workers.len() as u64 }))
}

fn tag_line(row: crate::engine::service::BacklogRow) -> TagLine {
    let href = href("/console/runs", &filter_line::write("tag", &row.tag), None);
    TagLine { href, due: row.due, held: row.held, ready: row.ready, unreported: row.unreported, tag: row.tag }
}

/// Returns the tags with the most dead runs of today.
fn dead_tags(mut outcomes: Vec<OutcomeCount>) -> Vec<DeadTag> {
    outcomes.retain(|row| row.state == RunState::Dead && row.runs > 0);
    outcomes.sort_by_key(|row| Reverse(row.runs));
    let line = |row: OutcomeCount| {
        let href = href(dead_letters::PATH, &filter_line::write("tag", &row.tag), None);
        DeadTag { href, runs: row.runs, tag: row.tag }
    };
    outcomes.into_iter().take(MOST).map(line).collect()
}

async fn latest_dead(visit: &Visit) -> Result<Vec<DeadLine>> {
    let filter = RunFilter { state: Some(RunState::Dead), ..RunFilter::default() };
    let runs = listing::latest_runs(&visit.service, &filter, MOST).await?;
    let line = |run: crate::core::Run| DeadLine {
        id: run.id.to_string(),
        href: run_href(&run),
        error: run.reason.clone().unwrap_or_default(),
        at: run.ended_at.unwrap_or(run.scheduled_at),
        tag: run.tag,
    };
    Ok(runs.into_iter().map(line).collect())
}

/// Returns the back ends of this node, and whether each is down.
fn checks(health: &Health, t: &Words) -> Vec<(BackEnd, bool)> {
    let all: [(&str, &Check); 5] = [
        (&t.back_end_store, &health.store),
        (&t.back_end_lock, &health.lock),
        (&t.back_end_bus, &health.bus),
        (&t.back_end_rows, &health.rows),
        (&t.back_end_clock, &health.clock),
    ];
    let back_end = |(name, check): (&str, &Check)| {
        let (pill, reason) = match check.condition() {
            Condition::Up => (h::pill("ok", "check", &t.health_ok), String::new()),
            Condition::Unknown => (h::pill("", "ring", &t.health_unknown), String::new()),
            Condition::Down(reason) => (h::pill("dead", "warn", &t.health_down), reason),
        };
        (BackEnd { name: name.to_owned(), reason, pill }, check.is_down())
    };
    all.into_iter().map(back_end).collect()
}

/// Returns the raised alerts that are not silenced, without those that the other problems say already.
fn alerts(
    visit: &Visit,
    found: RaisedAlerts,
    checks: &[(BackEnd, bool)],
    queues: &[QueueLine],
) -> Vec<Warning> {
    let is_unattended = |name: &str| queues.iter().any(|queue| queue.is_unattended && queue.name == name);
    let is_down = checks.iter().any(|(_, is_down)| *is_down);
    let is_said = |alert: &Alert| match alert.rule.as_str() {
        NO_WORKER => alert.subject.as_deref().is_some_and(is_unattended),
        "back_end_down" => is_down,
        _ => false,
    };
    let hidden = found.total - found.alerts.len();
    let is_shown = |alert: &Alert| alert.silenced_by.is_none() && !is_said(alert);
    let mut shown: Vec<Alert> = found.alerts.into_iter().filter(is_shown).collect();
    let more = shown.split_off(shown.len().min(MOST_ALERTS)).len() + hidden;
    let mut warnings: Vec<Warning> = shown.into_iter().map(|alert| warning(alert, visit)).collect();
    if more > 0 {
        let text = &visit.lang.words().alerts_more;
        let what = format!("{text} {}", h::count(more as u64));
        warnings.push(Warning::new("warn", what, String::new(), super::alerts::PATH));
    }
    warnings
}

fn warning(alert: Alert, visit: &Visit) -> Warning {
    let line = AlertLine::new(alert, visit.lang);
    let kind = match line.severity {
        Severity::Info => "info",
        Severity::Warning => "warn",
        Severity::Critical => "bad",
    };
    let detail = format!("{}: {}", line.subject, line.value);
    let silence_href = if may_silence(visit) { line.silence_href } else { String::new() };
    let silence_label = format!("{}, {}", line.title, line.subject);
    Warning { silence_href, silence_label, ..Warning::new(kind, line.title, detail, super::alerts::PATH) }
}

fn problems(
    visit: &Visit,
    checks: &[(BackEnd, bool)],
    queues: &[QueueLine],
    alerts: &[Alert],
) -> Vec<Warning> {
    let (t, may_silence) = (visit.lang.words(), may_silence(visit));
    let is_raised = |queue: &str| {
        let is_for = |alert: &Alert| alert.rule == NO_WORKER && alert.subject.as_deref() == Some(queue);
        alerts.iter().any(|alert| is_for(alert) && alert.silenced_by.is_none())
    };
    let down = checks.iter().filter(|(_, is_down)| *is_down).map(|(back_end, _)| {
        let what = fill(&t.back_end_down, &[&back_end.name]);
        Warning::new("bad", what, back_end.reason.clone(), "")
    });
    let unattended = queues.iter().filter(|queue| queue.is_unattended && queue.ready > 0);
    let unattended = unattended.take(MOST).map(|queue| {
        let what = fill(&t.no_worker_on_queue, &[&queue.name]);
        let detail = format!("{} {}", t.state_ready, h::count(queue.ready));
        let can_silence = may_silence && is_raised(&queue.name);
        let silence_href = can_silence.then(|| silence_href(NO_WORKER, Some(&queue.name)));
        let silence_href = silence_href.unwrap_or_default();
        Warning {
            silence_href,
            silence_label: what.clone(),
            ..Warning::new("warn", what, detail, "/console/queues")
        }
    });
    down.chain(unattended).collect()
}

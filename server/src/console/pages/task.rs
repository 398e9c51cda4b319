//! A task: its schedule, next moments, definition and last runs.

use askama::Template;
use axum::response::Response;

use super::super::copy_as::{self, Recipe, Request};
use super::super::filter::href;
use super::super::frame::{Frame, Section};
use super::super::html::{self as h, Markup, Payload};
use super::super::listing;
use super::super::problem::{Problem, Result};
use super::super::schedule_words;
use super::super::strip::{self, Strip};
use super::super::time::duration;
use super::super::visit::{Segment, Visit};
use super::super::words::{Words, fill};
use super::audit;
use super::bulk::BulkBar;
use super::calendar_choice;
use super::confirm::{Action, TaskAction};
use super::labels::{self, LabelLink};
use super::limits;
use super::moments::{self, NextMoment};
use super::overlap_choice;
use super::rate_draft;
use super::rows::{RunRow, run_href_of, task_href, why_held};
use super::schedule_preview;
use super::tasks;
use crate::core::access::Scope;
use crate::core::misfire::Misfire;
use crate::core::rate::Rate;
use crate::core::retry::RetryPolicy;
use crate::core::submission::Dedup;
use crate::core::{Moment, Schedule, Task, TaskId, TaskState};
use crate::engine::service::{Forbidden, RunFilter, ServiceError, definition};

/// Runs of the list.
const RUNS: usize = 20;

struct Head {
    id: String,
    name: String,
    rev: u32,
    pill: Markup,
    schedule: String,
    expression: String,
    labels: Vec<LabelLink>,
}

/// Why runs of the task wait for admission.
struct Wait {
    /// The policy or the limit.
    rule: String,
    /// What the runs wait for. Empty: nothing any more.
    what: String,
    /// When the next one starts. Empty: unknown.
    turn: String,
    /// Page of a run that blocks them. `None`: there is none that the reader may see.
    blocker: Option<(String, String)>,
}

#[derive(Template)]
#[template(path = "task.html")]
struct Page {
    f: Frame,
    task: Head,
    is_cancelled: bool,
    audit_href: String,
    actions: Vec<Action>,
    wait: Option<Wait>,
    /// Why the runs of the task wait for the end of a hold. `None`: they are not on hold.
    hold: Option<String>,
    strip: Strip,
    moments: Vec<NextMoment>,
    runs_href: String,
    rows: Vec<RunRow>,
    with_tag: bool,
    bulk: Option<BulkBar>,
    facts: Vec<(String, String)>,
    payload: Payload,
}

pub async fn show(visit: Visit, Segment(id): Segment) -> Response {
    super::answer(&visit, page(&visit, &id).await)
}

async fn page(visit: &Visit, id: &str) -> Result<askama::Result<String>> {
    let t = visit.lang.words();
    let id = TaskId::parse(id).ok_or(Problem::NotFound)?;
    let task = visit.service.shown_task(&id).await?;
    let filter = RunFilter { task_id: Some(id.clone()), ..RunFilter::default() };
    let runs = listing::latest_runs(&visit.service, &filter, RUNS).await?;
    let recent = visit.service.recent_runs(std::slice::from_ref(&task), strip::ON_PAGE).await?;
    let recent = recent.into_iter().next().unwrap_or_default();
    let f = Frame::new(visit, Section::Tasks, &task.name).below(&t.tasks, "/console/tasks");
    let f = f.events("task,run", &[("task_id", Some(id.as_str()))]);
    let f = f.api(&format!("/v1/tasks/{id}"), &[]);
    let recipes = recipes(&task, &f);
    let f = f.with_recipes(recipes);
    let hold = visit.service.hold_of_task(&task).await?.map(|hold| why_held(&hold, &f));
    let page = Page {
        is_cancelled: task.state == TaskState::Cancelled,
        audit_href: audit::href(task.id.as_str()),
        actions: actions(&task, t),
        wait: if hold.is_some() { None } else { wait(visit, &id, &f).await? },
        hold,
        strip: Strip::new(&recent, &f),
        moments: moments::of(&task, visit).await?,
        runs_href: href("/console/runs", &format!("task:{id}"), None),
        rows: runs.iter().map(|run| RunRow::new(run, t)).collect(),
        with_tag: false,
        bulk: None,
        facts: facts(&task, visit.service.misfire(), &f),
        payload: Payload::new(&task.data, t),
        task: head(&task, t),
        f,
    };
    Ok(page.render())
}

/// Returns why runs of a task wait for admission. `None`: no run waits.
async fn wait(visit: &Visit, id: &TaskId, f: &Frame) -> Result<Option<Wait>> {
    let (service, t) = (&visit.service, visit.lang.words());
    let Some(held) = service.first_held(id).await? else { return Ok(None) };
    let Some(blocker) = service.blocker(&held).await? else {
        let turn = service.next_permit(&held).await?;
        let (rule, turn) = turn.map(|(rate, at)| rate_wait(&rate, at, f)).unwrap_or_default();
        return Ok(Some(Wait { rule, what: String::new(), turn, blocker: None }));
    };
    let (name, rule, what) = match &blocker.limit {
        Some(limit) => (&t.concurrency, limits::in_words(limit, t), &t.task_limit_used),
        None => (
            &t.overlap,
            held.overlap.map_or_else(String::new, |o| overlap_choice::in_words(o, t)),
            &t.task_blocked_by,
        ),
    };
    let run = blocker.run.map(|run| (run_href_of(&run), run.to_string()));
    let (rule, what) = (format!("{name}: {rule}"), what.clone());
    Ok(Some(Wait { rule, what, turn: String::new(), blocker: run }))
}

/// Returns a rate limit in words, and when its next run starts.
fn rate_wait(rate: &Rate, next_at: Moment, f: &Frame) -> (String, String) {
    let rule = format!("{}: {}", f.t.rate_limit, rate_draft::in_words(rate, f.t));
    (rule, fill(&f.t.task_waits_rate, &[&f.text(next_at)]))
}

/// Returns the actions on a task as texts to copy.
fn recipes(task: &Task, f: &Frame) -> Vec<Recipe> {
    if !f.rights.write {
        return Vec::new();
    }
    let create = copy_as::create_task(f.shell, &f.t.copy_create, &definition(task));
    let of_task = allowed(task).map(|action| task_recipe(&task.id, action, f));
    create.into_iter().chain(of_task).collect()
}

/// Returns an action on a task as texts to copy.
pub fn task_recipe(id: &TaskId, action: TaskAction, f: &Frame) -> Recipe {
    let (title, name) = (action.words(f.t).label, action.as_str());
    let path = format!("/v1/tasks/{id}/{name}");
    let command = copy_as::words(&["task", name, id.as_str()]);
    Recipe::new(f.shell, title, &Request::post(&path), Some(&command))
}

/// Checks that the reader may change tasks, before a page that asks. The command checks again.
pub fn require_write(visit: &Visit) -> Result<()> {
    let may_write = visit.service.caller().grant.allows(Scope::TaskWrite);
    if may_write { Ok(()) } else { Err(ServiceError::Forbidden(Forbidden::Scope(Scope::TaskWrite)).into()) }
}

/// Returns the actions that the state of a task allows.
fn allowed(task: &Task) -> impl Iterator<Item = TaskAction> {
    let state = task.state;
    TaskAction::ALL.into_iter().filter(move |action| match action {
        TaskAction::Pause => state == TaskState::Active,
        TaskAction::Resume => state == TaskState::Paused,
        TaskAction::Trigger => state != TaskState::Cancelled,
        TaskAction::Cancel => !state.has_ended(),
    })
}

/// Returns the buttons for the actions that the state of a task allows.
fn actions(task: &Task, t: &Words) -> Vec<Action> {
    let href = task_href(&task.id);
    let mut actions: Vec<Action> =
        allowed(task).map(|action| action.words(t).link(&href, action.as_str())).collect();
    if task.state != TaskState::Cancelled && task.schedule != Schedule::Once {
        let (href, label) = (format!("{href}/backfill"), format!("{}…", t.backfill));
        actions.push(Action { href, icon: "cal", label, is_danger: false });
    }
    if !task.state.has_ended() {
        let edit =
            Action { href: format!("{href}/edit"), icon: "edit", label: t.edit.clone(), is_danger: false };
        actions.insert(0, edit);
    }
    actions
}

fn head(task: &Task, t: &Words) -> Head {
    Head {
        id: task.id.to_string(),
        name: task.name.clone(),
        rev: task.rev,
        pill: h::task_pill(task.state, t),
        schedule: schedule_words::describe(&task.schedule, t),
        expression: schedule_words::expression(&task.schedule),
        labels: labels::links(&task.labels, tasks::PATH),
    }
}

/// Describes a retry policy.
fn retry_words(retry: &RetryPolicy, t: &Words) -> String {
    let ms = |ms: u64| duration(i64::try_from(ms).unwrap_or(i64::MAX), t);
    let (attempts, factor) = (retry.attempts().to_string(), retry.factor_percent);
    let (first, longest) = (ms(retry.backoff_ms), ms(retry.max_backoff_ms));
    let text = if !retry.intervals_ms.is_empty() {
        let pauses: Vec<String> = retry.intervals_ms.iter().copied().map(ms).collect();
        fill(&t.attempts_list, &[&attempts, &pauses.join(", ")])
    } else if factor == RetryPolicy::default().factor_percent {
        fill(&t.max_attempts, &[&attempts, &first, &longest])
    } else {
        fill(&t.attempts_growing, &[&attempts, &first, &factor.to_string(), &longest])
    };
    match retry.jitter_percent {
        0 => text,
        percent => fill(&t.jitter_fact, &[&text, &percent.to_string()]),
    }
}

/// Returns the misfire policy that applies to a task, and where it comes from.
fn misfire_fact(task: &Task, server: Misfire, t: &Words) -> String {
    let own = task.timing.misfire;
    let Misfire { policy, grace_ms, max } = own.over(server);
    let text = if own.is_default() { &t.misfire_of_server } else { &t.misfire_of_task };
    let fact = fill(text, &[schedule_preview::policy_word(policy, t), &duration(grace_ms, t)]);
    let limit = max.map(|max| fill(&t.misfire_at_most, &[&max.to_string()]));
    limit.map_or(fact.clone(), |limit| format!("{fact} · {limit}"))
}

/// Returns the definition as names and values.
fn facts(task: &Task, misfire: Misfire, f: &Frame) -> Vec<(String, String)> {
    let t = f.t;
    let none = || t.not_set.clone();
    let at = |at: Option<Moment>| at.map_or_else(none, |at| f.text(at));
    let retry = task.retry.as_ref().map_or_else(|| t.retry_default.clone(), |retry| retry_words(retry, t));
    let runtime =
        task.max_runtime_sec.map(|sec| i64::try_from(sec).unwrap_or(i64::MAX).saturating_mul(1_000));
    let fires = h::count(task.fired_count);
    let fires = task.max_fires.map_or(fires.clone(), |most| fill(&t.fires_of, &[&fires, &h::count(most)]));
    let mut facts = vec![
        (&t.queue, task.queue.clone().unwrap_or_else(|| t.queue_bus.clone())),
        (&t.fires, fires),
        (&t.starts, at(task.start_at)),
        (&t.ends, at(task.end_at)),
        (&t.retry, retry),
        (&t.max_runtime, runtime.map_or_else(none, |ms| duration(ms, t))),
        (
            &t.reports,
            if task.ack || task.queue.is_some() { t.reports_yes.clone() } else { t.reports_no.clone() },
        ),
        (&t.created, f.text(task.created_at)),
    ];
    if task.schedule != Schedule::Once {
        facts.push((&t.away_policy, misfire_fact(task, misfire, t)));
    }
    if let Some(jitter_ms) = task.timing.jitter_ms {
        facts.push((&t.moment_jitter, fill(&t.jitter_up_to, &[&duration(jitter_ms, t)])));
    }
    if let Some(calendars) = &task.timing.calendars {
        let mut words = calendar_choice::in_words(calendars, t);
        if task.waits_for_calendar() {
            words = format!("{words} · {}", t.calendars_wait);
        }
        facts.push((&t.calendars, words));
    }
    if let Some(overlap) = task.timing.overlap {
        facts.push((&t.overlap, overlap_choice::in_words(overlap, t)));
    }
    if !task.timing.concurrency.is_empty() {
        let limits = task.timing.concurrency.iter().map(|limit| limits::in_words(limit, t));
        facts.push((&t.concurrency, limits.collect::<Vec<_>>().join(" · ")));
    }
    if let Some(rate) = &task.timing.rate {
        facts.push((&t.rate_limit, rate_draft::in_words(rate, t)));
    }
    if let Some(within_ms) = task.start_within_ms {
        facts.push((&t.start_within, duration(i64::try_from(within_ms).unwrap_or(i64::MAX), t)));
    }
    if let Dedup::Key(key) = definition(task).dedup {
        facts.push((&t.dedup_key, key));
    }
    if task.state == TaskState::Cancelled || task.headers.is_empty() {
        return facts.into_iter().map(|(name, value)| (name.clone(), value)).collect();
    }
    let headers = task.headers.iter().map(|(name, value)| format!("{name}: {value}"));
    facts.push((&t.headers, headers.collect::<Vec<_>>().join(", ")));
    facts.into_iter().map(|(name, value)| (name.clone(), value)).collect()
}

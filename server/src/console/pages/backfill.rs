//! Backfill of a task: a page that counts the moments of a range, and the creation of the operation.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::frame::{Frame, Section};
use super::super::html::{self as h, Markup};
use super::super::problem::{Problem, Result};
use super::super::schedule_words;
use super::super::sent_form::SentForm;
use super::super::visit::{Fields, Segment, Visit};
use super::field_time::read_time;
use super::operation_new::number;
use super::operation_rows::{count_text, operation_href};
use super::rows::task_href;
use super::task::require_write;
use super::task_actions::idempotency_key;
use crate::core::{Moment, Task, TaskId};
use crate::engine::service::{NewBackfill, ServiceError};

#[derive(Template)]
#[template(path = "backfill.html")]
struct Page {
    f: Frame,
    path: String,
    hidden: Markup,
    name: String,
    schedule: String,
    from: String,
    to: String,
    /// Number of runs. `None`: the range is not complete, or is refused.
    items: Option<String>,
    reason: String,
    rate: String,
    back: String,
    problem: Option<String>,
}

fn path(id: &TaskId) -> String {
    format!("{}/backfill", task_href(id))
}

/// Shows the page that counts.
pub async fn ask(visit: Visit, Segment(id): Segment) -> Response {
    answer(&visit, &id, &visit.query(), None).await
}

/// Creates the operation.
pub async fn create(SentForm(visit, fields): SentForm) -> Response {
    let id = visit.uri.path().rsplit('/').nth(1).unwrap_or_default().to_owned();
    match created(&visit, &id, &fields).await {
        Ok(Ok(response)) => response,
        Ok(Err(why)) => answer(&visit, &id, &fields, Some(why)).await,
        Err(problem) => problem.answer(&visit),
    }
}

/// Returns the answer after the creation, or why the form is refused.
async fn created(visit: &Visit, id: &str, fields: &Fields) -> Result<std::result::Result<Response, String>> {
    let t = visit.lang.words();
    let id = TaskId::parse(id).ok_or(Problem::NotFound)?;
    let new = match read(visit, fields) {
        Ok(Some(new)) => new,
        Ok(None) => return Ok(Err(t.backfill_range.clone())),
        Err(why) => return Ok(Err(why)),
    };
    let key = idempotency_key(fields, &format!("backfill {id} {new:?}"));
    match visit.service.backfill(&id, new, key).await {
        Ok(operation) => Ok(Ok(visit.redirect(&operation_href(&operation.id)))),
        Err(ServiceError::Operation(invalid)) => Ok(Err(invalid.message)),
        Err(ServiceError::KeyReused) => Ok(Err(t.op_sent_before.clone())),
        Err(error) => Err(error.into()),
    }
}

/// Reads the form, or returns why it is refused. `None`: the range is not complete.
fn read(visit: &Visit, fields: &Fields) -> std::result::Result<Option<NewBackfill>, String> {
    let t = visit.lang.words();
    let zone = visit.zone();
    let time = |name: &'static str| {
        let text = fields.get(name).unwrap_or_default();
        read_time(name, text, &zone, t).map_err(|refusal| refusal.why)
    };
    let (from, to): (Option<Moment>, Option<Moment>) = (time("from")?, time("to")?);
    let (rate_per_sec, reason) = (number(fields, "rate", t)?, fields.get("reason").map(str::to_owned));
    Ok(from.zip(to).map(|(from, to)| NewBackfill { from, to, rate_per_sec, reason }))
}

async fn answer(visit: &Visit, id: &str, fields: &Fields, problem: Option<String>) -> Response {
    match page(visit, id, fields, problem).await {
        Ok(page) => {
            let refused = page.problem.is_some();
            let status = if refused { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
            visit.answer(status, page.render())
        }
        Err(problem) => problem.answer(visit),
    }
}

async fn page(visit: &Visit, id: &str, fields: &Fields, problem: Option<String>) -> Result<Page> {
    require_write(visit)?;
    let t = visit.lang.words();
    let task = visit.service.shown_task(&TaskId::parse(id).ok_or(Problem::NotFound)?).await?;
    let title = format!("{} · {}", t.backfill, task.name);
    let back = task_href(&task.id);
    let f = Frame::new(visit, Section::Tasks, &title).below(&t.tasks, "/console/tasks");
    let (items, refused) = match count(visit, &task, fields).await? {
        Ok(items) => (items, None),
        Err(why) => (None, Some(why)),
    };
    let text = |name| fields.get(name).unwrap_or_default().to_owned();
    let (from, to, key) = (text("from"), text("to"), visit.service.random_secret()?);
    let range = [("from", from.as_str()), ("to", to.as_str())];
    let f = f.at(&path(&task.id), &range);
    let sent = range.into_iter().chain([("key", key.as_str())]);
    Ok(Page {
        path: path(&task.id),
        hidden: sent.fold(Markup::default(), |hidden, (name, value)| hidden.and(&h::hidden(name, value))),
        schedule: schedule_words::describe(&task.schedule, t),
        from,
        to,
        items,
        reason: text("reason"),
        rate: text("rate"),
        problem: problem.or(refused),
        f: f.below(&task.name, &back),
        name: task.name,
        back,
    })
}

/// Returns the number of runs of the range of a form, or why the range is refused. `None`: the range is not complete.
async fn count(
    visit: &Visit,
    task: &Task,
    fields: &Fields,
) -> Result<std::result::Result<Option<String>, String>> {
    let new = match read(visit, fields) {
        // Values of the other fields do not matter for the count.
        Ok(Some(new)) => NewBackfill { rate_per_sec: None, reason: None, ..new },
        Ok(None) => return Ok(Ok(None)),
        Err(why) => return Ok(Err(why)),
    };
    match visit.service.preview_backfill(&task.id, new).await {
        Ok(count) if count.rows == 0 => Ok(Err(visit.lang.words().backfill_none.clone())),
        Ok(count) => Ok(Ok(Some(count_text(count)))),
        Err(ServiceError::Operation(invalid)) => Ok(Err(invalid.message)),
        Err(error) => Err(error.into()),
    }
}

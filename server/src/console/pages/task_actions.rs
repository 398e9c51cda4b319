//! Pause, resume, trigger and cancel a task: a page that asks, and the action.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::digest::sha256;
use super::super::frame::{Frame, Section};
use super::super::html;
use super::super::problem::{Problem, Result};
use super::super::schedule_words;
use super::super::sent_form::SentForm;
use super::super::visit::{Fields, Visit};
use super::confirm::{Confirm, TaskAction};
use super::payload_form::{self, PayloadForm};
use super::rows::{run_href, task_href};
use super::task::{require_write, task_recipe};
use crate::core::run::PayloadChange;
use crate::core::{Task, TaskId};
use crate::engine::service::{IdempotencyKey, ServiceError};

/// Shows the page that asks.
pub async fn ask(visit: Visit) -> Response {
    super::answer(&visit, asked(&visit).await)
}

async fn asked(visit: &Visit) -> Result<askama::Result<String>> {
    let (id, action) = target(visit)?;
    require_write(visit)?;
    let task = visit.service.task(&id).await?;
    if action == TaskAction::Trigger {
        let shown = payload_form::editable(&task.data);
        return Ok(trigger_page(page(visit, &task, action, None)?, shown).render());
    }
    Ok(page(visit, &task, action, None)?.render())
}

/// Returns the page before a trigger, with the payload in a field.
fn trigger_page(page: Confirm, data: Option<String>) -> PayloadForm {
    let hint = page.f.t.payload_of_run_hint.clone();
    PayloadForm::new(page, data, hint, false)
}

/// Returns task and action of a path such as `/console/tasks/{task_id}/pause`.
fn target(visit: &Visit) -> Result<(TaskId, TaskAction)> {
    let mut segments = visit.uri.path().rsplit('/');
    let action = segments.next().and_then(TaskAction::parse);
    let id = segments.next().and_then(TaskId::parse);
    id.zip(action).ok_or(Problem::NotFound)
}

fn page(visit: &Visit, task: &Task, action: TaskAction, problem: Option<String>) -> Result<Confirm> {
    let t = visit.lang.words();
    let words = action.words(t);
    let title = format!("{} · {}", words.label, task.name);
    let f = Frame::new(visit, Section::Tasks, &title).below(&t.tasks, "/console/tasks");
    let back = task_href(&task.id);
    let key = visit.service.random_secret()?;
    let mut facts = vec![
        (t.task.clone(), task.name.clone()),
        (t.schedule.clone(), schedule_words::describe(&task.schedule, t)),
    ];
    facts.extend(task.next_due_at.map(|at| (t.next.clone(), f.text(at))));
    let recipe = task_recipe(&task.id, action, &f);
    Ok(Confirm {
        path: format!("{back}/{}", action.as_str()),
        hidden: html::hidden("rev", &task.rev.to_string()).and(&html::hidden("key", &key)),
        facts,
        effect: words.effect.to_owned(),
        leaves: words.leaves.to_owned(),
        label: words.label.to_owned(),
        is_danger: words.is_danger,
        back: back.clone(),
        problem,
        f: f.below(&task.name, &back).with_recipes([recipe]),
    })
}

/// Carries out the action.
pub async fn act(SentForm(visit, fields): SentForm) -> Response {
    match done(&visit, &fields).await {
        Ok(response) => response,
        Err(problem) => problem.answer(&visit),
    }
}

async fn done(visit: &Visit, fields: &Fields) -> Result<Response> {
    let (id, action) = target(visit)?;
    let (service, rev) = (&visit.service, fields.get("rev").and_then(|rev| rev.parse().ok()));
    let outcome = match action {
        TaskAction::Pause => service.pause(&id, rev).await.map(|_| task_href(&id)),
        TaskAction::Resume => service.resume(&id, rev).await.map(|_| task_href(&id)),
        TaskAction::Cancel => service.cancel(&id, rev).await.map(|_| task_href(&id)),
        TaskAction::Trigger => {
            let change = match fields.raw("data") {
                Some(_) => payload_form::change(fields, &service.shown_task(&id).await?.data),
                None => PayloadChange::default(),
            };
            let key = idempotency_key(fields, &format!("trigger {id} {:?}", fields.raw("data")));
            service.trigger_with(&id, &change, key).await.map(|run| run_href(&run))
        }
    };
    match outcome {
        Ok(path) => {
            let done = action.words(visit.lang.words()).done;
            Ok(visit.redirect(&format!("{path}?done={done}")))
        }
        Err(ServiceError::RevisionMoved(_)) => {
            let task = service.task(&id).await?;
            let why = visit.lang.words().changed_meanwhile.clone();
            Ok(visit.answer(StatusCode::CONFLICT, page(visit, &task, action, Some(why))?.render()))
        }
        Err(error) if action == TaskAction::Trigger => not_triggered(visit, fields, &id, error).await,
        Err(error) => Err(error.into()),
    }
}

/// Shows the form of a trigger again: the payload is kept, and the page says why the task has not fired.
async fn not_triggered(visit: &Visit, fields: &Fields, id: &TaskId, error: ServiceError) -> Result<Response> {
    let (status, why) = match error {
        ServiceError::Invalid(why) => (StatusCode::UNPROCESSABLE_ENTITY, why.to_string()),
        ServiceError::KeyReused => (StatusCode::CONFLICT, visit.lang.words().trigger_sent_before.clone()),
        error @ ServiceError::Over(_) => (StatusCode::CONFLICT, error.to_string()),
        error => return Err(error.into()),
    };
    let page = page(visit, &visit.service.shown_task(id).await?, TaskAction::Trigger, Some(why))?;
    let page = trigger_page(page, fields.raw("data").map(str::to_owned));
    Ok(visit.answer(status, page.render()))
}

/// Returns the key of a form, so that a form that is sent twice acts once.
pub fn idempotency_key(fields: &Fields, request: &str) -> Option<IdempotencyKey> {
    const BYTES: usize = 64;
    let key = fields.get("key").filter(|key| key.len() == BYTES && key.is_ascii())?;
    Some(IdempotencyKey { key: format!("console {key}"), fingerprint: sha256(request) })
}

//! Retry and cancel a run: a page that asks, and the action.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::copy_as::{self, Recipe};
use super::super::diff;
use super::super::digest::sha256;
use super::super::frame::{Frame, Section};
use super::super::html::{self, Markup};
use super::super::problem::{Problem, Result};
use super::super::sent_form::SentForm;
use super::super::visit::{Fields, Visit};
use super::super::words::fill;
use super::confirm::{Confirm, RunAction};
use super::payload_form::{self, PayloadForm};
use super::rows::run_href;
use super::task::require_write;
use crate::core::{Run, RunId, RunState};
use crate::engine::service::ServiceError;

/// Returns the actions that the state of a run allows.
pub fn allowed(run: &Run) -> Vec<RunAction> {
    match run.state {
        RunState::Dead => vec![RunAction::Retry],
        RunState::Retrying => vec![RunAction::Retry, RunAction::Cancel],
        RunState::Leased if run.cancel_request.is_some() => Vec::new(),
        _ if run.has_ended() => Vec::new(),
        _ => vec![RunAction::Cancel],
    }
}

/// Returns an action on a run as texts to copy.
pub fn recipe(run: &Run, action: RunAction, f: &Frame) -> Recipe {
    let path = format!("{}/{}", run_href(run).replacen("/console/", "/v1/", 1), action.as_str());
    let command = copy_as::words(&["run", action.as_str(), run.id.as_str()]);
    Recipe::new(f.shell, action.words(f.t).label, &copy_as::Request::post(&path), Some(&command))
}

/// Shows the page that asks.
pub async fn ask(visit: Visit) -> Response {
    super::answer(&visit, asked(&visit).await)
}

async fn asked(visit: &Visit) -> Result<askama::Result<String>> {
    let (id, action) = target(visit)?;
    require_write(visit)?;
    let run = visit.service.run(&id).await?;
    let page = page(visit, &run, action);
    Ok(match action {
        RunAction::Retry => retry_page(page, payload_form::editable(&run.data)).render(),
        RunAction::Cancel => page.render(),
    })
}

fn page(visit: &Visit, run: &Run, action: RunAction) -> Confirm {
    let t = visit.lang.words();
    let (words, back) = (action.words(t), run_href(run));
    let title = format!("{} · {}", words.label, run.tag);
    let f = Frame::new(visit, Section::Runs, &title).below(&t.runs, "/console/runs").below(&run.tag, &back);
    let recipe = recipe(run, action, &f);
    let facts = vec![
        (t.run.clone(), run.id.to_string()),
        (t.moment.clone(), f.text(run.scheduled_at)),
        (t.state.clone(), html::run_word(run.state, t).to_owned()),
        (t.attempt.clone(), run.attempt.to_string()),
    ];
    let hidden = match action {
        RunAction::Retry => html::hidden("version", &run.version.to_string()),
        RunAction::Cancel => Markup::default(),
    };
    Confirm {
        path: format!("{back}/{}", action.as_str()),
        hidden,
        facts,
        effect: words.effect.to_owned(),
        leaves: words.leaves.to_owned(),
        label: words.label.to_owned(),
        is_danger: words.is_danger,
        back,
        problem: None,
        f: f.with_recipes([recipe]),
    }
}

/// Returns the page before a retry, with the payload in a field.
fn retry_page(page: Confirm, data: Option<String>) -> PayloadForm {
    let hint = page.f.t.payload_next_hint.clone();
    PayloadForm::new(page, data, hint, true)
}

/// Returns run and action of a path such as `/console/runs/{run_id}/cancel`.
fn target(visit: &Visit) -> Result<(RunId, RunAction)> {
    let mut segments = visit.uri.path().rsplit('/');
    let action = segments.next().and_then(RunAction::parse).ok_or(Problem::NotFound)?;
    let id = segments.next().unwrap_or_default();
    // Ids of runs have letters, digits, `-` and `.` only, which no browser encodes.
    Ok((RunId::from_text(id), action))
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
    let run = match action {
        RunAction::Retry => match retry(visit, fields, &id).await? {
            Ok(run) => run,
            Err(page) => return Ok(page),
        },
        RunAction::Cancel => visit.service.cancel_run(&id).await?,
    };
    let done = action.words(visit.lang.words()).done;
    Ok(visit.redirect(&format!("{}?done={done}", run_href(&run))))
}

/// Retries a run, or returns the page to show instead: a person confirms the changes of a payload that the page
/// has shown.
async fn retry(visit: &Visit, fields: &Fields, id: &RunId) -> Result<std::result::Result<Run, Response>> {
    require_write(visit)?;
    let run = visit.service.run(id).await?;
    let change = payload_form::change(fields, &run.data);
    let form = || retry_page(page(visit, &run, RunAction::Retry), fields.raw("data").map(str::to_owned));
    if fields.get("version").is_some_and(|version| version != run.version.to_string()) {
        return Ok(Err(overtaken(visit, &run, form())));
    }
    if fields.get("edit").is_some() {
        return Ok(Err(visit.answer(StatusCode::OK, form().render())));
    }
    if let Err(why) = change.check() {
        let page = PayloadForm { problem: Some(why.to_string()), ..form() };
        return Ok(Err(visit.answer(StatusCode::UNPROCESSABLE_ENTITY, page.render())));
    }
    let reviewed = change.data.as_ref().map(|data| sha256(&format!("{} {} {data}", run.version, run.data)));
    let is_reviewed = reviewed.is_none() || reviewed.as_deref() == fields.get("reviewed");
    if fields.get("review").is_some() || !is_reviewed {
        let hidden = html::hidden("reviewed", reviewed.as_deref().unwrap_or_default());
        let changes = diff::lines(&run.data, change.data.as_deref().unwrap_or(&run.data));
        let form = form();
        let page = PayloadForm { hidden: hidden.and(&form.hidden), changes, ..form };
        return Ok(Err(visit.answer(StatusCode::OK, page.render())));
    }
    match visit.service.retry_run_at(id, run.version, &change).await {
        Ok(Some(run)) => Ok(Ok(run)),
        Ok(None) | Err(ServiceError::RunState(_)) => {
            let run = visit.service.run(id).await?;
            let page = retry_page(page(visit, &run, RunAction::Retry), form().data);
            Ok(Err(overtaken(visit, &run, page)))
        }
        Err(error @ ServiceError::Over(_)) => {
            let page = PayloadForm { problem: Some(error.to_string()), ..form() };
            Ok(Err(visit.answer(StatusCode::CONFLICT, page.render())))
        }
        Err(error) => Err(error.into()),
    }
}

/// Shows the form again after a change of its run: the text is kept, and the page says how the run is now.
fn overtaken(visit: &Visit, run: &Run, page: PayloadForm) -> Response {
    let t = visit.lang.words();
    let is_allowed = allowed(run).contains(&RunAction::Retry);
    let why = if is_allowed { &t.run_changed } else { &t.run_not_retried };
    let why = fill(why, &[html::run_word(run.state, t), &run.attempt.to_string()]);
    visit.answer(StatusCode::CONFLICT, PayloadForm { problem: Some(why), ..page }.render())
}

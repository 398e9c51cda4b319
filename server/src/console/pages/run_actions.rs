//! Retry and cancel a run: a page that asks, and the action.

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;

use super::super::Console;
use super::super::frame::{Frame, Section};
use super::super::html::{self, Markup};
use super::super::problem::{Problem, Result};
use super::super::visit::{Visit, split};
use super::confirm::{Confirm, RunAction};
use super::rows::run_href;
use super::task::require_write;
use crate::core::{Run, RunId, RunState};

/// Returns the actions that the state of a run allows.
pub fn allowed(run: &Run) -> Vec<RunAction> {
    match run.state {
        RunState::Dead => vec![RunAction::Retry],
        RunState::Retrying => vec![RunAction::Retry, RunAction::Cancel],
        _ if run.has_ended() => Vec::new(),
        _ => vec![RunAction::Cancel],
    }
}

/// Shows the page that asks.
pub async fn ask(visit: Visit) -> Response {
    super::answer(&visit, asked(&visit).await)
}

async fn asked(visit: &Visit) -> Result<askama::Result<String>> {
    let (id, action) = target(visit)?;
    require_write(visit)?;
    let (run, t) = (visit.service.run(&id).await?, visit.lang.words());
    let (words, back) = (action.words(t), run_href(&run));
    let title = format!("{} · {}", words.label, run.tag);
    let f = Frame::new(visit, Section::Runs, &title).below(&t.runs, "/console/runs").below(&run.tag, &back);
    let facts = vec![
        (t.run.clone(), run.id.to_string()),
        (t.moment.clone(), f.text(run.scheduled_at)),
        (t.state.clone(), html::run_word(run.state, t).to_owned()),
        (t.attempt.clone(), run.attempt.to_string()),
    ];
    let page = Confirm {
        path: format!("{back}/{}", action.as_str()),
        hidden: Markup::default(),
        facts,
        effect: words.effect.to_owned(),
        leaves: words.leaves.to_owned(),
        label: words.label.to_owned(),
        is_danger: words.is_danger,
        back,
        problem: None,
        f,
    };
    Ok(page.render())
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
pub async fn act(State(console): State<Console>, request: Request) -> Response {
    let (visit, request) = match split(request, &console).await {
        Ok(split) => split,
        Err(response) => return response,
    };
    if visit.form(request).await.is_none() {
        return Problem::ExpiredForm.answer(&visit);
    }
    match done(&visit).await {
        Ok(response) => response,
        Err(problem) => problem.answer(&visit),
    }
}

async fn done(visit: &Visit) -> Result<Response> {
    let (id, action) = target(visit)?;
    let run = match action {
        RunAction::Retry => visit.service.retry_run(&id).await?,
        RunAction::Cancel => visit.service.cancel_run(&id).await?,
    };
    let done = action.words(visit.lang.words()).done;
    Ok(visit.redirect(&format!("{}?done={done}", run_href(&run))))
}

//! Abort an operation: a page that asks, and the action.

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;

use super::super::Console;
use super::super::html::Markup;
use super::super::problem::{Problem, Result};
use super::super::visit::{Segment, Visit, split};
use super::confirm::Confirm;
use super::operation::{abort_href, frame};
use super::operation_rows::{OperationRow, operation_href};
use super::task::require_write;

/// Shows the page that asks.
pub async fn ask(visit: Visit, Segment(id): Segment) -> Response {
    super::answer(&visit, asked(&visit, &id).await)
}

async fn asked(visit: &Visit, id: &str) -> Result<askama::Result<String>> {
    require_write(visit)?;
    let (operation, t) = (visit.service.operation(id).await?, visit.lang.words());
    let row = OperationRow::new(&operation, t);
    let title = format!("{} · {}", t.abort, row.action);
    let page = Confirm {
        path: abort_href(&operation.id),
        hidden: Markup::default(),
        facts: vec![
            (t.operation.clone(), row.action.clone()),
            (t.selection.clone(), row.selection),
            (t.progress.clone(), row.progress),
        ],
        effect: t.abort_effect.clone(),
        leaves: t.abort_leaves.clone(),
        label: t.abort.clone(),
        is_danger: true,
        back: row.href.clone(),
        problem: None,
        f: frame(visit, &title).below(&row.action, &row.href),
    };
    Ok(page.render())
}

/// Carries out the action.
pub async fn act(State(console): State<Console>, Segment(id): Segment, request: Request) -> Response {
    let (visit, request) = match split(request, &console).await {
        Ok(split) => split,
        Err(response) => return response,
    };
    if visit.form(request).await.is_none() {
        return Problem::ExpiredForm.answer(&visit);
    }
    match visit.service.abort_operation(&id).await {
        Ok(operation) => visit.redirect(&format!("{}?done=aborted", operation_href(&operation.id))),
        Err(error) => Problem::from(error).answer(&visit),
    }
}

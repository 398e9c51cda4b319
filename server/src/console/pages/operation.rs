//! An operation: its progress, and the items that could not be changed.

use askama::Template;
use axum::response::Response;

use super::super::frame::{Frame, Section};
use super::super::html as h;
use super::super::problem::Result;
use super::super::visit::{Segment, Visit};
use super::operation_rows::{OperationRow, operation_href, rate_text};
use super::operations;
use crate::core::operation::{Failure, Operation};

struct FailureRow {
    href: String,
    id: String,
    error: String,
}

#[derive(Template)]
#[template(path = "operation.html")]
struct Page {
    f: Frame,
    row: OperationRow,
    is_running: bool,
    message: Option<String>,
    facts: Vec<(String, String)>,
    failures: Vec<FailureRow>,
}

pub async fn show(visit: Visit, Segment(id): Segment) -> Response {
    super::answer(&visit, page(&visit, &id).await)
}

async fn page(visit: &Visit, id: &str) -> Result<askama::Result<String>> {
    let operation = visit.service.operation(id).await?;
    let row = OperationRow::new(&operation, visit.lang.words());
    let f = frame(visit, &row.action).api(&format!("/v1/operations/{}", operation.id), &[]);
    let f = if operation.is_running() { f.events("operation", &[]) } else { f };
    let failure = |failure: &Failure| FailureRow {
        href: item_href(&operation, &failure.id),
        id: failure.id.clone(),
        error: failure.error.clone(),
    };
    let page = Page {
        is_running: operation.is_running(),
        message: operation.message.clone(),
        facts: facts(&operation, &row, &f),
        failures: operation.failures.iter().map(failure).collect(),
        row,
        f,
    };
    Ok(page.render())
}

/// Returns the frame of a page about an operation.
pub fn frame(visit: &Visit, title: &str) -> Frame {
    Frame::new(visit, Section::Operations, title).below(&visit.lang.words().operations, operations::PATH)
}

fn item_href(operation: &Operation, id: &str) -> String {
    let list = if operation.action.is_for_runs() { "runs" } else { "tasks" };
    let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
    format!("/console/{list}/{id}")
}

fn facts(operation: &Operation, row: &OperationRow, f: &Frame) -> Vec<(String, String)> {
    let t = f.t;
    let mut facts = vec![
        (&t.selection, row.selection.clone()),
        (&t.rate, rate_text(operation.rate_per_sec, t)),
        (&t.created, f.text(operation.created_at)),
        (&t.created_by, row.creator.clone()),
    ];
    facts.extend(operation.ended_at.map(|at| (&t.ended, f.text(at))));
    facts.extend(operation.reason.clone().map(|reason| (&t.reason, reason)));
    facts.extend(operation.patch.clone().map(|patch| (&t.edit, patch)));
    facts.into_iter().map(|(name, value)| (name.clone(), value)).collect()
}

/// Returns the path of the page that asks before an abort.
pub fn abort_href(id: &str) -> String {
    format!("{}/abort", operation_href(id))
}

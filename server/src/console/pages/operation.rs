//! An operation: its progress, and the items that could not be changed.

use askama::Template;
use axum::response::Response;

use super::super::frame::{Frame, Section};
use super::super::html::{self as h, Markup};
use super::super::problem::Result;
use super::super::visit::{Segment, Visit};
use super::super::words::{Words, fill};
use super::operation_rows::{OperationRow, items_href, rate_text};
use super::operations;
use crate::core::operation::{Canary, CanaryState, Failure, Item, Operation};

struct ItemRow {
    href: String,
    id: String,
    /// Empty: none.
    error: String,
}

/// The first runs of the operation.
struct CanaryPanel {
    pill: Markup,
    hint: String,
    runs: Vec<ItemRow>,
}

impl CanaryPanel {
    fn new(operation: &Operation, canary: &Canary, t: &Words) -> Self {
        let (class, icon, word, hint) = match canary.state {
            CanaryState::Open => ("run", "ring", &t.canary_open, &t.canary_open_hint),
            CanaryState::Passed => ("ok", "check", &t.canary_passed, &t.canary_passed_hint),
            CanaryState::Failed => ("dead", "x", &t.canary_failed, &t.canary_failed_hint),
            CanaryState::Overruled => ("retry", "warn", &t.canary_overruled, &t.canary_overruled_hint),
        };
        let error = |id: &str| canary.failures.iter().find(|failure| failure.id == id);
        let run = |item: &Item| ItemRow {
            href: item_href(operation, &item.id),
            error: error(&item.id).map(|failure| failure.error.clone()).unwrap_or_default(),
            id: item.id.clone(),
        };
        let runs = canary.runs.iter().map(run).collect();
        Self { pill: h::pill(class, icon, word), hint: hint.clone(), runs }
    }
}

#[derive(Template)]
#[template(path = "operation.html")]
struct Page {
    f: Frame,
    row: OperationRow,
    is_running: bool,
    is_held: bool,
    canary: Option<CanaryPanel>,
    /// Path of the list with the items.
    items: Option<String>,
    items_label: String,
    message: Option<String>,
    facts: Vec<(String, String)>,
    failures: Vec<ItemRow>,
}

pub async fn show(visit: Visit, Segment(id): Segment) -> Response {
    super::answer(&visit, page(&visit, &id).await)
}

async fn page(visit: &Visit, id: &str) -> Result<askama::Result<String>> {
    let operation = visit.service.operation(id).await?;
    let row = OperationRow::new(&operation, visit.lang.words());
    let f = frame(visit, &row.action).api(&format!("/v1/operations/{}", operation.id), &[]);
    let f = if operation.has_ended() { f } else { f.events("operation", &[]) };
    let failure = |failure: &Failure| ItemRow {
        href: item_href(&operation, &failure.id),
        id: failure.id.clone(),
        error: failure.error.clone(),
    };
    let page = Page {
        is_running: operation.is_running(),
        is_held: operation.is_held(),
        canary: operation.canary.as_ref().map(|canary| CanaryPanel::new(&operation, canary, f.t)),
        items: items_href(&operation),
        items_label: if operation.action.is_for_runs() { &f.t.op_show_runs } else { &f.t.op_show_tasks }
            .clone(),
        message: message(&operation, f.t),
        facts: facts(&operation, &row, &f),
        failures: operation.failures.iter().map(failure).collect(),
        row,
        f,
    };
    Ok(page.render())
}

/// Returns why the operation has failed or is held. The panel of the canary names the runs.
fn message(operation: &Operation, t: &Words) -> Option<String> {
    match operation.canary.as_ref().filter(|_| operation.is_held()) {
        None => operation.message.clone(),
        Some(canary) => {
            let [failed, all] =
                [canary.failures.len(), canary.runs.len()].map(|count| h::count(count as u64));
            Some(fill(&t.canary_held, &[&failed, &all]))
        }
    }
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
    let size = |canary: &Canary| h::count(u64::from(canary.size));
    facts.extend(operation.canary.as_ref().map(|canary| (&t.canary, size(canary))));
    facts.extend(operation.ended_at.map(|at| (&t.ended, f.text(at))));
    facts.extend(operation.reason.clone().map(|reason| (&t.reason, reason)));
    facts.extend(operation.patch.clone().map(|patch| (&t.op_patch, patch)));
    facts.into_iter().map(|(name, value)| (name.clone(), value)).collect()
}

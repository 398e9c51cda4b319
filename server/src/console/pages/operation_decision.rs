//! Abort an operation, or continue one that is held: a page that asks, and the action.

use askama::Template;
use axum::response::Response;

use super::super::html::Markup;
use super::super::problem::{Problem, Result};
use super::super::sent_form::SentForm;
use super::super::visit::{Segment, Visit};
use super::super::words::Words;
use super::confirm::Confirm;
use super::operation::frame;
use super::operation_rows::{OperationRow, operation_href};
use super::task::require_write;
use crate::core::operation::OperationState;

/// What a person decides about an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Abort,
    Continue,
}

impl Decision {
    /// Returns the decision as a path spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Continue => "continue",
        }
    }

    /// Returns the label, the effect, and what stays as it is.
    fn words(self, t: &Words) -> [&str; 3] {
        match self {
            Self::Abort => [&t.abort, &t.abort_effect, &t.abort_leaves],
            Self::Continue => [&t.op_continue, &t.op_continue_effect, &t.op_continue_leaves],
        }
    }

    const fn notice(self) -> &'static str {
        match self {
            Self::Abort => "aborted",
            Self::Continue => "continued",
        }
    }
}

/// Returns the path of the page that asks before a decision.
fn decision_href(id: &str, decision: Decision) -> String {
    format!("{}/{}", operation_href(id), decision.as_str())
}

/// Shows the page that asks before an abort.
pub async fn ask_abort(visit: Visit, Segment(id): Segment) -> Response {
    super::answer(&visit, asked(&visit, &id, Decision::Abort).await)
}

/// Shows the page that asks before an operation continues.
pub async fn ask_continue(visit: Visit, Segment(id): Segment) -> Response {
    super::answer(&visit, asked(&visit, &id, Decision::Continue).await)
}

async fn asked(visit: &Visit, id: &str, decision: Decision) -> Result<askama::Result<String>> {
    require_write(visit)?;
    let (operation, t) = (visit.service.operation(id).await?, visit.lang.words());
    let row = OperationRow::new(&operation, t);
    let [label, effect, leaves] = decision.words(t);
    let title = format!("{label} · {}", row.action);
    let mut facts = vec![
        (t.operation.clone(), row.action.clone()),
        (t.selection.clone(), row.selection),
        (t.progress.clone(), row.progress),
    ];
    facts.extend(operation.message.clone().map(|message| (t.reason.clone(), message)));
    let page = Confirm {
        path: decision_href(&operation.id, decision),
        hidden: Markup::default(),
        facts,
        effect: effect.to_owned(),
        leaves: leaves.to_owned(),
        label: label.to_owned(),
        is_danger: decision == Decision::Abort,
        back: row.href.clone(),
        problem: None,
        f: frame(visit, &title).below(&row.action, &row.href),
    };
    Ok(page.render())
}

/// Aborts the operation.
pub async fn abort(Segment(id): Segment, SentForm(visit, _): SentForm) -> Response {
    act(&visit, &id, Decision::Abort).await
}

/// Continues the operation.
pub async fn resume(Segment(id): Segment, SentForm(visit, _): SentForm) -> Response {
    act(&visit, &id, Decision::Continue).await
}

async fn act(visit: &Visit, id: &str, decision: Decision) -> Response {
    let changed = match decision {
        Decision::Abort => visit.service.abort_operation(id).await,
        Decision::Continue => visit.service.continue_operation(id).await,
    };
    match changed {
        // Another person was faster: the page shows the state.
        Ok(operation) if decision == Decision::Continue && operation.state == OperationState::Aborted => {
            visit.redirect(&operation_href(&operation.id))
        }
        Ok(operation) => {
            visit.redirect(&format!("{}?done={}", operation_href(&operation.id), decision.notice()))
        }
        Err(error) => Problem::from(error).answer(visit),
    }
}

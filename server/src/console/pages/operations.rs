//! List of operations, newest first.

use askama::Template;
use axum::response::Response;

use super::super::filter::href;
use super::super::frame::{Frame, Section};
use super::super::html as h;
use super::super::listing::ROWS;
use super::super::problem::Result;
use super::super::visit::Visit;
use super::operation_rows::OperationRow;
use crate::core::TaskId;

pub const PATH: &str = "/console/operations";

#[derive(Template)]
#[template(path = "operations.html")]
struct Page {
    f: Frame,
    rows: Vec<OperationRow>,
    first: Option<String>,
    next: Option<String>,
}

pub async fn show(visit: Visit) -> Response {
    super::answer(&visit, page(&visit).await)
}

async fn page(visit: &Visit) -> Result<askama::Result<String>> {
    let t = visit.lang.words();
    // An id has the form of a task's id.
    let before = visit.param("before", &t.allowed_id, TaskId::parse);
    let before = before.as_ref().map(TaskId::as_str);
    let (operations, next) = visit.service.list_operations(before, ROWS as u32).await?;
    let f = Frame::new(visit, Section::Operations, &t.operations)
        .events("operation", &[])
        .api("/v1/operations", &[]);
    let page = Page {
        f,
        rows: operations.iter().map(|operation| OperationRow::new(operation, t)).collect(),
        first: before.is_some().then(|| PATH.to_owned()),
        next: next.map(|last| href(PATH, "", Some(&last))),
    };
    Ok(page.render())
}

//! Callback services.

use askama::Template;
use axum::response::Response;

use super::super::frame::{Frame, Section};
use super::super::html as h;
use super::super::problem::Result;
use super::super::visit::Visit;
use crate::core::callback_service::CallbackService;

struct Line {
    name: String,
    nodes: Vec<String>,
    check: String,
    signed: String,
}

#[derive(Template)]
#[template(path = "services.html")]
struct Page {
    f: Frame,
    services: Vec<Line>,
}

pub async fn show(visit: Visit) -> Response {
    super::answer(&visit, page(&visit).await)
}

async fn page(visit: &Visit) -> Result<askama::Result<String>> {
    let t = visit.lang.words();
    let line = |service: CallbackService| Line {
        name: service.name,
        nodes: service.nodes.into_iter().map(|node| node.url).collect(),
        check: service.health.map_or_else(|| t.not_set.clone(), |health| health.path),
        signed: if service.secret.is_empty() { t.not_set.clone() } else { "SHA-256".to_owned() },
    };
    let services = visit.service.callback_services().await?.into_iter().map(line).collect();
    Ok(Page { f: Frame::new(visit, Section::Services, &t.services).api("/v1/services", &[]), services }
        .render())
}

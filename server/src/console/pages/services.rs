//! Callback services.

use askama::Template;
use axum::response::Response;

use super::super::frame::{Frame, Section};
use super::super::html::{self as h, Markup};
use super::super::problem::Result;
use super::super::visit::Visit;
use super::super::words::{Words, fill};
use crate::core::Moment;
use crate::core::callback_service::CallbackService;
use crate::engine::service::{NodeCondition, ServicesHealth};

struct NodeLine {
    url: String,
    condition: Option<Markup>,
    /// Since when, and why, the node is down.
    down: Option<(Moment, String)>,
}

struct Line {
    name: String,
    nodes: Vec<NodeLine>,
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
    let health = visit.service.callback_health().await?;
    let services = visit.service.callback_services().await?;
    let services = services.into_iter().map(|service| line(service, &health, t)).collect();
    Ok(Page {
        f: Frame::new(visit, Section::Services, &t.services).live().api("/v1/services", &[]),
        services,
    }
    .render())
}

fn line(service: CallbackService, health: &ServicesHealth, t: &Words) -> Line {
    let nodes = service.nodes.iter().map(|node| node_line(&node.url, health.of(&service, node), t)).collect();
    let check = match &service.health {
        Some(health) => health.path.clone(),
        None if service.heartbeat_body.is_empty() => t.not_set.clone(),
        None => t.service_heartbeat.clone(),
    };
    let signed = if service.secret.is_empty() { t.not_set.clone() } else { "SHA-256".to_owned() };
    Line { nodes, check, signed, name: service.name }
}

fn node_line(url: &str, condition: NodeCondition<'_>, t: &Words) -> NodeLine {
    let (condition, down) = match condition {
        NodeCondition::NotChecked => (None, None),
        NodeCondition::Unknown => (Some(h::pill("none", "ring", &t.health_unknown)), None),
        NodeCondition::Up => (Some(h::pill("ok", "check", &t.health_ok)), None),
        NodeCondition::Down { reporter, node } => {
            let why = fill(&t.service_node_why, &[&node.why, reporter]);
            (Some(h::pill("dead", "warn", &t.health_down)), Some((node.since, why)))
        }
    };
    NodeLine { url: url.to_owned(), condition, down }
}

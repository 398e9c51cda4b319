//! Tokens and users, for administrators.

use askama::Template;
use axum::response::Response;

use super::super::frame::{Frame, Section};
use super::super::html as h;
use super::super::problem::Result;
use super::super::visit::Visit;
use crate::core::Moment;
use crate::core::access::Scope;
use crate::engine::service::{Token, User};

struct Line {
    id: String,
    name: String,
    scopes: String,
    tags: String,
    created: Moment,
    expires: Option<Moment>,
}

#[derive(Template)]
#[template(path = "access.html")]
struct Page {
    f: Frame,
    tokens: Vec<Line>,
    users: Vec<User>,
}

pub async fn show(visit: Visit) -> Response {
    super::answer(&visit, page(&visit).await)
}

async fn page(visit: &Visit) -> Result<askama::Result<String>> {
    let t = visit.lang.words();
    let line = |token: Token| Line {
        id: token.id,
        name: token.name,
        scopes: token.grant.scopes.iter().map(|scope: &Scope| scope.as_str()).collect::<Vec<_>>().join(", "),
        tags: if token.grant.tags.is_empty() { t.tags_all.clone() } else { token.grant.tags.join(", ") },
        created: token.created_at,
        expires: token.grant.expires_at,
    };
    let tokens = visit.service.tokens().await?.into_iter().map(line).collect();
    let users = visit.service.users().await?;
    Ok(Page { f: Frame::new(visit, Section::Access, &t.access).api("/v1/tokens", &[]), tokens, users }
        .render())
}

//! Tokens and users, for administrators.

use askama::Template;
use axum::response::Response;

use super::super::frame::{Frame, Section};
use super::super::html as h;
use super::super::problem::Result;
use super::super::visit::Visit;
use super::super::words::{Words, fill};
use crate::core::Moment;
use crate::core::access::{Role, Scope};
use crate::core::quota::Quota;
use crate::engine::service::{Forbidden, ServiceError, Token, User};

pub const PATH: &str = "/console/access";

/// A token in words.
pub struct TokenLine {
    pub id: String,
    pub name: String,
    pub scopes: String,
    pub tags: String,
    pub quotas: String,
    pub created: Moment,
    pub expires: Option<Moment>,
    pub revoke_href: String,
}

impl TokenLine {
    pub fn new(token: Token, t: &Words) -> Self {
        let scopes = token.grant.scopes.iter().map(|scope: &Scope| scope.as_str()).collect::<Vec<_>>();
        Self {
            revoke_href: href("tokens/revoke", "id", &token.id),
            id: token.id,
            name: token.name,
            scopes: scopes.join(", "),
            tags: tags_text(&token.grant.tags, t),
            quotas: quotas_text(token.quota, t),
            created: token.created_at,
            expires: token.grant.expires_at,
        }
    }
}

/// A user in words.
pub struct UserLine {
    pub name: String,
    pub role: String,
    /// Empty without a role.
    pub tags: String,
    pub is_senior: bool,
    pub expires: Option<Moment>,
    pub edit_href: String,
    pub remove_href: String,
}

impl UserLine {
    pub fn new(user: User, t: &Words) -> Self {
        let (role, tags) = user.console.map(|console| (console.role, console.tags)).unzip();
        Self {
            edit_href: href("users/edit", "name", &user.name),
            remove_href: href("users/remove", "name", &user.name),
            name: user.name,
            role: role_word(role, t).to_owned(),
            tags: tags.map(|tags| tags_text(&tags, t)).unwrap_or_default(),
            is_senior: user.senior,
            expires: user.expires_at,
        }
    }
}

/// Returns a path with one parameter. A name such as `..` cannot be a part of the path itself.
fn href(page: &str, parameter: &str, value: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair(parameter, value).finish();
    format!("{PATH}/{page}?{query}")
}

fn tags_text(tags: &[String], t: &Words) -> String {
    if tags.is_empty() { t.tags_all.clone() } else { tags.join(", ") }
}

fn quotas_text(quota: Quota, t: &Words) -> String {
    let live = quota.max_live_tasks.map(|max| fill(&t.quota_of_live_tasks, &[&max.to_string()]));
    let creates = quota.max_creates_per_sec.map(|max| fill(&t.quota_of_creates, &[&max.to_string()]));
    let quotas: Vec<String> = live.into_iter().chain(creates).collect();
    if quotas.is_empty() { t.quotas_none.clone() } else { quotas.join(", ") }
}

/// Returns the words of a role, or of none.
pub fn role_word(role: Option<Role>, t: &Words) -> &str {
    match role {
        None => &t.role_none,
        Some(Role::Viewer) => &t.role_viewer,
        Some(Role::Operator) => &t.role_operator,
        Some(Role::Admin) => &t.role_admin,
    }
}

/// Returns the lines of a text field that has one tag per line.
pub fn tags_of(field: &str) -> Vec<String> {
    field.lines().map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

/// Returns the frame of a page below the list.
pub fn frame(visit: &Visit, title: &str) -> Frame {
    Frame::new(visit, Section::Access, title).below(&visit.lang.words().access, PATH)
}

/// Checks that the reader is an administrator, before a form. The command checks again.
pub fn require_admin(visit: &Visit) -> Result<()> {
    let grant = &visit.service.caller().grant;
    let missing = match () {
        () if !grant.allows(Scope::Admin) => Forbidden::Scope(Scope::Admin),
        () if grant.is_limited() => Forbidden::Limited,
        () => return Ok(()),
    };
    Err(ServiceError::Forbidden(missing).into())
}

#[derive(Template)]
#[template(path = "access.html")]
struct Page {
    f: Frame,
    tokens: Vec<TokenLine>,
    users: Vec<UserLine>,
}

pub async fn show(visit: Visit) -> Response {
    super::answer(&visit, page(&visit).await)
}

async fn page(visit: &Visit) -> Result<askama::Result<String>> {
    let t = visit.lang.words();
    let tokens = visit.service.tokens().await?.into_iter().map(|token| TokenLine::new(token, t)).collect();
    let users = visit.service.users().await?.into_iter().map(|user| UserLine::new(user, t)).collect();
    let f = Frame::new(visit, Section::Access, &t.access).api("/v1/tokens", &[]);
    Ok(Page { f, tokens, users }.render())
}

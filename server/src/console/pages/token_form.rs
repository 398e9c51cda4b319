//! Create and revoke a token.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::frame::Frame;
use super::super::html as h;
use super::super::problem::{Problem, Result};
use super::super::sent_form::SentForm;
use super::super::visit::{Fields, Visit};
use super::super::words::Words;
use super::access::{PATH, TokenLine, frame, require_admin, tags_of};
use super::confirm::Confirm;
use super::field_text::{Refusal, positive};
use crate::core::Moment;
use crate::core::access::{Grant, Scope};
use crate::core::quota::Quota;
use crate::engine::service::{ServiceError, Token};

const DAY_MS: i64 = 86_400_000;

#[derive(Template)]
#[template(path = "token_form.html")]
struct Page {
    f: Frame,
    name: String,
    scopes: Vec<String>,
    /// One tag per line.
    tags: String,
    days: String,
    max_live_tasks: String,
    max_creates_per_sec: String,
    refusal: Option<Refusal>,
}

impl Page {
    /// Returns the form as it was sent, or an empty one.
    fn of(visit: &Visit, fields: &Fields) -> Self {
        let field = |name| fields.get(name).unwrap_or_default().to_owned();
        Self {
            f: frame(visit, &visit.lang.words().token_new),
            name: field("name"),
            scopes: fields.all("scope"),
            tags: field("tags"),
            days: field("days"),
            max_live_tasks: field("max_live_tasks"),
            max_creates_per_sec: field("max_creates_per_sec"),
            refusal: None,
        }
    }

    fn is_wrong(&self, field: &str) -> bool {
        self.refusal.as_ref().is_some_and(|refusal| refusal.field == field)
    }

    /// Returns the scopes with their words, and whether they are chosen.
    fn choices(&self) -> [(&'static str, &str, bool); 4] {
        Scope::ALL.map(|scope| {
            let word = scope.as_str();
            (word, scope_word(scope, self.f.t), self.scopes.iter().any(|chosen| chosen == word))
        })
    }
}

fn scope_word(scope: Scope, t: &Words) -> &str {
    match scope {
        Scope::TaskRead => &t.scope_task_read,
        Scope::TaskWrite => &t.scope_task_write,
        Scope::RunPull => &t.scope_run_pull,
        Scope::Admin => &t.scope_admin,
    }
}

/// The page with the text of a new token.
#[derive(Template)]
#[template(path = "token_issued.html")]
struct Issued {
    f: Frame,
    token: TokenLine,
    text: String,
}

/// Shows the form.
pub async fn new(visit: Visit) -> Response {
    let page = require_admin(&visit).map(|()| Page::of(&visit, &Fields::default()).render());
    super::answer(&visit, page)
}

/// Creates the token. Only this answer has its text.
pub async fn issue(SentForm(visit, fields): SentForm) -> Response {
    match issued(&visit, &fields).await {
        Ok(Ok((token, text))) => {
            let t = visit.lang.words();
            let f = frame(&visit, &t.token_issued);
            visit.answer(StatusCode::OK, Issued { f, token: TokenLine::new(token, t), text }.render())
        }
        Ok(Err(refusal)) => {
            let page = Page { refusal: Some(refusal), ..Page::of(&visit, &fields) };
            visit.answer(StatusCode::UNPROCESSABLE_ENTITY, page.render())
        }
        Err(problem) => problem.answer(&visit),
    }
}

async fn issued(visit: &Visit, fields: &Fields) -> Result<std::result::Result<(Token, String), Refusal>> {
    let (grant, quota) = match read(fields, visit.service.now(), visit.lang.words()) {
        Ok(rights) => rights,
        Err(refusal) => return Ok(Err(refusal)),
    };
    match visit.service.issue_token(fields.get("name").unwrap_or_default(), grant, quota).await {
        Ok(issued) => Ok(Ok(issued)),
        Err(ServiceError::Token(invalid)) => {
            Ok(Err(Refusal { field: invalid.field(), why: invalid.to_string() }))
        }
        Err(error) => Err(error.into()),
    }
}

fn read(fields: &Fields, now: Moment, t: &Words) -> std::result::Result<(Grant, Quota), Refusal> {
    let days = positive("expires_at", fields.get("days").unwrap_or_default(), t)?;
    let lifetime_ms = |days| i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(DAY_MS);
    let scopes = fields.all("scope").iter().filter_map(|word| Scope::parse(word)).collect();
    let tags = tags_of(fields.get("tags").unwrap_or_default());
    let number = |name| {
        let number = positive(name, fields.get(name).unwrap_or_default(), t)?;
        // A number that is too large stays too large.
        Ok(number.map(|number| u32::try_from(number).unwrap_or(u32::MAX)))
    };
    let max_live_tasks = number("max_live_tasks")?;
    let quota = Quota { max_live_tasks, max_creates_per_sec: number("max_creates_per_sec")? };
    Ok((Grant::of(scopes, tags, days.map(|days| now.plus_ms(lifetime_ms(days)))), quota))
}

/// Shows the page that asks before a token is revoked.
pub async fn ask_revoke(visit: Visit) -> Response {
    super::answer(&visit, asked(&visit).await.map(|page| page.render()))
}

async fn asked(visit: &Visit) -> Result<Confirm> {
    let (t, query) = (visit.lang.words(), visit.query());
    let id = query.get("id").unwrap_or_default();
    let tokens = visit.service.tokens().await?;
    let token = tokens.into_iter().find(|token| token.id == id).ok_or(Problem::NotFound)?;
    let token = TokenLine::new(token, t);
    Ok(Confirm {
        f: frame(visit, &t.token_revoke),
        path: format!("{PATH}/tokens/revoke"),
        hidden: h::hidden("id", &token.id),
        facts: vec![
            (t.name.clone(), token.name),
            (t.token.clone(), token.id),
            (t.scopes.clone(), token.scopes),
            (t.tags.clone(), token.tags),
            (t.quotas.clone(), token.quotas),
        ],
        effect: t.token_revoke_effect.clone(),
        leaves: t.token_revoke_leaves.clone(),
        label: t.token_revoke.clone(),
        is_danger: true,
        back: PATH.to_owned(),
        problem: None,
    })
}

/// Revokes the token.
pub async fn revoke(SentForm(visit, fields): SentForm) -> Response {
    match visit.service.revoke_token(fields.get("id").unwrap_or_default()).await {
        Ok(_) => visit.redirect(&format!("{PATH}?done=token_revoked")),
        Err(error) => Problem::from(error).answer(&visit),
    }
}

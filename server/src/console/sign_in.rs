//! Sign-in, sign-out, and the preferences of a browser.

use askama::Template;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::Console;
use super::cookies;
use super::frame::{Frame, Section};
use super::html as h;
use super::own_path::own_path;
use super::problem::Problem;
use super::sent_form::KeptInput;
use super::visit::{Theme, Visit, split, with_policy};
use super::words::{Lang, fill};
use crate::engine::service::{Denied, ServiceError};

/// Path of the sign-in page.
pub const PATH: &str = "/console/sign-in";
/// Path of the form that closes a session.
pub const SIGN_OUT: &str = "/console/sign-out";

#[derive(Template)]
#[template(path = "sign_in.html")]
struct Page {
    f: Frame,
    next: String,
    /// The user name that was typed.
    user: String,
    problem: Option<String>,
    /// Input of a form whose session has ended.
    kept: Option<KeptInput>,
}

#[derive(Template)]
#[template(path = "reopen.html")]
struct Reopen<'a> {
    target: &'a str,
}

/// Answers to a request without a session: leads to the sign-in page, and back afterwards. The sign-in page keeps the
/// input of a form.
pub async fn refuse(console: Console, request: Request, denied: Denied) -> Response {
    if let Denied::Unchecked(error) = denied {
        tracing::error!(%error, "session not checked");
        return with_policy(StatusCode::SERVICE_UNAVAILABLE.into_response());
    }
    let uri = request.uri().clone();
    if uri.path() == SIGN_OUT {
        return lead_to_sign_in("/");
    }
    let next = uri.path_and_query().map_or("/", |target| target.as_str());
    if request.method() != Method::POST {
        return lead_to_sign_in(next);
    }
    let (visit, request) = match split(request, &console).await {
        Ok(split) => split,
        Err(response) => return response,
    };
    let fields = visit.form(request).await.of_browser();
    match fields.and_then(|fields| KeptInput::of(next, fields)) {
        Some(kept) => {
            show(&visit, &Page { kept: Some(kept), ..Page::new(&visit, next) }, StatusCode::UNAUTHORIZED)
        }
        None => lead_to_sign_in(next),
    }
}

fn lead_to_sign_in(next: &str) -> Response {
    let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    let location = HeaderValue::from_str(&format!("{PATH}?next={next}"));
    let location = location.unwrap_or(HeaderValue::from_static(PATH));
    with_policy((StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response())
}

/// Answers to a link on another site with a page that opens the same URL again.
pub fn reopen(request: &Request) -> Response {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let page = Reopen { target }.render().unwrap_or_default();
    with_policy(Html(page).into_response())
}

/// Shows the form.
pub async fn form(visit: Visit) -> Response {
    show(&visit, &Page::new(&visit, &own_path(visit.query().get("next"))), StatusCode::OK)
}

impl Page {
    fn new(visit: &Visit, next: &str) -> Self {
        let f = Frame::new(visit, Section::None, &visit.lang.words().sign_in);
        Self { f, next: next.to_owned(), user: String::new(), problem: None, kept: None }
    }
}

fn show(visit: &Visit, page: &Page, status: StatusCode) -> Response {
    visit.answer(status, page.render())
}

/// Opens a session.
pub async fn submit(State(console): State<Console>, request: Request) -> Response {
    let (visit, request) = match split(request, &console).await {
        Ok(split) => split,
        Err(response) => return response,
    };
    let fields = visit.form(request).await.of_browser();
    let Some(fields) = fields else { return Problem::ExpiredForm.answer(&visit) };
    let (next, t) = (own_path(fields.get("next")), visit.lang.words());
    let field = |name| fields.get(name).unwrap_or_default();
    let kept = KeptInput::read(&next, &fields);
    let (user, lifetime_ms) = (field("user"), cookies::SESSION_SEC * 1_000);
    let opened = match user {
        "" => visit.service.open_browser_session(field("token"), lifetime_ms).await,
        // A password may begin or end with white space.
        user => {
            let password = fields.raw("password").unwrap_or_default();
            visit.service.open_user_session(user, password, lifetime_ms).await
        }
    };
    let refused = match opened {
        Ok(secret) => {
            let cookie = cookies::set(&visit.headers, cookies::SESSION_COOKIE, &secret, cookies::SESSION_SEC);
            let visit = visit.with_session(secret);
            let answer = kept.map_or_else(|| visit.redirect(&next), |kept| kept.ask(&visit));
            return with_cookies(answer, cookie);
        }
        Err(refused) => refused,
    };
    audit_refusal(&visit, &refused);
    let (status, why) = match refused {
        Denied::Missing | Denied::Unknown if !user.is_empty() => {
            (StatusCode::UNAUTHORIZED, t.sign_in_user_failed.clone())
        }
        Denied::Missing | Denied::Unknown => (StatusCode::UNAUTHORIZED, t.sign_in_failed.clone()),
        Denied::Expired if !user.is_empty() => (StatusCode::UNAUTHORIZED, t.sign_in_user_expired.clone()),
        Denied::Expired => (StatusCode::UNAUTHORIZED, t.sign_in_expired.clone()),
        Denied::Unchecked(ServiceError::TooManyAttempts { retry_after_sec }) => {
            let why = fill(&t.sign_in_later, &[&retry_after_sec.to_string()]);
            (StatusCode::TOO_MANY_REQUESTS, why)
        }
        Denied::Unchecked(error) => return Problem::from(error).answer(&visit),
    };
    let page = Page { user: user.to_owned(), problem: Some(why), kept, ..Page::new(&visit, &next) };
    show(&visit, &page, status)
}

/// Writes a refused sign-in to the audit log, as a refused call of the API.
fn audit_refusal(visit: &Visit, denied: &Denied) {
    let caller = visit.service.caller();
    tracing::warn!(
        target: "audit",
        caller = caller.id,
        peer = caller.address.map(|address| address.to_string()),
        request_id = caller.request_id,
        method = "POST",
        path = PATH,
        outcome = denied.to_string(),
        "access refused"
    );
}

/// Closes the session.
pub async fn sign_out(State(console): State<Console>, request: Request) -> Response {
    let (visit, request) = match split(request, &console).await {
        Ok(split) => split,
        Err(response) => return response,
    };
    if visit.form(request).await.of_browser().is_none() {
        return Problem::ExpiredForm.answer(&visit);
    }
    if let Some(secret) = &visit.session
        && let Err(error) = visit.service.close_browser_session(secret).await
    {
        return Problem::from(error).answer(&visit);
    }
    with_cookies(visit.redirect(PATH), cookies::set(&visit.headers, cookies::SESSION_COOKIE, "", 0))
}

/// Keeps the language or theme that a person has chosen. Both belong to the browser, and not to the session.
pub async fn prefer(State(console): State<Console>, request: Request) -> Response {
    let (visit, request) = match split(request, &console).await {
        Ok(split) => split,
        Err(response) => return response,
    };
    let fields = visit.form(request).await.of_browser();
    let Some(fields) = fields else { return Problem::ExpiredForm.answer(&visit) };
    let set = |name, value| cookies::set(&visit.headers, name, value, cookies::YEAR_SEC);
    let lang = fields.get("lang").and_then(Lang::parse);
    let theme = fields.get("theme").and_then(Theme::parse);
    let chosen = lang.and_then(|lang| set(cookies::LANG, lang.as_str()));
    let chosen = chosen.into_iter().chain(theme.and_then(|theme| set(cookies::THEME, theme.as_str())));
    with_cookies(visit.redirect(&own_path(fields.get("back"))), chosen)
}

fn with_cookies(mut response: Response, cookies: impl IntoIterator<Item = HeaderValue>) -> Response {
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

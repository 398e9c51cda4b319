//! A request of a browser: its caller, its preferences, and the tokens of its forms.

use std::borrow::Cow;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jiff::tz::TimeZone;

use super::Console;
use super::cookies;
use super::digest::sha256;
use super::refusals::Refusals;
use super::words::Lang;
use crate::core::zone;
use crate::engine::service::Service;

/// Policy of the pages: their own style sheet, script and requests, and nothing of another place.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");
/// Largest form, in bytes.
pub const MAX_FORM_BYTES: usize = 5 * 1024 * 1024;
/// Maximum number of fields that are read. A form of 5 MiB can have millions of empty fields, which would take
/// hundreds of megabytes of memory.
pub const MAX_FIELDS: usize = 256;
/// Name of the field with the token of a form.
pub const FORM_TOKEN: &str = "form_token";
/// Number of characters of the part of a form's token that names the browser.
const BROWSER_PART: usize = 64;

/// Theme that a person has chosen. Without a choice, the browser decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    Light,
    Dark,
}

impl Theme {
    /// Returns the theme as HTML and the cookie spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// Returns the theme that [`as_str`](Self::as_str) spells as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Light, Self::Dark].into_iter().find(|theme| theme.as_str() == text)
    }
}

/// Fields of a form, or parameters of a URL.
#[derive(Debug, Clone, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads fields in the format of HTML forms, at most [`MAX_FIELDS`].
    pub fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).take(MAX_FIELDS).map(owned).collect())
    }

    /// Returns a field without spaces around it. An empty field counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.raw(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// Returns all values of a field, in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(field, _)| field == name).map(|(_, value)| value.clone()).collect()
    }

    /// Returns fields with these names and values.
    pub fn from_pairs(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// Returns all fields as sent: name and value, in order.
    pub fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }

    /// Returns a field as sent.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// A form that a browser has sent.
pub enum Form {
    /// A form of this browser and of its session.
    Current(Fields),
    /// A form of this browser, from another session.
    OtherSession(Fields),
    /// A form of another browser or site, or a form that is too large.
    Foreign,
}

impl Form {
    /// Returns the fields, also those of another session. `None`: this browser has not got the form.
    pub fn of_browser(self) -> Option<Fields> {
        match self {
            Self::Current(fields) | Self::OtherSession(fields) => Some(fields),
            Self::Foreign => None,
        }
    }
}

/// A request of a browser.
#[derive(Clone)]
pub struct Visit {
    pub service: Service,
    pub console: Console,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub lang: Lang,
    pub theme: Option<Theme>,
    /// Secret of the session, if the browser has one.
    pub session: Option<String>,
    pub refusals: Refusals,
    /// Secret of the browser, and whether this answer must set it.
    browser: (String, bool),
}

impl FromRequestParts<Console> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Response> {
        let service = Service::from_request_parts(parts, console).await;
        let service = service.map_err(IntoResponse::into_response)?;
        Ok(Self::new(service, console.clone(), parts.uri.clone(), parts.headers.clone()))
    }
}

impl Visit {
    fn new(service: Service, console: Console, uri: Uri, headers: HeaderMap) -> Self {
        let cookie = |name| cookies::value(&headers, name);
        let accepted = || {
            let header = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
            Lang::accepted(header.unwrap_or_default())
        };
        let lang = cookie(cookies::LANG).and_then(Lang::parse).unwrap_or_else(accepted);
        let theme = cookie(cookies::THEME).and_then(Theme::parse);
        let session = cookie(cookies::SESSION_COOKIE).map(str::to_owned);
        let browser = match cookie(cookies::BROWSER).filter(|secret| is_secret(secret)) {
            Some(secret) => (secret.to_owned(), false),
            // Without a random generator no form is accepted.
            None => service.random_secret().map_or((String::new(), false), |secret| (secret, true)),
        };
        Self { service, console, uri, headers, lang, theme, session, refusals: Refusals::default(), browser }
    }

    /// Returns this visit with a session that was opened now.
    #[must_use]
    pub fn with_session(self, secret: String) -> Self {
        Self { session: Some(secret), ..self }
    }

    /// Returns the time zone of the server.
    pub fn zone(&self) -> TimeZone {
        zone::find(self.service.time_zone()).unwrap_or(TimeZone::UTC)
    }

    /// Returns the parameters of the URL.
    pub fn query(&self) -> Fields {
        Fields::parse(self.uri.query().unwrap_or_default().as_bytes())
    }

    /// Returns a parameter of the URL as `read` understands its value. `None`: the parameter is absent, or its value is
    /// not allowed. The page then names the parameter and the values that are `allowed`, with status 400.
    pub fn param<T>(
        &self,
        name: &'static str,
        allowed: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let query = self.query();
        let value = query.get(name)?;
        let read = read(value);
        if read.is_none() {
            self.refusals.add(name, value, allowed);
        }
        read
    }

    /// Returns the token that a form of this browser and session must carry. Its first part names the browser.
    pub fn form_token(&self) -> String {
        let (browser, session) = (&self.browser.0, self.session.as_deref().unwrap_or_default());
        sha256(&format!("browser {browser}")) + &sha256(&format!("form {browser} {session}"))
    }

    /// Reads a sent form.
    pub async fn form(&self, request: Request) -> Form {
        let is_foreign = |site: &HeaderValue| site == "cross-site" || site == "same-site";
        if self.headers.get("sec-fetch-site").is_some_and(is_foreign) || self.browser.1 {
            return Form::Foreign;
        }
        let body: Result<Bytes, _> = axum::body::to_bytes(request.into_body(), MAX_FORM_BYTES).await;
        let Ok(body) = body else { return Form::Foreign };
        let (fields, own) = (Fields::parse(&body), self.form_token());
        let token = fields.raw(FORM_TOKEN).unwrap_or_default();
        let names_browser =
            token.get(..BROWSER_PART).is_some_and(|part| is_equal(part, &own[..BROWSER_PART]));
        if self.browser.0.is_empty() || !names_browser {
            return Form::Foreign;
        }
        if is_equal(token, &own) { Form::Current(fields) } else { Form::OtherSession(fields) }
    }

    /// Returns an answer with a rendered page.
    pub fn answer(&self, status: StatusCode, page: askama::Result<String>) -> Response {
        let is_refused = status == StatusCode::OK && !self.refusals.is_empty();
        let status = if is_refused { StatusCode::BAD_REQUEST } else { status };
        match page {
            Ok(html) => self.finish((status, axum::response::Html(html)).into_response()),
            Err(error) => {
                tracing::error!(%error, "page not rendered");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }

    /// Returns an answer that sends the browser to another page of the console.
    pub fn redirect(&self, path: &str) -> Response {
        let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
        self.finish((StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response())
    }

    fn finish(&self, mut response: Response) -> Response {
        if self.browser.1 {
            let cookie = cookies::set(&self.headers, cookies::BROWSER, &self.browser.0, cookies::YEAR_SEC);
            response.headers_mut().extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
        }
        with_policy(response)
    }
}

/// Adds the headers of pages.
pub fn with_policy(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::REFERRER_POLICY, SAME_ORIGIN);
    headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
    response
}

fn owned((name, value): (Cow<'_, str>, Cow<'_, str>)) -> (String, String) {
    (name.into_owned(), value.into_owned())
}

fn is_secret(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Compares two texts in a time that does not depend on where they differ.
fn is_equal(one: &str, other: &str) -> bool {
    let difference = one.bytes().zip(other.bytes()).fold(0, |difference, (a, b)| difference | (a ^ b));
    one.len() == other.len() && difference == 0
}

/// The one parameter of a path, decoded. An undecodable one is empty, so that nothing is found.
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = std::convert::Infallible;

    #[allow(clippy::disallowed_types, reason = "the rejection is handled here")]
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let segment = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(segment.map(|axum::extract::Path(segment)| segment).unwrap_or_default()))
    }
}

/// Reads a visit from a whole request, whose body stays unread.
pub async fn split(request: Request, console: &Console) -> Result<(Visit, Request), Response> {
    let (mut parts, body) = request.into_parts();
    let visit = Visit::from_request_parts(&mut parts, console).await?;
    Ok((visit, Request::from_parts(parts, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_fields_is_bounded() {
        let fields = Fields::parse("a=1&".repeat(2 * MAX_FIELDS).as_bytes());
        assert_eq!((fields.0.len(), fields.get("a")), (MAX_FIELDS, Some("1")));
    }
}

//! Cookies: the session, the browser's secret for forms, language and theme.

use axum::http::{HeaderMap, HeaderValue, header};

/// Secret of the session.
pub const SESSION_COOKIE: &str = "taskcenter_session";
/// Secret of the browser. The tokens of forms derive from this secret.
pub const BROWSER: &str = "taskcenter_browser";
/// Language of the pages.
pub const LANG: &str = "taskcenter_lang";
/// Theme of the pages.
pub const THEME: &str = "taskcenter_theme";
/// Lifetime of a session.
pub const SESSION_SEC: i64 = 12 * 3_600;
/// Lifetime of the other cookies.
pub const YEAR_SEC: i64 = 365 * 86_400;

/// Returns the value of a cookie.
pub fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// Returns a `Set-Cookie` header. Scripts cannot read the cookie, and browsers send it only with requests of
/// the same site. A lifetime of 0 removes the cookie.
pub fn set(headers: &HeaderMap, name: &str, value: &str, lifetime_sec: i64) -> Option<HeaderValue> {
    let secure = if is_encrypted(headers) { "; Secure" } else { "" };
    let line = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={lifetime_sec}{secure}");
    HeaderValue::from_str(&line).ok()
}

/// Returns whether the page of a form was loaded by HTTPS, here or at a proxy.
fn is_encrypted(headers: &HeaderMap) -> bool {
    headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"))
}

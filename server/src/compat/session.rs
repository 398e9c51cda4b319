//! Session cookies.

use axum::http::{HeaderMap, HeaderValue, header};

const HOUR_SEC: u64 = 3_600;

/// Returns the value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// Returns the `Set-Cookie` header. Scripts cannot read the cookie, and browsers send it only with same-site
/// requests.
pub fn set_cookie(name: &str, token: &str, hours: u32) -> Option<HeaderValue> {
    let age = u64::from(hours) * HOUR_SEC;
    let line = format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}");
    HeaderValue::from_str(&line).ok()
}

/// Returns the lifetime of a session in milliseconds.
pub fn lasts_ms(hours: u32) -> i64 {
    i64::from(hours) * 3_600_000
}

//! The request headers `If-Match` and `Idempotency-Key`.

use std::fmt::Write as _;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use sha2::{Digest, Sha256};

use super::error::ApiError;
use crate::engine::service::IdempotencyKey;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_KEY_BYTES: usize = 255;

/// Returns the `ETag` of a task: its revision in quotes.
pub fn etag(rev: u32) -> [(HeaderName, String); 1] {
    [(header::ETAG, format!("\"{rev}\""))]
}

/// Value of `If-Match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMatch {
    /// The header is absent.
    Absent,
    /// `*`: any revision.
    Any,
    /// This revision.
    Rev(u32),
}

impl IfMatch {
    /// Returns the revision, if the header names one.
    pub fn rev(self) -> Option<u32> {
        match self {
            Self::Rev(rev) => Some(rev),
            Self::Absent | Self::Any => None,
        }
    }

    fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let invalid = || ApiError::field("If-Match", "If-Match should be one ETag, such as \"3\", or *");
        let Some(text) = only(headers, &header::IF_MATCH).map_err(|()| invalid())? else {
            return Ok(Self::Absent);
        };
        if text == "*" {
            return Ok(Self::Any);
        }
        let rev = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        rev.and_then(|rev| rev.parse().ok()).map(Self::Rev).ok_or_else(invalid)
    }
}

/// Returns the text of a header that may occur at most once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ()> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(one), None) => one.to_str().map(|text| Some(text.trim())).map_err(drop),
        (Some(_), Some(_)) => Err(()),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::read(&parts.headers)
    }
}

/// Value of `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHeader(Option<String>);

impl KeyHeader {
    /// Returns the key with a digest of the request.
    pub fn for_request(self, request: impl FnOnce() -> String) -> Option<IdempotencyKey> {
        self.0.map(|key| IdempotencyKey { key, fingerprint: digest(&request()) })
    }

    fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let invalid = || {
            let why = format!(
                "Idempotency-Key should occur once, with 1 to {MAX_KEY_BYTES} visible ASCII characters"
            );
            ApiError::field("Idempotency-Key", why)
        };
        let Some(key) = only(headers, &KEY).map_err(|()| invalid())? else { return Ok(Self(None)) };
        let fits =
            (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(Some(key.to_owned()))) } else { Err(invalid()) }
    }
}

fn digest(request: &str) -> String {
    Sha256::digest(request).iter().fold(String::new(), |mut text, byte| {
        // A write to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl<S: Send + Sync> FromRequestParts<S> for KeyHeader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::read(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: &HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn if_match_accepts_one_etag_or_a_star() {
        let read = |values: &[&'static str]| IfMatch::read(&headers(&header::IF_MATCH, values)).ok();
        assert_eq!(read(&[]), Some(IfMatch::Absent));
        assert_eq!(read(&["*"]), Some(IfMatch::Any));
        assert_eq!(read(&["\"7\""]), Some(IfMatch::Rev(7)));
        for invalid in ["7", "\"7", "W/\"7\"", "\"\"", "\"-1\"", "\"7\", \"8\"", "\"99999999999\"", ""] {
            assert_eq!(read(&[invalid]), None, "{invalid}");
        }
        assert_eq!(read(&["\"7\"", "\"8\""]), None);
        let [(_, written)] = etag(7);
        assert_eq!(written, "\"7\"");
    }

    #[test]
    fn a_key_consists_of_visible_ascii_characters() {
        let read = |values: &[&'static str]| KeyHeader::read(&headers(&KEY, values)).ok();
        assert_eq!(read(&[]), Some(KeyHeader(None)));
        assert_eq!(read(&["order-42!"]), Some(KeyHeader(Some("order-42!".into()))));
        for invalid in ["", " ", "a b", "a\tb"] {
            assert_eq!(read(&[invalid]), None, "{invalid:?}");
        }
        assert_eq!(read(&["a", "a"]), None);
    }
}

//! Trace headers, which connect requests with callbacks.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

use super::envelope::{ApiError, Envelope};

const TRACE: &str = "x-easy-task-trace-id";
/// Headers of the RPC package of easytask, and the shorter ones of its document.
const OTHERS: [&str; 4] = [
    "x-easy-task-trace-span-id",
    "x-easy-task-trace-parent-span-id",
    "x-easy-task-span-id",
    "x-easy-task-parent-span-id",
];
/// Maximum length of a header value. Longer values are ignored.
const MAX_BYTES: usize = 128;

/// The trace of a request.
pub struct Trace {
    id: String,
    /// Other trace headers of the request.
    others: Vec<(&'static str, String)>,
}

impl Trace {
    /// Returns the trace of the request, with a generated id if the client sends none.
    pub fn of(headers: &HeaderMap, generate: impl FnOnce() -> String) -> Self {
        let given = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            (1..=MAX_BYTES).contains(&value.len()).then(|| value.to_owned())
        };
        let others = OTHERS.into_iter().filter_map(|name| Some((name, given(name)?))).collect();
        Self { id: given(TRACE).unwrap_or_else(generate), others }
    }

    /// Returns the headers to send with a callback.
    pub fn forwarded(&self) -> Map<String, Value> {
        self.headers().map(|(name, value)| (name.to_owned(), value.into())).collect()
    }

    fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let others = self.others.iter().map(|(name, value)| (*name, value.as_str()));
        std::iter::once((TRACE, self.id.as_str())).chain(others)
    }

    /// Returns the response.
    pub fn respond<T: Serialize>(&self, done: &Result<T, ApiError>) -> Response {
        self.write(&Envelope::of(done, &self.id, None))
    }

    /// Returns the response, with the id at top level too.
    pub fn respond_with_id<T: Serialize>(
        &self,
        done: &Result<T, ApiError>,
        id: impl FnOnce(&T) -> &str,
    ) -> Response {
        self.write(&Envelope::of(done, &self.id, done.as_ref().ok().map(id)))
    }

    fn write<T: Serialize>(&self, answer: &Envelope<'_, T>) -> Response {
        // Serialization of numbers and strings does not fail.
        let body = serde_json::to_vec(answer).unwrap_or_default();
        let kind = HeaderValue::from_static("application/json");
        let mut response = (StatusCode::OK, [(header::CONTENT_TYPE, kind)], body).into_response();
        for (name, value) in self.headers() {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

//! The headers by which the old system ties requests and callbacks together.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

use super::envelope::{Envelope, Refused};

const TRACE: &str = "x-easy-task-trace-id";
const OTHERS: [&str; 2] = ["x-easy-task-span-id", "x-easy-task-parent-span-id"];
/// Longest value that is taken on.
const MAX_BYTES: usize = 128;

/// What a request belongs to.
pub struct Trace {
    id: String,
    /// The other headers that it came with.
    others: Vec<(&'static str, String)>,
}

impl Trace {
    /// The caller's own where there is one, otherwise a fresh one.
    pub fn of(headers: &HeaderMap, fresh: impl FnOnce() -> String) -> Self {
        let given = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            (1..=MAX_BYTES).contains(&value.len()).then(|| value.to_owned())
        };
        let others = OTHERS.into_iter().filter_map(|name| Some((name, given(name)?))).collect();
        Self { id: given(TRACE).unwrap_or_else(fresh), others }
    }

    /// The headers that a callback gets.
    pub fn forwarded(&self) -> Map<String, Value> {
        self.headers().map(|(name, value)| (name.to_owned(), value.into())).collect()
    }

    fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let others = self.others.iter().map(|(name, value)| (*name, value.as_str()));
        std::iter::once((TRACE, self.id.as_str())).chain(others)
    }

    /// The answer as it goes out.
    pub fn answer<T: Serialize>(&self, done: &Result<T, Refused>) -> Response {
        self.write(&Envelope::of(done, &self.id, None))
    }

    /// The same, with the id at top level.
    pub fn answer_with_id<T: Serialize>(
        &self,
        done: &Result<T, Refused>,
        id: impl FnOnce(&T) -> &str,
    ) -> Response {
        self.write(&Envelope::of(done, &self.id, done.as_ref().ok().map(id)))
    }

    fn write<T: Serialize>(&self, answer: &Envelope<'_, T>) -> Response {
        // Numbers and texts: nothing in it cannot be written.
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

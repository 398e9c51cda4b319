//! Routing that the legacy APIs share: path segments, and requests that no route matches.
//!
//! Without this module the web framework would answer such requests in its own words.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;

/// The one parameter of a path, decoded. `None` if it is not valid percent-encoded UTF-8: the handler
/// answers with the error of its API.
pub struct Segment(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Infallible;

    #[allow(clippy::disallowed_types, reason = "the rejection is handled here")]
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let segment = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(segment.ok().map(|axum::extract::Path(segment)| segment)))
    }
}

/// How an API answers a request at this path that it does not serve.
pub type Refuse = fn(&str) -> Response;

/// The paths of an API, and its answer to a request at or below them that no route matches.
#[derive(Clone, Copy)]
pub struct Unmatched {
    /// Absolute paths without a trailing slash.
    pub paths: &'static [&'static str],
    /// The answer.
    pub refuse: Refuse,
}

impl Unmatched {
    fn covers(&self, path: &str) -> bool {
        let is_below =
            |own: &&str| path.strip_prefix(*own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.paths.iter().any(is_below)
    }
}

/// Adds the answers of `apis` to requests that no route of `routes` matches.
///
/// The fallback of `routes` must be set before: it answers for all other paths.
pub fn refuse_unmatched(routes: Router, apis: Vec<Unmatched>) -> Router {
    routes.layer(from_fn_with_state(Arc::<[Unmatched]>::from(apis), answer_unmatched))
}

async fn answer_unmatched(State(apis): State<Arc<[Unmatched]>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_matched = request.extensions().get::<MatchedPath>().is_some();
    match apis.iter().find(|api| !is_matched && api.covers(path)) {
        Some(api) => (api.refuse)(path),
        None => next.run(request).await,
    }
}

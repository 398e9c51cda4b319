//! Releases claimed tasks whose worker does not get the answer.

use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use http_body_util::BodyExt as _;

use crate::core::RunId;
use crate::engine::service::{Report, Service};

/// Claimed tasks that the worker does not have yet. They are released when the receipt is dropped before its
/// answer was sent: the client has closed the connection, or the request was cancelled.
pub struct Receipt {
    service: Service,
    releases: Vec<(RunId, Report)>,
}

impl Receipt {
    /// Returns the receipt of a claim. `releases` are the reports that undo the claim.
    pub fn new(service: &Service, releases: Vec<(RunId, Report)>) -> Self {
        Self { service: service.clone(), releases }
    }

    /// Returns the response with the receipt.
    pub fn attach(self, mut response: Response) -> Response {
        // The mapped body does not know its size.
        if let Some(bytes) = response.body().size_hint().exact() {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        let mut receipt = Some(self);
        let sent = move |frame| {
            receipt.take().into_iter().for_each(Self::sent);
            frame
        };
        response.map(|body| Body::new(body.map_frame(sent)))
    }

    /// Records that the connection has taken the answer.
    fn sent(mut self) {
        self.releases.clear();
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let releases = std::mem::take(&mut self.releases);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if releases.is_empty() {
            return;
        }
        let service = self.service.clone();
        runtime.spawn(async move {
            if let Err(error) = service.settle(&releases).await {
                tracing::warn!(%error, "claimed tasks were not released; their leases expire");
            }
        });
    }
}

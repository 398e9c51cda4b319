//! Parameters of the page: in the URL, urlencoded, or as a multipart form.

use axum::extract::{FromRequest, Request};
use axum::http::header;

use super::responses::ApiError;
use super::{MAX_BODY_BYTES, Params, Result};

/// Returns the parameters of a request. Those of the body take precedence.
pub async fn read(request: Request) -> Result<Params> {
    let params = Params::of(request.uri());
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let of_body = if kind.is_some_and(|kind| kind.starts_with("multipart/form-data")) {
        multipart(request).await?
    } else {
        let body = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await;
        Params::of_form(&body.map_err(|_| ApiError::Request)?)
    };
    Ok(params.with(of_body))
}

#[allow(clippy::disallowed_types, reason = "the rejection is handled here")]
async fn multipart(request: Request) -> Result<Params> {
    let mut form =
        axum::extract::Multipart::from_request(request, &()).await.map_err(|_| ApiError::Request)?;
    let mut params = Params::default();
    while let Some(field) = form.next_field().await.map_err(|_| ApiError::Request)? {
        let Some(name) = field.name().map(str::to_owned) else { continue };
        params.set(name, field.text().await.map_err(|_| ApiError::Request)?);
    }
    Ok(params)
}

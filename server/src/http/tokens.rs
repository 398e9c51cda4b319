//! Routes of access tokens.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use taskcenter_client::resources::{IssuedToken, NewToken, TokenList, TokenResource};

use super::decode::Body;
use super::error::ApiError;
use super::query::Segment;
use super::quota;
use crate::core::Moment;
use crate::core::access::{Grant, InvalidToken, MAX_TAGS, Scope};
use crate::engine::service::{Service, ServiceError, Token};
use crate::wire;

/// Creates an access token. Only this answer contains its secret text.
///
/// A repeated request creates another token.
#[utoipa::path(post, path = "/v1/tokens", operation_id = "issueToken", tag = "tokens",
    request_body = NewToken,
    responses((status = 201, body = IssuedToken, description = "The new token.")))]
pub async fn issue(service: Service, Body(new): Body<NewToken>) -> Result<Response, ApiError> {
    let quota = quota::of_token(&new);
    let (name, grant) = read(new)?;
    let (token, text) = service.issue_token(&name, grant, quota).await?;
    let issued = IssuedToken { about: shown(token, service.now()), token: text };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(issued)).into_response())
}

fn read(new: NewToken) -> Result<(String, Grant), ApiError> {
    let scopes = new.scopes.iter().enumerate().map(|(at, word)| {
        let known = || Scope::ALL.map(Scope::as_str).join(", ");
        let unknown =
            || ApiError::field(format!("scopes[{at}]"), format!("unknown scope: use one of {}", known()));
        Scope::parse(word).ok_or_else(unknown)
    });
    let scopes = scopes.collect::<Result<Vec<Scope>, _>>()?;
    // Before equal tags are merged: the document bounds the list as sent.
    if new.tags.len() > MAX_TAGS {
        return Err(ServiceError::Token(InvalidToken::TooManyTags).into());
    }
    Ok((new.name, Grant::of(scopes, new.tags, new.expires_at.map(wire::moment))))
}

fn shown(token: Token, now: Moment) -> TokenResource {
    TokenResource {
        expired: token.grant.has_expired(now),
        id: token.id,
        name: token.name,
        scopes: token.grant.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        tags: token.grant.tags,
        created_at: wire::timestamp(token.created_at),
        expires_at: token.grant.expires_at.map(wire::timestamp),
        max_live_tasks: token.quota.max_live_tasks,
        max_creates_per_sec: token.quota.max_creates_per_sec,
    }
}

/// Lists the access tokens, without their secret texts.
#[utoipa::path(get, path = "/v1/tokens", operation_id = "listTokens", tag = "tokens",
    responses((status = 200, body = TokenList, description = "All tokens, by id.")))]
pub async fn list(service: Service) -> Result<Json<TokenList>, ApiError> {
    let now = service.now();
    let tokens = service.tokens().await?.into_iter().map(|token| shown(token, now)).collect();
    Ok(Json(TokenList { tokens }))
}

/// Revokes an access token. This node refuses it immediately, the other nodes within two seconds.
#[utoipa::path(delete, path = "/v1/tokens/{token_id}", operation_id = "revokeToken", tag = "tokens",
    params(("token_id" = String, Path, description = "Id of the token.")),
    responses(
        (status = 200, body = TokenResource, description = "The revoked token."),
        (status = 404, description = "`not_found`: the token does not exist."),
    ))]
pub async fn revoke(service: Service, Segment(id): Segment) -> Result<Json<TokenResource>, ApiError> {
    Ok(Json(shown(service.revoke_token(&id).await?, service.now())))
}

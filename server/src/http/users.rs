//! Routes of the users of the console and of the legacy APIs.

use axum::Json;
use taskcenter_client::resources::{UserList, UserResource, UserSpec};

use super::decode::Body;
use super::error::ApiError;
use super::query::Segment;
use crate::core::user::{ExpiryChange, MAX_NAME_BYTES, RoleChange, Target, UserChange};
use crate::engine::service::{Service, ServiceError, User};
use crate::wire;

/// Creates a user, or changes the user with this name.
///
/// A change keeps what the request omits. Another password ends the sessions of the user. The first role of a user
/// needs a password.
#[utoipa::path(post, path = "/v1/users", operation_id = "setUser", tag = "users",
    request_body = UserSpec,
    responses((status = 200, body = UserResource, description = "The stored user.")))]
pub async fn set(service: Service, Body(spec): Body<UserSpec>) -> Result<Json<UserResource>, ApiError> {
    Ok(Json(view(service.set_user(&change(spec)?).await?)))
}

fn change(spec: UserSpec) -> Result<UserChange, ApiError> {
    let role = spec.role.as_deref().map(RoleChange::parse).transpose().map_err(ServiceError::User)?;
    let UserSpec { name, password, senior, tags, expires_at, .. } = spec;
    let expires_at =
        expires_at.map(|at| at.map_or(ExpiryChange::Never, |at| ExpiryChange::At(wire::moment(at))));
    Ok(UserChange { name, target: Target::Any, password, senior, role, tags, expires_at })
}

/// Lists the users, by name.
#[utoipa::path(get, path = "/v1/users", operation_id = "listUsers", tag = "users",
    responses((status = 200, body = UserList, description = "All users.")))]
pub async fn list(service: Service) -> Result<Json<UserList>, ApiError> {
    let users = service.users().await?.into_iter().map(view).collect();
    Ok(Json(UserList { users }))
}

/// Deletes a user and ends the sessions of the user.
#[utoipa::path(delete, path = "/v1/users/{name}", operation_id = "deleteUser", tag = "users",
    params(("name" = String, Path, description = "Login name of the user.")),
    responses(
        (status = 200, body = UserResource, description = "The deleted user."),
        (status = 404, description = "`not_found`: the user does not exist."),
    ))]
pub async fn delete(service: Service, Segment(name): Segment) -> Result<Json<UserResource>, ApiError> {
    if name.len() > MAX_NAME_BYTES {
        return Err(ApiError::not_found());
    }
    Ok(Json(view(service.remove_user(&name).await?)))
}

fn view(user: User) -> UserResource {
    let (role, tags) = user.console.map(|console| (console.role, console.tags)).unzip();
    UserResource {
        name: user.name,
        senior: user.senior,
        role: role.map(|role| role.as_str().to_owned()),
        tags: tags.unwrap_or_default(),
        expires_at: user.expires_at.map(wire::timestamp),
    }
}

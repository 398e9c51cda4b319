//! Routes of the users of the legacy APIs.

use axum::Json;
use taskcenter_client::resources::{UserList, UserResource, UserSpec};

use super::decode::Body;
use super::error::ApiError;
use super::query::Segment;
use crate::engine::service::{Service, User};

/// Maximum length of a name, in bytes.
const MAX_NAME_BYTES: usize = 128;
const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 6..=1_024;

/// Creates a user, or replaces `password` and `senior` of the user with this name.
///
/// A replacement ends the sessions of the user.
#[utoipa::path(post, path = "/v1/users", operation_id = "setUser", tag = "users",
    request_body = UserSpec,
    responses((status = 200, body = UserResource, description = "The stored user.")))]
pub async fn set(service: Service, Body(spec): Body<UserSpec>) -> Result<Json<UserResource>, ApiError> {
    check(&spec)?;
    let user = User { name: spec.name, senior: spec.senior };
    service.set_user(&user, &spec.password).await?;
    Ok(Json(view(user)))
}

fn check(spec: &UserSpec) -> Result<(), ApiError> {
    let name = &spec.name;
    let fits = (1..=MAX_NAME_BYTES).contains(&name.len()) && name.trim() == name;
    if !fits || name.chars().any(char::is_control) {
        let why = format!(
            "name should have between 1 and {MAX_NAME_BYTES} bytes, without control characters and without white space at either end"
        );
        return Err(ApiError::field("name", why));
    }
    if !PASSWORD_BYTES.contains(&spec.password.len()) {
        let (least, most) = (PASSWORD_BYTES.start(), PASSWORD_BYTES.end());
        return Err(ApiError::field(
            "password",
            format!("password should have between {least} and {most} bytes"),
        ));
    }
    Ok(())
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
    UserResource { name: user.name, senior: user.senior }
}

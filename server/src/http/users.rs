//! Routes of the users of the console and of the legacy APIs.

use axum::Json;
use taskcenter_client::resources::{UserList, UserResource, UserSpec};

use super::decode::Body;
use super::error::ApiError;
use super::query::Segment;
use crate::core::access::{ConsoleAccess, Role};
use crate::engine::service::{Service, User};

/// Maximum length of a name, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// Length of a password, in bytes. Legacy APIs have shorter ones than the console
/// (NIST SP 800-63B, 5.1.1.2: at least 8).
const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 6..=1_024;
const MIN_PASSWORD_BYTES_IN_CONSOLE: usize = 8;

/// Creates a user, or replaces the user with this name.
///
/// A replacement ends the sessions of the user.
#[utoipa::path(post, path = "/v1/users", operation_id = "setUser", tag = "users",
    request_body = UserSpec,
    responses((status = 200, body = UserResource, description = "The stored user.")))]
pub async fn set(service: Service, Body(spec): Body<UserSpec>) -> Result<Json<UserResource>, ApiError> {
    check(&spec)?;
    let console = console_access(&spec)?;
    let user = User { name: spec.name, senior: spec.senior, console };
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
    let least = if spec.role.is_some() { MIN_PASSWORD_BYTES_IN_CONSOLE } else { *PASSWORD_BYTES.start() };
    let most = *PASSWORD_BYTES.end();
    if !(least..=most).contains(&spec.password.len()) {
        return Err(ApiError::field(
            "password",
            format!("password should have between {least} and {most} bytes"),
        ));
    }
    Ok(())
}

fn console_access(spec: &UserSpec) -> Result<Option<ConsoleAccess>, ApiError> {
    let Some(role) = &spec.role else {
        let unused = "tags limit a role: set role, or omit tags";
        return if spec.tags.is_empty() { Ok(None) } else { Err(ApiError::field("tags", unused)) };
    };
    let known = Role::parse(role);
    let role = known.ok_or_else(|| ApiError::field("role", "role should be viewer, operator or admin"))?;
    Ok(Some(ConsoleAccess { role, tags: spec.tags.clone() }))
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
    }
}

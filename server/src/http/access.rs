//! Access control: the access that each route requires, and the admission of requests.
//!
//! The middleware runs before every handler, including those of the legacy APIs. A route without an
//! entry in the table requires an unlimited token with the scope `task:write`.

use std::net::IpAddr;

use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::PathItem;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

use super::Context;
use super::cross_origin::CrossOrigin;
use super::error::ApiError;
use super::gate::{Gate, bearer_token, origin_of};
use super::origin::check_host;
use super::request_info::{CallerId, Peer, RequestId};
use super::session_routes::SessionRequest;
use crate::core::access::Scope;
use crate::engine::service::{Caller, Front, Origin, Service};

use Access::{AnyToken, Public, UnlimitedToken};
use Scope::{Admin, RunPull, TaskRead, TaskWrite};

/// Access that a route requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// No token.
    Public,
    /// A token with this scope, limited to tags or not. The commands apply the limits.
    AnyToken(Scope),
    /// A token with this scope that is not limited to tags, because the route is not about single
    /// tags.
    UnlimitedToken(Scope),
}

/// Required access of all routes: method, path, access.
const ROUTES: &[(&str, &str, Access)] = &[
    ("GET", "/livez", Public),
    ("GET", "/readyz", Public),
    ("GET", "/metrics", UnlimitedToken(TaskRead)),
    ("GET", "/docs", AnyToken(TaskRead)),
    ("GET", "/docs/", AnyToken(TaskRead)),
    ("GET", "/docs/{*file}", AnyToken(TaskRead)),
    ("GET", "/v1/openapi.json", AnyToken(TaskRead)),
    ("POST", "/v1/tasks", AnyToken(TaskWrite)),
    ("GET", "/v1/tasks", AnyToken(TaskRead)),
    ("GET", "/v1/tasks/{task_id}", AnyToken(TaskRead)),
    ("PATCH", "/v1/tasks/{task_id}", AnyToken(TaskWrite)),
    ("DELETE", "/v1/tasks/{task_id}", AnyToken(TaskWrite)),
    ("POST", "/v1/tasks/{task_id}/pause", AnyToken(TaskWrite)),
    ("POST", "/v1/tasks/{task_id}/resume", AnyToken(TaskWrite)),
    ("PATCH", "/v1/tasks", AnyToken(TaskWrite)),
    ("POST", "/v1/tasks/cancel", AnyToken(TaskWrite)),
    ("POST", "/v1/tasks/{task_id}/cancel", AnyToken(TaskWrite)),
    ("POST", "/v1/tasks/{task_id}/trigger", AnyToken(TaskWrite)),
    ("POST", "/v1/tasks/{task_id}/backfill", AnyToken(TaskWrite)),
    ("GET", "/v1/tasks/{task_id}/revisions", AnyToken(TaskRead)),
    ("GET", "/v1/tasks/{task_id}/revisions/{rev}", AnyToken(TaskRead)),
    ("GET", "/v1/runs", AnyToken(TaskRead)),
    ("GET", "/v1/runs/{run_id}", AnyToken(TaskRead)),
    ("POST", "/v1/runs/{run_id}/retry", AnyToken(TaskWrite)),
    ("POST", "/v1/runs/{run_id}/cancel", AnyToken(TaskWrite)),
    ("POST", "/v1/runs/{run_id}/confirm", AnyToken(TaskWrite)),
    ("POST", "/v1/runs/{run_id}/report", AnyToken(RunPull)),
    ("POST", "/v1/runs/{run_id}/log", AnyToken(RunPull)),
    ("GET", "/v1/runs/{run_id}/log", AnyToken(TaskRead)),
    ("POST", "/v1/runs/lease", AnyToken(RunPull)),
    ("POST", "/v1/runs/renew", AnyToken(RunPull)),
    ("POST", "/v1/runs/settle", AnyToken(RunPull)),
    ("POST", "/v1/operations", AnyToken(TaskWrite)),
    ("GET", "/v1/operations", AnyToken(TaskRead)),
    ("GET", "/v1/operations/{operation_id}", AnyToken(TaskRead)),
    ("POST", "/v1/operations/{operation_id}/abort", AnyToken(TaskWrite)),
    ("POST", "/v1/operations/{operation_id}/continue", AnyToken(TaskWrite)),
    ("GET", "/v1/queues", AnyToken(TaskRead)),
    ("GET", "/v1/queues/{queue}", AnyToken(TaskRead)),
    ("POST", "/v1/holds", UnlimitedToken(TaskWrite)),
    ("GET", "/v1/holds", AnyToken(TaskRead)),
    ("DELETE", "/v1/holds/{scope}/{name}", UnlimitedToken(TaskWrite)),
    ("GET", "/v1/workers", AnyToken(TaskRead)),
    ("GET", "/v1/nodes", UnlimitedToken(TaskRead)),
    ("GET", "/v1/stat", AnyToken(TaskRead)),
    ("GET", "/v1/events", AnyToken(TaskRead)),
    ("GET", "/v1/schedule/next", AnyToken(TaskRead)),
    ("POST", "/v1/schedule/next", AnyToken(TaskRead)),
    ("GET", "/v1/schedule/absence", AnyToken(TaskRead)),
    ("POST", "/v1/calendars", UnlimitedToken(TaskWrite)),
    ("GET", "/v1/calendars", AnyToken(TaskRead)),
    ("GET", "/v1/calendars/{name}", AnyToken(TaskRead)),
    ("DELETE", "/v1/calendars/{name}", UnlimitedToken(TaskWrite)),
    ("POST", "/v1/services", UnlimitedToken(Admin)),
    ("GET", "/v1/services", UnlimitedToken(TaskRead)),
    ("GET", "/v1/services/{name}", UnlimitedToken(TaskRead)),
    ("DELETE", "/v1/services/{name}", UnlimitedToken(Admin)),
    ("POST", "/v1/users", UnlimitedToken(Admin)),
    ("GET", "/v1/users", UnlimitedToken(Admin)),
    ("DELETE", "/v1/users/{name}", UnlimitedToken(Admin)),
    ("POST", "/v1/tokens", UnlimitedToken(Admin)),
    ("GET", "/v1/tokens", UnlimitedToken(Admin)),
    ("DELETE", "/v1/tokens/{token_id}", UnlimitedToken(Admin)),
    ("GET", "/v1/audit", UnlimitedToken(Admin)),
    ("GET", "/v1/alerts", AnyToken(TaskRead)),
    ("POST", "/v1/alerts/silences", UnlimitedToken(TaskWrite)),
    ("DELETE", "/v1/alerts/silences/{silence_id}", UnlimitedToken(TaskWrite)),
    ("POST", "/v1/alerts/channels/{name}/test", UnlimitedToken(TaskWrite)),
    ("POST", "/v1/api/task", AnyToken(TaskWrite)),
    ("POST", "/v1/api/delete-task", AnyToken(TaskWrite)),
    ("POST", "/v1/api/delete-task-by-name", AnyToken(TaskWrite)),
    ("GET", "/v1/api/query-task-by-id", AnyToken(TaskRead)),
    ("GET", "/v1/api/query-task-by-name", AnyToken(TaskRead)),
    ("GET", "/v1/api/task/stat", AnyToken(TaskRead)),
    ("POST", "/api/v1/task", AnyToken(TaskWrite)),
    ("POST", "/api/v1/delete-task", AnyToken(TaskWrite)),
    ("POST", "/api/v1/delete-task-by-name", AnyToken(TaskWrite)),
    ("GET", "/api/v1/query-task-by-id", AnyToken(TaskRead)),
    ("GET", "/api/v1/query-task-by-name", AnyToken(TaskRead)),
    ("GET", "/api/v1/task/stat", AnyToken(TaskRead)),
];

fn required_access(method: &Method, route: &str) -> Access {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let row = ROUTES.iter().find(|(of, path, _)| (*of, *path) == (method, route));
    row.map_or(UnlimitedToken(TaskWrite), |(_, _, access)| *access)
}

/// Extracts the commands with the rights of the caller of the request.
impl<S: Send + Sync> FromRequestParts<S> for Service {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let unbound = || ApiError::Internal("the request has no caller".to_owned());
        parts.extensions.get::<Self>().cloned().ok_or_else(unbound)
    }
}

/// Admits a request and binds the commands to its caller, or refuses the request.
pub async fn admit<F>(context: &Context, request: Request, next: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    if let Err(error) = check_host(&request) {
        return error.into_response();
    }
    let session =
        SessionRequest::of(context.sessions.as_ref(), &context.gate, &context.cross_origin, &request);
    if let Some(session) = session {
        return admit_to_pages(context, session, request, next).await;
    }
    let admission = AdmissionRequest::of(&request, &context.gate, &context.cross_origin);
    match admission.decide(&context.gate).await {
        Ok(caller) => run_as(context, caller, request, next).await,
        Err((caller, error)) => {
            audit_refusal(&caller.id, &request, &error);
            let (caller_id, route) = (CallerId(caller.id.clone()), route_of(&request));
            if let Some(missing) = error.missing_right() {
                let denied = context.gate.commands().for_caller(caller);
                denied.store_denial(&route, &format!("requires {missing}")).await;
            }
            let mut response = error.into_response();
            response.extensions_mut().insert(caller_id);
            response
        }
    }
}

/// Admits a request of a browser, or answers with a page that says why not.
async fn admit_to_pages<F>(
    context: &Context,
    session: SessionRequest,
    mut request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    if let Some(answer) = session.reopened(&request) {
        return answer;
    }
    let (refuse, anonymous) = (session.refuse(), session.anonymous());
    match session.decide(&context.gate).await {
        Ok(caller) => run_as(context, caller, request, next).await,
        Err(denied) => {
            request.extensions_mut().insert(context.gate.commands().for_caller(anonymous));
            refuse(request, denied).await
        }
    }
}

/// Runs the handler with commands that are bound to the caller.
async fn run_as<F>(
    context: &Context,
    caller: Caller,
    mut request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let caller_id = CallerId(caller.id.clone());
    request.extensions_mut().insert(context.gate.commands().for_caller(caller));
    let mut response = next(request).await;
    response.extensions_mut().insert(caller_id);
    response
}

/// Values of a request that decide about its admission.
struct AdmissionRequest {
    access: Access,
    origin: Origin,
    front: Front,
    token: Result<Option<String>, ApiError>,
    request_id: String,
    address: Option<IpAddr>,
}

impl AdmissionRequest {
    fn of(request: &Request, gate: &Gate, cross_origin: &CrossOrigin) -> Self {
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        Self {
            access: required_access(request.method(), route),
            origin: origin_of(gate, cross_origin, request),
            front: front_of(route),
            token: bearer_token(request.headers()).map(|token| token.map(str::to_owned)),
            request_id: request.extensions().get::<RequestId>().cloned().unwrap_or_default().0,
            address: request.extensions().get::<Peer>().map(|Peer(address)| *address),
        }
    }

    /// Returns the caller. An error has the caller, if known.
    async fn decide(self, gate: &Gate) -> Result<Caller, (Caller, ApiError)> {
        if self.access == Public {
            return Ok(Caller::anonymous());
        }
        let unknown = |error| (Caller::anonymous(), error);
        let token = self.token.map_err(unknown)?;
        let admitted = gate.commands().admit(token.as_deref(), self.origin).await;
        let caller = admitted.map_err(|denied| unknown(ApiError::Unauthorized(denied)))?;
        let caller =
            Caller { request_id: self.request_id, address: self.address, front: self.front, ..caller };
        match missing_right(&caller, self.access) {
            Some(missing) => Err((caller, ApiError::Forbidden(missing))),
            None => Ok(caller),
        }
    }
}

/// Returns method and route of a request. The path itself may be long.
fn route_of(request: &Request) -> String {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    format!("{} {route}", request.method())
}

/// Returns the API of a route.
fn front_of(route: &str) -> Front {
    let is_resource = route.starts_with("/v1/") && !route.starts_with("/v1/api/");
    if is_resource { Front::Api } else { Front::Legacy }
}

/// Returns the kind of token that the caller needs instead of its own. `None`: its rights are
/// sufficient.
fn missing_right(caller: &Caller, access: Access) -> Option<&'static str> {
    match access {
        AnyToken(scope) | UnlimitedToken(scope) if !caller.grant.allows(scope) => Some(match scope {
            TaskRead => "a token with the scope task:read",
            TaskWrite => "a token with the scope task:write",
            RunPull => "a token with the scope run:pull",
            Admin => "a token with the scope admin",
        }),
        UnlimitedToken(_) if caller.grant.is_limited() => Some("a token that is not limited to tags"),
        Public | AnyToken(_) | UnlimitedToken(_) => None,
    }
}

/// Writes a refused request to the audit log.
fn audit_refusal(caller_id: &str, request: &Request, error: &ApiError) {
    let outcome = match error {
        ApiError::Unauthorized(denied) => denied.to_string(),
        ApiError::Forbidden(missing) => format!("requires {missing}"),
        _ => "refused".to_owned(),
    };
    let (parts, peer) = (request.extensions(), request.extensions().get::<Peer>());
    tracing::warn!(
        target: "audit",
        caller = caller_id,
        peer = peer.map(|Peer(ip)| ip.to_string()),
        request_id = parts.get::<RequestId>().map(|id| id.0.as_str()),
        method = %request.method(),
        path = request.uri().path(),
        outcome,
        "access refused"
    );
}

const SCHEME: &str = "token";

/// Adds the required scopes of the operations to the OpenAPI document.
pub fn describe(document: &mut utoipa::openapi::OpenApi) {
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "Access token. Not required for calls that come directly from the machine of the server or from a \
             network in `access.trusted`, unless `access.required` is `\"always\"`.",
    ));
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme.build()));
    for (path, item) in &mut document.paths.paths {
        describe_path(path, item);
    }
}

fn describe_path(path: &str, item: &mut PathItem) {
    let operations = [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ];
    for (method, operation) in operations {
        let Some(operation) = operation else { continue };
        if let AnyToken(scope) | UnlimitedToken(scope) = required_access(&method, path) {
            // The empty requirement: some callers need no token.
            let no_token = SecurityRequirement::default();
            let token = SecurityRequirement::new(SCHEME, [scope.as_str()]);
            operation.security = Some(vec![no_token, token]);
        }
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;

//! Access: what each route requires, and who sends a request.
//!
//! The check runs before every handler, also before those of legacy APIs. A route that the table does not
//! name requires `task:write` without limits.

use std::net::IpAddr;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::PathItem;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

use super::Context;
use super::error::ApiError;
use super::extensions::{CallerId, Peer, RequestId};
use crate::core::Moment;
use crate::core::access::Scope;
use crate::engine::service::{Caller, Denied, Origin, Service};

use Need::{Limited, Nothing, Whole};
use Scope::{Admin, RunPull, TaskRead, TaskWrite};

/// What a route requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing: every caller may use the route.
    Nothing,
    /// This scope. The commands apply the caller's limits.
    Limited(Scope),
    /// This scope and a caller without limits, because the effect or the answer of the route cannot be
    /// divided by tag.
    Whole(Scope),
}

/// What each route requires.
const NEEDS: &[(&str, &str, Need)] = &[
    ("GET", "/livez", Nothing),
    ("GET", "/readyz", Nothing),
    ("GET", "/metrics", Whole(TaskRead)),
    ("GET", "/docs", Limited(TaskRead)),
    ("GET", "/docs/", Limited(TaskRead)),
    ("GET", "/docs/{*file}", Limited(TaskRead)),
    ("GET", "/v1/openapi.json", Limited(TaskRead)),
    ("POST", "/v1/tasks", Limited(TaskWrite)),
    ("GET", "/v1/tasks", Limited(TaskRead)),
    ("GET", "/v1/tasks/{task_id}", Limited(TaskRead)),
    ("PATCH", "/v1/tasks/{task_id}", Limited(TaskWrite)),
    ("DELETE", "/v1/tasks/{task_id}", Limited(TaskWrite)),
    ("POST", "/v1/tasks/{task_id}/pause", Limited(TaskWrite)),
    ("POST", "/v1/tasks/{task_id}/resume", Limited(TaskWrite)),
    ("POST", "/v1/tasks/{task_id}/cancel", Limited(TaskWrite)),
    ("POST", "/v1/tasks/{task_id}/trigger", Limited(TaskWrite)),
    ("GET", "/v1/runs", Limited(TaskRead)),
    ("GET", "/v1/runs/{run_id}", Limited(TaskRead)),
    ("POST", "/v1/runs/{run_id}/retry", Limited(TaskWrite)),
    ("POST", "/v1/runs/{run_id}/cancel", Limited(TaskWrite)),
    ("POST", "/v1/runs/{run_id}/confirm", Limited(TaskWrite)),
    ("POST", "/v1/runs/{run_id}/report", Limited(RunPull)),
    ("POST", "/v1/runs/lease", Limited(RunPull)),
    ("POST", "/v1/runs/renew", Limited(RunPull)),
    ("POST", "/v1/runs/settle", Limited(RunPull)),
    ("GET", "/v1/queues", Limited(TaskRead)),
    ("GET", "/v1/queues/{queue}", Limited(TaskRead)),
    ("GET", "/v1/stat", Limited(TaskRead)),
    ("GET", "/v1/schedule/next", Limited(TaskRead)),
    ("POST", "/v1/services", Whole(Admin)),
    ("GET", "/v1/services", Whole(TaskRead)),
    ("GET", "/v1/services/{name}", Whole(TaskRead)),
    ("DELETE", "/v1/services/{name}", Whole(Admin)),
    ("POST", "/v1/users", Whole(Admin)),
    ("GET", "/v1/users", Whole(Admin)),
    ("DELETE", "/v1/users/{name}", Whole(Admin)),
    ("POST", "/v1/tokens", Whole(Admin)),
    ("GET", "/v1/tokens", Whole(Admin)),
    ("DELETE", "/v1/tokens/{token_id}", Whole(Admin)),
    ("POST", "/v1/api/task", Limited(TaskWrite)),
    ("POST", "/v1/api/delete-task", Limited(TaskWrite)),
    ("POST", "/v1/api/delete-task-by-name", Limited(TaskWrite)),
    ("GET", "/v1/api/query-task-by-id", Limited(TaskRead)),
    ("GET", "/v1/api/query-task-by-name", Limited(TaskRead)),
    ("GET", "/v1/api/task/stat", Limited(TaskRead)),
    ("POST", "/api/v1/task", Limited(TaskWrite)),
    ("POST", "/api/v1/delete-task", Limited(TaskWrite)),
    ("POST", "/api/v1/delete-task-by-name", Limited(TaskWrite)),
    ("GET", "/api/v1/query-task-by-id", Limited(TaskRead)),
    ("GET", "/api/v1/query-task-by-name", Limited(TaskRead)),
    ("GET", "/api/v1/task/stat", Limited(TaskRead)),
];

fn need(method: &Method, route: &str) -> Need {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let row = NEEDS.iter().find(|(of, path, _)| (*of, *path) == (method, route));
    row.map_or(Whole(TaskWrite), |(_, _, need)| *need)
}

/// Headers that reverse proxies add when they forward a request.
const FORWARDED: [HeaderName; 4] = [
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
    header::VIA,
];

/// Routes of the claim board, whose page may be on another host. They accept browsers of a trusted network
/// with any page. They accept a browser on this machine with a page of this server only.
const FOR_ANY_PAGE: [&str; 2] = ["/rget/task", "/rpost/task"];

/// The commands without a caller: admits requests and reads the clock. Handlers cannot get commands from
/// it; they take a [`Service`] that is bound to the request's caller.
#[derive(Clone)]
pub struct Gate(Service);

impl Gate {
    pub fn new(service: &Service) -> Self {
        Self(service.for_caller(Caller::nobody()))
    }

    pub fn now(&self) -> Moment {
        self.0.now()
    }
}

/// The commands with the rights of the request's caller.
impl<S: Send + Sync> FromRequestParts<S> for Service {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let unbound = || ApiError::Internal("the request has no caller".to_owned());
        parts.extensions.get::<Self>().cloned().ok_or_else(unbound)
    }
}

/// Admits a request and binds the commands to its caller, or refuses the request.
pub async fn admit(State(context): State<Context>, mut request: Request, next: Next) -> Response {
    let admission = AdmissionRequest::of(&request);
    match admission.admit(&context.gate).await {
        Ok(caller) => {
            let caller_id = CallerId(caller.id.clone());
            request.extensions_mut().insert(context.gate.0.for_caller(caller));
            let mut response = next.run(request).await;
            response.extensions_mut().insert(caller_id);
            response
        }
        Err((caller_id, error)) => {
            audit_refusal(&caller_id, &request, &error);
            let mut response = error.into_response();
            response.extensions_mut().insert(CallerId(caller_id));
            response
        }
    }
}

/// The parts of a request that decide on its admission.
struct AdmissionRequest {
    need: Need,
    /// The address of the caller, if the request comes directly from it.
    address: Option<IpAddr>,
    /// The address of a browser that shows any page, on a route that allows this.
    browser: Option<IpAddr>,
    token: Result<Option<String>, ApiError>,
    request_id: String,
}

impl AdmissionRequest {
    fn of(request: &Request) -> Self {
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        Self {
            need: need(request.method(), route),
            address: caller_address(request),
            browser: direct_peer(request).filter(|_| FOR_ANY_PAGE.contains(&route)),
            token: bearer(request.headers()).map(|token| token.map(str::to_owned)),
            request_id: request.extensions().get::<RequestId>().cloned().unwrap_or_default().0,
        }
    }

    /// Returns the caller, or the caller's id, if known, with the refusal.
    async fn admit(self, gate: &Gate) -> Result<Caller, (String, ApiError)> {
        if self.need == Nothing {
            return Ok(Caller::nobody());
        }
        let unknown = |error| (String::new(), error);
        let token = self.token.map_err(unknown)?;
        let service = &gate.0;
        let is_trusted = |address: &IpAddr| service.origin(*address) == Origin::Trusted;
        let address = self.address.or_else(|| self.browser.filter(is_trusted));
        let origin = address.map_or(Origin::Elsewhere, |address| service.origin(address));
        let admitted = service.admit(token.as_deref(), origin).await;
        let caller = admitted.map_err(|denied| unknown(ApiError::Unauthorized(denied)))?;
        match missing_right(&caller, self.need) {
            Some(missing) => Err((caller.id, ApiError::Forbidden(missing))),
            None => Ok(Caller { request_id: self.request_id, ..caller }),
        }
    }
}

/// Returns the right that the route requires and the caller lacks.
fn missing_right(caller: &Caller, need: Need) -> Option<&'static str> {
    match need {
        Limited(scope) | Whole(scope) if !caller.grant.allows(scope) => Some(match scope {
            TaskRead => "the scope task:read",
            TaskWrite => "the scope task:write",
            RunPull => "the scope run:pull",
            Admin => "the scope admin",
        }),
        Whole(_) if caller.grant.is_limited() => Some("a token that is not limited to tags"),
        Nothing | Limited(_) | Whole(_) => None,
    }
}

/// Returns the token of a request.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let token = token.map(|(_, token)| token.trim()).filter(|token| !token.is_empty());
    token.map(Some).ok_or(ApiError::Unauthorized(Denied::Unknown))
}

/// Returns the address of the caller. `None` if the request may come from another caller: through a proxy,
/// or from a page of another site in a browser.
fn caller_address(request: &Request) -> Option<IpAddr> {
    let headers = request.headers();
    let host = text(headers, &header::HOST).unwrap_or_default();
    direct_peer(request).filter(|_| !is_from_another_site(headers, host))
}

/// Returns the peer's address if no proxy is in between. All callers behind a proxy on this machine have
/// its loopback address.
fn direct_peer(request: &Request) -> Option<IpAddr> {
    let Peer(address) = request.extensions().get::<Peer>()?;
    let (address, headers) = (address.to_canonical(), request.headers());
    let is_forwarded = FORWARDED.iter().any(|name| headers.contains_key(name));
    let host = text(headers, &header::HOST).unwrap_or_default();
    // DNS rebinding: a page whose own name points to this machine sends that name. Such names are in the
    // public DNS, so they contain a dot.
    let is_rebound = address.is_loopback() && is_public(host);
    (!is_forwarded && !is_rebound).then_some(address)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("."))
}

/// Returns whether a page of another site sends the request. Browsers then send its `Origin`.
fn is_from_another_site(headers: &HeaderMap, host: &str) -> bool {
    let is_same_site = |origin: &str| origin.split_once("://").is_some_and(|(_, of)| of == host);
    text(headers, &header::ORIGIN).is_some_and(|origin| !is_same_site(origin))
}

fn is_public(host: &str) -> bool {
    let name = format!("http://{host}").parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    let name = name.unwrap_or_else(|| host.to_owned());
    let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match ip {
        Ok(ip) => !ip.to_canonical().is_loopback(),
        Err(_) => name.trim_end_matches('.').contains('.') && !name.ends_with(".localhost"),
    }
}

/// Writes a refused request into the audit log.
fn audit_refusal(caller_id: &str, request: &Request, error: &ApiError) {
    let outcome = match error {
        ApiError::Unauthorized(denied) => denied.to_string(),
        ApiError::Forbidden(missing) => format!("lacks {missing}"),
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

/// Adds to the document what each operation requires.
pub fn describe(document: &mut utoipa::openapi::OpenApi) {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("Required unless the request comes directly from the server's machine."));
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
        if let Limited(scope) | Whole(scope) = need(&method, path) {
            operation.security = Some(vec![SecurityRequirement::new(SCHEME, [scope.as_str()])]);
        }
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;

//! Who gets in, and what each route takes. It stands before every handler, those of mounted fronts included: a route that the table
//! does not name takes a token for writing, without limits.

use std::net::IpAddr;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::PathItem;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

use super::Context;
use super::error::ApiError;
use super::layers::RequestId;
use crate::core::Moment;
use crate::core::access::Scope;
use crate::engine::service::{Caller, Denied, Origin, Service};

use Need::{Limited, Nothing, Whole};
use Scope::{Admin, RunPull, TaskRead, TaskWrite};

/// What a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing: anybody may ask.
    Nothing,
    /// This scope; the commands see to the limits of its bearer.
    Limited(Scope),
    /// This scope, and no limits: what the route does or tells cannot be taken apart by tags.
    Whole(Scope),
}

/// The one table of what the routes take.
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

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// Who asked, kept with the answer for the log.
#[derive(Debug, Clone)]
pub struct Who(pub String);

/// What the reverse proxies add that forward for others.
const FORWARDED: [HeaderName; 4] = [
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
    header::VIA,
];

/// The routes of the board's page, which may stand on another host. Browsers of a trusted network are believed there whatever page they show;
/// a browser of this machine is not, for nobody has said that it may.
const OF_ANY_PAGE: [&str; 2] = ["/rget/task", "/rpost/task"];

/// The commands without a caller: admits requests and reads the clock. Handlers cannot take commands
/// from it; they take a [`Service`] that is bound to the request's caller.
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

/// Admits a request and binds the commands to its caller, or refuses it.
pub async fn admit(State(context): State<Context>, mut request: Request, next: Next) -> Response {
    let knock = Knock::of(&request);
    match knock.admitted(&context.gate).await {
        Ok(caller) => {
            let who = Who(caller.id.clone());
            request.extensions_mut().insert(context.gate.0.for_caller(caller));
            let mut response = next.run(request).await;
            response.extensions_mut().insert(who);
            response
        }
        Err((who, error)) => {
            tell(&who, &request, &error);
            let mut response = error.into_response();
            response.extensions_mut().insert(Who(who));
            response
        }
    }
}

/// What of a request decides whether it gets in.
struct Knock {
    need: Need,
    asker: Option<IpAddr>,
    /// Whose browser shows another's page, where such a page may ask.
    shows: Option<IpAddr>,
    token: Result<Option<String>, ApiError>,
    request_id: String,
}

impl Knock {
    fn of(request: &Request) -> Self {
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        Self {
            need: need(request.method(), route),
            asker: asker(request),
            shows: straight(request).filter(|_| OF_ANY_PAGE.contains(&route)),
            token: bearer(request.headers()).map(|token| token.map(str::to_owned)),
            request_id: request.extensions().get::<RequestId>().cloned().unwrap_or_default().0,
        }
    }

    /// The caller; or who it was, as far as that is known, with what they lack.
    async fn admitted(self, gate: &Gate) -> Result<Caller, (String, ApiError)> {
        if self.need == Nothing {
            // Nobody is asked who they are, and nothing is done on their behalf.
            return Ok(Caller::nobody());
        }
        let nobody = |error| (String::new(), error);
        let token = self.token.map_err(nobody)?;
        let service = &gate.0;
        let is_trusted = |address: &IpAddr| service.origin(*address) == Origin::Trusted;
        let asker = self.asker.or_else(|| self.shows.filter(is_trusted));
        let origin = asker.map_or(Origin::Elsewhere, |address| service.origin(address));
        let admitted = service.admit(token.as_deref(), origin).await;
        let caller = admitted.map_err(|denied| nobody(ApiError::Unauthorized(denied)))?;
        match lack(&caller, self.need) {
            Some(lack) => Err((caller.id, ApiError::Forbidden(lack))),
            None => Ok(Caller { request_id: self.request_id, ..caller }),
        }
    }
}

/// What the caller's token would have to allow and does not.
fn lack(caller: &Caller, need: Need) -> Option<&'static str> {
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

/// The token of a request.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let token = token.map(|(_, token)| token.trim()).filter(|token| !token.is_empty());
    token.map(Some).ok_or(ApiError::Unauthorized(Denied::Unknown))
}

/// The address that asks for itself; none where somebody else may be behind it: a browser lends its place to the pages of others.
fn asker(request: &Request) -> Option<IpAddr> {
    let headers = request.headers();
    let host = text(headers, &header::HOST).unwrap_or_default();
    straight(request).filter(|_| !is_of_a_foreign_page(headers, host))
}

/// The address that a request comes straight from. A proxy on a machine makes everybody come from that machine.
fn straight(request: &Request) -> Option<IpAddr> {
    let Peer(address) = request.extensions().get::<Peer>()?;
    let (address, headers) = (address.to_canonical(), request.headers());
    let is_forwarded = FORWARDED.iter().any(|name| headers.contains_key(name));
    let host = text(headers, &header::HOST).unwrap_or_default();
    // A page that had its own name point here, to look like ours, sends that name. Such names are of the public DNS, so they have a dot.
    let is_renamed = address.is_loopback() && is_public(host);
    (!is_forwarded && !is_renamed).then_some(address)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("."))
}

/// A page from elsewhere sends its `Origin`.
fn is_of_a_foreign_page(headers: &HeaderMap, host: &str) -> bool {
    let is_own = |origin: &str| origin.split_once("://").is_some_and(|(_, of)| of == host);
    text(headers, &header::ORIGIN).is_some_and(|origin| !is_own(origin))
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

/// What somebody who does not get in is told.
pub fn how_to_get_in(denied: &Denied) -> &'static str {
    match denied {
        Denied::Missing => {
            "a token is needed, for the call does not come straight from this machine (or one is always demanded): make one with \
             `taskcenter token add NAME --scope ...` and send it as `Authorization: Bearer TOKEN`"
        }
        Denied::Expired => "the token has expired: make another with `taskcenter token add`",
        Denied::Unknown | Denied::Unchecked(_) => {
            "the token is not known: it is mistyped or revoked; `taskcenter token list` shows those that hold"
        }
    }
}

/// The `WWW-Authenticate` of a refusal (RFC 6750).
pub fn challenge(error: &ApiError) -> Option<HeaderValue> {
    let challenge = match error {
        ApiError::Unauthorized(Denied::Missing) => "Bearer realm=\"taskcenter\"",
        ApiError::Unauthorized(Denied::Unknown | Denied::Expired) => {
            "Bearer realm=\"taskcenter\", error=\"invalid_token\""
        }
        ApiError::Forbidden(_) => "Bearer realm=\"taskcenter\", error=\"insufficient_scope\"",
        _ => return None,
    };
    Some(HeaderValue::from_static(challenge))
}

/// A line in the audit log, for who tries doors.
fn tell(who: &str, request: &Request, error: &ApiError) {
    let outcome = match error {
        ApiError::Unauthorized(denied) => denied.to_string(),
        ApiError::Forbidden(lack) => format!("lacks {lack}"),
        _ => "refused".to_owned(),
    };
    let (parts, peer) = (request.extensions(), request.extensions().get::<Peer>());
    tracing::warn!(
        target: "audit",
        caller = who,
        peer = peer.map(|Peer(ip)| ip.to_string()),
        request_id = parts.get::<RequestId>().map(|id| id.0.as_str()),
        method = %request.method(),
        path = request.uri().path(),
        outcome,
        "access refused"
    );
}

const SCHEME: &str = "token";

/// Writes into the document what each operation takes.
pub fn describe(document: &mut utoipa::openapi::OpenApi) {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("Needed where the call does not come straight from the server's own machine."));
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

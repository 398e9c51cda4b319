//! Routes for people with a browser: a session cookie replaces the token, and a refusal is a page.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Method, header};
use axum::response::Response;
use futures_util::future::BoxFuture;

use super::cross_origin::CrossOrigin;
use super::error::ApiError;
use super::gate::{Gate, bearer_token, origin_of};
use super::request_info::{Peer, RequestId};
use crate::engine::service::{Caller, Denied, Front, Origin};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Answers to a request without a valid session or token. The request has commands without rights.
pub type Refuse = Arc<dyn Fn(Request, Denied) -> BoxFuture<'static, Response> + Send + Sync>;

/// Routes whose callers may have a session, and how they answer before a handler runs.
#[derive(Clone)]
pub struct SessionRoutes {
    /// Returns whether a path is one of these routes.
    pub has: fn(&str) -> bool,
    /// Returns whether a path of these routes needs no caller, such as that of a style sheet.
    pub is_public: fn(&str) -> bool,
    /// Name of the cookie with the secret of the session.
    pub cookie: &'static str,
    /// Answer to a caller without a valid session or token.
    pub refuse: Refuse,
    /// Answer to a link on another site: a page that opens the same URL again. A browser sends the cookies
    /// of the session, which are for requests of the same site only, with the second request.
    pub reopen: fn(&Request) -> Response,
}

/// Values of a request that decide about its admission.
pub struct SessionRequest {
    routes: SessionRoutes,
    is_public: bool,
    secret: Option<String>,
    token: Result<Option<String>, Denied>,
    origin: Origin,
    request_id: String,
    address: Option<IpAddr>,
}

impl SessionRequest {
    /// Reads a request. `None`: the path is none of these routes.
    pub fn of(
        routes: Option<&SessionRoutes>,
        gate: &Gate,
        cross_origin: &CrossOrigin,
        request: &Request,
    ) -> Option<Self> {
        let path = request.uri().path();
        let routes = routes.filter(|routes| (routes.has)(path))?;
        let token = bearer_token(request.headers()).map(|token| token.map(str::to_owned));
        Some(Self {
            routes: routes.clone(),
            is_public: (routes.is_public)(path),
            secret: cookie(request.headers(), routes.cookie).map(str::to_owned),
            token: token.map_err(|_: ApiError| Denied::Unknown),
            origin: origin_of(gate, cross_origin, request),
            request_id: request.extensions().get::<RequestId>().cloned().unwrap_or_default().0,
            address: request.extensions().get::<Peer>().map(|Peer(address)| *address),
        })
    }

    /// Returns the answer to a link on another site. `None`: the request is no such link.
    pub fn reopened(&self, request: &Request) -> Option<Response> {
        (!self.is_public && is_link_of_another_site(request)).then(|| (self.routes.reopen)(request))
    }

    /// Returns how these routes refuse a request.
    pub fn refuse(&self) -> Refuse {
        Arc::clone(&self.routes.refuse)
    }

    /// Returns the caller without rights, for public routes and refusals.
    pub fn anonymous(&self) -> Caller {
        self.named(Caller::anonymous())
    }

    fn named(&self, caller: Caller) -> Caller {
        let (request_id, address) = (self.request_id.clone(), self.address);
        Caller { request_id, address, front: Front::Console, ..caller }
    }

    /// Returns the caller: the holder of the session, or else as for the other routes.
    pub async fn decide(mut self, gate: &Gate) -> Result<Caller, Denied> {
        if self.is_public {
            return Ok(self.anonymous());
        }
        let token = std::mem::replace(&mut self.token, Ok(None))?;
        let caller = holder(gate, self.secret.as_deref(), token.as_deref(), self.origin).await?;
        Ok(self.named(caller))
    }
}

async fn holder(
    gate: &Gate,
    secret: Option<&str>,
    token: Option<&str>,
    origin: Origin,
) -> Result<Caller, Denied> {
    if let Some(secret) = secret
        && let Some(caller) = gate.commands().browser_session(secret).await?
    {
        return Ok(caller);
    }
    gate.commands().admit(token, origin).await
}

/// Returns whether a person has followed a link on a page of another site.
fn is_link_of_another_site(request: &Request) -> bool {
    let value = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    request.method() == Method::GET
        && value(SEC_FETCH_MODE) == Some("navigate")
        && matches!(value(SEC_FETCH_SITE), Some("cross-site" | "same-site"))
}

/// Returns the value of a cookie.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

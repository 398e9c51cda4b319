//! HTTP calls of the workers. The address is checked at each connection, redirects and proxies of the
//! environment are not used, and responses are limited in size and time.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, Url};

use super::guard::{Denied, Guard, literal};
use crate::core::net::OUTBOUND_CALL;

/// Time that an idle connection stays open.
const IDLE: Duration = Duration::from_secs(30);

/// Resolves host names.
#[async_trait]
pub trait Lookup: Send + Sync + 'static {
    /// Returns all addresses of a name.
    ///
    /// # Errors
    /// The name cannot be resolved.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Resolves and checks names for the HTTP client, which connects to exactly these addresses.
struct CheckedResolver {
    guard: Arc<Guard>,
    lookup: Arc<dyn Lookup>,
    /// Whether the calls go to a port where this server listens.
    is_own_port: bool,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, lookup) = (Arc::clone(&self.guard), Arc::clone(&self.lookup));
        let check = if self.is_own_port { Guard::check_at_own_port } else { Guard::check };
        Box::pin(async move {
            let found = lookup.lookup(name.as_str()).await?;
            // One denied address refuses the name.
            found.iter().try_for_each(|address| check(&guard, *address))?;
            let addresses = found.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

/// An HTTP call.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    pub url: String,
    pub headers: HeaderMap,
    pub body: String,
    /// Timeout of the whole call.
    pub timeout: Duration,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The body, cut to the maximum size.
    pub body: String,
}

/// Why a call has no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The call is not allowed or invalid. Nothing was sent.
    #[error("{0}")]
    Refused(String),
    /// No connection. Nothing was sent.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// Timeout.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The connection failed during the call.
    #[error("connection failed: {0}")]
    Broken(String),
}

/// The HTTP client of the workers.
#[derive(Clone)]
pub struct Outbound {
    client: Client,
    /// Client for calls to ports where this server listens: a resolver does not know the port.
    own_port_client: Client,
    guard: Arc<Guard>,
    answer_bytes: usize,
}

impl Outbound {
    /// Returns a client that calls only addresses that `guard` allows, and reads at most `answer_bytes` of a
    /// response.
    ///
    /// # Errors
    /// The HTTP client cannot be created.
    pub fn new(guard: Guard, lookup: Arc<dyn Lookup>, answer_bytes: usize) -> reqwest::Result<Self> {
        // Fails if the process has installed the provider before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let guard = Arc::new(guard);
        let resolver =
            |lookup, is_own_port| CheckedResolver { guard: Arc::clone(&guard), lookup, is_own_port };
        let client = build_client(resolver(Arc::clone(&lookup), false))?;
        let own_port_client = build_client(resolver(lookup, true))?;
        Ok(Self { client, own_port_client, guard, answer_bytes })
    }

    /// Makes a call once. A response of any status is `Ok`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn make(&self, call: Call) -> Result<Answer, CallError> {
        let (client, url) = self.checked(&call.url)?;
        let timeout = call.timeout;
        let made = async {
            let request = client.request(call.method, url).headers(call.headers);
            let request = request.header(OUTBOUND_CALL, "1").body(call.body);
            let response = request.send().await.map_err(failed)?;
            let status = response.status().as_u16();
            Ok(Answer { status, body: self.read(response).await? })
        };
        tokio::time::timeout(timeout, made).await.unwrap_or(Err(CallError::TimedOut(timeout)))
    }

    /// Posts a form, and returns the body of a response with status 200.
    ///
    /// # Errors
    /// Why there is no such response, as text.
    pub async fn post_form(&self, url: String, form: &str, timeout: Duration) -> Result<Vec<u8>, String> {
        const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, FORM)]);
        let call = Call { method: Method::POST, url, headers, body: form.to_owned(), timeout };
        match self.make(call).await {
            Ok(answer) if answer.status == 200 => Ok(answer.body.into_bytes()),
            Ok(answer) => Err(format!("answered {}", answer.status)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Parses a URL and checks a literal address, which the client does not resolve. `Url` normalizes every
    /// notation of an address (decimal, octal, short).
    /// Returns the client for the call too.
    fn checked(&self, text: &str) -> Result<(&Client, Url), CallError> {
        let refused = |why: &str| CallError::Refused(why.to_owned());
        let url = Url::parse(text).map_err(|error| CallError::Refused(format!("invalid url: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused("the url must begin with http:// or https://"));
        }
        let host = url.host_str().ok_or_else(|| refused("the url has no host"))?;
        let is_own_port = url.port_or_known_default().is_some_and(|port| self.guard.is_own_port(port));
        let check = if is_own_port { Guard::check_at_own_port } else { Guard::check };
        if let Some(address) = literal(host) {
            check(&self.guard, address).map_err(|denied| CallError::Refused(denied.to_string()))?;
        }
        Ok((if is_own_port { &self.own_port_client } else { &self.client }, url))
    }

    async fn read(&self, mut response: Response) -> Result<String, CallError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            let room = self.answer_bytes - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() >= room {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

fn build_client(resolver: CheckedResolver) -> reqwest::Result<Client> {
    let client = Client::builder().dns_resolver(Arc::new(resolver)).redirect(Policy::none()).no_proxy();
    client.referer(false).pool_idle_timeout(IDLE).build()
}

fn failed(error: reqwest::Error) -> CallError {
    let is_connect = error.is_connect();
    // The URL may hold secrets.
    let error = error.without_url();
    if let Some(denied) = causes(&error).find_map(|cause| cause.downcast_ref::<Denied>()) {
        return CallError::Refused(denied.to_string());
    }
    let last = causes(&error).last().map_or_else(|| error.to_string(), ToString::to_string);
    if is_connect { CallError::Unreachable(last) } else { CallError::Broken(last) }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source())
}

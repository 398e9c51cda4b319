//! HTTP client: builds, sends and repeats requests. The submodules have the calls, one file per
//! resource.

mod alerts;
mod audit;
mod calendars;
mod error;
mod events;
mod holds;
mod labels;
mod legacy;
mod nodes;
mod operations;
mod queues;
mod report_queue;
mod revisions;
mod run_logs;
mod runs;
mod services;
mod tasks;
mod tokens;
mod users;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Method, RequestBuilder, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use report_queue::ReportQueue;

pub use audit::AuditQuery;
pub use error::Error;
pub use events::{EventQuery, EventStream};
pub use legacy::Page;
pub use runs::RunQuery;
pub use tasks::TaskQuery;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_RETRIES: u32 = 4;
const DEFAULT_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Client of the server's HTTP API. Cheap to clone.
///
/// The client repeats requests, with a growing delay ([`TaskCenterBuilder::retries`]):
///
/// - After a failed connection or status 429, the server has not executed the request. Every
///   request is repeated.
/// - After status 503, the server may have executed the request. Idempotent requests are repeated.
/// - After a lost answer, only [`create_task`](Self::create_task),
///   [`create_tasks`](Self::create_tasks) and [`trigger_task`](Self::trigger_task) are repeated:
///   they carry an idempotency key.
#[derive(Debug, Clone)]
pub struct TaskCenter {
    http: Client,
    base: Url,
    retries: u32,
    backoff: Duration,
    reports: Arc<ReportQueue>,
}

/// Builder of a [`TaskCenter`].
///
/// ```
/// use std::time::Duration;
/// use taskcenter_client::TaskCenter;
///
/// let center = TaskCenter::builder("https://tasks.example.org")
///     .token("tc_0_0")
///     .timeout(Duration::from_secs(5))
///     .build()?;
/// # Ok::<(), taskcenter_client::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "call `build`"]
pub struct TaskCenterBuilder {
    address: String,
    token: Option<String>,
    ca_file: Option<PathBuf>,
    timeout: Duration,
    retries: u32,
    backoff: Duration,
}

impl std::fmt::Debug for TaskCenterBuilder {
    /// Omits the token, and the address, which may contain a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "[redacted]");
        f.debug_struct("TaskCenterBuilder")
            .field("token", &token)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

impl TaskCenterBuilder {
    /// Sets the access token, sent with every request. Default: none; the server then accepts calls
    /// only from its own machine and from trusted networks.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets a PEM file with CA certificates that are trusted in addition to those of the system.
    /// Default: none.
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// Sets the time limit of one request, including its answer. Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the maximum number of repetitions of a request (default: 4; 0: none) and the delay
    /// before the first one (default: 100 ms). The delay doubles with each repetition, up to 5 s.
    pub fn retries(mut self, retries: u32, first_delay: Duration) -> Self {
        (self.retries, self.backoff) = (retries, first_delay);
        self
    }

    /// Builds the client. No request is sent.
    ///
    /// # Errors
    /// [`Error::Address`], [`Error::Token`], [`Error::Authority`] or [`Error::Setup`].
    pub fn build(self) -> Result<TaskCenter, Error> {
        // The process needs one crypto provider. An error means that the program has already
        // installed one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = Url::parse(&self.address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let base = base.ok_or(Error::Address(self.address))?;
        let mut http = Client::builder().timeout(self.timeout);
        if let Some(token) = &self.token {
            http = http.default_headers(authorization(token)?);
        }
        if let Some(file) = &self.ca_file {
            http = http.tls_certs_merge(read_ca_file(file)?);
        }
        let http = http.build().map_err(Error::Setup)?;
        Ok(TaskCenter { http, base, retries: self.retries, backoff: self.backoff, reports: Arc::default() })
    }
}

/// Returns the `Authorization` header, marked as sensitive, so that its value is never logged.
fn authorization(token: &str) -> Result<HeaderMap, Error> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Error::Token)?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}

fn read_ca_file(file: &Path) -> Result<Vec<Certificate>, Error> {
    let unusable = |why: String| Error::Authority(file.to_path_buf(), why);
    let text = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
    let found =
        Certificate::from_pem_bundle(&text).map_err(|_| unusable("it is not a PEM file".to_owned()))?;
    if found.is_empty() { Err(unusable("it contains no certificate".to_owned())) } else { Ok(found) }
}

impl TaskCenter {
    /// Creates a client with the default settings for the server at `address`, such as
    /// `http://127.0.0.1:8275`.
    ///
    /// # Errors
    /// [`Error::Address`] or [`Error::Setup`].
    pub fn new(address: impl Into<String>) -> Result<Self, Error> {
        Self::builder(address).build()
    }

    /// Returns a builder of a client for the server at `address`, such as `http://127.0.0.1:8275`.
    pub fn builder(address: impl Into<String>) -> TaskCenterBuilder {
        TaskCenterBuilder {
            address: address.into(),
            token: None,
            ca_file: None,
            timeout: DEFAULT_TIMEOUT,
            retries: DEFAULT_RETRIES,
            backoff: DEFAULT_BACKOFF,
        }
    }

    /// Returns the client without repetitions, for a caller that repeats requests itself.
    pub(crate) fn without_retries(mut self) -> Self {
        self.retries = 0;
        self
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &impl Serialize) -> Result<T, Error> {
        self.send(&self.request(Method::GET, path).query(query)).await?.read()
    }

    /// Like [`get`](Self::get), with `None` for 404.
    async fn find<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &impl Serialize,
    ) -> Result<Option<T>, Error> {
        match self.get(path, query).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, Error> {
        self.send(&self.request(Method::POST, path).json(body)).await?.read()
    }

    /// Sends an idempotent request without a body.
    async fn call<T: DeserializeOwned>(&self, method: Method, path: &[&str]) -> Result<T, Error> {
        self.send(&self.request(method, path)).await?.read()
    }

    /// Sends a request without a body that is not idempotent.
    async fn call_non_idempotent<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
    ) -> Result<T, Error> {
        self.send_non_idempotent(&self.request(method, path)).await?.read()
    }

    /// Builds a request. Path segments are escaped, so that an id cannot select another route.
    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut pieces) = url.path_segments_mut() {
            pieces.pop_if_empty().extend(path);
        }
        self.http.request(method, url)
    }

    /// Sends an idempotent request: a repetition changes nothing and gets the same answer.
    async fn send(&self, request: &RequestBuilder) -> Result<Answer, Error> {
        self.send_while(request, is_transient).await
    }

    /// Sends a request that is not idempotent: it is repeated only if the server has not executed
    /// it.
    async fn send_non_idempotent(&self, request: &RequestBuilder) -> Result<Answer, Error> {
        self.send_while(request, was_not_executed).await
    }

    /// Sends a request with an idempotency key, by which the server recognizes a repetition.
    async fn send_with_key(&self, request: RequestBuilder, key: &str) -> Result<Answer, Error> {
        let repeat = |error: &Error| matches!(error, Error::Unanswered(_)) || is_transient(error);
        self.send_while(&request.header(IDEMPOTENCY_KEY, key), repeat).await
    }

    async fn send_while(
        &self,
        request: &RequestBuilder,
        repeat: impl Fn(&Error) -> bool,
    ) -> Result<Answer, Error> {
        let mut repeated = 0;
        loop {
            let Some(copy) = request.try_clone() else { unreachable!("no request has a streaming body") };
            let error = match execute(copy).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if repeated == self.retries || !repeat(&error) {
                return Err(error);
            }
            tokio::time::sleep(delay(self.backoff, repeated)).await;
            repeated += 1;
        }
    }
}

/// A complete answer with a success status.
struct Answer {
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| Error::Answer(error.to_string()))
    }
}

async fn execute(request: RequestBuilder) -> Result<Answer, Error> {
    let response = request.send().await.map_err(Error::Unanswered)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await;
    if !status.is_success() {
        return Err(error::refused(status, &body.unwrap_or_default()));
    }
    Ok(Answer { headers, body: body.map_err(Error::Unanswered)? })
}

/// Returns whether the error is transient and the server has not executed the request: the
/// connection failed, or the status is 429.
fn was_not_executed(error: &Error) -> bool {
    match error {
        Error::Unanswered(error) => error.is_connect(),
        _ => error.status() == Some(429),
    }
}

/// Returns whether the error is transient. After 503 the server may have executed the request.
fn is_transient(error: &Error) -> bool {
    was_not_executed(error) || error.status() == Some(503)
}

fn delay(first: Duration, repeated: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(repeated)).min(MAX_BACKOFF)
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    #[test]
    fn the_delay_doubles_up_to_its_maximum() {
        let first = Duration::from_millis(100);
        let delays: Vec<_> = [0, 1, 5, 6, 200].map(|repeated| delay(first, repeated).as_millis()).into();
        assert_eq!(delays, [100, 200, 3_200, 5_000, 5_000]);
    }

    #[test]
    fn only_transient_errors_are_repeated() {
        let refused = |status| error::refused(StatusCode::from_u16(status).unwrap(), b"");
        let statuses = [400, 404, 408, 409, 413, 429, 500, 503, 507];
        let repeated =
            |repeat: fn(&Error) -> bool| statuses.into_iter().filter(move |s| repeat(&refused(*s)));
        assert_eq!(repeated(is_transient).collect::<Vec<_>>(), [429, 503]);
        assert_eq!(repeated(was_not_executed).collect::<Vec<_>>(), [429]);
    }

    #[test]
    fn a_token_is_never_shown() {
        let builder = TaskCenter::builder("http://h").token("canary-7f3a");
        let shown = format!("{builder:?}{:?}", builder.clone().build().unwrap());
        assert!(!shown.contains("canary-7f3a") && shown.contains("[redacted]"), "{shown}");
        let refused = TaskCenter::builder("http://h").token("canary-7f3a\n").build().unwrap_err();
        assert!(matches!(refused, Error::Token) && !format!("{refused:?}{refused}").contains("canary"));
    }

    #[test]
    fn an_invalid_ca_file_is_refused() {
        for file in ["no/such.pem", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")] {
            let refused = TaskCenter::builder("https://h").ca_file(file).build().unwrap_err();
            assert!(matches!(&refused, Error::Authority(named, _) if named == Path::new(file)), "{refused}");
        }
    }

    #[test]
    fn an_address_that_is_not_a_url_is_refused() {
        for address in ["", "localhost:8275", "ftp://host/"] {
            assert!(matches!(TaskCenter::new(address), Err(Error::Address(_))), "{address:?} was accepted");
        }
    }
}

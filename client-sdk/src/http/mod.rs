//! The HTTP client: how requests are made, sent and repeated. The calls are in the files beside, one a resource.

mod error;
mod legacy;
mod queues;
mod runs;
mod services;
mod tasks;
mod tokens;
mod users;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Method, RequestBuilder, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::Error;
pub use legacy::Page;
pub use runs::RunQuery;
pub use tasks::TaskQuery;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_RETRIES: u32 = 4;
const DEFAULT_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A client of the server's v1 API. Cheap to clone.
///
/// A request that finds no connection, or is answered 429, was not done, and is repeated with a growing delay. One that is answered 503
/// may or may not have been done: it is repeated where the same request again is answered like the first, and else the 503 is the
/// caller's to judge. One that creates a task or fires it by hand carries an idempotency key and is repeated whenever its answer is
/// lost, too.
#[derive(Debug, Clone)]
pub struct TaskCenter {
    http: Client,
    base: Url,
    retries: u32,
    backoff: Duration,
}

/// Settings of a [`TaskCenter`].
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
    /// Neither the token nor the address, which may hold a password, is shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "[redacted]");
        f.debug_struct("TaskCenterBuilder")
            .field("token", &token)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

impl TaskCenterBuilder {
    /// The token that every request carries: a server asks for one where the call does not come from its own machine.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// A PEM file of an authority that is trusted beside those of the system, to know an `https` server by.
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// How long one request may take in all; 10 s unless said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often a request is repeated (4 unless said) and the delay before the first repetition (100 ms unless said),
    /// which doubles each time up to 5 s.
    pub fn retries(mut self, retries: u32, first_delay: Duration) -> Self {
        (self.retries, self.backoff) = (retries, first_delay);
        self
    }

    /// Makes the client; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Address`] for what is no `http` or `https` URL, [`Error::Token`], [`Error::Authority`], and [`Error::Setup`].
    pub fn build(self) -> Result<TaskCenter, Error> {
        // The process needs one provider of cryptography, and it may have been chosen before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = Url::parse(&self.address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let base = base.ok_or(Error::Address(self.address))?;
        let mut http = Client::builder().timeout(self.timeout);
        if let Some(token) = &self.token {
            http = http.default_headers(bearing(token)?);
        }
        if let Some(file) = &self.ca_file {
            http = http.tls_certs_merge(authorities(file)?);
        }
        let http = http.build().map_err(Error::Setup)?;
        Ok(TaskCenter { http, base, retries: self.retries, backoff: self.backoff })
    }
}

/// The header that every request carries. It is never shown.
fn bearing(token: &str) -> Result<HeaderMap, Error> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Error::Token)?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}

fn authorities(file: &Path) -> Result<Vec<Certificate>, Error> {
    let wrong = |why: String| Error::Authority(file.to_path_buf(), why);
    let text = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&text).map_err(|_| wrong("it is no PEM file".to_owned()))?;
    if found.is_empty() { Err(wrong("it holds no certificate".to_owned())) } else { Ok(found) }
}

impl TaskCenter {
    /// A client of the server at `address`, such as `http://127.0.0.1:8275`, with the default settings.
    ///
    /// # Errors
    /// [`Error::Address`] for what is no `http` or `https` URL, and [`Error::Setup`].
    pub fn new(address: impl Into<String>) -> Result<Self, Error> {
        Self::builder(address).build()
    }

    /// A client with settings.
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

    /// The same client for a caller with a back-off of its own.
    pub(crate) fn without_retries(mut self) -> Self {
        self.retries = 0;
        self
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &impl Serialize) -> Result<T, Error> {
        self.send(&self.request(Method::GET, path).query(query)).await?.read()
    }

    /// As [`get`](Self::get); `None` where the server knows no such thing.
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

    /// A request that says all in its path.
    async fn bare<T: DeserializeOwned>(&self, method: Method, path: &[&str]) -> Result<T, Error> {
        self.send(&self.request(method, path)).await?.read()
    }

    /// The same, of one that is answered otherwise once it is done.
    async fn bare_unless_done<T: DeserializeOwned>(&self, method: Method, path: &[&str]) -> Result<T, Error> {
        self.send_unless_done(&self.request(method, path)).await?.read()
    }

    /// A path piece is escaped, so that no id can reach another route.
    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut pieces) = url.path_segments_mut() {
            pieces.pop_if_empty().extend(path);
        }
        self.http.request(method, url)
    }

    /// A request that does nothing more, and is answered alike, when it comes again.
    async fn send(&self, request: &RequestBuilder) -> Result<Answer, Error> {
        self.send_while(request, may_pass).await
    }

    /// A request that would do more, or be answered otherwise, if it came again after it was done.
    async fn send_unless_done(&self, request: &RequestBuilder) -> Result<Answer, Error> {
        self.send_while(request, was_not_done).await
    }

    /// Sends what would do something twice if it were simply repeated: under a key, by which the server knows it again.
    async fn send_once(&self, request: RequestBuilder, key: &str) -> Result<Answer, Error> {
        let again = |error: &Error| matches!(error, Error::Unanswered(_)) || may_pass(error);
        self.send_while(&request.header(IDEMPOTENCY_KEY, key), again).await
    }

    async fn send_while(
        &self,
        request: &RequestBuilder,
        again: impl Fn(&Error) -> bool,
    ) -> Result<Answer, Error> {
        let mut repeated = 0;
        loop {
            // A request of JSON and query parameters can always be copied.
            let Some(copy) = request.try_clone() else { unreachable!("requests have no streaming body") };
            let error = match answer(copy).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if repeated == self.retries || !again(&error) {
                return Err(error);
            }
            tokio::time::sleep(delay(self.backoff, repeated)).await;
            repeated += 1;
        }
    }
}

/// A good answer, received to its end.
struct Answer {
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| Error::Answer(error.to_string()))
    }
}

async fn answer(request: RequestBuilder) -> Result<Answer, Error> {
    let response = request.send().await.map_err(Error::Unanswered)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await;
    if !status.is_success() {
        return Err(error::refusal(status, &body.unwrap_or_default()));
    }
    Ok(Answer { headers, body: body.map_err(Error::Unanswered)? })
}

/// Whether the error passes by itself and nothing was done: nothing listens there yet, or the server says 429.
fn was_not_done(error: &Error) -> bool {
    match error {
        Error::Unanswered(error) => error.is_connect(),
        _ => error.status() == Some(429),
    }
}

/// Whether the error passes by itself. With 503 the server says that it may or may not have been done.
fn may_pass(error: &Error) -> bool {
    was_not_done(error) || error.status() == Some(503)
}

fn delay(first: Duration, repeated: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(repeated)).min(MAX_BACKOFF)
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    #[test]
    fn the_delay_doubles_up_to_a_bound() {
        let first = Duration::from_millis(100);
        let delays: Vec<_> = [0, 1, 5, 6, 200].map(|repeated| delay(first, repeated).as_millis()).into();
        assert_eq!(delays, [100, 200, 3_200, 5_000, 5_000]);
    }

    #[test]
    fn only_what_passes_by_itself_is_sent_again() {
        let refused = |status| error::refusal(StatusCode::from_u16(status).unwrap(), b"");
        let statuses = [400, 404, 408, 409, 413, 429, 500, 503, 507];
        let those = |again: fn(&Error) -> bool| statuses.into_iter().filter(move |s| again(&refused(*s)));
        assert_eq!(those(may_pass).collect::<Vec<_>>(), [429, 503]);
        assert_eq!(those(was_not_done).collect::<Vec<_>>(), [429]);
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
    fn an_authority_that_is_none_is_refused() {
        for file in ["no/such.pem", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")] {
            let refused = TaskCenter::builder("https://h").ca_file(file).build().unwrap_err();
            assert!(matches!(&refused, Error::Authority(named, _) if named == Path::new(file)), "{refused}");
        }
    }

    #[test]
    fn an_address_that_is_no_url_is_refused() {
        for address in ["", "localhost:8275", "ftp://host/"] {
            assert!(matches!(TaskCenter::new(address), Err(Error::Address(_))), "{address:?} was accepted");
        }
    }
}

//! HTTP calls to webhooks and chat robots.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, header};
use serde_json::Value;

use super::SendError;
use crate::core::net::OUTBOUND_CALL;

/// Largest part of a reply that is read, in bytes.
const MAX_REPLY: usize = 16 * 1024;
/// Characters of a receiver's explanation in an error.
const MAX_EXPLANATION: usize = 200;

/// A webhook or robot: its address and its secret.
pub struct Robot {
    client: Client,
    url: Url,
    secret: String,
}

/// Reply of a receiver.
pub(super) struct Reply {
    pub status: StatusCode,
    pub retry_after: Option<Duration>,
    pub body: String,
}

impl Robot {
    /// Returns a robot. An empty secret means that messages are not signed.
    ///
    /// # Errors
    /// If the address is invalid or the HTTP client cannot be created. The text has no address.
    pub fn new(url: &str, secret: &str) -> Result<Self, String> {
        // Fails if another adapter has installed the provider before, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = Url::parse(url).map_err(|error| error.to_string())?;
        let client = Client::builder().redirect(Policy::none()).build();
        let client = client.map_err(|error| error.without_url().to_string())?;
        Ok(Self { client, url, secret: secret.to_owned() })
    }

    pub(super) fn secret(&self) -> Option<&str> {
        Some(self.secret.as_str()).filter(|secret| !secret.is_empty())
    }

    /// Returns the address, for further query parameters.
    pub(super) fn url(&self) -> Url {
        self.url.clone()
    }

    /// Posts JSON to the address.
    pub(super) async fn post(&self, url: Url, body: &Value) -> Result<Reply, SendError> {
        let request = self.request(url).body(body.to_string());
        self.call(request).await
    }

    /// Returns a POST of JSON without a body.
    pub(super) fn request(&self, url: Url) -> RequestBuilder {
        let request = self.client.post(url).header(OUTBOUND_CALL, "1");
        request.header(header::CONTENT_TYPE, "application/json; charset=utf-8")
    }

    /// Sends a request. Reads the reply of a 2xx; any other reply is an error.
    pub(super) async fn call(&self, request: RequestBuilder) -> Result<Reply, SendError> {
        let no_answer = |error: reqwest::Error| SendError::Temporary(error.without_url().to_string());
        let response = request.send().await.map_err(no_answer)?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        let body = read(response).await.map_err(no_answer)?;
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(SendError::Limited(retry_after));
        }
        if status.is_server_error() {
            return Err(SendError::Temporary(format!("the receiver answered {status}")));
        }
        if !status.is_success() {
            let why = self.explanation(&body);
            return Err(SendError::Refused(format!("the receiver answered {status}{why}")));
        }
        Ok(Reply { status, retry_after, body })
    }

    /// Returns the receiver's explanation, shortened and without the address and the secret.
    pub(super) fn explanation(&self, text: &str) -> String {
        let mut text = text.trim().to_owned();
        let parts = self.url.query_pairs().map(|(_, value)| value.into_owned());
        let path = self.url.path_segments().into_iter().flatten().map(str::to_owned);
        let password = self.url.password().map(str::to_owned);
        let secrets = parts.chain(path).chain(password).chain([self.secret.clone()]);
        for secret in secrets.filter(|secret| secret.len() >= 8) {
            text = text.replace(&secret, "[redacted]");
        }
        let is_shown = |c: &char| !c.is_control();
        let text: String = text.chars().filter(is_shown).take(MAX_EXPLANATION).collect();
        if text.is_empty() { text } else { format!(": {text}") }
    }

    /// Reads a reply that has its result as a code in its JSON: 0 is success.
    ///
    /// # Errors
    /// The code and the text of a refusal.
    pub(super) fn code(&self, reply: &Reply, code: &str, text: &str) -> Result<(), (i64, String)> {
        let json: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        match json[code].as_i64() {
            Some(0) => Ok(()),
            Some(number) => {
                let why = self.explanation(json[text].as_str().unwrap_or_default());
                Err((number, format!("the receiver answered {code} {number}{why}")))
            }
            None => Err((i64::MIN, format!("the receiver's answer has no {code}: check the address"))),
        }
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

async fn read(mut response: Response) -> reqwest::Result<String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let rest = MAX_REPLY - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(rest)]);
        if body.len() >= MAX_REPLY {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

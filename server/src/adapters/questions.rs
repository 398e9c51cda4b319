//! Asks an outside service over HTTP, and reads what it answers.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};

const TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of an answer.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// Who asks.
#[derive(Debug, Clone)]
pub struct Questions(Client);

impl Questions {
    /// Follows no redirect, and uses no proxy of the environment.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new() -> reqwest::Result<Self> {
        // The process needs one provider of cryptography, and it may have been chosen before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::builder().timeout(TIMEOUT).redirect(Policy::none()).no_proxy().build().map(Self)
    }

    /// Posts a form; the body of an answer with status 200.
    ///
    /// # Errors
    /// In a few words that do not repeat the address.
    pub async fn post_form(&self, url: &str, form: &'static str) -> Result<Vec<u8>, String> {
        let request = self.0.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        let answer = request.send().await.map_err(|error| told(&error.without_url()))?;
        match answer.status().as_u16() {
            200 => read(answer).await,
            status => Err(format!("it answered {status}")),
        }
    }
}

async fn read(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| told(&error.without_url()))? {
        body.extend_from_slice(&part);
        if body.len() > MAX_ANSWER_BYTES {
            return Err(format!("its answer has more than {MAX_ANSWER_BYTES} bytes"));
        }
    }
    Ok(body)
}

/// An error with what caused it.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

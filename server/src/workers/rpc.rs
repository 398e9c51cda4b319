//! The worker of the queue `rpc`: makes an HTTP call.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde::Deserialize;
use taskcenter_client::{Context, HandlerError};

use super::outbound::{Answer, Call, CallError, Outbound};
use super::{attempt, headers};

/// The queue.
pub const QUEUE: &str = "rpc";
/// What succeeds where the task does not say.
const OK: u16 = 200;

/// What the handler works with.
pub struct Rpc {
    /// Makes the calls.
    pub outbound: Outbound,
    /// How long a call may take where the task does not say.
    pub timeout: Duration,
}

/// A task's data.
#[derive(Debug, Deserialize)]
pub struct Job {
    method: String,
    url: String,
    #[serde(default)]
    body: String,
    content_type: Option<String>,
    timeout_ms: Option<u64>,
    retry_after_ms: Option<Vec<u64>>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The statuses that succeed.
    success: Option<Vec<u16>>,
    #[serde(default)]
    failure: Failure,
}

/// What is said of an answer that is no success.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Failure {
    /// Its status and its body.
    #[default]
    Answer,
    /// Its body alone, which is kingtask's message.
    Body,
}

/// Makes the call of one attempt.
///
/// # Errors
/// How the attempt failed.
pub async fn handle(context: Context<Rpc>, job: Job) -> Result<(), HandlerError> {
    let rpc = context.state();
    let call = job.call(rpc.timeout).map_err(HandlerError::dead_letter)?;
    let again = |reason| attempt::failed(job.retry_after_ms.as_deref(), context.attempt(), reason);
    match rpc.outbound.make(call).await {
        Ok(answer) if job.succeeds(answer.status) => attempt::keep(&context, &answer.body),
        Ok(answer) => Err(again(match job.failure {
            Failure::Answer => said(&answer),
            Failure::Body => answer.body,
        })),
        Err(CallError::Refused(why)) => Err(HandlerError::dead_letter(why)),
        Err(error) => Err(again(error.to_string())),
    }
}

/// What a person needs of an answer that is no success.
pub fn said(answer: &Answer) -> String {
    format!("answered {}: {}", answer.status, answer.body).trim_end_matches([' ', ':']).to_owned()
}

impl Job {
    fn call(&self, timeout: Duration) -> Result<Call, String> {
        let method = Method::from_bytes(self.method.to_ascii_uppercase().as_bytes());
        Ok(Call {
            method: method.map_err(|_| format!("method: {:?} is none", self.method))?,
            url: self.url.clone(),
            headers: self.headers()?,
            body: self.body.clone(),
            timeout: self.timeout_ms.map_or(timeout, Duration::from_millis),
        })
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let mut all = headers::read(&self.headers)?;
        if let Some(kind) = &self.content_type {
            all.insert(CONTENT_TYPE, headers::value_of("content_type", kind)?);
        }
        Ok(all)
    }

    fn succeeds(&self, status: u16) -> bool {
        self.success.as_ref().map_or(status == OK, |statuses| statuses.contains(&status))
    }
}

//! The worker of the queue `rpc`: makes an HTTP call.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Url};
use serde::Deserialize;
use taskcenter_client::{Context, HandlerError};

use super::outbound::{Answer, Call, CallError, Outbound};
use super::slots::Slots;
use super::{attempt, headers, limits};
use crate::core::submission::MAX_CALL_MS;

/// Name of the queue.
pub const QUEUE: &str = "rpc";
/// Default status of a success.
const OK: u16 = 200;

/// State of the handler.
pub struct Rpc {
    pub outbound: Outbound,
    /// Default timeout of a call.
    pub timeout: Duration,
    pub slots: Slots,
}

/// The data of a task.
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
    /// Statuses of a success. Default: 200.
    success: Option<Vec<u16>>,
    #[serde(default)]
    failure: Failure,
}

/// Reason of a failed attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Failure {
    /// Status and body of the response.
    #[default]
    Answer,
    /// Only the body of the response.
    Body,
}

/// Makes the call of an attempt.
///
/// # Errors
/// The failure of the attempt.
pub async fn handle(context: Context<Rpc>, job: Job) -> Result<(), HandlerError> {
    let rpc = context.state();
    let call = job.call(context.headers(), rpc.timeout).map_err(HandlerError::dead_letter)?;
    let failed = |reason| attempt::failed(job.retry_after_ms.as_deref(), context.attempt(), reason);
    let Some(_slot) = rpc.slots.take(&authority(&call.url)).await else {
        return Err(HandlerError::release("all slots for this host are in use"));
    };
    match rpc.outbound.make(call).await {
        Ok(answer) if job.succeeds(answer.status) => attempt::set_message(&context, &answer.body),
        Ok(answer) => Err(failed(match job.failure {
            Failure::Answer => failure_reason(&answer),
            Failure::Body => answer.body,
        })),
        Err(CallError::Refused(why)) => Err(HandlerError::dead_letter(why)),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Returns host and port of a URL. An invalid URL has none, and its call fails at once.
fn authority(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    host.map_or_else(String::new, |(host, port)| format!("{host}:{port}"))
}

/// Returns status and body as the reason of a failure.
pub fn failure_reason(answer: &Answer) -> String {
    format!("answered {}: {}", answer.status, answer.body).trim_end_matches([' ', ':']).to_owned()
}

impl Job {
    fn call(&self, task_headers: &BTreeMap<String, String>, timeout: Duration) -> Result<Call, String> {
        let method = Method::from_bytes(self.method.to_ascii_uppercase().as_bytes());
        Ok(Call {
            method: method.map_err(|_| format!("method: {:?} is invalid", self.method))?,
            url: self.url.clone(),
            headers: self.headers(task_headers)?,
            body: self.body.clone(),
            timeout: limits::timeout(self.timeout_ms, timeout, MAX_CALL_MS)?,
        })
    }

    fn headers(&self, task_headers: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
        let mut all = headers::read_with_task(task_headers, &self.headers)?;
        if let Some(kind) = &self.content_type {
            all.insert(CONTENT_TYPE, headers::value_of("content_type", kind)?);
        }
        Ok(all)
    }

    fn succeeds(&self, status: u16) -> bool {
        self.success.as_ref().map_or(status == OK, |statuses| statuses.contains(&status))
    }
}

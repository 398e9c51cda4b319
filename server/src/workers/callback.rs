//! The worker of the queue `callback`: calls a node of a service. The response is the outcome, or the service
//! confirms the outcome later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use taskcenter_client::clock::Clock;
use taskcenter_client::wire::property;
use taskcenter_client::{Context, HandlerError};

use super::directory::Directory;
use super::health::Health;
use super::outbound::{Answer, Call, CallError, Outbound};
use super::routing::{Router, Routing};
use super::slots::Slots;
use super::{attempt, headers, limits, rpc, sign};
use crate::core::callback_format::{CallbackFormat, Delivery, Verdict};
use crate::core::callback_service::{CallbackService, ServiceNode};
use crate::core::submission::MAX_CALL_MS;

/// Name of the queue.
pub const QUEUE: &str = "callback";

/// Value of `reply` for the default format: the status of the response is the outcome.
const STATUS_FORMAT: &str = "status";
/// First and longest pause of a callback that waits for a node of its service.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// State of the handler.
pub struct Callbacks {
    pub directory: Arc<dyn Directory>,
    pub health: Arc<Health>,
    pub router: Router,
    pub outbound: Outbound,
    /// Clock of signatures.
    pub clock: Arc<dyn Clock>,
    /// Formats besides the default one.
    pub formats: Vec<Arc<dyn CallbackFormat>>,
    /// Default timeout of a call.
    pub timeout: Duration,
    pub slots: Slots,
    /// Default time for a confirmation.
    pub confirm_within: Duration,
}

/// Whether the response is the outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// The response is the outcome.
    #[default]
    Sync,
    /// The response accepts the callback. The service confirms the outcome over the API.
    Async,
}

fn default_format() -> String {
    STATUS_FORMAT.to_owned()
}

/// The data of a task.
#[derive(Debug, Deserialize)]
pub struct Job {
    service: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    body: String,
    timeout_ms: Option<u64>,
    #[serde(default)]
    routing: Routing,
    #[serde(default)]
    mode: Mode,
    /// Name of the format.
    #[serde(default = "default_format")]
    reply: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    retry_after_ms: Option<Vec<u64>>,
    confirm_within_ms: Option<u64>,
}

/// A callback to make.
struct Outgoing<'a> {
    service: &'a CallbackService,
    job: &'a Job,
    format: Option<&'a dyn CallbackFormat>,
    context: &'a Context<Callbacks>,
}

/// Makes the callback of an attempt.
///
/// # Errors
/// The failure of the attempt, or that the service confirms the outcome later.
pub async fn handle(context: Context<Callbacks>, job: Job) -> Result<(), HandlerError> {
    let callbacks = context.state();
    let failed = |reason| attempt::failed(job.retry_after_ms.as_deref(), context.attempt(), reason);
    let format = callbacks.format(&job.reply).map_err(HandlerError::dead_letter)?;
    let service = match callbacks.directory.find(&job.service).await {
        Ok(service) => service,
        Err(why) => {
            return Err(wait(&context, format!("the service {:?} cannot be looked up: {why}", job.service)));
        }
    };
    let unknown = || wait(&context, format!("unknown service {:?}", job.service));
    let service = service.ok_or_else(unknown)?;
    limits::timeout(job.timeout_ms, callbacks.timeout, MAX_CALL_MS).map_err(HandlerError::dead_letter)?;
    let Some(_slot) = callbacks.slots.take(&job.service).await else {
        return Err(HandlerError::release("all slots for this service are in use"));
    };
    let delivery = Outgoing { service: &service, job: &job, format, context: &context };
    let answer = match callbacks.call(&delivery).await {
        Ok(answer) => answer,
        Err(CallError::Refused(why)) => return Err(HandlerError::dead_letter(why)),
        Err(error @ CallError::Unreachable(_)) => return Err(wait(&context, error.to_string())),
        Err(error) => return Err(failed(error.to_string())),
    };
    match job.verdict(format, &answer) {
        Verdict::Succeeded(message) => attempt::set_message(&context, &message),
        Verdict::Failed(why) => Err(failed(why.unwrap_or_else(|| rpc::failure_reason(&answer)))),
        Verdict::Accepted => Err(HandlerError::confirm_later(
            job.confirm_within(format, callbacks.confirm_within),
            format!("{:?} accepted the callback", job.service),
        )),
    }
}

/// Postpones a run of which nothing was sent, because no node of its service is available. The wait costs no
/// attempt. The pause doubles with each lease of the run.
fn wait(context: &Context<Callbacks>, why: String) -> HandlerError {
    let leases = context.claim().saturating_sub(2).min(16) as u32;
    HandlerError::release_after((PAUSES.0 * 2_u32.pow(leases)).min(PAUSES.1), why)
}

impl Callbacks {
    /// Returns a format by name. `None`: the default format.
    fn format(&self, name: &str) -> Result<Option<&dyn CallbackFormat>, String> {
        if name == STATUS_FORMAT {
            return Ok(None);
        }
        let format = self.formats.iter().find(|format| format.name() == name);
        format.map(|format| Some(&**format)).ok_or_else(|| format!("reply: unknown format {name:?}"))
    }

    /// Calls the chosen node. Fail-over calls the next node if nothing was sent.
    async fn call(&self, callback: &Outgoing<'_>) -> Result<Answer, CallError> {
        let Outgoing { service, job, context, .. } = callback;
        let nodes = self.health.nodes_up(service);
        let nodes = self.router.choose(job.routing, &service.name, context.task_id(), &nodes);
        let unreachable = format!("no node of the service {:?} answers", service.name);
        let mut result = Err(CallError::Unreachable(unreachable));
        for node in nodes {
            let call = self.request(node, callback)?;
            let active = self.router.call(node);
            result = self.outbound.make(call).await;
            drop(active);
            match &result {
                Err(CallError::Unreachable(why)) => {
                    self.health.mark_down(&node.url, why, self.clock.now_ms());
                }
                _ => break,
            }
        }
        result
    }

    fn request(&self, node: &ServiceNode, callback: &Outgoing<'_>) -> Result<Call, CallError> {
        let Outgoing { service, job, .. } = callback;
        let body = callback.body();
        let timeout = job.timeout_ms.or_else(|| Some(service.timeout_ms).filter(|ms| *ms > 0));
        Ok(Call {
            method: Method::POST,
            url: format!("{}/{}", node.url.trim_end_matches('/'), job.path.trim_start_matches('/')),
            headers: self.headers(callback, &body).map_err(CallError::Refused)?,
            body,
            timeout: timeout.map_or(self.timeout, Duration::from_millis),
        })
    }

    fn headers(&self, callback: &Outgoing<'_>, body: &str) -> Result<HeaderMap, String> {
        let Outgoing { service, job, context, .. } = callback;
        let mut all = headers::read_with_task(context.headers(), &job.headers)?;
        all.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        let run_id = context.run_id().unwrap_or_default();
        let mut set = |name: &'static str, value: &str| {
            headers::value_of(name, value).map(|value| drop(all.insert(HeaderName::from_static(name), value)))
        };
        set("x-taskcenter-run-id", run_id)?;
        set("x-taskcenter-task-id", context.task_id())?;
        set("x-taskcenter-attempt", &context.attempt().to_string())?;
        if job.mode == Mode::Async {
            set("x-taskcenter-token", context.property(property::TOKEN).unwrap_or_default())?;
        }
        let now = self.clock.now_ms() / 1_000;
        if let Some(signature) = sign::signature(&service.secret, now, run_id, context.attempt(), body) {
            set(sign::TIMESTAMP, &now.to_string())?;
            set(sign::SIGNATURE, &signature)?;
        }
        Ok(all)
    }
}

impl Outgoing<'_> {
    fn body(&self) -> String {
        let Some(format) = self.format else { return self.job.body.clone() };
        let number = |name| self.context.property(name).and_then(|number| number.parse::<u64>().ok());
        let delivery = Delivery {
            task_id: self.context.task_id(),
            // 0 marks a triggered run.
            number: number(property::NUMBER).filter(|number| *number > 0),
            scheduled_at_ms: number(property::SCHEDULED_AT),
        };
        format.request_body(&self.job.body, delivery)
    }
}

impl Job {
    fn confirm_within(&self, format: Option<&dyn CallbackFormat>, default: Duration) -> Duration {
        let is_timeout = format.is_some_and(CallbackFormat::confirms_within_timeout);
        let own = self.confirm_within_ms.or(self.timeout_ms.filter(|_| is_timeout));
        own.map_or(default, Duration::from_millis)
    }

    fn verdict(&self, format: Option<&dyn CallbackFormat>, answer: &Answer) -> Verdict {
        match (format, self.mode) {
            (Some(format), _) => format.verdict(answer.status, &answer.body),
            _ if !(200..300).contains(&answer.status) => Verdict::Failed(None),
            (None, Mode::Sync) => Verdict::Succeeded(answer.body.clone()),
            (None, Mode::Async) => Verdict::Accepted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_the_outcome_in_the_default_format() {
        let verdict = |job: &str, status, body: &str| {
            let job: Job = serde_json::from_str(job).unwrap();
            assert_eq!(job.reply, STATUS_FORMAT);
            job.verdict(None, &Answer { status, body: body.to_owned() })
        };
        let sync = r#"{"service":"s"}"#;
        assert_eq!(verdict(sync, 204, "ok"), Verdict::Succeeded("ok".into()));
        assert_eq!(verdict(sync, 302, ""), Verdict::Failed(None));
        let later = r#"{"service":"s","mode":"async"}"#;
        assert_eq!(verdict(later, 202, ""), Verdict::Accepted);
        assert_eq!(verdict(later, 500, "no"), Verdict::Failed(None));
    }
}

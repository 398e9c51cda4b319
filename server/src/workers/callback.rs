//! The worker of the queue `callback`: calls a node of a named service, and takes its answer or waits for its confirmation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use taskcenter_client::clock::Clock;
use taskcenter_client::wire::property;
use taskcenter_client::{Context, HandlerError};

use super::directory::Directory;
use super::health::Health;
use super::outbound::{Answer, Call, CallError, Outbound};
use super::routing::{Router, Routing};
use super::{attempt, headers, rpc, sign};
use crate::core::callback_service::{CallbackService, ServiceNode};

/// The queue.
pub const QUEUE: &str = "callback";

/// Pause before a callback is given back whose service could not be looked up.
const NOT_NOW: Duration = Duration::from_secs(1);

/// What the handler works with.
pub struct Callbacks {
    /// The services.
    pub directory: Arc<dyn Directory>,
    /// Which of their nodes answer.
    pub health: Arc<Health>,
    /// Chooses among them.
    pub router: Router,
    /// Makes the calls.
    pub outbound: Outbound,
    /// Tells when a callback was signed.
    pub clock: Arc<dyn Clock>,
    /// How long a call may take where neither task nor service says.
    pub timeout: Duration,
    /// How long a confirmation may take where the task does not say.
    pub confirm_within: Duration,
}

/// Whether the answer is the outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// It is.
    #[default]
    Sync,
    /// It only says that the work was taken on; the outcome is confirmed over the API.
    Async,
}

/// What the answer means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    /// Its status says all.
    #[default]
    Status,
    /// Its body does, as easytask's services answer.
    Easytask,
}

/// A task's data.
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
    #[serde(default)]
    reply: Reply,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    retry_after_ms: Option<Vec<u64>>,
    confirm_within_ms: Option<u64>,
}

/// What an answer means for the attempt.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Done(String),
    Accepted,
    Failed(String),
}

/// Calls back for one attempt.
///
/// # Errors
/// How the attempt failed, or that it will be confirmed.
pub async fn handle(context: Context<Callbacks>, job: Job) -> Result<(), HandlerError> {
    let callbacks = context.state();
    let again = |reason| attempt::failed(job.retry_after_ms.as_deref(), context.attempt(), reason);
    let callee = match callbacks.directory.find(&job.service).await {
        Ok(callee) => callee,
        Err(why) => return Err(not_now(&job.service, why).await),
    };
    let callee = callee.ok_or_else(|| again(format!("there is no service {:?}", job.service)))?;
    let answer = match callbacks.call(&callee, &job, &context).await {
        Ok(answer) => answer,
        Err(CallError::Refused(why)) => return Err(HandlerError::dead_letter(why)),
        Err(error) => return Err(again(error.to_string())),
    };
    match job.verdict(&answer) {
        Verdict::Done(message) => attempt::keep(&context, &message),
        Verdict::Failed(why) => Err(again(why)),
        Verdict::Accepted => Err(HandlerError::confirm_later(
            job.confirm_within(callbacks),
            format!("{:?} has taken it on", job.service),
        )),
    }
}

/// It is not the service's fault that nobody knows where it is: its run goes back as it came, after a pause.
async fn not_now(service: &str, why: String) -> HandlerError {
    tracing::warn!(service, why, "a service cannot be looked up; its callback waits");
    tokio::time::sleep(NOT_NOW).await;
    HandlerError::release(why)
}

impl Callbacks {
    /// Calls the node that is chosen; where that was fail-over, the next one if nothing was sent.
    async fn call(
        &self,
        callee: &CallbackService,
        job: &Job,
        context: &Context<Self>,
    ) -> Result<Answer, CallError> {
        let answering = self.health.answering(callee);
        let nodes = self.router.choose(job.routing, &callee.name, context.task_id(), &answering);
        let mut ended =
            Err(CallError::Unreachable(format!("no node of the service {:?} answers", callee.name)));
        for node in nodes {
            let call = self.request(node, callee, job, context)?;
            let busy = self.router.call(node);
            ended = self.outbound.make(call).await;
            drop(busy);
            match &ended {
                Err(CallError::Unreachable(why)) => self.health.suspect(&node.url, why),
                _ => break,
            }
        }
        ended
    }

    fn request(
        &self,
        node: &ServiceNode,
        callee: &CallbackService,
        job: &Job,
        context: &Context<Self>,
    ) -> Result<Call, CallError> {
        let body = job.body_for(context);
        let timeout = job.timeout_ms.or_else(|| Some(callee.timeout_ms).filter(|ms| *ms > 0));
        Ok(Call {
            method: Method::POST,
            url: format!("{}/{}", node.url.trim_end_matches('/'), job.path.trim_start_matches('/')),
            headers: self.headers(callee, job, context, &body).map_err(CallError::Refused)?,
            body,
            timeout: timeout.map_or(self.timeout, Duration::from_millis),
        })
    }

    fn headers(
        &self,
        callee: &CallbackService,
        job: &Job,
        context: &Context<Self>,
        body: &str,
    ) -> Result<HeaderMap, String> {
        let mut all = headers::read(&job.headers)?;
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
        if let Some(signature) = sign::signature(&callee.secret, now, run_id, context.attempt(), body) {
            set(sign::TIMESTAMP, &now.to_string())?;
            set(sign::SIGNATURE, &signature)?;
        }
        Ok(all)
    }
}

impl Job {
    /// easytask's services learn from the body which run it is.
    fn body_for<S>(&self, context: &Context<S>) -> String {
        let parsed = serde_json::from_str::<Value>(&self.body);
        let (Reply::Easytask, Ok(mut body @ Value::Object(_))) = (self.reply, parsed) else {
            return self.body.clone();
        };
        let number = |name| context.property(name).and_then(|number| number.parse::<u64>().ok());
        let counted = number(property::NUMBER).filter(|number| *number > 0);
        body["task_id"] = context.task_id().into();
        // A run by hand is not counted; its moment tells it from the others.
        body["run_times"] = counted.or_else(|| number(property::SCHEDULED_AT)).unwrap_or(1).into();
        body.to_string()
    }

    fn confirm_within(&self, callbacks: &Callbacks) -> Duration {
        // easytask knows one time-out, for the call and for the confirmation.
        let of_call = self.timeout_ms.filter(|_| self.reply == Reply::Easytask);
        let own = self.confirm_within_ms.or(of_call);
        own.map_or(callbacks.confirm_within, Duration::from_millis)
    }

    fn verdict(&self, answer: &Answer) -> Verdict {
        let is_good = (200..300).contains(&answer.status);
        match (self.reply, self.mode) {
            (Reply::Easytask, _) => easytask(answer),
            _ if !is_good => Verdict::Failed(rpc::said(answer)),
            (Reply::Status, Mode::Sync) => Verdict::Done(answer.body.clone()),
            (Reply::Status, Mode::Async) => Verdict::Accepted,
        }
    }
}

/// `{is_run_in_async,is_success,extra}`, at the top or under `data`; success beats async.
fn easytask(answer: &Answer) -> Verdict {
    let reply: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let reply = if reply["data"].is_object() { &reply["data"] } else { &reply };
    let extra = reply["extra"].as_str().unwrap_or_default().to_owned();
    if answer.status != 200 || !reply.is_object() {
        return Verdict::Failed(rpc::said(answer));
    }
    match (reply["is_success"] == true, reply["is_run_in_async"] == true) {
        (true, _) => Verdict::Done(extra),
        (false, true) => Verdict::Accepted,
        (false, false) => Verdict::Failed(extra),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(job: &str, status: u16, body: &str) -> Verdict {
        let job: Job = serde_json::from_str(job).unwrap();
        job.verdict(&Answer { status, body: body.to_owned() })
    }

    #[test]
    fn a_status_says_all_unless_the_body_does() {
        let sync = r#"{"service":"s"}"#;
        assert_eq!(verdict(sync, 204, "ok"), Verdict::Done("ok".into()));
        assert_eq!(verdict(sync, 302, ""), Verdict::Failed("answered 302".into()));
        let later = r#"{"service":"s","mode":"async"}"#;
        assert_eq!(verdict(later, 202, ""), Verdict::Accepted);
        assert_eq!(verdict(later, 500, "no"), Verdict::Failed("answered 500: no".into()));
    }

    #[test]
    fn an_easytask_reply_is_read_and_success_beats_async() {
        let job = r#"{"service":"s","reply":"easytask"}"#;
        let both = r#"{"is_run_in_async":true,"is_success":true,"extra":"x"}"#;
        assert_eq!(verdict(job, 200, both), Verdict::Done("x".into()));
        assert_eq!(verdict(job, 200, r#"{"is_run_in_async":true}"#), Verdict::Accepted);
        assert_eq!(
            verdict(job, 200, r#"{"code":0,"data":{"is_success":true}}"#),
            Verdict::Done(String::new())
        );
        assert_eq!(verdict(job, 200, r#"{"is_success":false,"extra":"why"}"#), Verdict::Failed("why".into()));
        assert_eq!(verdict(job, 200, "hello"), Verdict::Failed("answered 200: hello".into()));
    }
}

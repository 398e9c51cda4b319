//! The requests of clients, read field by field.

use serde_json::{Map, Value, json};

use super::callbacks::NAME as REPLY;
use super::envelope::ApiError;
use super::services::{NodeRegistration, ServiceForm};
use super::trace::Trace;
use super::{CALLBACKS, Result};
use crate::compat::settings::Easytask;
use crate::core::retry::RetryPolicy;
use crate::core::run::RunId;
use crate::core::submission::{Dedup, MAX_CALL_MS, Submission};
use crate::core::{Moment, Schedule, Task};
use crate::engine::service::Service;

/// A failed callback is not retried. The second attempt is for a callback whose worker died. The store
/// cannot distinguish it from an accepted callback without a confirmation in time, so a third attempt
/// would call a slow service too often.
const ATTEMPTS: u32 = 2;
/// Prefix of the deduplication keys of this API.
const KEY: &str = "easytask:";

/// Reads the registration of a node.
pub fn node(fields: &Fields) -> Result<NodeRegistration> {
    let (service, schema) = (fields.required("name")?, fields.required("schema")?);
    let (host, port) = (fields.required("host")?, fields.number("port")?);
    if !matches!(schema.as_str(), "http" | "https") {
        return Err(ApiError::Argument("schema should be http or https".to_owned()));
    }
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    let port = port.ok_or_else(|| ApiError::Argument("port should be between 1 and 65535".to_owned()))?;
    let timeout_sec = fields.positive("callback_timeout_sec")?;
    if service.len() > MAX_NAME_BYTES || timeout_sec.is_some_and(|sec| sec > MAX_CALL_MS / 1_000) {
        return Err(ApiError::malformed());
    }
    Ok(NodeRegistration {
        service,
        url: url(&schema, &host, port)?,
        timeout_ms: timeout_sec.map(|sec| sec * 1_000),
        health_check: fields.flag("is_enable_health_check")?,
    })
}

const MAX_NAME_BYTES: usize = 256;

/// Returns the URL of a node, if `host` is a plain host name or address.
fn url(schema: &str, host: &str, port: u16) -> Result<String> {
    let bracketed =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let url = format!("{schema}://{bracketed}:{port}");
    let is_invalid =
        |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\' | '@' | '?' | '#' | '%');
    if host.contains(is_invalid) || reqwest::Url::parse(&url).is_err() {
        return Err(ApiError::Argument("host should be a name or an address".to_owned()));
    }
    Ok(url)
}

/// A request to create a task.
pub struct TaskRequest {
    name: String,
    /// Name of the callback service.
    pub service: String,
    path: String,
    schedule: Schedule,
    start_at: Option<Moment>,
    arg: String,
    biz_id: String,
}

/// Reads a request to create a task.
pub fn task(fields: &Fields, service: &Service) -> Result<TaskRequest> {
    let (name, srv_name) = (fields.required("name")?, fields.required("srv_name")?);
    let (schedule, start_at) = schedule(fields, service)?;
    let path = fields.text("callback_path")?;
    Ok(TaskRequest {
        name,
        service: srv_name,
        path: format!("/{}", path.trim_start_matches('/')),
        schedule,
        start_at,
        arg: fields.text("arg")?,
        biz_id: fields.text("biz_id")?,
    })
}

fn schedule(fields: &Fields, service: &Service) -> Result<(Schedule, Option<Moment>)> {
    let missing = |why: &str| ApiError::Argument(why.to_owned());
    match fields.number("sched_mode")?.ok_or_else(|| missing("sched_mode is required"))? {
        1 => {
            let expression = fields.text("time_cron")?;
            if expression.trim().is_empty() {
                return Err(missing("time cron is empty"));
            }
            Ok((Schedule::cron(expression, service.time_zone()), None))
        }
        2 => {
            let at = fields.positive("time_spec_at")?.ok_or_else(|| missing("not specific time"))?;
            let at = i64::try_from(at).map_err(|_| missing("not specific time"))?;
            Ok((Schedule::Once, Some(Moment::from_sec(at))))
        }
        3 => {
            let sec = fields.positive("time_interval_sec")?;
            let sec = sec.ok_or_else(|| missing("specific time interval is empty"))?;
            let period_ms = i64::try_from(sec.saturating_mul(1_000)).unwrap_or(i64::MAX);
            Ok((Schedule::Every { period_ms }, Some(service.now().plus_ms(period_ms))))
        }
        _ => Err(missing("sched_mode should be 1 (cron), 2 (specified time) or 3 (interval)")),
    }
}

impl TaskRequest {
    /// Returns the task to store. For each run the worker adds `task_id` and `run_times` to the body.
    pub fn definition(self, service: &ServiceForm, settings: &Easytask, trace: &Trace) -> Submission {
        let body = json!({
            "cmd": u8::from(!settings.swap_cmd), "task_name": self.name, "arg": self.arg, "biz_id": self.biz_id,
        });
        let job = json!({
            "service": self.service, "path": self.path, "body": body.to_string(), "timeout_ms": service.timeout_ms(settings),
            "routing": "round_robin", "mode": "sync", "reply": REPLY, "headers": trace.forwarded(),
            "retry_after_ms": [],
        });
        Submission {
            schedule: self.schedule,
            start_at: self.start_at,
            queue: Some(CALLBACKS.to_owned()),
            retry: Some(RetryPolicy::doubling(ATTEMPTS, 0, 0)),
            dedup: Dedup::Key(format!("{KEY}{}", self.biz_id)),
            ..Submission::named(self.name, job.to_string())
        }
    }
}

/// Keeps the grid of an unchanged interval. A client that registers its tasks at every start must not
/// postpone their next moment.
pub fn keep_grid(task: &Task, mut definition: Submission) -> Submission {
    let repeats = matches!(definition.schedule, Schedule::Every { .. });
    if repeats && task.schedule == definition.schedule {
        definition.start_at = task.start_at;
    }
    definition
}

/// Whether this API created the task.
pub fn is_own(task: &Task) -> bool {
    task.queue.as_deref() == Some(CALLBACKS) && job(&task.data)["reply"] == REPLY
}

/// Returns the job in the data of a task.
pub fn job(data: &str) -> Value {
    serde_json::from_str(data).unwrap_or_default()
}

/// A confirmation of a run.
pub struct ConfirmRequest {
    pub task_id: String,
    /// Number of the run within its task.
    pub run_times: u64,
    pub is_success: bool,
    /// Message to store with the outcome.
    pub extra: String,
}

/// Reads a confirmation. `None`: the body has only a `task_id`, which requests a stop.
pub fn confirmation(fields: &Fields) -> Result<Option<ConfirmRequest>> {
    let task_id = fields.required("task_id")?;
    let run_times = fields.positive("task_run_times")?;
    let is_alone = ["task_run_times", "is_success", "extra"].iter().all(|field| !fields.has(field));
    match run_times {
        None if is_alone => Ok(None),
        None => Err(ApiError::Argument("task_run_times is required".to_owned())),
        Some(run_times) => {
            let (is_success, extra) = (fields.flag("is_success")?, fields.text("extra")?);
            Ok(Some(ConfirmRequest { task_id, run_times, is_success, extra }))
        }
    }
}

/// A page of the task log.
pub struct LogPage {
    /// Maximum number of rows.
    pub limit: u32,
    /// Id of the run before the first row.
    pub before: Option<RunId>,
}

/// Reads the page of the log to return.
pub fn log_page(fields: &Fields) -> Result<LogPage> {
    const MAX_ROWS: u64 = 1_000;
    let limit = fields.positive("limit")?.unwrap_or(100);
    if limit > MAX_ROWS {
        return Err(ApiError::Argument(format!("limit should be at most {MAX_ROWS}")));
    }
    let before = Some(fields.text("before")?).filter(|before| !before.is_empty());
    Ok(LogPage { limit: limit as u32, before: before.map(RunId::from_text) })
}

/// The fields of a request. `null` means absent, and numbers may be strings.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Parses a body of any content type.
    pub fn read(body: &[u8]) -> Result<Self> {
        serde_json::from_slice(body).map(Self).map_err(|_| ApiError::malformed())
    }

    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// Whether the field is present.
    pub fn has(&self, field: &str) -> bool {
        self.get(field).is_some()
    }

    /// Returns a string, or an empty one if the field is absent.
    pub fn text(&self, field: &str) -> Result<String> {
        match self.get(field) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(ApiError::Argument(format!("{field} should be a string"))),
        }
    }

    /// Returns a string that is not empty.
    pub fn required(&self, field: &str) -> Result<String> {
        let text = self.text(field)?;
        if text.is_empty() { Err(ApiError::Argument(format!("{field} is required"))) } else { Ok(text) }
    }

    fn number(&self, field: &str) -> Result<Option<i64>> {
        let number = match self.get(field) {
            None => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(other) => other.as_i64(),
        };
        number.map(Some).ok_or_else(|| ApiError::Argument(format!("{field} should be an int")))
    }

    /// Returns a number above 0. Other numbers count as absent.
    fn positive(&self, field: &str) -> Result<Option<u64>> {
        let number = self.number(field)?.and_then(|number| u64::try_from(number).ok());
        Ok(number.filter(|number| *number > 0))
    }

    fn flag(&self, field: &str) -> Result<bool> {
        match self.get(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(ApiError::Argument(format!("{field} should be a bool"))),
        }
    }
}

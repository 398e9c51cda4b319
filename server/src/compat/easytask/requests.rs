//! The requests of clients, read field by field.

use serde_json::{Map, Value, json};

use super::envelope::Refused;
use super::services::{NodeRegistration, ServiceForm};
use super::trace::Trace;
use super::{CALLBACKS, Result};
use crate::compat::settings::Easytask;
use crate::core::retry::RetryPolicy;
use crate::core::run::RunId;
use crate::core::submission::{Dedup, MAX_RUNTIME_SEC, Submission};
use crate::core::{Moment, Schedule, Task};
use crate::engine::service::Service;

/// Marks the jobs of this front: the worker reads answers as the old server did.
const REPLY: &str = "easytask";
/// A callback that failed is not made again. The second attempt is for one whose worker died over it, which the ledger cannot tell from one
/// that was taken on and not confirmed in time: a third would call a slow service too often.
const ATTEMPTS: u32 = 2;
/// What begins the dedup keys of this front.
const KEY: &str = "easytask:";

/// Reads a node.
pub fn node(fields: &Fields) -> Result<NodeRegistration> {
    let (service, schema) = (fields.required("name")?, fields.required("schema")?);
    let (host, port) = (fields.required("host")?, fields.number("port")?);
    if !matches!(schema.as_str(), "http" | "https") {
        return Err(Refused::Argument("schema should be http or https".to_owned()));
    }
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    let port = port.ok_or_else(|| Refused::Argument("port should be between 1 and 65535".to_owned()))?;
    let timeout_sec = fields.positive("callback_timeout_sec")?;
    if service.len() > MAX_NAME_BYTES || timeout_sec.is_some_and(|sec| sec > MAX_RUNTIME_SEC) {
        return Err(Refused::unreadable());
    }
    Ok(NodeRegistration {
        service,
        url: url(&schema, &host, port)?,
        timeout_ms: timeout_sec.map(|sec| sec * 1_000),
        health_check: fields.flag("is_enable_health_check")?,
    })
}

const MAX_NAME_BYTES: usize = 256;

/// The address, if the host is one and nothing more.
fn url(schema: &str, host: &str, port: u16) -> Result<String> {
    let bracketed =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let url = format!("{schema}://{bracketed}:{port}");
    let strange =
        |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\' | '@' | '?' | '#' | '%');
    if host.contains(strange) || reqwest::Url::parse(&url).is_err() {
        return Err(Refused::Argument("host should be a name or an address".to_owned()));
    }
    Ok(url)
}

/// A task, as it is asked for.
pub struct Wanted {
    name: String,
    /// The service that is called back.
    pub service: String,
    path: String,
    schedule: Schedule,
    start_at: Option<Moment>,
    arg: String,
    biz_id: String,
}

/// Reads a task.
pub fn task(fields: &Fields, service: &Service) -> Result<Wanted> {
    let (name, srv_name) = (fields.required("name")?, fields.required("srv_name")?);
    let (schedule, start_at) = schedule(fields, service)?;
    let path = fields.text("callback_path")?;
    Ok(Wanted {
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
    let missing = |why: &str| Refused::Argument(why.to_owned());
    match fields.number("sched_mode")?.ok_or_else(|| missing("sched_mode is required"))? {
        1 => {
            let expression = fields.text("time_cron")?;
            if expression.trim().is_empty() {
                return Err(missing("time cron is empty"));
            }
            Ok((Schedule::Cron { expression, zone: service.time_zone().to_owned() }, None))
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

impl Wanted {
    /// The task to store. `task_id` and `run_times` are added to the body by the worker, for each run.
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
            retry: Some(RetryPolicy { max_attempts: ATTEMPTS, backoff_ms: 0, max_backoff_ms: 0 }),
            dedup: Dedup::Key(format!("{KEY}{}", self.biz_id)),
            ..Submission::named(self.name, job.to_string())
        }
    }
}

/// Who registers its tasks at every start must not put their next moment off each time: an interval that stays keeps its grid.
pub fn keeping_its_place(task: &Task, mut definition: Submission) -> Submission {
    let repeats = matches!(definition.schedule, Schedule::Every { .. });
    if repeats && task.schedule == definition.schedule {
        definition.start_at = task.start_at;
    }
    definition
}

/// Whether a task came through this front.
pub fn is_ours(task: &Task) -> bool {
    task.queue.as_deref() == Some(CALLBACKS) && job(&task.data)["reply"] == REPLY
}

/// A task's job.
pub fn job(data: &str) -> Value {
    serde_json::from_str(data).unwrap_or_default()
}

/// A confirmation.
pub struct Confirmed {
    /// The task.
    pub task_id: String,
    /// Which of its runs.
    pub run_times: u64,
    /// Whether it went well.
    pub is_success: bool,
    /// What is written down with it.
    pub extra: String,
}

/// Reads a confirmation. `None`: the body has a `task_id` alone, and asks for a stop.
pub fn confirmation(fields: &Fields) -> Result<Option<Confirmed>> {
    let task_id = fields.required("task_id")?;
    let run_times = fields.positive("task_run_times")?;
    let stands_alone = ["task_run_times", "is_success", "extra"].iter().all(|field| !fields.has(field));
    match run_times {
        None if stands_alone => Ok(None),
        None => Err(Refused::Argument("task_run_times is required".to_owned())),
        Some(run_times) => {
            let (is_success, extra) = (fields.flag("is_success")?, fields.text("extra")?);
            Ok(Some(Confirmed { task_id, run_times, is_success, extra }))
        }
    }
}

/// The rows of a log that are asked for.
pub struct LogPage {
    /// Rows at most.
    pub limit: u32,
    /// After this run.
    pub before: Option<RunId>,
}

/// Reads which part of a log is asked for.
pub fn log_page(fields: &Fields) -> Result<LogPage> {
    const MOST: u64 = 1_000;
    let limit = fields.positive("limit")?.unwrap_or(100);
    if limit > MOST {
        return Err(Refused::Argument(format!("limit should be at most {MOST}")));
    }
    let before = Some(fields.text("before")?).filter(|before| !before.is_empty());
    Ok(LogPage { limit: limit as u32, before: before.map(RunId::from_text) })
}

/// A request's fields; `null` is absent, and a number may come as text.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body, whatever its Content-Type.
    pub fn read(body: &[u8]) -> Result<Self> {
        serde_json::from_slice(body).map(Self).map_err(|_| Refused::unreadable())
    }

    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// Whether it is there.
    pub fn has(&self, field: &str) -> bool {
        self.get(field).is_some()
    }

    /// A text; empty where it is absent.
    pub fn text(&self, field: &str) -> Result<String> {
        match self.get(field) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(Refused::Argument(format!("{field} should be a string"))),
        }
    }

    /// A text that has something in it.
    pub fn required(&self, field: &str) -> Result<String> {
        let text = self.text(field)?;
        if text.is_empty() { Err(Refused::Argument(format!("{field} is required"))) } else { Ok(text) }
    }

    fn number(&self, field: &str) -> Result<Option<i64>> {
        let number = match self.get(field) {
            None => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(other) => other.as_i64(),
        };
        number.map(Some).ok_or_else(|| Refused::Argument(format!("{field} should be an int")))
    }

    /// A number above 0; 0 and less are absent.
    fn positive(&self, field: &str) -> Result<Option<u64>> {
        let number = self.number(field)?.and_then(|number| u64::try_from(number).ok());
        Ok(number.filter(|number| *number > 0))
    }

    fn flag(&self, field: &str) -> Result<bool> {
        match self.get(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(Refused::Argument(format!("{field} should be a bool"))),
        }
    }
}

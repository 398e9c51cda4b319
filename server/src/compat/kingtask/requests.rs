//! What a client asks for, as the task to store.

use serde_json::{Map, Value, json};

use super::responses::ApiError;
use super::{RPC_TAG, Result, SCRIPT_TAG};
use crate::compat::settings::Kingtask;
use crate::core::Moment;
use crate::core::retry::{MAX_ATTEMPTS, RetryPolicy};
use crate::core::submission::{Dedup, MAX_CALL_MS, MAX_SCRIPT_MS, Submission};

/// Queue of the script worker.
pub const SCRIPTS: &str = "script";
/// Queue of the RPC worker.
pub const CALLS: &str = "rpc";
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
/// Additional attempts, for attempts whose worker died.
const LOST_ATTEMPTS: u32 = 3;
const MAX_INTERVAL_SEC: u64 = 366 * 86_400;

/// Whether a body is one for [`script`], and not one of the native API.
pub fn names_a_script(body: &[u8]) -> bool {
    Fields::read(body).is_ok_and(|fields| fields.0.contains_key("bin_name"))
}

/// A script to run.
pub fn script(body: &[u8], settings: &Kingtask) -> Result<Submission> {
    let fields = Fields::read(body)?;
    let args = fields.text("args")?;
    // Compatible with the old server: two spaces enclose an empty argument.
    let args: Vec<&str> = if args.is_empty() { Vec::new() } else { args.split(' ').collect() };
    let job = json!({ "bin_name": fields.required("bin_name")?, "args": args });
    task(SCRIPT_TAG, SCRIPTS, job, &fields, settings)
}

/// A call to make.
pub fn rpc(body: &[u8], settings: &Kingtask) -> Result<Submission> {
    let fields = Fields::read(body)?;
    let method = fields.required("method")?;
    let url = fields.required("url")?;
    if !METHODS.contains(&method.as_str()) || !is_web_address(&url) {
        return Err(ApiError::Argument);
    }
    let job = json!({
        "method": method, "url": url, "body": fields.text("args")?, "content_type": "application/json", "headers": {},
        "failure": "body",
    });
    task(RPC_TAG, CALLS, job, &fields, settings)
}

fn is_web_address(url: &str) -> bool {
    let url = reqwest::Url::parse(url);
    url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Returns the task for a job.
fn task(tag: &str, queue: &str, mut job: Value, fields: &Fields, settings: &Kingtask) -> Result<Submission> {
    let run_sec = fields.number("max_run_time")?.unwrap_or(settings.task_run_sec);
    let max_ms = if queue == SCRIPTS { MAX_SCRIPT_MS } else { MAX_CALL_MS };
    if run_sec > max_ms / 1_000 {
        return Err(ApiError::Argument);
    }
    let pauses_ms = fields.intervals()?;
    job["timeout_ms"] = json!(run_sec * 1_000);
    job["retry_after_ms"] = json!(pauses_ms);
    let start = fields.number("start_time")?.and_then(|sec| i64::try_from(sec).ok());
    Ok(Submission {
        start_at: start.map(Moment::from_sec),
        queue: Some(queue.to_owned()),
        retry: Some(attempts(&pauses_ms)),
        dedup: Dedup::Nothing,
        ..Submission::named(tag, job.to_string())
    })
}

/// Returns the retry policy. Its maximum number of attempts is 1, plus one retry for each pause,
/// plus [`LOST_ATTEMPTS`]. The worker sets the pause before each retry, and reports the run as dead
/// after the last retry.
fn attempts(pauses_ms: &[u64]) -> RetryPolicy {
    let max_attempts = 1 + pauses_ms.len() as u32 + LOST_ATTEMPTS;
    RetryPolicy::doubling(max_attempts, 0, 0)
}

/// The fields of a request. Numbers may be strings. An absent field, `null` and an empty string are equal.
struct Fields(Map<String, Value>);

impl Fields {
    fn read(body: &[u8]) -> Result<Self> {
        serde_json::from_slice(body).map(Self).map_err(|_| ApiError::Argument)
    }

    fn text(&self, field: &str) -> Result<String> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            Some(_) => Err(ApiError::Argument),
        }
    }

    fn required(&self, field: &str) -> Result<String> {
        self.text(field).and_then(|text| if text.is_empty() { Err(ApiError::Argument) } else { Ok(text) })
    }

    /// Returns a whole number. 0 counts as absent.
    fn number(&self, field: &str) -> Result<Option<u64>> {
        let text = self.text(field)?;
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let number: u64 = text.parse().map_err(|_| ApiError::Argument)?;
        Ok(Some(number).filter(|number| *number > 0))
    }

    /// Returns the pauses between attempts in milliseconds.
    fn intervals(&self) -> Result<Vec<u64>> {
        let text = self.text("time_interval")?;
        let pause = |word: &str| word.parse().ok().filter(|sec| *sec <= MAX_INTERVAL_SEC);
        let pauses: Option<Vec<u64>> = text.split_whitespace().map(pause).collect();
        let most = (MAX_ATTEMPTS - 1 - LOST_ATTEMPTS) as usize;
        let pauses = pauses.filter(|pauses| pauses.len() <= most).ok_or(ApiError::Argument)?;
        Ok(pauses.into_iter().map(|sec| sec * 1_000).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(submission: Result<Submission>) -> Value {
        serde_json::from_str(&submission.unwrap().data).unwrap()
    }

    #[test]
    fn arguments_are_split_at_each_space_without_a_shell() {
        let args = |args: &str| {
            let body = json!({"bin_name": "b", "args": args}).to_string();
            job(script(body.as_bytes(), &Kingtask::default()))["args"].clone()
        };
        assert_eq!(args("12 34"), json!(["12", "34"]));
        assert_eq!(args(""), json!([]));
        assert_eq!(args("a  b"), json!(["a", "", "b"]));
        assert_eq!(args("$(id);`id` 'x y'|\n"), json!(["$(id);`id`", "'x", "y'|\n"]));
    }

    #[test]
    fn every_interval_adds_an_attempt() {
        let body = json!({"bin_name": "b", "time_interval": "60 600 3600"}).to_string();
        let submission = script(body.as_bytes(), &Kingtask::default()).unwrap();
        assert_eq!(submission.retry.as_ref().unwrap().max_attempts, 4 + LOST_ATTEMPTS);
        assert_eq!(job(Ok(submission))["retry_after_ms"], json!([60_000, 600_000, 3_600_000]));
    }
}

//! The requests of clients, read from their bodies.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::payload::Payload;
use super::responses::ApiError;
use super::{RESERVED, Result};
use crate::core::retry::{MAX_ATTEMPTS, RetryPolicy};
use crate::core::submission::{Dedup, Submission};

const MAX_TEXT_BYTES: usize = 256;
const MAX_URL_BYTES: usize = 2_048;

/// A request to create a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    pub kind: String,
    pub tid: String,
    pub rid: String,
    pub info: Value,
    pub callback: Option<String>,
}

/// Reads a string or a number as a string. An absent value is an empty string.
fn text(value: &Value) -> Result<String> {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err(ApiError::Arguments),
    };
    if text.len() <= MAX_TEXT_BYTES { Ok(text) } else { Err(ApiError::Arguments) }
}

impl Put {
    /// Returns the request that created a task with this payload.
    pub fn of(payload: Payload) -> Self {
        let Payload { id: _, tid, rid, task_type, task_info } = payload;
        let callback = callback(&task_info).unwrap_or_default();
        Self { kind: task_type, tid, rid, info: task_info, callback }
    }

    /// Reads a request. The type in the body takes precedence over the one in the path, as in the example of
    /// the document.
    pub fn read(kind: Option<String>, body: &[u8]) -> Result<Self> {
        let body: Value = serde_json::from_slice(body).map_err(|_| ApiError::Arguments)?;
        let own = text(&body["task_type"])?;
        let kind = if own.is_empty() { kind.unwrap_or_default() } else { own };
        if kind.is_empty() || RESERVED.contains(&kind.as_str()) || !body.is_object() {
            return Err(ApiError::Arguments);
        }
        let info = body["task_info"].clone();
        let callback = callback(&info)?;
        Ok(Self { kind, tid: text(&body["tid"])?, rid: text(&body["rid"])?, info, callback })
    }

    /// Returns the task to create. It has the maximum number of attempts, for attempts whose worker dies.
    pub fn submission(&self, number: i64) -> Submission {
        let payload = Payload {
            id: number,
            tid: self.tid.clone(),
            rid: self.rid.clone(),
            task_type: self.kind.clone(),
            task_info: self.info.clone(),
        };
        let data = serde_json::to_string(&payload).unwrap_or_default();
        Submission {
            queue: Some(self.kind.clone()),
            retry: Some(RetryPolicy::doubling(MAX_ATTEMPTS, 0, 0)),
            dedup: Dedup::Nothing,
            ..Submission::named(&*self.kind, data)
        }
    }
}

/// Returns the callback URL in a `task_info`. For video tasks the info is an object in Base64.
fn callback(info: &Value) -> Result<Option<String>> {
    let decoded = info.as_str().and_then(|text| BASE64_STANDARD.decode(text.trim()).ok());
    let decoded: Option<Value> = decoded.and_then(|json| serde_json::from_slice(&json).ok());
    let value = &decoded.as_ref().unwrap_or(info)["callback"];
    if value.is_null() || value == "" {
        return Ok(None);
    }
    let url = value.as_str().filter(|url| url.len() <= MAX_URL_BYTES).ok_or(ApiError::Arguments)?;
    let is_http = reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if is_http { Ok(Some(url.to_owned())) } else { Err(ApiError::Arguments) }
}

/// An update of a task by its worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    pub id: i64,
    pub stat: i64,
    pub remark: String,
    /// Name of the worker. Old workers do not send it.
    pub name: Option<String>,
    /// Id of the result file and of its image, for the callback.
    pub files: [Option<String>; 2],
}

impl Update {
    pub fn read(body: &[u8]) -> Result<Self> {
        let body: Value = serde_json::from_slice(body).map_err(|_| ApiError::Arguments)?;
        let number = |name: &str| text(&body[name])?.parse().map_err(|_| ApiError::Arguments);
        let optional = |name: &str| text(&body[name]).map(|text| Some(text).filter(|text| !text.is_empty()));
        let remark = body["remark"].as_str().unwrap_or_default().to_owned();
        let files = [optional("nfid")?, optional("img")?];
        Ok(Self { id: number("id")?, stat: number("stat")?, remark, name: optional("name")?, files })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_callback_of_a_video_task_is_in_base64() {
        let info = BASE64_STANDARD.encode(r#"{"fid":"1","callback":"http://a.example/c"}"#);
        assert_eq!(callback(&json!(info)).unwrap().as_deref(), Some("http://a.example/c"));
        assert_eq!(callback(&json!("plain text")).unwrap(), None);
        assert_eq!(callback(&json!({"url": "x"})).unwrap(), None);
        for wrong in ["ftp://a.example", "no address", "file:///etc/passwd"] {
            assert!(callback(&json!({ "callback": wrong })).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_type_in_the_body_takes_precedence() {
        let read = |kind: Option<&str>, body: &Value| {
            Put::read(kind.map(str::to_owned), body.to_string().as_bytes()).map(|put| put.kind).ok()
        };
        assert_eq!(read(Some("a"), &json!({"task_type": "b"})).as_deref(), Some("b"));
        assert_eq!(read(Some("a"), &json!({})).as_deref(), Some("a"));
        assert_eq!(read(None, &json!({})), None);
        assert_eq!(read(None, &json!({"task_type": "rpc"})), None);
    }
}

//! The four messages of task services, over topics and over HTTP alike: JSON whose keys are matched without regard to case.

use serde_json::{Map, Value};

use super::board::{self, Row};
use super::{ask, services};
use crate::engine::service::{Service, ServiceError};

const SERVICE_REGISTER: &str = "serviceRegister";
const TASK_REGISTER: &str = "taskRegister";
const UPDATE_STATUS: &str = "updateStatus";
const HEART_BEAT: &str = "heartBeat";
/// The topics, which are the last part of the paths as well.
pub const TOPICS: [&str; 4] = [SERVICE_REGISTER, TASK_REGISTER, UPDATE_STATUS, HEART_BEAT];
/// Longest address of a service: a record's key.
const MAX_URL_BYTES: usize = 512;
const MAX_TEXT_BYTES: usize = 1_024;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is stored.
    Done,
    /// It never can be: delivering it again would not help.
    Refused(String),
    /// It is not stored: deliver it again.
    Failed(String),
}

impl From<Result<(), ServiceError>> for Taken {
    fn from(stored: Result<(), ServiceError>) -> Self {
        match stored {
            Ok(()) => Self::Done,
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

/// Takes a message of a topic.
pub async fn take(service: &Service, topic: &str, body: &[u8]) -> Taken {
    let fields = match Fields::read(body) {
        Ok(fields) => fields,
        Err(why) => return Taken::Refused(why),
    };
    let taken = match topic {
        SERVICE_REGISTER => register(service, &fields).await,
        TASK_REGISTER => add(service, &fields).await,
        UPDATE_STATUS => update(service, &fields).await,
        HEART_BEAT => beat(service, &fields).await,
        _ => Err(format!("{topic} is no topic of the board")),
    };
    taken.unwrap_or_else(Taken::Refused)
}

/// Whether a task service can be asked there.
fn address(url: &str) -> Result<(), String> {
    let known = reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if known && url.len() <= MAX_URL_BYTES {
        Ok(())
    } else {
        Err("URL should be an http or https address".into())
    }
}

async fn register(service: &Service, fields: &Fields) -> Result<Taken, String> {
    let url = fields.text("url")?;
    address(&url)?;
    let (name, reserved) = (fields.text("name")?, fields.text("reserved")?);
    if let Err(error) = services::register(service, &url, &name, &reserved).await {
        return Ok(Taken::Failed(error.to_string()));
    }
    // Also where the answer to an earlier try was lost: asking twice adds nothing.
    Ok(ask::submit(service, &url).await.into())
}

async fn add(service: &Service, fields: &Fields) -> Result<Taken, String> {
    Ok(board::register(service, &fields.row()?).await.into())
}

/// A task that is not there may be on its way: its registration travels by another topic.
async fn update(service: &Service, fields: &Fields) -> Result<Taken, String> {
    let row = fields.identity()?;
    let status = fields.text("status")?;
    if !board::is_status(&status) {
        return Err(format!("Status {status:?} is none of the board's"));
    }
    Ok(match board::set_status(service, &row.id, &status).await {
        Ok(true) => Taken::Done,
        Ok(false) => Taken::Failed(format!("there is no task {}", row.id)),
        Err(error) => Taken::Failed(error.to_string()),
    })
}

async fn beat(service: &Service, fields: &Fields) -> Result<Taken, String> {
    let url = fields.text("url")?;
    address(&url)?;
    Ok(services::beat(service, &url, fields.number("time")?).await.into())
}

/// The tasks in a service's reply, and how many of it are none.
pub fn tasks(reply: &[u8]) -> Result<(Vec<Row>, usize), String> {
    let rows: Vec<Value> = match serde_json::from_slice(reply) {
        Ok(Value::Array(rows)) => rows,
        // What Go writes for a list without elements.
        Ok(Value::Null) => Vec::new(),
        _ => return Err("the reply should be a JSON array of tasks".into()),
    };
    let all = rows.len();
    let row = |row| Fields::of(row).and_then(|fields| fields.row()).ok();
    let rows: Vec<Row> = rows.into_iter().filter_map(row).collect();
    let none = all - rows.len();
    Ok((rows, none))
}

/// A message's members, by their names in small letters.
struct Fields(Map<String, Value>);

impl Fields {
    fn read(body: &[u8]) -> Result<Self, String> {
        let read = serde_json::from_slice(body).or_else(|error| mended(body).ok_or(error));
        Self::of(read.map_err(|error| format!("the message is no JSON: {error}"))?)
    }

    fn of(value: Value) -> Result<Self, String> {
        let Value::Object(fields) = value else { return Err("the message should be a JSON object".into()) };
        Ok(Self(fields.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect()))
    }

    fn text(&self, name: &str) -> Result<String, String> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) if text.len() <= MAX_TEXT_BYTES => Ok(text.clone()),
            Some(_) => Err(format!("{name} should be text of at most {MAX_TEXT_BYTES} bytes")),
        }
    }

    fn number(&self, name: &str) -> Result<i64, String> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(0),
            Some(value) => value.as_i64().ok_or_else(|| format!("{name} should be a whole number")),
        }
    }

    /// What tells the task that is spoken of.
    fn identity(&self) -> Result<Row, String> {
        let row = Row {
            project_id: self.text("projectid")?,
            instance_id: self.text("instanceid")?,
            task_id: self.text("taskid")?,
            task_type: self.text("tasktype")?,
            ..Row::default()
        };
        if row.task_id.is_empty() { Err("TaskID is missing".into()) } else { Ok(row.identified()) }
    }

    fn row(&self) -> Result<Row, String> {
        let status = Some(self.text("status")?).filter(|status| !status.is_empty());
        let status = status.unwrap_or_else(|| board::UNCLAIMED.to_owned());
        if !board::is_status(&status) {
            return Err(format!("Status {status:?} is none of the board's"));
        }
        Ok(Row {
            url: self.text("url")?,
            status,
            create_time: self.number("createtime")?,
            user: self.text("user")?,
            checker: self.text("checker")?,
            group: self.text("group")?,
            reserved: self.text("reserved")?,
            ..self.identity()?
        })
    }
}

/// The document's own samples have a name without a value (`"EditInfo",`), which is no JSON. What is meant is clear.
fn mended(body: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(body).ok()?;
    serde_json::from_str(&text.replace("\"EditInfo\",", "\"EditInfo\":\"\",")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_matched_without_regard_to_case() {
        let one = Fields::read(br#"{"TASKID":"t","taskType":"k","projectid":"p","InstanceID":"i"}"#).unwrap();
        let other =
            Fields::read(br#"{"TaskID":"t","TaskType":"k","ProjectID":"p","instanceID":"i"}"#).unwrap();
        assert_eq!(one.row(), other.row());
        assert_eq!(one.row().unwrap().status, board::UNCLAIMED);
    }

    #[test]
    fn a_reply_holds_tasks_and_what_is_none_is_counted() {
        let (rows, none) = tasks(br#"[{"TaskID":"t"},{"TaskID":""},7]"#).unwrap();
        assert_eq!((rows.len(), none), (1, 2));
        assert_eq!(tasks(b"null").unwrap(), (Vec::new(), 0));
        assert!(tasks(b"{}").is_err() && tasks(b"<html>").is_err());
    }
}

//! The four messages of task services, over topics and HTTP: JSON with case-insensitive keys.

use super::fields::Fields;
use super::{board, fetch, services};
use crate::engine::service::{Service, ServiceError};

const SERVICE_REGISTER: &str = "serviceRegister";
const TASK_REGISTER: &str = "taskRegister";
const UPDATE_STATUS: &str = "updateStatus";
const HEART_BEAT: &str = "heartBeat";
/// The topics. Their names are also the last segments of the HTTP paths.
pub const TOPICS: [&str; 4] = [SERVICE_REGISTER, TASK_REGISTER, UPDATE_STATUS, HEART_BEAT];
/// Maximum length of the URL of a service, which is the key of its record.
const MAX_URL_BYTES: usize = 512;

/// Outcome of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageOutcome {
    /// Stored.
    Done,
    /// Invalid: a redelivery would not help.
    Refused(String),
    /// Not stored: deliver the message again.
    Failed(String),
}

impl From<Result<(), ServiceError>> for MessageOutcome {
    fn from(stored: Result<(), ServiceError>) -> Self {
        match stored {
            Ok(()) => Self::Done,
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

/// Handles a message of a topic.
pub async fn handle_message(service: &Service, topic: &str, body: &[u8]) -> MessageOutcome {
    let fields = match Fields::read(body) {
        Ok(fields) => fields,
        Err(why) => return MessageOutcome::Refused(why),
    };
    let outcome = match topic {
        SERVICE_REGISTER => register(service, &fields).await,
        TASK_REGISTER => add(service, &fields).await,
        UPDATE_STATUS => update(service, &fields).await,
        HEART_BEAT => beat(service, &fields).await,
        _ => Err(format!("unknown topic {topic}")),
    };
    outcome.unwrap_or_else(MessageOutcome::Refused)
}

/// Checks the URL of a service.
fn check_url(url: &str) -> Result<(), String> {
    let is_http = reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if is_http && url.len() <= MAX_URL_BYTES {
        Ok(())
    } else {
        Err("URL should be an http or https address".into())
    }
}

async fn register(service: &Service, fields: &Fields) -> Result<MessageOutcome, String> {
    let url = fields.text("url")?;
    check_url(&url)?;
    let (name, reserved) = (fields.text("name")?, fields.text("reserved")?);
    if let Err(error) = services::register(service, &url, &name, &reserved).await {
        return Ok(MessageOutcome::Failed(error.to_string()));
    }
    // Repeated too if the answer to an earlier registration was lost: a second fetch adds nothing.
    Ok(fetch::submit(service, &url).await.into())
}

async fn add(service: &Service, fields: &Fields) -> Result<MessageOutcome, String> {
    Ok(board::register(service, &fields.row()?).await.into())
}

/// Sets a status. The registration of an unknown task may still arrive, on another topic.
async fn update(service: &Service, fields: &Fields) -> Result<MessageOutcome, String> {
    let row = fields.identity()?;
    let status = fields.text("status")?;
    if !board::is_status(&status) {
        return Err(format!("unknown Status {status:?}"));
    }
    Ok(match board::set_status(service, &row.id, &status).await {
        Ok(true) => MessageOutcome::Done,
        Ok(false) => MessageOutcome::Failed(format!("there is no task {}", row.id)),
        Err(error) => MessageOutcome::Failed(error.to_string()),
    })
}

async fn beat(service: &Service, fields: &Fields) -> Result<MessageOutcome, String> {
    let url = fields.text("url")?;
    check_url(&url)?;
    Ok(services::beat(service, &url, fields.number("time")?).await.into())
}

//! The four messages of task services, over topics and over HTTP alike: JSON whose keys are matched without regard to case.

use super::fields::Fields;
use super::{board, fetch, services};
use crate::engine::service::{Service, ServiceError};

const SERVICE_REGISTER: &str = "serviceRegister";
const TASK_REGISTER: &str = "taskRegister";
const UPDATE_STATUS: &str = "updateStatus";
const HEART_BEAT: &str = "heartBeat";
/// The topics, which are the last part of the paths as well.
pub const TOPICS: [&str; 4] = [SERVICE_REGISTER, TASK_REGISTER, UPDATE_STATUS, HEART_BEAT];
/// Longest address of a service: a record's key.
const MAX_URL_BYTES: usize = 512;

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
    Ok(fetch::submit(service, &url).await.into())
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

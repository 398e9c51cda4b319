//! The board: tasks and the users who claim them.

use std::fmt::Write as _;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::Result;
use super::responses::ApiError;
use crate::core::Moment;
use crate::engine::service::{RecordKind, Service, ServiceError};

const TASK: RecordKind = RecordKind::audited("taskdash.task");
/// Number of rows read at a time.
const PAGE: u32 = 1_000;

/// Status of a task without a user.
pub const UNCLAIMED: &str = "待领取";
/// Status of a claimed task.
pub const CLAIMED: &str = "已领取";
/// Status of a task assigned to a user.
pub const ASSIGNED: &str = "已指派";
/// Status of a task in progress.
pub const EDITED: &str = "编辑中";
/// Status of a finished task.
pub const FINISHED: &str = "已完成";
const STATUSES: [&str; 5] = [UNCLAIMED, CLAIMED, ASSIGNED, EDITED, FINISHED];

/// A task of the board, as stored and as returned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Row {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "ProjectID")]
    pub project_id: String,
    #[serde(rename = "InstanceID")]
    pub instance_id: String,
    #[serde(rename = "TaskID")]
    pub task_id: String,
    pub task_type: String,
    #[serde(rename = "URL")]
    pub url: String,
    pub status: String,
    pub create_time: i64,
    pub user: String,
    pub checker: String,
    pub group: String,
    pub reserved: String,
}

/// A row as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    row: Row,
    /// When the task got its last status, if that is [`FINISHED`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_at: Option<Moment>,
}

/// A changed row with its index, the user.
type Changed = (Stored, Option<String>);
/// `None`: the row stays as it is.
type Change = Option<Changed>;

impl Row {
    /// Sets the id, derived from the identifying fields. An id from the client is ignored.
    pub fn with_id(mut self) -> Self {
        let parts = [&*self.project_id, &*self.instance_id, &*self.task_id, &*self.task_type];
        self.id = digest(&parts.concat());
        self
    }

    /// Whether a user has claimed the task. A user name alone is not a claim: a service may set one in advance.
    fn is_taken(&self) -> bool {
        !self.user.is_empty() && self.status != UNCLAIMED
    }
}

/// Returns the MD5 digest in hexadecimal digits. The digest is an identity, not a protection.
pub fn digest(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// Whether the board has this status.
pub fn is_status(status: &str) -> bool {
    STATUSES.contains(&status)
}

/// Returns a changed row with its index, the user. A finished task keeps the time at which it finished.
fn changed(row: Row, before: Option<Moment>, now: Moment) -> Changed {
    let user = row.user.clone();
    let finished_at = (row.status == FINISHED).then(|| before.unwrap_or(now));
    (Stored { row, finished_at }, Some(user))
}

/// Adds or updates a task. A claimed task keeps its user and status.
pub async fn register(service: &Service, task: &Row) -> std::result::Result<(), ServiceError> {
    let now = service.now();
    let put = |stored: Option<Stored>| {
        let mut row = task.clone();
        let finished_at = stored.as_ref().and_then(|stored| stored.finished_at);
        if let Some(Stored { row: stored, .. }) = stored {
            if stored.is_taken() {
                (row.user, row.status) = (stored.user, stored.status);
            } else if row.user.is_empty() {
                row.user = stored.user;
            }
            (row.checker, row.group) = (stored.checker, stored.group);
        }
        Ok((Some(changed(row, finished_at, now)), ()))
    };
    service.change_record(TASK, &task.id, put).await
}

/// Sets the status of a task. Returns whether the task exists.
pub async fn set_status(
    service: &Service,
    id: &str,
    status: &str,
) -> std::result::Result<bool, ServiceError> {
    let now = service.now();
    let put = |stored: Option<Stored>| {
        let Some(Stored { row, finished_at }) = stored else { return Ok((None, false)) };
        let row = Row { status: status.to_owned(), ..row };
        Ok((Some(changed(row, finished_at, now)), true))
    };
    service.change_record(TASK, id, put).await
}

/// Claims a task for a user. Fails if another user has the task. A repeated claim changes nothing.
pub async fn bind(service: &Service, id: &str, user: &str) -> Result<()> {
    let now = service.now();
    let claim = |stored: Option<Stored>| {
        let row = stored.ok_or(ApiError::NoTask)?.row;
        match row.status.as_str() {
            _ if !row.user.is_empty() && row.user != user => Err(ApiError::Claimed),
            UNCLAIMED | ASSIGNED => {
                let row = Row { user: user.to_owned(), status: CLAIMED.to_owned(), ..row };
                Ok((Some(changed(row, None, now)), ()))
            }
            // A service has set the status without a claim.
            _ if row.user.is_empty() => Err(ApiError::Claimed),
            _ => Ok((None, ())),
        }
    };
    change(service, id, claim).await
}

/// Assigns a task to a user. Fails if the task is claimed.
pub async fn assign(service: &Service, id: &str, user: &str) -> Result<()> {
    let now = service.now();
    let assign = |stored: Option<Stored>| {
        let row = stored.ok_or(ApiError::NoTask)?.row;
        match row.status.as_str() {
            UNCLAIMED | ASSIGNED => {
                let row = Row { user: user.to_owned(), status: ASSIGNED.to_owned(), ..row };
                Ok((Some(changed(row, None, now)), ()))
            }
            FINISHED => Err(ApiError::Done),
            _ => Err(ApiError::Claimed),
        }
    };
    change(service, id, assign).await
}

async fn change(
    service: &Service,
    id: &str,
    change: impl Fn(Option<Stored>) -> Result<(Change, ())>,
) -> Result<()> {
    // An id has 32 characters, and other texts may be invalid as a key.
    if id.len() != 32 {
        return Err(ApiError::NoTask);
    }
    service.change_record(TASK, id, change).await
}

/// Returns the tasks of a user or of all users that match, newest first. The empty name means tasks without a
/// user.
pub async fn list(service: &Service, user: Option<&str>, matches: impl Fn(&Row) -> bool) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = service.list_records::<Stored>(TASK, user, after.as_deref(), PAGE).await;
        let page = page.map_err(ApiError::query)?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        rows.extend(page.into_iter().map(|(_, stored)| stored.row).filter(|row| matches(row)));
    }
    rows.sort_by(|one, other| (other.create_time, &one.id).cmp(&(one.create_time, &other.id)));
    Ok(rows)
}

/// Removes the tasks that finished before `before`.
///
/// # Errors
/// A port's error. Another call finds the remaining tasks.
pub async fn prune(service: &Service, before: Moment) -> std::result::Result<(), ServiceError> {
    let is_old = |stored: &Stored| stored.finished_at.is_some_and(|at| at < before);
    let mut after: Option<String> = None;
    loop {
        let page = service.list_records::<Stored>(TASK, None, after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (id, _) in page.iter().filter(|(_, stored)| is_old(stored)) {
            service.remove_record_if(TASK, id, is_old).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples of the document.
    #[test]
    fn ids_equal_the_samples_of_the_document() {
        let id = |project: &str, instance: &str, task: &str, kind: &str| {
            let row = Row {
                project_id: project.to_owned(),
                instance_id: instance.to_owned(),
                task_id: task.to_owned(),
                task_type: kind.to_owned(),
                ..Row::default()
            };
            row.with_id().id
        };
        let samples = [
            (
                "d8b6efc3ee308ef3ea1284b9dfc79df8",
                "projectID",
                "instanceID",
                "0210232_1220_1222_020",
                "satEdit",
            ),
            (
                "777417adfc7aaa032537e75b025ab267",
                "projectID",
                "instanceID",
                "0210232_1220_1222_022",
                "satEdit",
            ),
            (
                "7c1c5ed25bf0c827bd8ddcb1091fad1c",
                "projectID",
                "instanceID",
                "0210232_1220_1222_0222",
                "satEdit",
            ),
            (
                "24079070c4f1a4bc9b57070ae831514f",
                "projectID",
                "instanceID",
                "20200311_0000001_111111",
                "vidEdit",
            ),
            ("fdbcc3906f2c619394b94d636af353a5", "p1", "i1", "0210232_1220_1222_0222", "satEdit"),
            ("9cf4db018beecb08a1f27678798c0653", "p1", "i1", "20200311_0000001_111111", "vidEdit"),
        ];
        for (wanted, project, instance, task, kind) in samples {
            assert_eq!(id(project, instance, task, kind), wanted, "{project} {instance} {task} {kind}");
        }
    }
}

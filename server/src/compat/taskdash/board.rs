//! The board: what stands on it, and who has it.

use std::fmt::Write as _;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::Result;
use super::answer::Refused;
use crate::engine::service::{Service, ServiceError};

const TASK: &str = "taskdash.task";
/// Rows read at a time.
const PAGE: u32 = 1_000;

/// Nobody has claimed it.
pub const UNCLAIMED: &str = "待领取";
/// Somebody has claimed it.
pub const CLAIMED: &str = "已领取";
/// Somebody has been given it.
pub const ASSIGNED: &str = "已指派";
/// It is being worked on.
pub const EDITED: &str = "编辑中";
/// It is done.
pub const FINISHED: &str = "已完成";
const STATUSES: [&str; 5] = [UNCLAIMED, CLAIMED, ASSIGNED, EDITED, FINISHED];

/// A task on the board, as it is kept and as it is shown.
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

impl Row {
    /// What tells it from every other task. An id that comes along is not looked at.
    pub fn identified(mut self) -> Self {
        let parts = [&*self.project_id, &*self.instance_id, &*self.task_id, &*self.task_type];
        self.id = digest(&parts.concat());
        self
    }

    /// Whether somebody has it. A user's name alone does not say so: a service may name one beforehand.
    fn is_taken(&self) -> bool {
        !self.user.is_empty() && self.status != UNCLAIMED
    }
}

/// MD5 in hexadecimal digits: an identity, and no protection.
pub fn digest(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// Whether a status is one of the board's.
pub fn is_status(status: &str) -> bool {
    STATUSES.contains(&status)
}

/// A row, with what it is found by: its user.
fn stored(row: Row) -> (Row, Option<String>) {
    let user = row.user.clone();
    (row, Some(user))
}

/// Puts a task on the board. One that is there gets what the service says anew; one that somebody has stays theirs, as it stands.
pub async fn register(service: &Service, task: &Row) -> std::result::Result<(), ServiceError> {
    let put = |standing: Option<Row>| {
        let mut row = task.clone();
        if let Some(standing) = standing {
            if standing.is_taken() {
                (row.user, row.status) = (standing.user, standing.status);
            } else if row.user.is_empty() {
                row.user = standing.user;
            }
            (row.checker, row.group) = (standing.checker, standing.group);
        }
        Ok((Some(stored(row)), ()))
    };
    service.change_record(TASK, &task.id, put).await
}

/// Sets a task's status; whether the task is there.
pub async fn set_status(
    service: &Service,
    id: &str,
    status: &str,
) -> std::result::Result<bool, ServiceError> {
    let put = |standing: Option<Row>| {
        let row = standing.map(|row| Row { status: status.to_owned(), ..row });
        let is_there = row.is_some();
        Ok((row.map(stored), is_there))
    };
    service.change_record(TASK, id, put).await
}

/// Claims a task for a user. A task that somebody else has, or was given, is not stolen; one's own claim again changes nothing.
pub async fn bind(service: &Service, id: &str, user: &str) -> Result<()> {
    let claim = |standing: Option<Row>| {
        let row = standing.ok_or(Refused::NoTask)?;
        match row.status.as_str() {
            _ if !row.user.is_empty() && row.user != user => Err(Refused::Claimed),
            UNCLAIMED | ASSIGNED => {
                let row = Row { user: user.to_owned(), status: CLAIMED.to_owned(), ..row };
                Ok((Some(stored(row)), ()))
            }
            // A service has set it on without anybody's claim.
            _ if row.user.is_empty() => Err(Refused::Claimed),
            _ => Ok((None, ())),
        }
    };
    change(service, id, claim).await
}

/// Gives a task to a user. One that somebody has claimed stays theirs.
pub async fn assign(service: &Service, id: &str, user: &str) -> Result<()> {
    let give = |standing: Option<Row>| {
        let row = standing.ok_or(Refused::NoTask)?;
        match row.status.as_str() {
            UNCLAIMED | ASSIGNED => {
                let row = Row { user: user.to_owned(), status: ASSIGNED.to_owned(), ..row };
                Ok((Some(stored(row)), ()))
            }
            FINISHED => Err(Refused::Done),
            _ => Err(Refused::Claimed),
        }
    };
    change(service, id, give).await
}

async fn change(
    service: &Service,
    id: &str,
    change: impl Fn(Option<Row>) -> Result<(Option<(Row, Option<String>)>, ())>,
) -> Result<()> {
    // Nothing else can be an id, or a record's key.
    if id.len() != 32 {
        return Err(Refused::NoTask);
    }
    service.change_record(TASK, id, change).await
}

/// Tasks of a user (nobody's: the empty name) or of all, newest first.
pub async fn list(service: &Service, user: Option<&str>, which: impl Fn(&Row) -> bool) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = service.list_records::<Row>(TASK, user, after.as_deref(), PAGE).await;
        let page = page.map_err(Refused::query)?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        rows.extend(page.into_iter().map(|(_, row)| row).filter(|row| which(row)));
    }
    rows.sort_by(|one, other| (other.create_time, &one.id).cmp(&(one.create_time, &other.id)));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples of the document, some of which leave a part out or have another one.
    #[test]
    fn ids_are_those_of_the_documents_samples() {
        let id = |project: &str, instance: &str, task: &str, kind: &str| {
            let row = Row {
                project_id: project.to_owned(),
                instance_id: instance.to_owned(),
                task_id: task.to_owned(),
                task_type: kind.to_owned(),
                ..Row::default()
            };
            row.identified().id
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

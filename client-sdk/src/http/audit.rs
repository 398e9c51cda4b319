//! Calls for the audit log, `/v1/audit`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Error, TaskCenter};
use crate::resources::AuditList;

/// Filter of [`TaskCenter::list_audit`]. An absent field does not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditQuery {
    /// Only changes of this object: the id of a task, a run, an operation or a token, or kind and key of a
    /// document, such as `user ann`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Only requests of this actor: the name of a token, or `loopback`, `trusted` or `configuration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Only this action, such as `task.edit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Only entries from this instant on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Maximum number of entries in the page, 1 to 1,000. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// [`next_cursor`](AuditList::next_cursor) of the previous page. Default: the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl TaskCenter {
    /// Returns a page of the audit log, newest first. An empty page may have a
    /// [`next_cursor`](AuditList::next_cursor), because the server examines a limited number of entries for a page.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 403 without the scope `admin`, and 400 for an unknown action, a limit out of
    /// bounds, or an invalid cursor.
    pub async fn list_audit(&self, query: &AuditQuery) -> Result<AuditList, Error> {
        self.get(&["v1", "audit"], query).await
    }
}

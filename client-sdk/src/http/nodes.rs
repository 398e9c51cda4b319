//! Calls for nodes and workers.

use super::{Error, TaskCenter};
use crate::resources::{NodeList, WorkerList};

impl TaskCenter {
    /// Returns the workers that lease runs or sent a lease request in the last ten minutes, by name.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 401 or 403 without the scope `task:read`.
    pub async fn workers(&self) -> Result<WorkerList, Error> {
        self.get(&["v1", "workers"], &()).await
    }

    /// Returns the nodes, longest running first.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 401 or 403 without the scope `task:read`, and with a token that is
    /// limited to tags.
    pub async fn nodes(&self) -> Result<NodeList, Error> {
        self.get(&["v1", "nodes"], &()).await
    }
}

//! Calls for holds, `/v1/holds`.

use reqwest::Method;

use super::{Error, TaskCenter};
use crate::resources::{HoldList, HoldResource, HoldScope, NewHold};

impl TaskCenter {
    /// Pauses a queue or a tag, or changes reason and end of the pause. Schedules keep firing; the runs wait until the
    /// hold ends. Attempts in progress continue.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid field; [`Error::field`] names it.
    pub async fn add_hold(&self, hold: &NewHold) -> Result<HoldResource, Error> {
        self.post(&["v1", "holds"], hold).await
    }

    /// Returns the holds that have not ended.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 401 or 403 without the scope `task:read`.
    pub async fn holds(&self) -> Result<HoldList, Error> {
        self.get(&["v1", "holds"], &()).await
    }

    /// Ends a hold and returns it. The waiting runs go on, in order.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown hold.
    pub async fn remove_hold(&self, scope: HoldScope, name: &str) -> Result<HoldResource, Error> {
        self.call_non_idempotent(Method::DELETE, &["v1", "holds", scope.as_str(), name]).await
    }
}

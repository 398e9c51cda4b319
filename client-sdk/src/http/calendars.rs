//! Calls for calendars, `/v1/calendars`.

use reqwest::Method;

use super::{Error, TaskCenter};
use crate::resources::{CalendarList, CalendarResource, CalendarSpec};

impl TaskCenter {
    /// Creates a calendar, or replaces the calendar with the same name. Its tasks get the new version.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid field.
    pub async fn put_calendar(&self, calendar: &CalendarSpec) -> Result<CalendarResource, Error> {
        self.post(&["v1", "calendars"], calendar).await
    }

    /// Returns all calendars, by name.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 401 or 403 without the scope `task:read`.
    pub async fn calendars(&self) -> Result<CalendarList, Error> {
        self.call(Method::GET, &["v1", "calendars"]).await
    }

    /// Returns a calendar, with the tasks that have it.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown calendar.
    pub async fn calendar(&self, name: &str) -> Result<CalendarResource, Error> {
        self.call(Method::GET, &["v1", "calendars", name]).await
    }

    /// Deletes a calendar that no active or paused task has, and returns it.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown calendar, and 409 for one that is in use.
    pub async fn delete_calendar(&self, name: &str) -> Result<CalendarResource, Error> {
        self.call_non_idempotent(Method::DELETE, &["v1", "calendars", name]).await
    }
}

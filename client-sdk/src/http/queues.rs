//! Calls for queues, statistics and the preview of schedules.

use jiff::Timestamp;

use super::{Error, TaskCenter};
use crate::resources::{
    AbsencePreview, ExplainedSchedule, Misfire, NextMoments, QueueList, SchedulePreview, Stat,
};

impl TaskCenter {
    /// Returns the queues with open runs, by name.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 401 or 403 without the scope `task:read`.
    pub async fn queues(&self) -> Result<QueueList, Error> {
        self.get(&["v1", "queues"], &()).await
    }

    /// Returns the fires of the current minute and the backlog, by tag and by queue.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 401 or 403 without the scope `task:read`.
    pub async fn statistics(&self) -> Result<Stat, Error> {
        self.get(&["v1", "stat"], &()).await
    }

    /// Returns the next moments of a cron expression, earliest first.
    ///
    /// `zone`: IANA time zone; `None`: the server's. `count`: 1 to 100; `None`: 5. `after`: only
    /// moments later than this instant; `None`: now.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid expression, an unknown zone, or a count
    /// out of bounds.
    pub async fn next_moments(
        &self,
        cron: &str,
        zone: Option<&str>,
        count: Option<u32>,
        after: Option<Timestamp>,
    ) -> Result<NextMoments, Error> {
        let mut query = vec![("cron", cron.to_owned())];
        query.extend(zone.map(|zone| ("zone", zone.to_owned())));
        query.extend(count.map(|count| ("count", count.to_string())));
        query.extend(after.map(|after| ("after", after.to_string())));
        self.get(&["v1", "schedule", "next"], &query).await
    }

    /// Returns a whole schedule in words, with its next moments.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid schedule, or a count out of bounds.
    pub async fn explain_schedule(&self, preview: &SchedulePreview) -> Result<ExplainedSchedule, Error> {
        self.post(&["v1", "schedule", "next"], preview).await
    }

    /// Returns what would happen to the moments of a cron expression if no node of the server ran from `from` to
    /// `to`.
    ///
    /// `zone`: IANA time zone; `None`: the server's. `misfire`: the policy of the task.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid expression, an unknown zone, or a policy out of bounds.
    pub async fn preview_absence(
        &self,
        cron: &str,
        zone: Option<&str>,
        from: Timestamp,
        to: Timestamp,
        misfire: Misfire,
    ) -> Result<AbsencePreview, Error> {
        let mut query = vec![("cron", cron.to_owned()), ("from", from.to_string()), ("to", to.to_string())];
        query.extend(zone.map(|zone| ("zone", zone.to_owned())));
        query.extend(misfire.policy.map(|policy| ("policy", policy.as_str().to_owned())));
        query.extend(misfire.grace_ms.map(|grace_ms| ("grace_ms", grace_ms.to_string())));
        query.extend(misfire.max.map(|max| ("max", max.to_string())));
        self.get(&["v1", "schedule", "absence"], &query).await
    }
}

//! What stands in the queues, what is due, and what is to come.

use jiff::Timestamp;

use super::{Error, TaskCenter};
use crate::resources::{NextMoments, QueueList, Stat};

impl TaskCenter {
    /// The queues that hold anything, by name.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn queues(&self) -> Result<QueueList, Error> {
        self.get(&["v1", "queues"], &()).await
    }

    /// What fires and waits, by tag and by queue.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn statistics(&self) -> Result<Stat, Error> {
        self.get(&["v1", "stat"], &()).await
    }

    /// The moments of a cron expression: in `zone` (an IANA name; `None`: the server's), `count` of them (`None`: as many
    /// as the server thinks fit), later than `after` (`None`: now).
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an expression or a zone that there is not.
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
}

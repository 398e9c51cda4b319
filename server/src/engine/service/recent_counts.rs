//! Counts for pages that many people keep open. The counts are read once for all of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::{BacklogRow, OutcomeCount, QueueRow, Result, Service};
use crate::core::access::Scope;
use crate::core::concurrency::Scope as LimitScope;
use crate::engine::limits::{self, LimitUse};
use crate::ports;

/// Age up to which counts are shown without another read.
const MIN_AGE: Duration = Duration::from_secs(1);
/// The same, for counts that take long to read.
const MAX_AGE: Duration = Duration::from_secs(2);
/// How many times as old as the time of its read a count may be.
const AGE_PER_COST: u32 = 10;

/// A value that is read again when it is old. One caller reads, while the others wait for the value.
#[derive(Debug)]
struct Recent<T>(Mutex<Option<Read<T>>>);

#[derive(Debug)]
struct Read<T> {
    value: ports::Result<Arc<T>>,
    /// When the read had ended, and the time that it took.
    at: Instant,
    cost: Duration,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Recent<T> {
    /// Returns the value. An error is kept like a value, so that callers do not wait one after the other for a
    /// store that does not answer. If the caller that reads goes away, the next one reads.
    #[allow(clippy::disallowed_methods, reason = "the time only measures the age of a count")]
    async fn get(&self, read: impl Future<Output = ports::Result<T>>) -> ports::Result<Arc<T>> {
        let mut last = self.0.lock().await;
        let is_fresh =
            |last: &Read<T>| last.at.elapsed() < (last.cost * AGE_PER_COST).clamp(MIN_AGE, MAX_AGE);
        let fresh = if let Some(fresh) = last.take().filter(is_fresh) {
            fresh
        } else {
            let start = Instant::now();
            let value = read.await.map(Arc::new);
            Read { value, at: Instant::now(), cost: start.elapsed() }
        };
        let value = fresh.value.as_ref().map(Arc::clone).map_err(ports::PortError::duplicate);
        *last = Some(fresh);
        value
    }
}

/// The counts of one node.
#[derive(Debug, Default)]
pub(super) struct RecentCounts {
    summary: Recent<Summary>,
    queues: Recent<Vec<QueueRow>>,
    limits: Recent<Vec<(String, LimitUse)>>,
}

/// Counts of all tags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    pub backlog: Vec<BacklogRow>,
    /// Fires of all nodes in the current minute, by tag.
    pub fires: Vec<(String, u64)>,
    /// Outcomes of today in the server's time zone.
    pub outcomes: Vec<OutcomeCount>,
}

impl Service {
    /// Returns the backlog, the fires of this minute and the outcomes of today, at most 2 s old.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`](super::ServiceError::Forbidden), or a port's error.
    pub async fn recent_summary(&self) -> Result<Summary> {
        self.require(Scope::TaskRead)?;
        let mut summary = (*self.shared.recent_counts.summary.get(self.read_summary()).await?).clone();
        summary.backlog.retain(|row| self.allows_tag(&row.tag));
        summary.fires.retain(|(tag, _)| self.allows_tag(tag));
        summary.outcomes.retain(|row| self.allows_tag(&row.tag));
        Ok(summary)
    }

    async fn read_summary(&self) -> ports::Result<Summary> {
        let (store, now) = (&self.shared.ports.store, self.now());
        let backlog = store.backlog(now).await?;
        let fires = store.fires_in_minute(now).await?;
        let outcomes = store.outcomes_on(now.day_in(self.time_zone())).await?;
        Ok(Summary { backlog, fires, outcomes })
    }

    /// Returns the limits for whose slots runs of a queue wait, with the queue, at most 2 s old. The first
    /// [`MAX_GROUPS`](limits::MAX_GROUPS) groups of waiting runs are examined.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`](super::ServiceError::Forbidden), or a port's error.
    pub async fn recent_limits(&self) -> Result<Vec<(String, LimitUse)>> {
        self.require(Scope::TaskRead)?;
        let limits = self.shared.recent_counts.limits.get(self.read_limits()).await?;
        let names_other_tag = |limit: &LimitUse| {
            let of = limit.name.of.as_ref().filter(|_| limit.name.scope != LimitScope::Task);
            of.is_some_and(|of| !self.allows_tag(of))
        };
        let is_shown =
            |(queue, limit): &&(String, LimitUse)| self.allows_tag(queue) && !names_other_tag(limit);
        Ok(limits.iter().filter(is_shown).cloned().collect())
    }

    async fn read_limits(&self) -> ports::Result<Vec<(String, LimitUse)>> {
        let store = &*self.shared.ports.store;
        let groups = limits::groups(store).await?;
        let uses = limits::uses(store, &groups).await?;
        let mut of_queues = BTreeSet::new();
        for group in &groups {
            let Some(first) = store.held_in_group(group, 1).await?.pop() else { continue };
            // The runs of a group usually have one queue.
            let queue = store.run(&first.id).await?.and_then(|run| run.queue);
            let of_queue = |queue: String| group.keys().into_iter().map(move |key| (queue.clone(), key));
            of_queues.extend(queue.into_iter().flat_map(of_queue));
        }
        Ok(of_queues.into_iter().filter_map(|(queue, key)| Some((queue, uses.get(&key)?.clone()))).collect())
    }

    /// Returns the number of open runs of each queue, at most 2 s old.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`](super::ServiceError::Forbidden), or a port's error.
    pub async fn recent_queues(&self) -> Result<Vec<QueueRow>> {
        self.require(Scope::TaskRead)?;
        let queues = self.shared.recent_counts.queues.get(self.shared.ports.store.queues()).await?;
        Ok(queues.iter().filter(|row| self.allows_tag(&row.queue)).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::ports::PortError;

    #[tokio::test]
    async fn callers_at_the_same_time_share_one_read() {
        let (recent, reads) = (Recent::<u32>::default(), AtomicU32::new(0));
        let read = || async {
            tokio::task::yield_now().await;
            Ok(reads.fetch_add(1, Ordering::SeqCst))
        };
        let calls = (0..20).map(|_| recent.get(read()));
        let values = futures_util::future::join_all(calls).await;
        assert!(values.iter().all(|value| **value.as_ref().unwrap() == 0));
        assert_eq!(reads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn an_error_is_shared_and_a_caller_that_goes_away_leaves_the_read_to_the_next() {
        let recent = Recent::<u32>::default();
        drop(futures_util::poll!(std::pin::pin!(recent.get(std::future::pending()))));
        let down = || async { Err(PortError::Unavailable("store", "down".into())) };
        assert!(recent.get(down()).await.is_err());
        let never = async { panic!("the error is kept for a second") };
        assert!(recent.get(never).await.is_err());
    }

    #[tokio::test]
    async fn an_old_value_is_read_again() {
        let recent = Recent::<u32>::default();
        recent.get(async { Ok(1) }).await.unwrap();
        if let Some(read) = &mut *recent.0.lock().await {
            read.at = read.at.checked_sub(MAX_AGE).unwrap();
        }
        assert_eq!(*recent.get(async { Ok(2) }).await.unwrap(), 2);
    }
}

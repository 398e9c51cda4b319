//! The lines that this node stores, for those who follow a log. So a follower does not read the store for
//! each line. A lost event costs time only: each follower also reads the store, at a lower rate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::core::run_log::LogChunk;
use crate::core::{Run, RunId};

/// Events that a follower may be behind before it must read the store. The feed keeps them in memory.
const CAPACITY: usize = 8;

/// What happened to a log.
#[derive(Debug, Clone)]
pub enum LogEvent {
    /// The chunk was stored.
    Stored(Arc<LogChunk>),
    /// The run has ended, or the follower has missed events.
    Unknown,
}

/// The feed of one node. Only the logs that are followed cost memory.
#[derive(Debug, Clone, Default)]
pub struct LogFeed(Arc<Mutex<HashMap<RunId, broadcast::Sender<LogEvent>>>>);

impl LogFeed {
    /// Tells the followers that a chunk was stored.
    pub fn stored(&self, chunk: LogChunk) {
        if let Some(sender) = self.lock().get(&chunk.batch.run_id) {
            // An error means that the last follower is going away.
            let _ = sender.send(LogEvent::Stored(Arc::new(chunk)));
        }
    }

    /// Tells the followers of the ended ones of these runs to look.
    pub fn ended(&self, runs: &[Run]) {
        let followed = self.lock();
        if followed.is_empty() {
            return;
        }
        for run in runs.iter().filter(|run| run.has_ended()) {
            if let Some(sender) = followed.get(&run.id) {
                let _ = sender.send(LogEvent::Unknown);
            }
        }
    }

    /// Follows the log of a run from now on, until the value is dropped.
    pub fn follow(&self, id: &RunId) -> Followed {
        let mut followed = self.lock();
        let sender = followed.entry(id.clone()).or_insert_with(|| broadcast::Sender::new(CAPACITY));
        Followed { feed: self.clone(), id: id.clone(), events: Some(sender.subscribe()) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, broadcast::Sender<LogEvent>>> {
        // No change panics halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A log that is followed.
#[derive(Debug)]
pub struct Followed {
    feed: LogFeed,
    id: RunId,
    events: Option<broadcast::Receiver<LogEvent>>,
}

impl Followed {
    /// Waits for the next event.
    pub async fn next(&mut self) -> LogEvent {
        let Some(events) = &mut self.events else { return std::future::pending().await };
        match events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(_)) => LogEvent::Unknown,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let mut followed = self.feed.lock();
        self.events = None;
        if followed.get(&self.id).is_some_and(|sender| sender.receiver_count() == 0) {
            followed.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::core::run_log::{LogBatch, LogPosition};

    fn chunk(id: &RunId) -> LogChunk {
        let batch = LogBatch { run_id: id.clone(), attempt: 1, batch_id: "b".to_owned(), lines: Vec::new() };
        LogChunk { batch, start: LogPosition::default() }
    }

    #[test]
    fn a_chunk_reaches_the_followers_of_its_run() {
        let (feed, one, other) = (LogFeed::default(), RunId::from_text("1"), RunId::from_text("2"));
        let (mut first, mut second, mut third) = (feed.follow(&one), feed.follow(&one), feed.follow(&other));
        feed.stored(chunk(&one));
        assert!(matches!(first.next().now_or_never(), Some(LogEvent::Stored(_))));
        assert!(matches!(second.next().now_or_never(), Some(LogEvent::Stored(_))));
        assert!(third.next().now_or_never().is_none());
    }

    #[test]
    fn a_follower_that_missed_events_reads_the_store() {
        let (feed, id) = (LogFeed::default(), RunId::from_text("1"));
        let mut followed = feed.follow(&id);
        (0..=CAPACITY).for_each(|_| feed.stored(chunk(&id)));
        assert!(matches!(followed.next().now_or_never(), Some(LogEvent::Unknown)));
    }

    #[test]
    fn a_log_without_followers_costs_no_memory() {
        let (feed, id) = (LogFeed::default(), RunId::from_text("1"));
        let (one, other) = (feed.follow(&id), feed.follow(&id));
        drop(one);
        assert_eq!(feed.lock().len(), 1);
        drop(other);
        assert!(feed.lock().is_empty());
    }
}

//! The runs this process has seen, so that a duplicate can be dropped.
//!
//! Keyed by run id alone: a success of any attempt settles the run, and a duplicate is reported with its own attempt and
//! token. Only a success is remembered; after anything else the run may be tried again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// A bounded memory of runs.
#[derive(Clone)]
pub(crate) struct SeenRuns(Arc<Mutex<Memory>>);

struct Memory {
    runs: HashMap<String, Entry>,
    /// The succeeded ones, oldest first.
    succeeded: VecDeque<String>,
    capacity: usize,
}

enum Entry {
    /// The channel closes when the holder of the claim is done.
    InFlight(watch::Receiver<()>),
    Succeeded,
}

/// The right to handle a run. Dropped without [`Claim::succeeded`], the run is forgotten.
pub(crate) struct Claim {
    seen: SeenRuns,
    run_id: String,
    _in_flight: watch::Sender<()>,
}

impl SeenRuns {
    /// Remembers the last `capacity` successes, at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self(Arc::new(Mutex::new(Memory { runs: HashMap::new(), succeeded: VecDeque::new(), capacity })))
    }

    /// Claims the run, waiting while another delivery of it is being handled. `None`: it has succeeded.
    pub(crate) async fn claim(&self, run_id: &str) -> Option<Claim> {
        loop {
            let mut other = match self.try_claim(run_id) {
                Ok(claim) => return claim,
                Err(other) => other,
            };
            // Nothing is ever sent: this ends, with an error, when the other delivery is done.
            while other.changed().await.is_ok() {}
        }
    }

    fn try_claim(&self, run_id: &str) -> Result<Option<Claim>, watch::Receiver<()>> {
        let mut memory = self.lock();
        match memory.runs.get(run_id) {
            Some(Entry::Succeeded) => Ok(None),
            Some(Entry::InFlight(other)) => Err(other.clone()),
            None => {
                let (in_flight, receiver) = watch::channel(());
                memory.runs.insert(run_id.to_owned(), Entry::InFlight(receiver));
                Ok(Some(Claim { seen: self.clone(), run_id: run_id.to_owned(), _in_flight: in_flight }))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // Nothing panics while it is held half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn remember(&mut self, run_id: &str) {
        self.runs.insert(run_id.to_owned(), Entry::Succeeded);
        self.succeeded.push_back(run_id.to_owned());
        if self.succeeded.len() > self.capacity
            && let Some(oldest) = self.succeeded.pop_front()
        {
            self.runs.remove(&oldest);
        }
    }
}

impl Claim {
    /// The run has succeeded: drop its duplicates from now on.
    pub(crate) fn succeeded(self) {
        self.seen.lock().remember(&self.run_id);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut memory = self.seen.lock();
        if matches!(memory.runs.get(&self.run_id), Some(Entry::InFlight(_))) {
            memory.runs.remove(&self.run_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_success_is_remembered_and_a_failure_is_not() {
        let seen = SeenRuns::new(10);
        drop(seen.claim("failed").await.unwrap());
        assert!(seen.claim("failed").await.is_some());
        seen.claim("done").await.unwrap().succeeded();
        assert!(seen.claim("done").await.is_none());
    }

    #[tokio::test]
    async fn the_oldest_success_is_forgotten_first() {
        let seen = SeenRuns::new(2);
        for run in ["1", "2", "3"] {
            seen.claim(run).await.unwrap().succeeded();
        }
        assert!(seen.claim("1").await.is_some());
        assert!(seen.claim("2").await.is_none());
        assert!(seen.claim("3").await.is_none());
        assert_eq!(seen.lock().runs.len(), 2);
    }

    #[tokio::test]
    async fn a_duplicate_waits_for_the_one_in_flight() {
        let seen = SeenRuns::new(10);
        let first = seen.claim("run").await.unwrap();
        let mut second = Box::pin(seen.claim("run"));
        assert!(second.as_mut().now_or_never().is_none());
        first.succeeded();
        assert!(second.await.is_none());
    }
}

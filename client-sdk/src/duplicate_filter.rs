//! Filter of duplicate deliveries within one process.
//!
//! The key is the run id alone: a success of any attempt completes the run, and a duplicate is
//! reported with its own attempt and token. The filter remembers only successes; after any other
//! outcome the run may be tried again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Bounded memory of the runs that this process handles or has completed.
#[derive(Clone)]
pub(crate) struct DuplicateFilter(Arc<Mutex<Memory>>);

struct Memory {
    runs: HashMap<String, Entry>,
    /// Succeeded runs, oldest first.
    succeeded: VecDeque<String>,
    capacity: usize,
}

enum Entry {
    /// The channel closes when the guard of the run is dropped.
    InFlight(watch::Receiver<()>),
    Succeeded,
}

/// Exclusive right to handle a run. A drop without [`RunGuard::succeeded`] forgets the run.
pub(crate) struct RunGuard {
    filter: DuplicateFilter,
    run_id: String,
    _in_flight: watch::Sender<()>,
}

impl DuplicateFilter {
    /// Creates a filter that remembers the last `capacity` successes, at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self(Arc::new(Mutex::new(Memory { runs: HashMap::new(), succeeded: VecDeque::new(), capacity })))
    }

    /// Returns the guard of a run, after every other delivery of the run has ended. `None`: the run
    /// has succeeded.
    pub(crate) async fn begin(&self, run_id: &str) -> Option<RunGuard> {
        loop {
            let mut other = match self.try_begin(run_id) {
                Ok(guard) => return guard,
                Err(other) => other,
            };
            // Nothing is ever sent: the loop ends with an error when the other guard is dropped.
            while other.changed().await.is_ok() {}
        }
    }

    fn try_begin(&self, run_id: &str) -> Result<Option<RunGuard>, watch::Receiver<()>> {
        let mut memory = self.lock();
        match memory.runs.get(run_id) {
            Some(Entry::Succeeded) => Ok(None),
            Some(Entry::InFlight(other)) => Err(other.clone()),
            None => {
                let (in_flight, receiver) = watch::channel(());
                memory.runs.insert(run_id.to_owned(), Entry::InFlight(receiver));
                let (filter, run_id) = (self.clone(), run_id.to_owned());
                Ok(Some(RunGuard { filter, run_id, _in_flight: in_flight }))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // A poisoned lock is usable: no code panics between two dependent writes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn remember_success(&mut self, run_id: &str) {
        self.runs.insert(run_id.to_owned(), Entry::Succeeded);
        self.succeeded.push_back(run_id.to_owned());
        if self.succeeded.len() > self.capacity
            && let Some(oldest) = self.succeeded.pop_front()
        {
            self.runs.remove(&oldest);
        }
    }
}

impl RunGuard {
    /// Records the success of the run. From now on the filter drops its duplicates.
    pub(crate) fn succeeded(self) {
        self.filter.lock().remember_success(&self.run_id);
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        let mut memory = self.filter.lock();
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
        let filter = DuplicateFilter::new(10);
        drop(filter.begin("failed").await.unwrap());
        assert!(filter.begin("failed").await.is_some());
        filter.begin("done").await.unwrap().succeeded();
        assert!(filter.begin("done").await.is_none());
    }

    #[tokio::test]
    async fn the_oldest_success_is_forgotten_first() {
        let filter = DuplicateFilter::new(2);
        for run in ["1", "2", "3"] {
            filter.begin(run).await.unwrap().succeeded();
        }
        assert!(filter.begin("1").await.is_some());
        assert!(filter.begin("2").await.is_none());
        assert!(filter.begin("3").await.is_none());
        assert_eq!(filter.lock().runs.len(), 2);
    }

    #[tokio::test]
    async fn a_duplicate_waits_for_the_delivery_in_flight() {
        let filter = DuplicateFilter::new(10);
        let first = filter.begin("run").await.unwrap();
        let mut second = Box::pin(filter.begin("run"));
        assert!(second.as_mut().now_or_never().is_none());
        first.succeeded();
        assert!(second.await.is_none());
    }
}

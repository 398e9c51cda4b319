//! Hints between the parts of a node. A lost hint costs time only: each part also looks for itself.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, broadcast};

use super::changes::ChangeFeed;
use super::holds::Holds;
use super::log_feed::LogFeed;
use crate::core::{Run, RunState};

/// Hints that a listener may miss before it must look for itself.
const CAPACITY: usize = 256;

/// The hints of one node.
#[derive(Debug)]
pub struct Hints {
    ready: broadcast::Sender<Arc<BTreeSet<String>>>,
    attention: Notify,
    operation: Notify,
    /// Keys for whose slots waiting runs may be admitted.
    freed: Mutex<BTreeSet<String>>,
    has_freed: Notify,
    /// Lines of logs, for their followers.
    pub logs: LogFeed,
    /// Changes, for live views.
    pub changes: ChangeFeed,
    /// Holds of queues and tags.
    pub holds: Holds,
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            ready: broadcast::Sender::new(CAPACITY),
            attention: Notify::new(),
            operation: Notify::new(),
            freed: Mutex::default(),
            has_freed: Notify::new(),
            logs: LogFeed::default(),
            changes: ChangeFeed::default(),
            holds: Holds::default(),
        }
    }
}

impl Hints {
    /// Tells listeners that runs are ready in these queues.
    pub fn ready(&self, queues: BTreeSet<String>) {
        if !queues.is_empty() {
            // An error means that there is no listener.
            let _ = self.ready.send(Arc::new(queues));
        }
    }

    /// Returns a listener for hints about ready runs from now on.
    pub fn listen(&self) -> Listener {
        Listener(self.ready.subscribe())
    }

    /// Tells the rescue loop that a run needs attention now.
    pub fn attention(&self) {
        self.attention.notify_one();
    }

    /// Tells the loop of operations that an operation was created.
    pub fn operation(&self) {
        self.operation.notify_one();
    }

    /// Waits until an operation was created.
    pub async fn has_operation(&self) {
        self.operation.notified().await;
    }

    /// Tells all listeners of runs that were replaced.
    pub fn replaced(&self, runs: &[Run]) {
        self.logs.ended(runs);
        self.changes.runs(runs);
        self.free(runs.iter().flat_map(freed_keys));
    }

    /// Tells the admission that waiting runs of these keys may be admitted.
    pub fn free(&self, keys: impl Iterator<Item = String>) {
        let mut keys = keys.peekable();
        if keys.peek().is_some() {
            self.freed.lock().unwrap_or_else(PoisonError::into_inner).extend(keys);
            self.has_freed.notify_one();
        }
    }

    /// Returns the keys for whose slots waiting runs may be admitted, once.
    pub fn take_freed(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.freed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until waiting runs of a key may be admitted.
    pub async fn has_freed(&self) {
        self.has_freed.notified().await;
    }

    /// Waits until a run needs attention.
    pub async fn needs_attention(&self) {
        self.attention.notified().await;
    }
}

/// Returns the keys of which waiting runs may be admitted after this write of a run. A run that has ended has freed its
/// slots, a run that waits for its next attempt or for the end of a hold those of its limits, and a run that waits for
/// admission may be admitted.
fn freed_keys(run: &Run) -> Vec<String> {
    match run.state {
        _ if !run.is_gated() => Vec::new(),
        RunState::Held if run.held_scope().is_some() => run.slot_keys(),
        RunState::Held => run.wait_group().map(|group| group.keys()).unwrap_or_default(),
        RunState::Retrying if run.concurrency.is_empty() => Vec::new(),
        RunState::Retrying => run.slot_keys(),
        _ if run.has_ended() => run.slot_keys(),
        _ => Vec::new(),
    }
}

/// Listens for ready runs.
#[derive(Debug)]
pub struct Listener(broadcast::Receiver<Arc<BTreeSet<String>>>);

impl Listener {
    /// Waits until a run may be ready in one of these queues. No queues mean every queue.
    pub async fn ready(&mut self, queues: &[String]) {
        loop {
            match self.0.recv().await {
                Ok(ready) if queues.is_empty() || queues.iter().any(|queue| ready.contains(queue)) => return,
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => return,
                // The node has stopped, and with it the caller.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_hint_reaches_the_listeners_of_its_queue() {
        let hints = Hints::default();
        let (mut one, mut other, mut any) = (hints.listen(), hints.listen(), hints.listen());
        hints.ready(BTreeSet::from(["a".to_owned()]));
        assert!(one.ready(&["a".to_owned()]).now_or_never().is_some());
        assert!(other.ready(&["b".to_owned()]).now_or_never().is_none());
        assert!(any.ready(&[]).now_or_never().is_some());
    }

    #[test]
    fn a_listener_that_missed_hints_looks_for_itself() {
        let hints = Hints::default();
        let mut listener = hints.listen();
        for _ in 0..=CAPACITY {
            hints.ready(BTreeSet::from(["a".to_owned()]));
        }
        assert!(listener.ready(&["b".to_owned()]).now_or_never().is_some());
    }
}

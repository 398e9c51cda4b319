//! Words from one part of a node to another. Each is a hint: whoever misses it finds out by looking.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{Notify, broadcast};

/// Hints that one who looks elsewhere may miss before it has to look for itself.
const REMEMBERED: usize = 256;

/// What a node's parts tell one another.
#[derive(Debug)]
pub struct Hints {
    ready: broadcast::Sender<Arc<BTreeSet<String>>>,
    attention: Notify,
}

impl Default for Hints {
    fn default() -> Self {
        Self { ready: broadcast::Sender::new(REMEMBERED), attention: Notify::new() }
    }
}

impl Hints {
    /// Runs are ready in these queues.
    pub fn ready(&self, queues: BTreeSet<String>) {
        if !queues.is_empty() {
            // An error means that nobody listens.
            let _ = self.ready.send(Arc::new(queues));
        }
    }

    /// Who listens for ready runs, from here on.
    pub fn listen(&self) -> Listener {
        Listener(self.ready.subscribe())
    }

    /// A run needs attention now.
    pub fn attention(&self) {
        self.attention.notify_one();
    }

    /// Returns when a run needs attention.
    pub async fn needs_attention(&self) {
        self.attention.notified().await;
    }
}

/// Listens for ready runs.
#[derive(Debug)]
pub struct Listener(broadcast::Receiver<Arc<BTreeSet<String>>>);

impl Listener {
    /// Returns when a run may be ready in one of these queues; none: in any.
    pub async fn ready(&mut self, queues: &[String]) {
        loop {
            match self.0.recv().await {
                Ok(ready) if queues.is_empty() || queues.iter().any(|queue| ready.contains(queue)) => return,
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => return,
                // The node is gone; so is whoever waits.
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
    fn a_word_reaches_those_who_wait_for_that_queue() {
        let hints = Hints::default();
        let (mut one, mut other, mut any) = (hints.listen(), hints.listen(), hints.listen());
        hints.ready(BTreeSet::from(["a".to_owned()]));
        assert!(one.ready(&["a".to_owned()]).now_or_never().is_some());
        assert!(other.ready(&["b".to_owned()]).now_or_never().is_none());
        assert!(any.ready(&[]).now_or_never().is_some());
    }

    #[test]
    fn who_missed_too_many_looks_for_itself() {
        let hints = Hints::default();
        let mut listener = hints.listen();
        for _ in 0..=REMEMBERED {
            hints.ready(BTreeSet::from(["a".to_owned()]));
        }
        assert!(listener.ready(&["b".to_owned()]).now_or_never().is_some());
    }
}

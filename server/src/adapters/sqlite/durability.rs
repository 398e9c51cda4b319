//! Which commits are on the disk. A commit is visible to readers before its flush, so a reader waits
//! for the flush of the commits that its snapshot may contain.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// Number of the last commit, and of the last commit that is on the disk. Commits have numbers from 1.
#[derive(Debug)]
pub struct Durability {
    begun: AtomicU64,
    flushed: watch::Sender<u64>,
}

impl Default for Durability {
    fn default() -> Self {
        Self { begun: AtomicU64::new(0), flushed: watch::Sender::new(0) }
    }
}

impl Durability {
    /// Begins a commit. The writing thread calls this before the commit becomes visible to readers.
    pub fn begin_commit(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns the number of the last commit that a snapshot may contain, if the snapshot exists.
    pub fn last_visible(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Notes that the commits up to this number need no further flush: they are on the disk, or the store
    /// has noted that they may be lost.
    pub fn settle(&self, number: u64) {
        self.flushed.send_replace(number);
    }

    /// Waits for the flush of a commit.
    pub async fn wait_for(&self, number: u64) {
        if *self.flushed.borrow() < number {
            // The sender is a field of this value, so the channel is open.
            let _ = self.flushed.subscribe().wait_for(|flushed| *flushed >= number).await;
        }
    }
}

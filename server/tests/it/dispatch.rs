//! The dispatcher on a store that accepts no writes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use taskcenter_server::adapters::clock::ManualClock;
use taskcenter_server::adapters::fault::{Faulty, Plan};
use taskcenter_server::adapters::local::LocalLock;
use taskcenter_server::adapters::memory::MemoryStore;
use taskcenter_server::core::{Moment, Task};
use taskcenter_server::engine::node::Node;
use taskcenter_server::engine::{dispatch, probe, scan};
use taskcenter_server::ports::{Lock as _, PortError, Result, Store};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::clocks::node;
use crate::store::samples::task;

const NOW: Moment = Moment::from_sec(1_800_000_000);

/// Refuses every insert of runs, and sends the time of each try.
struct FullStore(mpsc::UnboundedSender<Instant>);

#[async_trait]
impl Plan for FullStore {
    async fn request(&self, call: &'static str) -> Result<()> {
        if call != "insert_runs" {
            return Ok(());
        }
        #[expect(clippy::disallowed_methods, reason = "the runtime's paused clock")]
        let now = Instant::now();
        self.0.send(now).expect("the test receives");
        Err(PortError::Unavailable("store", "the store is full".into()))
    }

    async fn answer(&self, _: &'static str) -> Result<()> {
        Ok(())
    }

    fn portion(&self, rows: usize) -> usize {
        rows
    }
}

/// The old server retried immediately after a database error, in a hot loop. Here too, the scan keeps
/// handing the due task to the dispatcher, but the dispatcher pauses.
#[tokio::test(start_paused = true)]
async fn mongo_error_hot_loop() {
    const PAUSES_MS: [u64; 8] = [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000];
    let clock = Arc::new(ManualClock::new(NOW));
    let store = Arc::new(MemoryStore::new(clock.clone()));
    store.insert_tasks(vec![Task { next_due_at: Some(NOW), ..task() }]).await.remove(0).unwrap();
    let lock = Arc::new(LocalLock::new(clock.clone()));
    let (sender, mut tries) = mpsc::unbounded_channel();
    let node = node("node", &store, lock, clock);
    probe::measure_skew(&node).await.unwrap();
    let node = Arc::new(Node { store: Arc::new(Faulty::new(store, Arc::new(FullStore(sender)))), ..node });
    let loops = [
        tokio::spawn({
            let node = Arc::clone(&node);
            async move { dispatch::run(&node).await }
        }),
        tokio::spawn({
            let node = Arc::clone(&node);
            async move { scan::run(&node).await }
        }),
    ];
    let mut last = tries.recv().await.unwrap();
    for pause in PAUSES_MS {
        let next = tries.recv().await.unwrap();
        let waited = next - last;
        assert!(waited >= Duration::from_millis(pause), "paused for {waited:?} instead of {pause} ms");
        last = next;
    }
    node.shutdown.cancel();
    for stopped in loops {
        stopped.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_hints_delays_the_scan_by_at_most_10_ms() {
    let lock = Arc::new(LocalLock::new(Arc::new(ManualClock::new(NOW))));
    let sent = Arc::new(AtomicUsize::new(0));
    let (sender, count) = (Arc::clone(&lock), Arc::clone(&sent));
    let stream = tokio::spawn(async move {
        loop {
            sender.wake(&[1]).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(scan::gather(&*lock).await.unwrap(), BTreeSet::from([1]));
    // One hint per millisecond of the runtime's paused clock.
    assert!(sent.load(Ordering::Relaxed) <= 12, "{sent:?} hints were collected");
    stream.abort();
}

//! Collects single inserts into batches. Items that arrive at about the same time share one round trip and
//! one journal flush.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Stores a batch. Returns one result per item, in order.
pub type Flush<T, A> = dyn Fn(Vec<T>) -> BoxFuture<'static, Vec<A>> + Send + Sync;

/// Maximum number of items per batch. Larger batches are not faster.
const BATCH: usize = 1_000;
/// Maximum number of concurrent batches.
const IN_FLIGHT: usize = 4;
/// Maximum number of waiting items. Further callers wait.
const QUEUE: usize = 8 * BATCH;

/// Collects items into batches.
pub struct Coalesce<T, A> {
    queue: mpsc::Sender<Waiting<T, A>>,
}

struct Waiting<T, A> {
    item: T,
    answer: oneshot::Sender<A>,
}

impl<T: Send + 'static, A: Send + 'static> Coalesce<T, A> {
    /// Starts a task on the current Tokio runtime. It ends after the value is dropped and the queue
    /// is empty.
    pub fn new(flush: Box<Flush<T, A>>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(gather(waiting, flush.into()));
        Self { queue }
    }

    /// Stores one item and returns its result. `None` if the runtime is shutting down. A queued
    /// item is stored even if the caller drops the future.
    pub async fn submit(&self, item: T) -> Option<A> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Waiting { item, answer }).await.ok()?;
        answered.await.ok()
    }
}

async fn gather<T: Send + 'static, A: Send + 'static>(
    mut waiting: mpsc::Receiver<Waiting<T, A>>,
    flush: Arc<Flush<T, A>>,
) {
    let slots = Arc::new(Semaphore::new(IN_FLIGHT));
    loop {
        // Acquire the slot before the batch: while all slots are in use, the next batch grows.
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let batch = next_batch(&mut waiting).await;
        if batch.is_empty() {
            return;
        }
        let flush = flush.clone();
        tokio::spawn(async move {
            store(batch, &*flush).await;
            drop(slot);
        });
    }
}

/// Returns the next batch; an empty one after the value was dropped. Tasks that are ready run first, and
/// may add items. A wait for a time would delay each caller, and a batch that is smaller costs little more.
async fn next_batch<W>(waiting: &mut mpsc::Receiver<W>) -> Vec<W> {
    let mut batch = Vec::new();
    waiting.recv_many(&mut batch, BATCH).await;
    let mut before = 0;
    while before < batch.len() && batch.len() < BATCH {
        before = batch.len();
        tokio::task::yield_now().await;
        while batch.len() < BATCH
            && let Ok(item) = waiting.try_recv()
        {
            batch.push(item);
        }
    }
    batch
}

async fn store<T, A>(batch: Vec<Waiting<T, A>>, flush: &Flush<T, A>) {
    let (items, callers): (Vec<_>, Vec<_>) = batch.into_iter().map(|w| (w.item, w.answer)).unzip();
    for (caller, answer) in callers.into_iter().zip(flush(items).await) {
        // A caller that went away does not need its answer.
        let _ = caller.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::join_all;

    use super::*;

    type Sizes = Arc<Mutex<Vec<usize>>>;

    fn doubling() -> (Coalesce<u32, u32>, Sizes) {
        let sizes = Sizes::default();
        let seen = sizes.clone();
        let flush = move |batch: Vec<u32>| -> BoxFuture<'static, Vec<u32>> {
            seen.lock().unwrap().push(batch.len());
            Box::pin(async move { batch.into_iter().map(|n| n * 2).collect() })
        };
        (Coalesce::new(Box::new(flush)), sizes)
    }

    #[tokio::test]
    async fn concurrent_items_share_batches_and_get_their_own_results() {
        let (coalesce, sizes) = doubling();
        let answers = join_all((0..2_500).map(|n| coalesce.submit(n))).await;
        assert!(answers.into_iter().zip(0..).all(|(answer, n)| answer == Some(n * 2)));
        let sizes = sizes.lock().unwrap();
        // The number of batches depends on the machine. Without batching it would be 2,500.
        assert!(sizes.len() < 250, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size <= BATCH), "{sizes:?}");
    }

    #[tokio::test]
    async fn an_item_is_stored_after_its_caller_went_away() {
        let (coalesce, sizes) = doubling();
        {
            let submit = coalesce.submit(1);
            tokio::pin!(submit);
            assert!(futures_util::poll!(&mut submit).is_pending());
        }
        assert_eq!(coalesce.submit(2).await, Some(4));
        assert_eq!(sizes.lock().unwrap().iter().sum::<usize>(), 2);
    }
}

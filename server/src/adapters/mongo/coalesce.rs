//! Gathers single submits into batches: what arrives within a short linger shares one round trip and one journal flush.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// How a batch is stored: an answer for each item, in order.
pub type Flush<T, A> = dyn Fn(Vec<T>) -> BoxFuture<'static, Vec<A>> + Send + Sync;

/// Longest wait for company.
const LINGER: Duration = Duration::from_millis(2);
/// Items a batch, the knee of MongoDB's curve.
const BATCH: usize = 1_000;
/// Batches under way at once.
const IN_FLIGHT: usize = 4;
/// Items that may wait before submitters have to.
const QUEUE: usize = 8 * BATCH;

/// A batcher in front of a store.
pub struct Coalesce<T, A> {
    queue: mpsc::Sender<Waiting<T, A>>,
}

struct Waiting<T, A> {
    item: T,
    answer: oneshot::Sender<A>,
}

impl<T: Send + 'static, A: Send + 'static> Coalesce<T, A> {
    /// Starts the batcher on the current Tokio runtime; it ends when it is dropped and its queue is empty.
    pub fn new(flush: Box<Flush<T, A>>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(gather(waiting, flush.into()));
        Self { queue }
    }

    /// Stores one item. Once submitted it is stored even if the caller goes away. `None`: the runtime is shutting down.
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
        // The slot comes first: while all are taken, the queue grows into a larger batch.
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

/// Empty only when the batcher has been dropped.
async fn next_batch<W>(waiting: &mut mpsc::Receiver<W>) -> Vec<W> {
    let mut batch = Vec::new();
    waiting.recv_many(&mut batch, BATCH).await;
    let fill = async {
        loop {
            let room = BATCH - batch.len();
            if room == 0 || waiting.recv_many(&mut batch, room).await == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, fill).await;
    batch
}

async fn store<T, A>(batch: Vec<Waiting<T, A>>, flush: &Flush<T, A>) {
    let (items, askers): (Vec<_>, Vec<_>) = batch.into_iter().map(|w| (w.item, w.answer)).unzip();
    for (asker, answer) in askers.into_iter().zip(flush(items).await) {
        // A caller that went away does not need its answer.
        let _ = asker.send(answer);
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
    async fn submits_at_the_same_time_share_batches_and_get_their_own_answers() {
        let (coalesce, sizes) = doubling();
        let answers = join_all((0..2_500).map(|n| coalesce.submit(n))).await;
        assert!(answers.into_iter().zip(0..).all(|(answer, n)| answer == Some(n * 2)));
        let sizes = sizes.lock().unwrap();
        // How many batches it takes is up to the machine; without gathering it would be one an item.
        assert!(sizes.len() < 250, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size <= BATCH), "{sizes:?}");
    }

    #[tokio::test]
    async fn an_item_is_stored_though_its_caller_went_away() {
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

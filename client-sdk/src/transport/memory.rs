//! A transport inside the process: deliveries come from a channel, and each sender learns the verdict.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Deliver, Delivery, Transport, TransportError, Verdict};
use crate::tag::Subscription;

struct Parcel {
    delivery: Delivery,
    receipt: oneshot::Sender<Verdict>,
}

/// The receiving half: give it to a consumer. It never redelivers; what a verdict means is up to the sender.
pub struct MemoryTransport {
    parcels: Mutex<mpsc::Receiver<Parcel>>,
    max_in_flight: usize,
}

/// The sending half.
#[derive(Clone)]
pub struct MemorySender(mpsc::Sender<Parcel>);

/// The consumer has stopped, or gave the message up unsettled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the consumer did not settle the message")]
pub struct Unsettled;

/// Will be the verdict on one message.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Verdict>);

impl MemoryTransport {
    /// Both halves. At most `max_in_flight` messages are with the consumer at a time (at least one), and as many wait
    /// in the channel.
    pub fn channel(max_in_flight: usize) -> (MemorySender, Self) {
        let max_in_flight = max_in_flight.max(1);
        let (sender, receiver) = mpsc::channel(max_in_flight);
        (MemorySender(sender), Self { parcels: Mutex::new(receiver), max_in_flight })
    }
}

impl MemorySender {
    /// Hands a message over, waiting while the channel is full.
    ///
    /// # Errors
    /// [`Unsettled`] when the consumer has stopped.
    pub async fn send(&self, delivery: Delivery) -> Result<Receipt, Unsettled> {
        let (receipt, verdict) = oneshot::channel();
        self.0.send(Parcel { delivery, receipt }).await.map_err(|_| Unsettled)?;
        Ok(Receipt(verdict))
    }
}

impl Receipt {
    /// Waits for the verdict.
    ///
    /// # Errors
    /// [`Unsettled`] when the consumer stopped before it took the message.
    pub async fn verdict(self) -> Result<Verdict, Unsettled> {
        self.0.await.map_err(|_| Unsettled)
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    /// Nothing is filtered here: a consumer settles by itself what it has no handler for.
    async fn run(
        &self,
        _subscription: Subscription,
        sink: Arc<dyn Deliver>,
        shutdown: CancellationToken,
    ) -> Result<(), TransportError> {
        let mut parcels = self.parcels.lock().await;
        let slots = Arc::new(Semaphore::new(self.max_in_flight));
        let in_flight = TaskTracker::new();
        loop {
            let next = async {
                let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
                Some((parcels.recv().await?, slot))
            };
            let Some(Some((parcel, slot))) = shutdown.run_until_cancelled(next).await else { break };
            let sink = Arc::clone(&sink);
            in_flight.spawn(async move {
                // A sender that no longer waits does not change what was done.
                let _ = parcel.receipt.send(sink.deliver(parcel.delivery).await);
                drop(slot);
            });
        }
        parcels.close();
        // What was never taken is dropped, which its sender sees as unsettled.
        while parcels.try_recv().is_ok() {}
        in_flight.close();
        in_flight.wait().await;
        Ok(())
    }
}

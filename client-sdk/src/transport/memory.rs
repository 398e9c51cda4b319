//! Transport inside the process, for tests: deliveries come from a channel, and each sender gets
//! the verdict.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Deliver, Delivery, Transport, TransportError, Verdict};
use crate::tag::Subscription;

struct Message {
    delivery: Delivery,
    receipt: oneshot::Sender<Verdict>,
}

/// Receiving half of the channel, for the consumer. It never redelivers: the sender interprets the
/// verdict.
pub struct MemoryTransport {
    messages: Mutex<mpsc::Receiver<Message>>,
    max_in_flight: usize,
}

/// Sending half of the channel. Cheap to clone.
#[derive(Clone)]
pub struct MemorySender(mpsc::Sender<Message>);

/// The consumer has stopped without settling the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the consumer did not settle the message")]
pub struct Unsettled;

/// Future verdict on one message.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Verdict>);

impl MemoryTransport {
    /// Creates both halves. The consumer processes at most `max_in_flight` messages at the same
    /// time, and the channel holds up to `max_in_flight` more. 0 means 1.
    pub fn channel(max_in_flight: usize) -> (MemorySender, Self) {
        let max_in_flight = max_in_flight.max(1);
        let (sender, receiver) = mpsc::channel(max_in_flight);
        (MemorySender(sender), Self { messages: Mutex::new(receiver), max_in_flight })
    }
}

impl MemorySender {
    /// Sends a message. Waits while the channel is full.
    ///
    /// # Errors
    /// [`Unsettled`] if the consumer has stopped.
    pub async fn send(&self, delivery: Delivery) -> Result<Receipt, Unsettled> {
        let (receipt, verdict) = oneshot::channel();
        self.0.send(Message { delivery, receipt }).await.map_err(|_| Unsettled)?;
        Ok(Receipt(verdict))
    }
}

impl Receipt {
    /// Waits for the verdict.
    ///
    /// # Errors
    /// [`Unsettled`] if the consumer stopped before it settled the message.
    pub async fn verdict(self) -> Result<Verdict, Unsettled> {
        self.0.await.map_err(|_| Unsettled)
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    /// Ignores the subscription: the consumer acknowledges a message without a handler.
    async fn run(
        &self,
        _subscription: Subscription,
        sink: Arc<dyn Deliver>,
        shutdown: CancellationToken,
    ) -> Result<(), TransportError> {
        let mut messages = self.messages.lock().await;
        let slots = Arc::new(Semaphore::new(self.max_in_flight));
        let in_flight = TaskTracker::new();
        loop {
            let next = async {
                let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
                Some((messages.recv().await?, slot))
            };
            let Some(Some((message, slot))) = shutdown.run_until_cancelled(next).await else { break };
            let sink = Arc::clone(&sink);
            in_flight.spawn(async move {
                // An error means that the sender no longer waits for the verdict.
                let _ = message.receipt.send(sink.deliver(message.delivery).await);
                drop(slot);
            });
        }
        messages.close();
        // The senders of the dropped messages get `Unsettled`.
        while messages.try_recv().is_ok() {}
        in_flight.close();
        in_flight.wait().await;
        Ok(())
    }
}

//! Where deliveries come from.
//!
//! A [`Transport`] takes messages from somewhere (a broker, a channel) and hands each one to a [`Deliver`], which
//! answers with a [`Verdict`]. The transport settles the message accordingly and knows nothing of handlers.

pub mod memory;
pub mod pull;
#[cfg(feature = "rocketmq")]
pub mod rocketmq;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::report::Reporter;
use crate::tag::Subscription;

/// One message as a transport received it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delivery {
    /// The transport's own identity of the message. A run that is published again is another message; the run id in
    /// [`properties`](Self::properties) is what stays.
    pub message_id: String,
    /// The id of the task that fired (RocketMQ's KEYS).
    pub task_id: String,
    /// The name of the task that fired (RocketMQ's TAG).
    pub tag: String,
    /// The task's data, byte for byte.
    pub body: Bytes,
    /// User properties; the names the server sets are in [`crate::wire::property`].
    pub properties: HashMap<String, String>,
    /// How often the transport has delivered this message, from 1.
    pub delivery_attempt: u32,
}

/// What the transport is to do with a message now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Settled: never deliver it again.
    Ack,
    /// Deliver it again.
    Retry {
        /// No sooner than this from now, as far as the transport can honour it (RocketMQ has levels from 1 s to
        /// 2 h and takes the next longer one). `None`: the transport's own back-off.
        after: Option<Duration>,
    },
    /// No handler has begun with it, and none will here: others may have it at once, and it was no attempt. A transport
    /// that cannot tell the two apart delivers it again.
    Release,
    /// Somebody else has it in hand, and reports its outcome: keep it for so long, and deliver it to nobody. A transport that cannot
    /// keep it settles it.
    HandOver {
        /// How long.
        within: Duration,
    },
    /// Put it where a person will look: the broker's dead-letter queue.
    DeadLetter,
}

/// The receiving end of a transport.
#[async_trait]
pub trait Deliver: Send + Sync + 'static {
    /// Handles one delivery and says how to settle it. Never panics. It may wait for a free slot, which is how back
    /// pressure reaches the transport.
    async fn deliver(&self, delivery: Delivery) -> Verdict;

    /// How many deliveries can be handled at once; more of them only wait.
    fn concurrency(&self) -> usize {
        1
    }
}

/// A source of deliveries.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Subscribes, and feeds `sink` until `shutdown` is cancelled; then takes nothing new, settles what is still being
    /// handled and returns. The consumer bounds that wait by its drain deadline.
    ///
    /// # Errors
    /// [`TransportError`] when the source cannot be reached at all or has broken for good.
    async fn run(
        &self,
        subscription: Subscription,
        sink: Arc<dyn Deliver>,
        shutdown: CancellationToken,
    ) -> Result<(), TransportError>;

    /// Where outcomes go, for a transport that owns them; it wins over the one that the consumer was given. Verdicts then
    /// only speak for deliveries that were not reported.
    fn reporter(&self) -> Option<Arc<dyn Reporter>> {
        None
    }
}

/// A transport that cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("the {transport} transport failed: {message}")]
pub struct TransportError {
    transport: &'static str,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl TransportError {
    /// An error of the named transport.
    pub fn new(transport: &'static str, message: impl Into<String>) -> Self {
        Self { transport, message: message.into(), source: None }
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

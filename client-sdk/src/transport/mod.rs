//! Transports: the sources of deliveries.
//!
//! A [`Transport`] receives messages, such as from a broker, and passes each one to a [`Deliver`].
//! `Deliver` returns a [`Verdict`], and the transport settles the message as the verdict says.
//!
//! | transport | source |
//! |---|---|
//! | [`pull::Pull`] | queues of the server, over HTTP |
//! | `rocketmq::RocketMq` (feature `rocketmq`) | a topic of Apache RocketMQ |
//! | [`memory::MemoryTransport`] | a channel in the process, for tests |

pub mod memory;
pub mod pull;
#[cfg(feature = "rocketmq")]
pub mod rocketmq;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::error_text::debug_as_text;
use crate::report::Reporter;
use crate::resources::Progress;
use crate::tag::Subscription;

/// One received message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delivery {
    /// The transport's id of the message. Each attempt of a run is another message; the run id in
    /// [`properties`](Self::properties) stays the same.
    pub message_id: String,
    /// Id of the task (RocketMQ: KEYS).
    pub task_id: String,
    /// Tag: the name of the task (RocketMQ: TAGS).
    pub tag: String,
    /// Payload, byte for byte.
    pub body: Bytes,
    /// User properties. [`crate::wire::property`] has the names that the server sets.
    pub properties: HashMap<String, String>,
    /// 1-based number of the transport's delivery of this message.
    pub delivery_attempt: u32,
}

/// How the transport settles a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Acknowledge the message: it is not delivered again.
    Ack,
    /// Deliver the message again.
    Retry {
        /// Minimum delay from now. RocketMQ rounds it up to one of its levels, 1 s to 2 h. `None`:
        /// the back-off of the transport.
        after: Option<Duration>,
    },
    /// Return the message untried: it is available to other consumers immediately, and the delivery
    /// does not count as an attempt. A transport that always counts deliveries delivers the message
    /// again.
    Release,
    /// Keep the message without delivering it, because another system reports the outcome. A
    /// transport that cannot keep a message acknowledges it.
    HandOver {
        /// Time limit of the report.
        within: Duration,
    },
    /// Move the message to the dead-letter queue.
    DeadLetter,
}

/// Link between a transport and the handler of one delivery. Clones are the same link.
#[derive(Debug, Clone, Default)]
pub struct Link {
    /// The transport cancels the token if the delivery no longer belongs to this consumer, or a user has
    /// cancelled its run.
    pub stopped: CancellationToken,
    /// Last progress of the handler.
    pub progress: Arc<Mutex<Option<Progress>>>,
}

impl Link {
    /// Sets the progress of the handler.
    pub fn set_progress(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    /// Returns the last progress of the handler.
    pub fn last_progress(&self) -> Option<Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Receiver of the deliveries of a transport.
#[async_trait]
pub trait Deliver: Send + Sync + 'static {
    /// Handles one delivery and returns how to settle it. It does not panic. It may wait for a free
    /// slot; this is the back pressure of the transport.
    async fn deliver(&self, delivery: Delivery) -> Verdict;

    /// Like [`deliver`](Self::deliver), with a link between transport and handler. Default: ignores the link.
    async fn deliver_linked(&self, delivery: Delivery, link: Link) -> Verdict {
        let _ = link;
        self.deliver(delivery).await
    }

    /// Returns the maximum number of deliveries that are handled at the same time. Further ones
    /// wait.
    fn concurrency(&self) -> usize {
        1
    }
}

/// Source of deliveries.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Subscribes and passes deliveries to `sink` until `shutdown` is cancelled. Then takes no new
    /// messages, settles those in progress, and returns. The consumer limits that wait to its drain
    /// time.
    ///
    /// # Errors
    /// [`TransportError`] if the source is unreachable or has failed permanently.
    async fn run(
        &self,
        subscription: Subscription,
        sink: Arc<dyn Deliver>,
        shutdown: CancellationToken,
    ) -> Result<(), TransportError>;

    /// Returns the reporter of a transport that reports outcomes itself. It replaces the reporter
    /// of the consumer, and a verdict then settles only deliveries without a report. Default:
    /// `None`.
    fn reporter(&self) -> Option<Arc<dyn Reporter>> {
        None
    }
}

/// Permanent failure of a transport.
#[derive(thiserror::Error)]
#[error("the {transport} transport failed: {message}")]
pub struct TransportError {
    transport: &'static str,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

debug_as_text!(TransportError);

impl TransportError {
    /// Creates an error of the named transport.
    pub fn new(transport: &'static str, message: impl Into<String>) -> Self {
        Self { transport, message: message.into(), source: None }
    }

    /// Adds the cause of the error.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

//! Settings of a producer.

use std::time::Duration;

use crate::Error;

/// Settings of a producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerConfig {
    /// Producer group, without the namespace. It only names the producer in the tools.
    pub group: String,
    /// Time limit of a send, including the wait for the route, the connection and other sends.
    /// Default: 3 s.
    pub send_timeout: Duration,
    /// Maximum number of requests in flight, over all topics. Default: 1,024.
    pub max_in_flight: usize,
    /// Maximum size of a body, in bytes, before compression. Default: 4 MiB, as the broker's
    /// `maxMessageSize`.
    pub max_message_bytes: usize,
    /// Maximum size of a batch, in bytes. Default: 1 MiB. The broker accepts its `maxMessageSize`.
    pub max_batch_bytes: usize,
    /// Maximum number of messages in a batch. Default: 256.
    pub max_batch_messages: usize,
    /// Bodies of at least this number of bytes are compressed (zlib), unless they are part of a
    /// batch. Default: 4 KiB. `usize::MAX`: never.
    pub compress_above: usize,
}

impl ProducerConfig {
    /// Creates settings with the defaults.
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            send_timeout: Duration::from_secs(3),
            max_in_flight: 1024,
            max_message_bytes: 4 * 1024 * 1024,
            max_batch_bytes: 1024 * 1024,
            max_batch_messages: 256,
            compress_above: 4096,
        }
    }

    /// Sets the time limit of a send.
    #[must_use]
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.send_timeout = timeout;
        self
    }

    /// Sets the maximum number of requests in flight.
    #[must_use]
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = requests;
        self
    }

    /// Sets the maximum size of a body, in bytes.
    #[must_use]
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// Sets the maximum size of a batch, in bytes.
    #[must_use]
    pub fn max_batch_bytes(mut self, bytes: usize) -> Self {
        self.max_batch_bytes = bytes;
        self
    }

    /// Sets the maximum number of messages in a batch.
    #[must_use]
    pub fn max_batch_messages(mut self, messages: usize) -> Self {
        self.max_batch_messages = messages;
        self
    }

    /// Sets the size from which bodies are compressed, in bytes.
    #[must_use]
    pub fn compress_above(mut self, bytes: usize) -> Self {
        self.compress_above = bytes;
        self
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        let invalid = |why: &str| Err(Error::Config(why.to_owned()));
        if self.group.is_empty() {
            return invalid("the producer group is empty");
        }
        if self.send_timeout.is_zero() {
            return invalid("`send_timeout` must be longer than 0");
        }
        if !(1..=1_000_000).contains(&self.max_in_flight) {
            return invalid("`max_in_flight` must be between 1 and 1,000,000");
        }
        if self.max_batch_messages == 0 || self.max_batch_bytes == 0 || self.max_message_bytes == 0 {
            return invalid("the bounds of messages and batches must be at least 1");
        }
        if self.max_batch_bytes.max(self.max_message_bytes) > 60 * 1024 * 1024 {
            return invalid("`max_batch_bytes` and `max_message_bytes` must be at most 60 MiB");
        }
        Ok(())
    }
}

//! Destinations of alerts.

use async_trait::async_trait;

use crate::core::Moment;
use crate::core::alert::AlertEvent;
use crate::core::alert::channel::Channel;

/// A destination of alerts. A sink that cannot keep up drops events and logs the loss.
#[async_trait]
pub trait AlertSink: Send + Sync {
    /// Queues those of the events that the destination gets. Never blocks and never fails.
    fn send(&self, events: &[AlertEvent]);
    /// Returns the channel, if the destination has a name.
    fn channel(&self) -> Option<&Channel> {
        None
    }
    /// Returns why the last message was not delivered, without addresses and secrets. `None`: the last
    /// message was delivered, or there was none.
    fn last_error(&self) -> Option<String> {
        None
    }
    /// Returns when the receiver last accepted a message. `None`: not since the start of the node.
    fn last_delivered_at(&self) -> Option<Moment> {
        None
    }
    /// Sends a test message, and waits for its answer within a time limit of the destination.
    ///
    /// # Errors
    /// Why the message was not delivered, without addresses and secrets.
    async fn test(&self) -> std::result::Result<(), String> {
        Err("this destination has no test message".to_owned())
    }
}

//! Administration: topics, groups, offsets and lag.

mod groups;
mod topics;

pub use groups::{GroupClient, GroupConnections, GroupSettings, GroupSubscription, QueueLag};

use crate::protocol::codes;
use crate::protocol::route::Route;
use crate::{Client, Command, Error, MessageQueue};

/// Administration of a cluster. Cheap to clone.
///
/// With ACLs, the creation of topics and groups needs the rights of an administrator. The other
/// requests need the right to read the topic or the group.
#[derive(Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    /// Creates the administration.
    pub fn new(client: &Client) -> Self {
        Self { client: client.clone() }
    }

    /// Returns the offset of the next message of a queue. A broker counts a message a moment after it
    /// confirmed the message.
    ///
    /// `GET_MAX_OFFSET` = 30 (`GetMaxOffsetRequestHeader.java`).
    ///
    /// # Errors
    /// The error of the broker.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, Error> {
        self.offset(queue, Command::request(codes::GET_MAX_OFFSET)).await
    }

    /// Returns the offset of the oldest message of a queue.
    ///
    /// `GET_MIN_OFFSET` = 31 (`GetMinOffsetRequestHeader.java`).
    ///
    /// # Errors
    /// The error of the broker.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, Error> {
        self.offset(queue, Command::request(codes::GET_MIN_OFFSET)).await
    }

    /// Returns the offset of the first message that was stored at a time or later. `timestamp_ms`
    /// is in milliseconds since the Unix epoch.
    ///
    /// `SEARCH_OFFSET_BY_TIMESTAMP` = 29 (`SearchOffsetRequestHeader.java`).
    ///
    /// # Errors
    /// The error of the broker.
    pub async fn search_offset(&self, queue: &MessageQueue, timestamp_ms: i64) -> Result<i64, Error> {
        let request = Command::request(codes::SEARCH_OFFSET_BY_TIMESTAMP).field("timestamp", timestamp_ms);
        self.offset(queue, request).await
    }

    async fn offset(&self, queue: &MessageQueue, request: Command) -> Result<i64, Error> {
        let route = self.client.route(&queue.topic).await?;
        let address = master(&route, queue)?;
        let request = request.field("topic", &queue.topic).field("queueId", queue.queue_id);
        self.client.ask(address, request).await?.parse("offset", address)
    }
}

fn master<'a>(route: &'a Route, queue: &MessageQueue) -> Result<&'a str, Error> {
    let missing = || Error::NoQueue { topic: queue.topic.clone(), operation: "read" };
    route.master(&queue.broker_name).ok_or_else(missing)
}

fn protocol(address: &str, reason: String) -> Error {
    Error::Protocol { address: address.to_owned(), reason }
}

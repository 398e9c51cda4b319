//! Requests that send messages.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::batch::{self, Batch};
use super::message::Encoded;
use super::{Inner, Receipt, SendStatus, avoid};
use crate::clock::{monotonic, now_ms};
use crate::protocol::codes;
use crate::{Command, Error, MessageQueue};

/// Topic whose settings the broker copies for a new topic. Required, although this client creates
/// no topics by sending.
const TEMPLATE_TOPIC: &str = "TBW102";
/// How long a broker that refuses because it is busy is avoided.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// What differs between a message and a batch.
struct Content<'a> {
    code: i32,
    body: Bytes,
    properties: &'a str,
    sys_flag: i32,
    is_batch: bool,
}

/// Where a request was stored.
struct Stored {
    queue: MessageQueue,
    offset: i64,
}

type Results = Vec<(usize, Result<Receipt, Error>)>;

impl Inner {
    pub async fn send_one(
        self: &Arc<Self>,
        topic: &str,
        message: Encoded,
        deadline: Instant,
    ) -> Result<Receipt, Error> {
        let content = Content {
            code: codes::SEND_MESSAGE_V2,
            body: message.body,
            properties: &message.properties,
            sys_flag: message.sys_flag,
            is_batch: false,
        };
        let stored = self.send(topic, content, deadline).await?;
        Ok(Receipt { message_id: message.id, queue: stored.queue, offset: stored.offset })
    }

    /// Sends a batch. If the broker refuses the batch as illegal, sends its halves.
    pub async fn send_all(self: Arc<Self>, batch: Batch, deadline: Instant) -> Results {
        let mut results = Vec::with_capacity(batch.messages.len());
        let mut parts = vec![batch.messages];
        while let Some(mut part) = parts.pop() {
            if part.len() <= 1 {
                for (index, message) in part {
                    let message = message.compress(self.config.compress_above).await;
                    results.push((index, self.send_one(&batch.topic, message, deadline).await));
                }
                continue;
            }
            let content = Content {
                code: codes::SEND_BATCH_MESSAGE,
                body: batch::body(&part),
                properties: "",
                sys_flag: 0,
                is_batch: true,
            };
            match self.send(&batch.topic, content, deadline).await {
                Err(refused) if refused.is_illegal() => {
                    let second = part.split_off(part.len() / 2);
                    parts.extend([second, part]);
                }
                sent => results.extend(results_of(part, &sent)),
            }
        }
        results
    }

    async fn send(
        self: &Arc<Self>,
        topic: &str,
        content: Content<'_>,
        deadline: Instant,
    ) -> Result<Stored, Error> {
        let _permit = self.permit(deadline).await?;
        let route = tokio::time::timeout_at(deadline, self.client.route(topic))
            .await
            .map_err(|_| unreachable("name servers", "no route within the time limit of the send"))??;
        let queues = self.queues.of(topic, &route);
        let missing = || Error::NoQueue { topic: topic.to_owned(), operation: "written" };
        let queue = queues.next(&self.avoided).ok_or_else(missing)?;
        let address = queues.address(queue).ok_or_else(missing)?;
        let request = self.request(queue, content);
        let remaining = deadline.saturating_duration_since(monotonic());
        let answer = self.client.call(address, request, remaining).await;
        let stored = answer.and_then(|response| check(response, address, queue));
        if let Err(failed) = &stored {
            self.note_failure(queue, failed);
        }
        stored
    }

    async fn permit(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Error> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        match tokio::time::timeout_at(deadline, self.permits.acquire()).await {
            Ok(permit) => permit.map_err(|_| Error::Closed),
            Err(_) => Err(unreachable("brokers", "`max_in_flight` other sends are not finished in time")),
        }
    }

    /// `SEND_MESSAGE_V2` = 310, `SEND_BATCH_MESSAGE` = 320 (`SendMessageRequestHeaderV2.java`).
    fn request(&self, queue: &MessageQueue, content: Content<'_>) -> Command {
        Command::request(content.code)
            .field("a", &self.group)
            .field("b", &queue.topic)
            .field("c", TEMPLATE_TOPIC)
            .field("d", 4)
            .field("e", queue.queue_id)
            .field("f", content.sys_flag)
            .field("g", now_ms())
            .field("h", 0)
            .field("i", content.properties)
            .field("j", 0)
            .field("k", false)
            .field("m", content.is_batch)
            .field("n", &queue.broker_name)
            .with_body(content.body)
    }

    /// Avoids a broker that has failed.
    fn note_failure(self: &Arc<Self>, queue: &MessageQueue, failed: &Error) {
        match failed {
            Error::Unreachable { .. } | Error::Unanswered { .. } => self.avoid(queue),
            busy if busy.is_busy() => self.avoided.add_for(&queue.broker_name, BUSY_PAUSE),
            gone if gone.code() == Some(codes::TOPIC_NOT_EXIST) => {
                self.client.forget_absent(&queue.topic, &queue.broker_name);
            }
            _ => {}
        }
    }

    /// Avoids a broker until it answers a check.
    fn avoid(self: &Arc<Self>, queue: &MessageQueue) {
        if !self.avoided.add(&queue.broker_name) {
            return;
        }
        tracing::warn!(broker = queue.broker_name, "RocketMQ broker does not answer; sends avoid it");
        // The checks end with the producer.
        let (inner, queue) = (Arc::downgrade(self), queue.clone());
        tokio::spawn(async move {
            loop {
                avoid::pause().await;
                let Some(inner) = inner.upgrade() else { return };
                if avoid::has_recovered(&inner.client, &queue.topic, &queue.broker_name).await {
                    inner.avoided.remove(&queue.broker_name);
                    tracing::info!(broker = queue.broker_name, "RocketMQ broker answers again");
                    return;
                }
            }
        });
    }
}

fn unreachable(address: &str, reason: &str) -> Error {
    Error::Unreachable { address: address.to_owned(), reason: reason.to_owned() }
}

/// Reads the response to a send (`SendMessageResponseHeader.java`).
fn check(response: Command, address: &str, queue: &MessageQueue) -> Result<Stored, Error> {
    let status = match response.code {
        codes::SUCCESS => {
            let offset = response.parse("queueOffset", address)?;
            return Ok(Stored { queue: queue.clone(), offset });
        }
        codes::FLUSH_DISK_TIMEOUT => SendStatus::FlushDiskTimeout,
        codes::FLUSH_SLAVE_TIMEOUT => SendStatus::FlushSlaveTimeout,
        codes::SLAVE_NOT_AVAILABLE => SendStatus::SlaveNotAvailable,
        _ => return Err(response.refusal(address)),
    };
    Err(Error::NotSafelyStored { address: address.to_owned(), status })
}

fn results_of(part: Vec<(usize, Encoded)>, sent: &Result<Stored, Error>) -> Results {
    let results = part.into_iter().enumerate().map(|(place, (index, message))| {
        let result = match sent {
            Ok(stored) => Ok(Receipt {
                message_id: message.id,
                queue: stored.queue.clone(),
                offset: stored.offset.saturating_add(place as i64),
            }),
            Err(failed) => Err(failed.clone()),
        };
        (index, result)
    });
    results.collect()
}

//! Redelivery and dead letters: sending a message back to its broker.

use std::time::Duration;

use super::handler::real_topic;
use super::session::{Ready, Session};
use crate::protocol::codes;
use crate::protocol::message::{ORIGIN_MESSAGE_ID, RETRY_TOPIC, StoredMessage};
use crate::protocol::properties;
use crate::{Command, Error};

/// Delays of the broker in seconds; the first is level 1. These are the defaults of the broker
/// (`messageDelayLevel` in `MessageStoreConfig.java`).
const LEVELS_SEC: [u64; 18] =
    [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
/// Level with which the broker chooses the delay by the number of redeliveries.
const BROKER_BACK_OFF: i32 = 0;
/// Level of the dead-letter queue.
const DEAD_LETTER: i32 = -1;
/// Shortest and longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Time limit of one attempt, as in Java.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Start of the broker's remark when the message is no longer in its commit log.
const MESSAGE_IS_GONE: &str = "look message by offset failed";
/// Bit of the system flags: the sender's host is an IPv6 address. It belongs to the stored copy.
const HOST_FLAGS: i32 = 1 << 4 | 1 << 5;

/// Where a message goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// To the retry topic of the group, with this minimum delay.
    Retry(Option<Duration>),
    /// To the dead-letter queue of the group.
    DeadLetter,
}

impl Target {
    fn level(self) -> i32 {
        match self {
            Self::Retry(None) => BROKER_BACK_OFF,
            Self::Retry(Some(after)) => level(after),
            Self::DeadLetter => DEAD_LETTER,
        }
    }
}

/// Returns the level with the shortest delay that is at least `after`. If `after` is longer than all
/// delays, returns the level with the longest delay.
fn level(after: Duration) -> i32 {
    let level = LEVELS_SEC.iter().position(|sec| Duration::from_secs(*sec) >= after);
    level.map_or(LEVELS_SEC.len() as i32, |position| position as i32 + 1)
}

/// Sends a message back until the broker confirms it, with growing pauses. Returns false if the queue
/// is lost meanwhile: the next owner receives the message, also if the broker never returns.
///
/// An answer that is lost may cause two redeliveries.
pub(crate) async fn send_back(session: &Session, ready: &Ready, target: Target) -> bool {
    let operation = format!("send back to {}", ready.queue.id.broker_name);
    let part = ready.message.offset_id();
    let mut pause = PAUSES.0;
    loop {
        let sent = match request(session, ready, target).await {
            Err(Error::Refused { remark, .. }) if remark.starts_with(MESSAGE_IS_GONE) => {
                send_copy(session, ready, target).await
            }
            sent => sent,
        };
        match sent {
            Ok(()) => {
                session.problems.resolve(&operation, &part);
                session.retry_topic_created.notify_one();
                return true;
            }
            Err(error) => session.problems.report(&operation, &part, &error),
        }
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(PAUSES.1);
        if ready.queue.owner_or_forget(ready.message.queue_offset, &ready.key).is_none() {
            session.problems.forget(&part);
            return false;
        }
    }
}

/// `CONSUMER_SEND_MSG_BACK` = 36 (`ConsumerSendMsgBackRequestHeader.java`).
async fn request(session: &Session, ready: &Ready, target: Target) -> Result<(), Error> {
    let (queue, message) = (&ready.queue.id, &ready.message);
    let address = master(session, &queue.topic, &queue.broker_name).await?;
    let request = Command::request(codes::CONSUMER_SEND_MSG_BACK)
        .field("group", &session.group)
        .field("originTopic", real_topic(message))
        .field("offset", message.commit_log_offset)
        .field("delayLevel", target.level())
        .field("originMsgId", message.offset_id())
        .field("maxReconsumeTimes", session.config.max_reconsume_times)
        .field("unitMode", false)
        .field("bname", &queue.broker_name);
    session.client.call(&address, request, TIMEOUT).await?.success(&address)?;
    Ok(())
}

/// Only masters store messages.
async fn master(session: &Session, topic: &str, broker_name: &str) -> Result<String, Error> {
    let route = session.client.route(topic).await?;
    let address = route.master(broker_name).map(str::to_owned);
    address.ok_or_else(|| Error::Unreachable {
        address: broker_name.to_owned(),
        reason: format!("the route of topic {topic:?} has no master of this broker"),
    })
}

/// Sends a copy of the message to the retry topic, because the broker has deleted the original:
/// `SEND_MESSAGE_V2` = 310 (`SendMessageRequestHeaderV2.java`). The broker moves the copy to the
/// dead-letter queue if it has too many redeliveries (`SendMessageProcessor.handleRetryAndDLQ`).
async fn send_copy(session: &Session, ready: &Ready, target: Target) -> Result<(), Error> {
    let (message, broker_name) = (&ready.message, &ready.queue.id.broker_name);
    let topic = format!("%RETRY%{}", session.group);
    let address = master(session, &ready.queue.id.topic, broker_name).await?;
    let max = session.config.max_reconsume_times;
    let times = times_of_copy(message.reconsume_times.max(0) as u32, max, target);
    let request = Command::request(codes::SEND_MESSAGE_V2)
        .field("a", &session.group)
        .field("b", &topic)
        .field("c", "TBW102")
        .field("d", 1)
        .field("e", 0)
        .field("f", message.sys_flag & !HOST_FLAGS)
        .field("g", message.born_ms)
        .field("h", message.flag)
        .field("i", properties_of_copy(message, target))
        .field("j", times)
        .field("k", false)
        .field("l", max)
        .field("m", false)
        .field("n", broker_name)
        .with_body(message.stored_body.clone());
    session.client.call(&address, request, TIMEOUT).await?.success(&address)?;
    Ok(())
}

/// Returns the number of redeliveries of a copy. The broker moves a copy with at least `max` of them
/// (4.9), or with more than `max` (5.x), to the dead-letter queue.
fn times_of_copy(times: u32, max: u32, target: Target) -> u32 {
    match target {
        Target::Retry(_) => times.saturating_add(1),
        Target::DeadLetter => times.max(max).saturating_add(1),
    }
}

fn properties_of_copy(message: &StoredMessage, target: Target) -> String {
    let mut all = message.properties.clone();
    all.entry(RETRY_TOPIC.to_owned()).or_insert_with(|| message.topic.clone());
    all.entry(ORIGIN_MESSAGE_ID.to_owned()).or_insert_with(|| message.offset_id());
    let level = match target {
        Target::DeadLetter => 0,
        // The third level is the first of the broker's back-off.
        Target::Retry(None) => message.reconsume_times.clamp(0, 15) + 3,
        Target::Retry(Some(after)) => level(after),
    };
    all.insert("DELAY".to_owned(), level.to_string());
    let mut text = String::new();
    all.iter().for_each(|(name, value)| properties::append(&mut text, name, value));
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::consumer::in_flight::MessageKey;
    use crate::consumer::{ConsumerConfig, Disposition, Handler, Received};
    use crate::{Client, ClientConfig, MessageQueue};

    struct Unused;

    #[async_trait::async_trait]
    impl Handler for Unused {
        async fn handle(&self, _: Received, _: CancellationToken) -> Disposition {
            Disposition::Ack
        }
    }

    fn session() -> Session {
        Session::new(
            Client::new(ClientConfig::new("127.0.0.1:1")).unwrap(),
            ConsumerConfig::new("g"),
            BTreeMap::new(),
            0,
            Arc::new(Unused),
            Arc::default(),
            CancellationToken::new(),
            mpsc::unbounded_channel().0,
        )
    }

    /// A broker that never returns must not keep the room of the message for ever.
    #[tokio::test]
    async fn a_send_back_ends_with_the_loss_of_the_queue() {
        let session = session();
        let queue = MessageQueue { topic: "t".into(), broker_name: "b".into(), queue_id: 0 };
        let message = StoredMessage::of_test("t");
        let ready = Ready {
            queue: session.queue(&queue),
            epoch: 0,
            key: MessageKey::of(&message),
            message,
            _room: session.flow.take(&mut None, 1).unwrap(),
        };
        let sent = tokio::time::timeout(PAUSES.1, send_back(&session, &ready, Target::Retry(None)));
        assert_eq!(sent.await, Ok(false));
        assert!(session.problems.list().is_empty());
    }

    #[test]
    fn a_copy_of_a_dead_letter_has_more_redeliveries_than_allowed() {
        assert_eq!(times_of_copy(3, 16, Target::Retry(None)), 4);
        assert_eq!(times_of_copy(3, 16, Target::DeadLetter), 17);
        assert_eq!(times_of_copy(20, 16, Target::DeadLetter), 21);
    }

    #[test]
    fn delays_are_rounded_up_to_a_level() {
        let levels = [0, 1, 2, 5, 6, 31, 7_200, 100_000].map(|sec| level(Duration::from_secs(sec)));
        assert_eq!(levels, [1, 1, 2, 2, 3, 5, 18, 18]);
        assert_eq!(level(Duration::from_millis(1_001)), 2);
    }
}

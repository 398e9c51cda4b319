//! Messages that are being handled. A second delivery of one of them waits for the first verdict.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::handler::real_topic;
use crate::protocol::message::StoredMessage;
use crate::protocol::properties::UNIQ_KEY;

/// Identity of a delivery: the unique id of its message and the number of redeliveries.
///
/// A program may send a received message on with all its properties, also to the topic from which it
/// came. Such a message has the same unique id, but another time of its send or another topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MessageKey {
    id: Arc<str>,
    topic: Arc<str>,
    born_ms: i64,
    reconsume_times: i32,
}

impl MessageKey {
    #[cfg(test)]
    pub(crate) fn new(id: String, reconsume_times: i32) -> Self {
        Self { id: id.into(), topic: "".into(), born_ms: 0, reconsume_times }
    }

    pub(crate) fn of(message: &StoredMessage) -> Self {
        let id = match message.property(UNIQ_KEY) {
            Some(id) => id.to_owned(),
            // The messages of a stored batch share the id of the storage.
            None => format!("{} {}", message.offset_id(), message.queue_offset),
        };
        Self {
            id: id.into(),
            topic: real_topic(message).into(),
            born_ms: message.born_ms,
            reconsume_times: message.reconsume_times,
        }
    }
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The message is settled.
    Finished,
    /// The message is not settled: another delivery of it may start.
    Released,
}

type Ends = watch::Sender<Option<End>>;

/// The messages that are being handled.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<HashMap<MessageKey, Ends>>>);

/// Answer to a delivery.
pub(crate) enum Delivery {
    /// The message may start.
    First(Running),
    /// The message is being handled. The receiver gets the end of the first delivery.
    Second(watch::Receiver<Option<End>>),
}

/// A message that is being handled. Its drop releases the message.
#[derive(Debug)]
pub(crate) struct Running {
    all: InFlight,
    key: MessageKey,
    end: End,
}

impl InFlight {
    /// Enters a delivery.
    pub(crate) fn enter(&self, key: &MessageKey) -> Delivery {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.entry(key.clone()) {
            Entry::Occupied(first) => Delivery::Second(first.get().subscribe()),
            Entry::Vacant(place) => {
                place.insert(watch::Sender::new(None));
                Delivery::First(Running { all: self.clone(), key: key.clone(), end: End::Released })
            }
        }
    }

    /// Returns the number of messages that are being handled.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Running {
    /// Ends the delivery.
    pub(crate) fn end(mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ends) = all.remove(&self.key) {
            ends.send_replace(Some(self.end));
        }
    }
}

/// Waits for the end of the first delivery.
pub(crate) async fn wait_for_end(mut ends: watch::Receiver<Option<End>>) -> End {
    let end = ends.wait_for(Option::is_some).await.ok().and_then(|end| *end);
    end.unwrap_or(End::Released)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::parse_properties;

    fn key(reconsume_times: i32) -> MessageKey {
        MessageKey::new("id".to_owned(), reconsume_times)
    }

    fn message(topic: &str, born_ms: i64, queue_offset: i64, properties: &str) -> MessageKey {
        let properties = parse_properties(properties);
        let message = StoredMessage { queue_offset, born_ms, properties, ..StoredMessage::of_test(topic) };
        MessageKey::of(&message)
    }

    #[test]
    fn a_message_that_was_sent_on_is_another_one() {
        let properties = "UNIQ_KEY\u{1}0A\u{2}";
        let first = message("t", 1, 0, properties);
        assert_eq!(first, message("t", 1, 9, properties));
        assert_ne!(first, message("other", 1, 0, properties));
        assert_ne!(first, message("t", 2, 0, properties));
        let retry = message("%RETRY%g", 1, 3, "UNIQ_KEY\u{1}0A\u{2}RETRY_TOPIC\u{1}t\u{2}");
        assert_eq!(first, retry);
        assert_eq!(message("t", 1, 0, "RETRY_TOPIC\u{1}x\u{2}"), message("t", 1, 0, ""));
        // Two messages of a stored batch, without ids of their own.
        assert_ne!(message("t", 1, 0, ""), message("t", 1, 1, ""));
    }

    #[tokio::test]
    async fn a_second_delivery_gets_the_end_of_the_first() {
        let in_flight = InFlight::default();
        for end in [End::Finished, End::Released] {
            let Delivery::First(first) = in_flight.enter(&key(0)) else { panic!("first") };
            let Delivery::Second(second) = in_flight.enter(&key(0)) else { panic!("second") };
            let Delivery::First(_other) = in_flight.enter(&key(1)) else { panic!("redelivery") };
            let waiting = tokio::spawn(wait_for_end(second));
            first.end(end);
            assert_eq!(waiting.await.unwrap(), end);
        }
        assert_eq!(in_flight.len(), 0);
    }

    #[tokio::test]
    async fn a_dropped_delivery_is_released() {
        let in_flight = InFlight::default();
        let Delivery::First(first) = in_flight.enter(&key(0)) else { panic!("first") };
        let Delivery::Second(second) = in_flight.enter(&key(0)) else { panic!("second") };
        drop(first);
        assert_eq!(wait_for_end(second).await, End::Released);
    }
}

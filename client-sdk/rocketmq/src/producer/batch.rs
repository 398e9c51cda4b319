//! Batches of messages.

use bytes::{BufMut, Bytes, BytesMut};

use super::ProducerConfig;
use super::message::Encoded;

/// Messages that one request sends.
#[derive(Debug)]
pub(super) struct Batch {
    pub topic: String,
    /// Messages with their index among all messages of the caller.
    pub messages: Vec<(usize, Encoded)>,
}

/// Splits messages into batches, in order per topic. A message above the size of a batch is a batch
/// of its own.
pub(super) fn split(messages: Vec<(usize, String, Encoded)>, config: &ProducerConfig) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut bytes = 0;
    for (index, topic, message) in messages {
        let size = message.batch_bytes();
        match batches.last_mut() {
            Some(batch)
                if batch.topic == topic
                    && batch.messages.len() < config.max_batch_messages
                    && bytes + size <= config.max_batch_bytes =>
            {
                bytes += size;
                batch.messages.push((index, message));
            }
            _ => {
                bytes = size;
                batches.push(Batch { topic, messages: vec![(index, message)] });
            }
        }
    }
    batches
}

/// Returns the body of a batch (`MessageDecoder.java`, `encodeMessages`).
pub(super) fn body(messages: &[(usize, Encoded)]) -> Bytes {
    let length = messages.iter().map(|(_, message)| message.batch_bytes()).sum();
    let mut body = BytesMut::with_capacity(length);
    for (_, message) in messages {
        body.put_u32(message.batch_bytes() as u32);
        // Magic code, checksum and flag, which the broker sets itself.
        body.put_bytes(0, 12);
        body.put_u32(message.body.len() as u32);
        body.put_slice(&message.body);
        body.put_u16(message.properties.len() as u16);
        body.put_slice(message.properties.as_bytes());
    }
    body.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::Message;

    fn sizes(messages: &[(&str, usize)]) -> Vec<usize> {
        let config = ProducerConfig::new("g").max_batch_messages(64).max_batch_bytes(1_000_000);
        let messages = messages.iter().enumerate().map(|(index, (topic, bytes))| {
            let message = Encoded::new(Message::new(*topic, vec![0; *bytes]), &config).unwrap();
            (index, (*topic).to_owned(), message)
        });
        split(messages.collect(), &config).iter().map(|batch| batch.messages.len()).collect()
    }

    #[test]
    fn batches_are_limited_by_number_bytes_and_topic() {
        assert_eq!(sizes(&[("t", 10); 130]), [64, 64, 2]);
        assert_eq!(sizes(&[("t", 400_000); 5]), [2, 2, 1]);
        assert_eq!(sizes(&[("t", 1), ("t", 3_000_000), ("t", 1)]), [1, 1, 1]);
        assert_eq!(sizes(&[("a", 1), ("a", 1), ("b", 1)]), [2, 1]);
        assert!(sizes(&[]).is_empty());
    }

    #[test]
    fn the_size_of_a_message_is_its_length_on_the_wire() {
        let config = ProducerConfig::new("g");
        let message = Encoded::new(Message::new("t", "body").tag("a").keys("k"), &config).unwrap();
        let size = message.batch_bytes();
        assert_eq!(body(&[(0, message.clone()), (1, message)]).len(), 2 * size);
    }
}

//! Messages to send.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::{ProducerConfig, ids};
use crate::Error;
use crate::protocol::properties;

/// Longest property text that brokers accept, in bytes (`Short.MAX_VALUE`).
const MAX_PROPERTY_BYTES: usize = i16::MAX as usize;
/// Longest topic that brokers accept, in bytes.
const MAX_TOPIC_BYTES: usize = 127;
/// Bodies above this size are compressed on a thread that may block.
const BLOCKING_BYTES: usize = 64 * 1024;
/// Names of properties that a caller cannot set. A message with `TRAN_MSG` waits for the end of a
/// transaction, which this client does not have.
const RESERVED: [&str; 4] = [properties::TAGS, properties::KEYS, properties::UNIQ_KEY, "TRAN_MSG"];
/// Sysflag of a compressed body, with zlib as its type (`MessageSysFlag.java`).
const COMPRESSED_ZLIB: i32 = 0x1 | 0x3 << 8;

/// A message to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Topic, without the namespace.
    pub topic: String,
    /// Body, byte for byte. Brokers refuse messages without a body.
    pub body: Bytes,
    /// Tag, which consumers filter by. Empty: none.
    pub tag: String,
    /// Keys, which the tools find the message by. Several keys are joined by blanks. Empty: none.
    pub keys: String,
    /// Further properties. Names and values must not contain the characters U+0001 and U+0002,
    /// which are separators on the wire. The names `TAGS`, `KEYS`, `UNIQ_KEY` and `TRAN_MSG` are
    /// reserved.
    pub properties: Vec<(String, String)>,
}

impl Message {
    /// Creates a message without tag, keys and properties.
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { topic: topic.into(), body: body.into(), ..Self::default() }
    }

    /// Sets the tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = tag.into();
        self
    }

    /// Sets the keys.
    #[must_use]
    pub fn keys(mut self, keys: impl Into<String>) -> Self {
        self.keys = keys.into();
        self
    }

    /// Adds a property.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }
}

/// A message that was checked, with its properties as on the wire.
#[derive(Debug, Clone)]
pub(super) struct Encoded {
    pub id: String,
    pub body: Bytes,
    pub properties: String,
    pub sys_flag: i32,
}

impl Encoded {
    /// Checks a message and gives it an id.
    pub fn new(message: Message, config: &ProducerConfig) -> Result<Self, Error> {
        check(&message, config)?;
        let id = ids::next();
        let mut text = String::with_capacity(96);
        let mut push = |name: &str, value: &str| properties::append(&mut text, name, value);
        push(properties::UNIQ_KEY, &id);
        if !message.tag.is_empty() {
            push(properties::TAGS, &message.tag);
        }
        if !message.keys.is_empty() {
            push(properties::KEYS, &message.keys);
        }
        for (name, value) in &message.properties {
            push(name, value);
        }
        if text.len() > MAX_PROPERTY_BYTES {
            let bytes = text.len();
            return invalid(format!(
                "the properties have {bytes} bytes; the maximum is {MAX_PROPERTY_BYTES}"
            ));
        }
        Ok(Self { id, body: message.body, properties: text, sys_flag: 0 })
    }

    /// Compresses the body, if it has at least `bound` bytes and gets smaller.
    pub async fn compress(mut self, bound: usize) -> Self {
        if self.body.len() < bound {
            return self;
        }
        let body = self.body.clone();
        let compressed = if body.len() > BLOCKING_BYTES {
            tokio::task::spawn_blocking(move || compress(&body)).await.unwrap_or_default()
        } else {
            compress(&body)
        };
        if let Some(compressed) = compressed.filter(|compressed| compressed.len() < self.body.len()) {
            self.body = compressed.into();
            self.sys_flag |= COMPRESSED_ZLIB;
        }
        self
    }

    /// Returns the size within a batch, in bytes.
    pub fn batch_bytes(&self) -> usize {
        22 + self.body.len() + self.properties.len()
    }
}

fn compress(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(body.len() / 2), Compression::new(5));
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

fn invalid<T>(why: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid(why.into()))
}

/// Refuses a message that brokers never accept.
fn check(message: &Message, config: &ProducerConfig) -> Result<(), Error> {
    check_topic(&message.topic)?;
    if message.body.is_empty() {
        return invalid("the body is empty: RocketMQ does not accept messages without a body");
    }
    if message.body.len() > config.max_message_bytes {
        let (bytes, max) = (message.body.len(), config.max_message_bytes);
        return invalid(format!("the body has {bytes} bytes; the maximum is {max}"));
    }
    for (what, text) in [("tag", &message.tag), ("keys", &message.keys)] {
        if properties::has_separator(text) {
            return invalid(format!("the {what} {text:?} contains the character U+0001 or U+0002"));
        }
    }
    for (name, value) in &message.properties {
        if name.is_empty() || properties::has_separator(name) || properties::has_separator(value) {
            return invalid(format!(
                "the property {name:?} has no name, or contains the character U+0001 or U+0002"
            ));
        }
        if RESERVED.contains(&name.as_str()) {
            return invalid(format!("the property name {name:?} is reserved"));
        }
    }
    Ok(())
}

fn check_topic(topic: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-');
    if topic.is_empty() || topic.len() > MAX_TOPIC_BYTES || !topic.bytes().all(allowed) {
        return invalid(format!(
            "topic {topic:?}: use 1 to {MAX_TOPIC_BYTES} characters of a-z, A-Z, 0-9, `-`, `_`, `%`, `|`"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: Message) -> String {
        let config = ProducerConfig::new("g").max_message_bytes(10);
        Encoded::new(message, &config).unwrap_err().to_string()
    }

    #[test]
    fn invalid_messages_are_refused_with_the_reason() {
        assert!(refused(Message::new("t", "")).contains("the body is empty"));
        assert!(refused(Message::new("t", vec![0; 11])).contains("11 bytes; the maximum is 10"));
        assert!(refused(Message::new("", "b")).contains("topic"));
        assert!(refused(Message::new("a b", "b")).contains("topic"));
        assert!(refused(Message::new("t", "b").tag("a\u{1}b")).contains("tag"));
        assert!(refused(Message::new("t", "b").property("p", "\u{2}")).contains("\"p\""));
        for name in ["TAGS", "TRAN_MSG"] {
            assert!(refused(Message::new("t", "b").property(name, "true")).contains("reserved"));
        }
        assert!(refused(Message::new("t", "b").property("p", "x".repeat(40_000))).contains("32767"));
    }

    #[tokio::test]
    async fn a_body_is_compressed_only_if_it_gets_smaller() {
        let config = ProducerConfig::new("g");
        for (body, compressed) in [
            (vec![7; 10_000], true),
            (vec![7; 200_000], true),
            (vec![7; 4_095], false),
            ((0..10_000).map(|_| fastrand::u8(..)).collect(), false),
        ] {
            let length = body.len();
            let message = Encoded::new(Message::new("t", body), &config).unwrap().compress(4096).await;
            assert_eq!(message.sys_flag == COMPRESSED_ZLIB, compressed, "{length}");
            assert_eq!(message.body.len() < length, compressed, "{length}");
        }
    }
}

//! Decoder of stored messages, as brokers return them (`MessageDecoder.java`, `MessageVersion.java`,
//! `MessageSysFlag.java`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use super::compression::{self, DecompressError};
use super::properties::UNIQ_KEY;

/// First four bytes after the size of a message whose topic length has one byte.
const MAGIC_V1: i32 = -626_843_481;
/// First four bytes after the size of a message whose topic length has two bytes.
const MAGIC_V2: i32 = -626_843_477;
/// Size of a message with IPv4 hosts, an empty body, an empty topic and no properties.
const MIN_SIZE: usize = 91;

/// Body is compressed.
const COMPRESSED: i32 = 1;
/// Host of the sender is an IPv6 address.
const BORN_HOST_V6: i32 = 1 << 4;
/// Host of the broker is an IPv6 address.
const STORE_HOST_V6: i32 = 1 << 5;
/// Body consists of several messages (needs both bits).
const INNER_BATCH: i32 = 1 << 6 | 1 << 7;

/// Property of a redelivered message with its original topic.
pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
/// Property of a redelivered message with its original message id.
pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";

/// A message as a broker has stored it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Topic as on the wire. A redelivered message has the retry topic of its group.
    pub topic: String,
    /// Number of the queue within its broker.
    pub queue_id: i32,
    /// Position in the queue.
    pub queue_offset: i64,
    /// Position in the broker's commit log.
    pub commit_log_offset: i64,
    /// System flags (`MessageSysFlag.java`).
    pub sys_flag: i32,
    /// Flag of the producer. RocketMQ does not interpret it.
    pub flag: i32,
    /// Time of the send by the producer's clock, in milliseconds since 1970.
    pub born_ms: i64,
    /// Address of the producer.
    pub born_host: (IpAddr, u32),
    /// Time of the storage by the broker's clock, in milliseconds since 1970.
    pub stored_ms: i64,
    /// Address of the broker.
    pub store_host: (IpAddr, u32),
    /// Number of redeliveries of this message. 0 at the first delivery.
    pub reconsume_times: i32,
    /// Body as stored, possibly compressed. See [`body`](Self::body).
    pub stored_body: Bytes,
    /// Properties: those of the system and those of the user.
    pub properties: BTreeMap<String, String>,
}

/// Reason why the bytes of a broker are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The data ends within a message, or a length of the message exceeds its size.
    #[error("message truncated: {0}")]
    Truncated(&'static str),
    /// The size of the message is impossible.
    #[error("message with the impossible size {0}")]
    Size(i32),
    /// The format of the message is unknown.
    #[error("message with the unknown magic code {0}")]
    Magic(i32),
}

impl StoredMessage {
    #[cfg(test)]
    pub(crate) fn of_test(topic: &str) -> Self {
        let host = (Ipv4Addr::LOCALHOST.into(), 1);
        Self {
            topic: topic.to_owned(),
            queue_id: 0,
            queue_offset: 0,
            commit_log_offset: 5,
            sys_flag: 0,
            flag: 0,
            born_ms: 0,
            born_host: host,
            stored_ms: 0,
            store_host: host,
            reconsume_times: 1,
            stored_body: Bytes::new(),
            properties: BTreeMap::new(),
        }
    }

    /// Returns the value of a property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// Returns the body, decompressed if needed. `limit` is the maximum size of the result in bytes.
    pub fn body(&self, limit: usize) -> Result<Bytes, DecompressError> {
        if self.sys_flag & COMPRESSED == 0 {
            return Ok(self.stored_body.clone());
        }
        compression::decompress((self.sys_flag >> 8) & 7, &self.stored_body, limit)
    }

    /// Returns the id that consists of the broker's address and the position in its commit log, as
    /// 32 or 56 hexadecimal digits. Each redelivery has another id.
    pub fn offset_id(&self) -> String {
        let mut id = Vec::with_capacity(28);
        match self.store_host.0 {
            IpAddr::V4(ip) => id.extend(ip.octets()),
            IpAddr::V6(ip) => id.extend(ip.octets()),
        }
        id.extend(self.store_host.1.to_be_bytes());
        id.extend(self.commit_log_offset.to_be_bytes());
        hex(&id)
    }

    /// Returns the id of the producer, which redeliveries keep. Messages of very old producers have
    /// the id of their storage instead.
    pub fn unique_id(&self) -> String {
        self.property(UNIQ_KEY).map_or_else(|| self.offset_id(), str::to_owned)
    }

    /// Approximate memory of the message, in bytes.
    pub fn memory(&self) -> usize {
        const OVERHEAD: usize = 256;
        let properties = self.properties.iter().map(|(name, value)| name.len() + value.len() + 64);
        OVERHEAD + self.stored_body.len() + properties.sum::<usize>()
    }

    fn is_batch(&self) -> bool {
        self.sys_flag & INNER_BATCH == INNER_BATCH
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Decodes the messages of a pull answer. Returns the messages before the first undecodable one, and
/// the reason why decoding stopped, if it did. A batch that is stored as one message becomes its
/// single messages.
///
/// Bodies and properties are copied, so that a message does not keep the whole answer in memory.
/// The messages together are at most about as large as `data`.
pub fn decode_messages(data: &[u8]) -> (Vec<StoredMessage>, Option<DecodeError>) {
    let mut messages = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        match decode_next(&mut rest, &mut messages) {
            Ok(()) => {}
            Err(error) => return (messages, Some(error)),
        }
    }
    (messages, None)
}

fn decode_next(rest: &mut &[u8], messages: &mut Vec<StoredMessage>) -> Result<(), DecodeError> {
    let mut peek = Reader(rest);
    let size = peek.i32("size")?;
    let length = usize::try_from(size).map_err(|_| DecodeError::Size(size))?;
    if length < MIN_SIZE {
        return Err(DecodeError::Size(size));
    }
    let (message, others) = rest.split_at_checked(length).ok_or(DecodeError::Truncated("message"))?;
    let message = decode_message(&mut Reader(&message[4..]))?;
    if message.is_batch() {
        let number = messages.len();
        // A corrupt batch yields none of its messages: its offset is that of the next pull.
        unwrap_batch(&message, messages).inspect_err(|_| messages.truncate(number))?;
    } else {
        messages.push(message);
    }
    *rest = others;
    Ok(())
}

fn decode_message(from: &mut Reader<'_>) -> Result<StoredMessage, DecodeError> {
    let magic = from.i32("magic code")?;
    if magic != MAGIC_V1 && magic != MAGIC_V2 {
        return Err(DecodeError::Magic(magic));
    }
    let _body_crc = from.i32("body CRC")?;
    let queue_id = from.i32("queue id")?;
    let flag = from.i32("flag")?;
    let queue_offset = from.i64("queue offset")?;
    let commit_log_offset = from.i64("commit log offset")?;
    let sys_flag = from.i32("system flag")?;
    let born_ms = from.i64("born time")?;
    let born_host = from.host(sys_flag & BORN_HOST_V6 != 0)?;
    let stored_ms = from.i64("store time")?;
    let store_host = from.host(sys_flag & STORE_HOST_V6 != 0)?;
    let reconsume_times = from.i32("reconsume times")?;
    let _prepared_transaction = from.i64("prepared transaction")?;
    let stored_body = from.body()?;
    let topic_length = if magic == MAGIC_V1 {
        usize::from(from.u8("topic length")?)
    } else {
        from.length16("topic length")?
    };
    let topic = String::from_utf8_lossy(from.bytes(topic_length, "topic")?).into_owned();
    let properties = from.properties()?;
    Ok(StoredMessage {
        topic,
        queue_id,
        queue_offset,
        commit_log_offset,
        sys_flag,
        flag,
        born_ms,
        born_host,
        stored_ms,
        store_host,
        reconsume_times,
        stored_body,
        properties,
    })
}

/// Splits a stored batch into its messages. They have consecutive queue offsets.
fn unwrap_batch(batch: &StoredMessage, messages: &mut Vec<StoredMessage>) -> Result<(), DecodeError> {
    const MAX_BATCH: usize = 64 << 20;
    let body = batch.body(MAX_BATCH).map_err(|_| DecodeError::Truncated("compressed batch"))?;
    let mut from = Reader(&body);
    let mut offset = batch.queue_offset;
    while !from.0.is_empty() {
        let _size_magic_crc = from.bytes(12, "inner message")?;
        let flag = from.i32("inner flag")?;
        let stored_body = from.body()?;
        let properties = from.properties()?;
        messages.push(StoredMessage {
            topic: batch.topic.clone(),
            queue_offset: offset,
            sys_flag: batch.sys_flag & !(COMPRESSED | INNER_BATCH),
            flag,
            stored_body,
            properties,
            ..batch_fields(batch)
        });
        offset = offset.saturating_add(1);
    }
    Ok(())
}

fn batch_fields(batch: &StoredMessage) -> StoredMessage {
    StoredMessage { stored_body: Bytes::new(), properties: BTreeMap::new(), ..batch.clone() }
}

/// Parses the properties of a message: `name U+0001 value U+0002 ...`. Entries without a name or a
/// value are ignored, as in Java (`MessageDecoder.string2messageProperties`).
pub fn parse_properties(text: &str) -> BTreeMap<String, String> {
    let entries = text.split('\u{2}').filter_map(|entry| entry.split_once('\u{1}'));
    entries
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Reads big-endian values. Every length is checked before memory is reserved.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Truncated(what))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(DecodeError::Truncated(what))?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    fn i32(&mut self, what: &'static str) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array(what)?))
    }

    fn length16(&mut self, what: &'static str) -> Result<usize, DecodeError> {
        Ok(usize::from(u16::from_be_bytes(self.array(what)?)))
    }

    fn host(&mut self, v6: bool) -> Result<(IpAddr, u32), DecodeError> {
        let ip = if v6 {
            IpAddr::V6(Ipv6Addr::from(self.array::<16>("host")?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.array::<4>("host")?))
        };
        Ok((ip, u32::from_be_bytes(self.array("port")?)))
    }

    fn body(&mut self) -> Result<Bytes, DecodeError> {
        let size = self.i32("body size")?;
        let length = usize::try_from(size).map_err(|_| DecodeError::Size(size))?;
        Ok(Bytes::copy_from_slice(self.bytes(length, "body")?))
    }

    fn properties(&mut self) -> Result<BTreeMap<String, String>, DecodeError> {
        let length = self.length16("properties length")?;
        Ok(parse_properties(&String::from_utf8_lossy(self.bytes(length, "properties")?)))
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;

use super::*;
use crate::protocol::properties::TAGS;

/// A message, field by field as in `MessageDecoder.encode`.
struct Frame {
    magic: i32,
    sys_flag: i32,
    offset: i64,
    body: Vec<u8>,
    topic: String,
    properties: String,
}

impl Frame {
    fn new(body: &[u8]) -> Self {
        Self {
            magic: MAGIC_V1,
            sys_flag: 0,
            offset: 7,
            body: body.to_vec(),
            topic: "topic".to_owned(),
            properties: "TAGS\u{1}a\u{2}UNIQ_KEY\u{1}0A\u{2}".to_owned(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        rest.extend(self.magic.to_be_bytes());
        rest.extend(1_i32.to_be_bytes());
        rest.extend(3_i32.to_be_bytes());
        rest.extend(5_i32.to_be_bytes());
        rest.extend(self.offset.to_be_bytes());
        rest.extend(1_000_i64.to_be_bytes());
        rest.extend(self.sys_flag.to_be_bytes());
        rest.extend(11_i64.to_be_bytes());
        rest.extend(host(self.sys_flag & BORN_HOST_V6 != 0, 4_711));
        rest.extend(13_i64.to_be_bytes());
        rest.extend(host(self.sys_flag & STORE_HOST_V6 != 0, 10_911));
        rest.extend(2_i32.to_be_bytes());
        rest.extend(0_i64.to_be_bytes());
        rest.extend((self.body.len() as i32).to_be_bytes());
        rest.extend(&self.body);
        if self.magic == MAGIC_V1 {
            rest.push(self.topic.len() as u8);
        } else {
            rest.extend((self.topic.len() as u16).to_be_bytes());
        }
        rest.extend(self.topic.as_bytes());
        rest.extend((self.properties.len() as u16).to_be_bytes());
        rest.extend(self.properties.as_bytes());
        let mut frame = ((rest.len() + 4) as i32).to_be_bytes().to_vec();
        frame.extend(rest);
        frame
    }
}

fn host(v6: bool, port: u32) -> Vec<u8> {
    let mut host = if v6 { Ipv6Addr::LOCALHOST.octets().to_vec() } else { vec![127, 0, 0, 1] };
    host.extend(port.to_be_bytes());
    host
}

fn inner(body: &[u8], properties: &str) -> Vec<u8> {
    let mut rest = vec![0; 8];
    rest.extend(9_i32.to_be_bytes());
    rest.extend((body.len() as i32).to_be_bytes());
    rest.extend(body);
    rest.extend((properties.len() as u16).to_be_bytes());
    rest.extend(properties.as_bytes());
    let mut message = ((rest.len() + 4) as i32).to_be_bytes().to_vec();
    message.extend(rest);
    message
}

fn zlib(body: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// A message of broker 5.5.0, as captured from a pull answer.
#[test]
fn a_message_of_a_broker_is_decoded() {
    let (messages, error) = decode_messages(&Frame::new(b"hello").encode());
    assert_eq!((messages.len(), error), (1, None));
    let message = &messages[0];
    assert_eq!((message.topic.as_str(), message.queue_id, message.queue_offset), ("topic", 3, 7));
    assert_eq!((message.commit_log_offset, message.flag, message.reconsume_times), (1_000, 5, 2));
    assert_eq!((message.born_ms, message.stored_ms), (11, 13));
    assert_eq!(message.born_host, (IpAddr::V4(Ipv4Addr::LOCALHOST), 4_711));
    assert_eq!(message.body(5).unwrap(), "hello");
    assert_eq!(message.property(TAGS), Some("a"));
    assert_eq!(message.unique_id(), "0A");
    assert_eq!(message.offset_id(), "7F00000100002A9F00000000000003E8");
}

#[test]
fn hosts_of_ip_v6_and_long_topics_are_decoded() {
    let mut frame = Frame::new(b"x");
    frame.sys_flag = BORN_HOST_V6 | STORE_HOST_V6;
    frame.magic = MAGIC_V2;
    frame.topic = "t".repeat(300);
    frame.properties.clear();
    let (messages, error) = decode_messages(&frame.encode());
    assert_eq!(error, None);
    assert_eq!(messages[0].topic.len(), 300);
    assert_eq!(messages[0].born_host, (IpAddr::V6(Ipv6Addr::LOCALHOST), 4_711));
    assert_eq!(messages[0].offset_id().len(), 56);
    assert_eq!(messages[0].unique_id(), messages[0].offset_id());
}

#[test]
fn compressed_bodies_are_decompressed_up_to_the_limit() {
    let body = b"compressible ".repeat(1_000);
    for sys_flag in [COMPRESSED, COMPRESSED | 3 << 8] {
        let frame = Frame { sys_flag, ..Frame::new(&zlib(&body)) };
        let (messages, _) = decode_messages(&frame.encode());
        assert_eq!(messages[0].body(body.len()).unwrap(), body);
        assert!(matches!(messages[0].body(body.len() - 1), Err(DecompressError::TooLarge(_))));
    }
    let corrupt = Frame { sys_flag: COMPRESSED, ..Frame::new(b"no zlib") };
    let (messages, _) = decode_messages(&corrupt.encode());
    assert!(matches!(messages[0].body(100), Err(DecompressError::Corrupt(_))));
    let unknown = Frame { sys_flag: COMPRESSED | 7 << 8, ..Frame::new(b"?") };
    let (messages, _) = decode_messages(&unknown.encode());
    assert!(matches!(messages[0].body(100), Err(DecompressError::Unsupported(7))));
}

#[cfg(feature = "lz4")]
#[test]
fn a_body_with_lz4_is_decompressed_up_to_the_limit() {
    use std::io::Write;
    let body = b"compressible ".repeat(20_000);
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(&body).unwrap();
    assert_decompressed(1, &encoder.finish().unwrap(), &body);
}

#[cfg(feature = "zstd")]
#[test]
fn a_body_with_zstandard_is_decompressed_up_to_the_limit() {
    let body = b"compressible ".repeat(20_000);
    for level in
        [ruzstd::encoding::CompressionLevel::Uncompressed, ruzstd::encoding::CompressionLevel::Fastest]
    {
        assert_decompressed(2, &ruzstd::encoding::compress_to_vec(&body[..], level), &body);
    }
}

#[cfg(any(feature = "lz4", feature = "zstd"))]
fn assert_decompressed(kind: i32, stored: &[u8], body: &[u8]) {
    let decoded = |stored: &[u8], limit| {
        let frame = Frame { sys_flag: COMPRESSED | kind << 8, ..Frame::new(stored) };
        decode_messages(&frame.encode()).0[0].body(limit)
    };
    assert_eq!(decoded(stored, body.len()).unwrap(), body);
    assert!(matches!(decoded(stored, body.len() - 1), Err(DecompressError::TooLarge(_))));
    for end in [3, stored.len() / 2] {
        assert!(matches!(decoded(&stored[..end], body.len()), Err(DecompressError::Corrupt(_))), "{end}");
    }
}

#[test]
fn a_stored_batch_becomes_its_messages() {
    let mut body = inner(b"one", "TAGS\u{1}a");
    body.extend(inner(b"two", "TAGS\u{1}b\u{2}"));
    for (sys_flag, body) in [(INNER_BATCH, body.clone()), (INNER_BATCH | COMPRESSED, zlib(&body))] {
        let frame = Frame { sys_flag, ..Frame::new(&body) };
        let (messages, error) = decode_messages(&frame.encode());
        assert_eq!(error, None);
        let all: Vec<_> = messages
            .iter()
            .map(|message| (message.queue_offset, message.body(9).unwrap(), message.property(TAGS)))
            .collect();
        assert_eq!(all, [(7, "one".into(), Some("a")), (8, "two".into(), Some("b"))]);
        assert!(messages.iter().all(|message| message.sys_flag == 0), "a copy is no batch");
    }
}

#[test]
fn a_corrupt_batch_yields_no_message() {
    let mut body = inner(b"one", "TAGS\u{1}a");
    body.extend(&inner(b"two", "")[..10]);
    let frame = Frame { sys_flag: INNER_BATCH, ..Frame::new(&body) };
    let data = [Frame::new(b"good").encode(), frame.encode()].concat();
    let (messages, error) = decode_messages(&data);
    assert_eq!((messages.len(), error), (1, Some(DecodeError::Truncated("inner message"))));
}

#[test]
fn messages_before_a_corrupt_one_are_kept() {
    let mut data = Frame::new(b"good").encode();
    let good = data.len();
    data.extend(Frame { magic: 1, ..Frame::new(b"bad") }.encode());
    assert_eq!(decode_messages(&data).1, Some(DecodeError::Magic(1)));
    assert_eq!(decode_messages(&data).0.len(), 1);
    data.truncate(good + 3);
    assert_eq!(decode_messages(&data).1, Some(DecodeError::Truncated("size")));
    for size in [-1, 0, 90, i32::MIN] {
        assert_eq!(decode_messages(&i32::to_be_bytes(size)).1, Some(DecodeError::Size(size)));
    }
    assert_eq!(decode_messages(&i32::MAX.to_be_bytes()).1, Some(DecodeError::Truncated("message")));
}

/// Every prefix of a message, and every message with one changed byte, is decoded or refused
/// without a panic. A length never exceeds the data.
#[test]
fn hostile_lengths_are_refused() {
    let frame = Frame::new(b"hello").encode();
    for end in 0..frame.len() {
        let (messages, error) = decode_messages(&frame[..end]);
        assert!(messages.is_empty());
        assert_eq!(error.is_none(), end == 0);
    }
    for position in 0..frame.len() {
        for value in [0, 1, 0x7F, 0x80, 0xFF] {
            let mut hostile = frame.clone();
            hostile[position] = value;
            let (messages, _) = decode_messages(&hostile);
            assert!(messages.iter().all(|message| message.stored_body.len() <= frame.len()));
        }
    }
}

#[test]
fn properties_are_parsed_as_in_java() {
    let all = parse_properties("a\u{1}1\u{2}b\u{1}2\u{1}3\u{2}\u{2}c\u{1}\u{2}\u{1}d\u{2}e\u{2}f\u{1}6");
    let all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(all, [("a", "1"), ("b", "2\u{1}3"), ("f", "6")]);
}

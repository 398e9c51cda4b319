//! Frames: `length`, `header length and format`, header, body (`RemotingCommand.java`).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::command::{Command, Fields};
use super::{binary_header, json_header};

/// Largest header that is accepted, in bytes.
const MAX_HEADER_BYTES: usize = 1024 * 1024;
/// Format of a JSON header (`SerializeType.java`).
const JSON: u8 = 0;
/// Format of a binary header (`RocketMQSerializable.java`).
const BINARY: u8 = 1;
/// Smallest growth of a read buffer, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// Violation of the protocol by the peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(crate) String);

pub(crate) fn malformed<T>(why: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(why.into()))
}

/// Appends the frame of a command without its body. The body must follow.
pub fn encode_head(command: &Command, out: &mut BytesMut) {
    let start = out.len();
    out.put_u32(0);
    out.put_u32(0);
    json_header::encode(command, out);
    let header = out.len() - start - 8;
    let length = (4 + header + command.body.len()) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    // The top byte is the format: 0 for JSON.
    out[start + 4..start + 8].copy_from_slice(&(header as u32 & 0x00ff_ffff).to_be_bytes());
}

/// Takes one complete frame from the front of the buffer, without its length. Returns `None` if
/// more bytes are needed; `buffer` then has room for some of them.
///
/// The buffer grows with the bytes that arrive, not with the announced length.
///
/// # Errors
/// [`Malformed`] if the announced length is invalid or above `max` bytes.
pub fn take(buffer: &mut BytesMut, max: usize) -> Result<Option<Bytes>, Malformed> {
    let Some(length) = buffer.first_chunk::<4>() else {
        buffer.reserve(READ_BYTES);
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if !(4..=max).contains(&length) {
        return malformed(format!("a frame of {length} bytes; allowed are 4 to {max}"));
    }
    if buffer.len() < 4 + length {
        let missing = 4 + length - buffer.len();
        buffer.reserve(missing.min(buffer.len()).max(READ_BYTES));
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Decodes a frame that [`take`] returned. The body shares the memory of the frame.
///
/// # Errors
/// [`Malformed`] if a length or the header is invalid.
pub fn decode(mut frame: Bytes) -> Result<Command, Malformed> {
    if frame.len() < 4 {
        return malformed("a frame without a header length");
    }
    let word = frame.get_u32();
    let (format, length) = ((word >> 24) as u8, (word & 0x00ff_ffff) as usize);
    if length > MAX_HEADER_BYTES || length > frame.len() {
        return malformed(format!("a header of {length} bytes in a frame of {} bytes", frame.len()));
    }
    let header = frame.split_to(length);
    let mut command = match format {
        JSON => json_header::decode(&header)?,
        BINARY => binary_header::decode(&header)?,
        other => return malformed(format!("unknown header format {other}")),
    };
    command.body = frame;
    Ok(command)
}

/// Returns a command of the parts that both header formats have.
pub(crate) fn command(code: i32, opaque: i32, flag: i32, remark: Option<String>, fields: Fields) -> Command {
    Command { code, opaque, flag, remark, fields, body: Bytes::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(command: &Command) -> BytesMut {
        let mut out = BytesMut::new();
        encode_head(command, &mut out);
        out.extend_from_slice(&command.body);
        out
    }

    fn example() -> Command {
        let text = "quote \" backslash \\ tab \t separator \u{1}\u{2} umlaut \u{e4} emoji \u{1f600}";
        let mut command = Command::request(310).field("a", "group").field("i", text).field("n", 7);
        (command.opaque, command.remark) = (42, Some("why \"not\"".to_owned()));
        command.with_body(vec![0, 1, 2, 255])
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let mut buffer = encoded(&example());
        buffer.extend_from_slice(&encoded(&Command::response(3, -1)));
        let first = take(&mut buffer, 1 << 20).unwrap().unwrap();
        assert_eq!(decode(first).unwrap(), example());
        let second = decode(take(&mut buffer, 1 << 20).unwrap().unwrap()).unwrap();
        assert_eq!((second.code, second.opaque, second.is_response()), (3, -1, true));
        assert_eq!(take(&mut buffer, 1 << 20), Ok(None));
    }

    #[test]
    fn a_partial_frame_waits_for_the_rest() {
        let whole = encoded(&example());
        for end in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..end]);
            assert_eq!(take(&mut part, 1 << 20), Ok(None), "{end} bytes");
            assert_eq!(part.len(), end);
        }
    }

    #[test]
    fn an_announced_length_reserves_little_memory() {
        let mut buffer = BytesMut::from(&(60 * 1024 * 1024_u32).to_be_bytes()[..]);
        assert_eq!(take(&mut buffer, 64 << 20), Ok(None));
        assert!(buffer.capacity() <= 4 * READ_BYTES, "{}", buffer.capacity());
    }

    #[test]
    fn hostile_lengths_are_refused() {
        for length in [0_u32, 3, 1025, u32::MAX] {
            let mut buffer = BytesMut::from(&length.to_be_bytes()[..]);
            assert!(take(&mut buffer, 1024).is_err(), "{length}");
        }
        for frame in [&[][..], &[0, 0, 0], &[0, 0, 0, 9, b'{'], &[0, 255, 255, 255], &[7, 0, 0, 0]] {
            assert!(decode(Bytes::copy_from_slice(frame)).is_err(), "{frame:?}");
        }
    }

    #[test]
    fn changed_bytes_never_panic() {
        let whole = encoded(&example());
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let mut changed = whole.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..changed.len());
                changed[at] = random.u8(..);
            }
            while let Ok(Some(frame)) = take(&mut changed, 1 << 20) {
                let _ = decode(frame);
            }
        }
    }
}

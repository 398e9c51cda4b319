//! Binary headers of frames (`RocketMQSerializable.java`). Servers that are configured with
//! `rocketmq.serialize.type=ROCKETMQ` send them with their own requests.

use super::command::{Command, Fields};
use super::frame::{Malformed, command, malformed};

/// Decodes a header.
pub(crate) fn decode(header: &[u8]) -> Result<Command, Malformed> {
    let mut rest = header;
    let code = i32::from(i16::from_be_bytes(take(&mut rest)?));
    // Language and version of the peer.
    let _: [u8; 3] = take(&mut rest)?;
    let opaque = i32::from_be_bytes(take(&mut rest)?);
    let flag = i32::from_be_bytes(take(&mut rest)?);
    let remark = u32::from_be_bytes(take(&mut rest)?);
    let remark = (remark > 0).then(|| text(&mut rest, remark as usize)).transpose()?;
    let length = u32::from_be_bytes(take(&mut rest)?) as usize;
    if length > rest.len() {
        return malformed(format!("fields of {length} bytes, but {} remain", rest.len()));
    }
    let mut rest = &rest[..length];
    let mut fields = Fields::default();
    while !rest.is_empty() {
        let name = u16::from_be_bytes(take(&mut rest)?);
        let name = text(&mut rest, name.into())?;
        let value = u32::from_be_bytes(take(&mut rest)?);
        fields.push(name, text(&mut rest, value as usize)?);
    }
    Ok(command(code, opaque, flag, remark, fields))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let Some((bytes, after)) = rest.split_first_chunk() else { return malformed("a short binary header") };
    *rest = after;
    Ok(*bytes)
}

fn text(rest: &mut &[u8], length: usize) -> Result<String, Malformed> {
    let Some((bytes, after)) = rest.split_at_checked(length) else {
        return malformed(format!("a text of {length} bytes, but {} remain", rest.len()));
    };
    *rest = after;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<u8> {
        let mut header = vec![0, 40, 0, 1, 0xdb, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0, 2, b'h', b'i'];
        let fields = [&[0, 5][..], b"group", &[0, 0, 0, 1], b"g", &[0, 1], b"x", &[0, 0, 0, 0]].concat();
        header.extend((fields.len() as u32).to_be_bytes());
        header.extend(fields);
        header
    }

    #[test]
    fn a_header_is_decoded() {
        let decoded = decode(&example()).unwrap();
        assert_eq!((decoded.code, decoded.opaque, decoded.flag), (40, 9, 2));
        assert_eq!(decoded.remark.as_deref(), Some("hi"));
        assert_eq!(decoded.fields.get("group"), Some("g"));
        assert_eq!(decoded.fields.get("x"), Some(""));
    }

    #[test]
    fn a_truncated_header_is_refused() {
        let whole = example();
        for end in 0..whole.len() {
            assert!(decode(&whole[..end]).is_err(), "{end} bytes");
        }
    }
}

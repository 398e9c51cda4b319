//! JSON headers of frames.

use std::fmt;

use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::command::{Command, Fields};
use super::frame::{Malformed, command, malformed};

/// Largest number of fields that is accepted.
const MAX_FIELDS: usize = 1024;
/// Version of the protocol that the client implements: the ordinal of `V5_3_1` (`MQVersion.java`).
const VERSION: i32 = 475;

/// Appends the header.
pub(crate) fn encode(command: &Command, out: &mut BytesMut) {
    out.reserve(160 + command.fields.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>());
    out.put_slice(b"{\"code\":");
    number(out, command.code);
    out.put_slice(b",\"language\":\"RUST\",\"version\":");
    number(out, VERSION);
    out.put_slice(b",\"opaque\":");
    number(out, command.opaque);
    out.put_slice(b",\"flag\":");
    number(out, command.flag);
    if let Some(remark) = &command.remark {
        out.put_slice(b",\"remark\":");
        string(out, remark);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"extFields\":{");
    for (index, (name, value)) in command.fields.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        string(out, name);
        out.put_u8(b':');
        string(out, value);
    }
    out.put_slice(b"}}");
}

fn number(out: &mut BytesMut, value: i32) {
    use std::fmt::Write as _;
    let _ = write!(out, "{value}");
}

/// Appends a JSON string.
fn string(out: &mut BytesMut, text: &str) {
    out.put_u8(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.put_slice(&bytes[copied..at]);
        copied = at + 1;
        if byte < 0x20 {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.put_slice(b"\\u00");
            out.put_slice(&digits);
        } else {
            out.put_slice(&[b'\\', byte]);
        }
    }
    out.put_slice(&bytes[copied..]);
    out.put_u8(b'"');
}

/// Decodes a header.
pub(crate) fn decode(header: &[u8]) -> Result<Command, Malformed> {
    match serde_json::from_slice::<Header>(header) {
        Ok(header) => Ok(command(header.code, header.opaque, header.flag, header.remark, header.fields)),
        Err(why) => malformed(format!("an invalid JSON header: {why}")),
    }
}

#[derive(Deserialize)]
struct Header {
    code: i32,
    opaque: i32,
    #[serde(default)]
    flag: i32,
    #[serde(default)]
    remark: Option<String>,
    #[serde(default, rename = "extFields", deserialize_with = "fields")]
    fields: Fields,
}

fn fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
    struct FieldsVisitor;
    impl<'de> Visitor<'de> for FieldsVisitor {
        type Value = Fields;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_unit<E>(self) -> Result<Fields, E> {
            Ok(Fields::default())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
            let mut fields = Fields::default();
            while let Some(name) = map.next_key::<String>()? {
                if fields.len() >= MAX_FIELDS {
                    return Err(serde::de::Error::custom("too many fields"));
                }
                if let Scalar::Text(value) = map.next_value()? {
                    fields.push(name, value);
                }
            }
            Ok(fields)
        }
    }
    deserializer.deserialize_any(FieldsVisitor)
}

/// Value of a field. Servers send strings; numbers are tolerated, and other values are ignored.
#[derive(Deserialize)]
#[serde(from = "Untagged")]
enum Scalar {
    Text(String),
    None,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Untagged {
    Text(String),
    Number(i64),
    Bool(bool),
    Other(IgnoredAny),
}

impl From<Untagged> for Scalar {
    fn from(value: Untagged) -> Self {
        match value {
            Untagged::Text(text) => Self::Text(text),
            Untagged::Number(number) => Self::Text(number.to_string()),
            Untagged::Bool(flag) => Self::Text(flag.to_string()),
            Untagged::Other(IgnoredAny) => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_of_the_broker_is_decoded() {
        let header = br#"{"code":17,"extFields":{"queueId":"3","number":5,"nothing":null},"flag":1,"language":"JAVA","opaque":9,"remark":"no\ntopic","serializeTypeCurrentRPC":"JSON","version":495,"unknown":[1]}"#;
        let decoded = decode(header).unwrap();
        assert_eq!((decoded.code, decoded.opaque, decoded.flag), (17, 9, 1));
        assert_eq!(decoded.remark.as_deref(), Some("no\ntopic"));
        assert_eq!(decoded.fields.get("queueId"), Some("3"));
        assert_eq!(decoded.fields.get("number"), Some("5"));
        assert_eq!(decoded.fields.get("nothing"), None);
    }

    #[test]
    fn fields_may_be_absent_or_null() {
        assert!(decode(br#"{"code":0,"opaque":1}"#).unwrap().fields.is_empty());
        assert!(decode(br#"{"code":0,"opaque":1,"extFields":null}"#).unwrap().fields.is_empty());
    }
}

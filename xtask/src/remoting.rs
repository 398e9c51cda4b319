//! The part of the remoting protocol of RocketMQ that a probe needs.
//!
//! A frame has: its length, the length of the header (the top byte is the encoding, 0 for JSON),
//! the JSON header, the body. `mqadmin` could send these requests, but each call starts a JVM for
//! seconds.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha1::Sha1;

/// Codes of requests and answers.
pub mod code {
    /// Stores one message.
    pub const SEND_MESSAGE: i64 = 10;
    /// Reads messages from one queue.
    pub const PULL_MESSAGE: i64 = 11;
    /// Changes settings of a broker.
    pub const UPDATE_BROKER_CONFIG: i64 = 25;
    /// Returns the brokers of a topic.
    pub const GET_ROUTE: i64 = 105;
    /// Returns all brokers.
    pub const GET_CLUSTER: i64 = 106;
    /// Answer: the request succeeded.
    pub const SUCCESS: i64 = 0;
    /// Answer of a broker with access control to an unknown caller.
    pub const NO_PERMISSION: i64 = 16;
}

/// Maximum length of a frame in bytes. Answers have some hundred bytes; another protocol may claim
/// any length.
const MAX_FRAME: usize = 16 << 20;

/// User of a broker with access control.
#[derive(Clone, Copy, Debug)]
pub struct Credentials {
    /// Name of the user.
    pub access_key: &'static str,
    /// Password of the user.
    pub secret_key: &'static str,
}

/// One request.
pub struct Request {
    code: i64,
    fields: BTreeMap<&'static str, String>,
    body: Vec<u8>,
}

impl Request {
    /// Creates a request with header fields and without a body.
    pub fn new<const N: usize>(code: i64, fields: [(&'static str, &str); N]) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        Self { code, fields, body: Vec::new() }
    }

    /// Sets the body.
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// Signs the request: HMAC-SHA1 over the values of the fields in the order of their names, then
    /// the body.
    pub fn signed(mut self, credentials: Option<Credentials>) -> Self {
        let Some(Credentials { access_key, secret_key }) = credentials else { return self };
        self.fields.insert("AccessKey", access_key.to_owned());
        let mut mac =
            Hmac::<Sha1>::new_from_slice(secret_key.as_bytes()).expect("HMAC accepts a key of any length");
        self.fields.values().for_each(|value| mac.update(value.as_bytes()));
        mac.update(&self.body);
        self.fields.insert("Signature", STANDARD.encode(mac.finalize().into_bytes()));
        self
    }

    fn encode(&self) -> Vec<u8> {
        let header = json!({
            "code": self.code, "language": "OTHER", "version": 0, "opaque": 1, "flag": 0,
            "serializeTypeCurrentRPC": "JSON", "extFields": self.fields,
        });
        let header = header.to_string().into_bytes();
        let length = 4 + header.len() + self.body.len();
        let mut frame = Vec::with_capacity(4 + length);
        frame.extend((length as u32).to_be_bytes());
        frame.extend((header.len() as u32).to_be_bytes());
        frame.extend(header);
        frame.extend(&self.body);
        frame
    }
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// Code; [`code::SUCCESS`] is 0.
    pub code: i64,
    /// Header fields.
    pub fields: Value,
    /// Error message.
    pub remark: String,
    /// Body as text: JSON, or messages in which a probe searches for a text.
    pub body: String,
}

impl Answer {
    /// Returns a header field, or an empty text.
    pub fn field(&self, name: &str) -> &str {
        self.fields[name].as_str().unwrap_or_default()
    }

    /// Returns this answer if its code is [`code::SUCCESS`].
    pub fn success(self) -> Result<Self> {
        ensure!(self.code == code::SUCCESS, "RocketMQ answered {}: {}", self.code, self.remark);
        Ok(self)
    }
}

/// Sends a request and reads its answer.
pub fn call(stream: &mut (impl Read + Write), request: &Request) -> Result<Answer> {
    stream.write_all(&request.encode())?;
    stream.flush()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).context("RocketMQ did not answer")?;
    let length = u32::from_be_bytes(length) as usize;
    ensure!((4..MAX_FRAME).contains(&length), "the answer is not in the protocol of RocketMQ");
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    decode(&frame)
}

fn decode(frame: &[u8]) -> Result<Answer> {
    let mark = frame.first_chunk::<4>().context("the answer is too short")?;
    // The top byte is the encoding. The answer to a JSON request is JSON.
    let header_length = (u32::from_be_bytes(*mark) & 0x00FF_FFFF) as usize;
    let header = frame.get(4..4 + header_length).context("the answer is too short")?;
    let header: Value = serde_json::from_slice(header).context("the answer's header is not JSON")?;
    Ok(Answer {
        code: header["code"].as_i64().context("the answer has no code")?,
        fields: header["extFields"].clone(),
        remark: header["remark"].as_str().unwrap_or_default().to_owned(),
        body: String::from_utf8_lossy(&frame[4 + header_length..]).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_contains_both_lengths_and_ends_with_the_body() {
        let frame = Request::new(code::SEND_MESSAGE, [("topic", "t")]).body(b"hello").encode();
        let total = u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
        assert_eq!(total, frame.len() - 4);
        let answer = decode(&frame[4..]).unwrap();
        assert_eq!(answer.code, code::SEND_MESSAGE);
        assert_eq!(answer.field("topic"), "t");
        assert_eq!(answer.body, "hello");
    }

    #[test]
    fn a_signature_covers_sorted_fields_and_body() {
        let credentials = Credentials { access_key: "user", secret_key: "secret" };
        let sign = |body: &[u8]| {
            Request::new(1, [("topic", "t"), ("b", "2")]).body(body).signed(Some(credentials)).fields["Signature"]
                .clone()
        };
        // printf 'user2thello' | openssl dgst -sha1 -hmac secret -binary | base64
        assert_eq!(sign(b"hello"), "vBZtyn5kzL5E94Cdi4ysc9uDbNs=");
        assert_ne!(sign(b"hello"), sign(b"hullo"));
    }

    #[test]
    fn without_credentials_a_request_is_not_signed() {
        assert_eq!(Request::new(1, [("topic", "t")]).signed(None).fields.len(), 1);
    }

    #[test]
    fn an_invalid_answer_is_an_error() {
        assert!(decode(&[]).is_err());
        assert!(decode(&[0, 0, 0, 9, b'{']).is_err());
        assert!(decode(&[0, 0, 0, 2, b'{', b'}']).is_err());
    }

    #[test]
    fn a_failure_is_an_error_with_the_remark() {
        let header = br#"{"code":17,"remark":"No topic"}"#;
        let mut frame = (header.len() as u32).to_be_bytes().to_vec();
        frame.extend(header);
        let error = decode(&frame).unwrap().success().unwrap_err();
        assert_eq!(error.to_string(), "RocketMQ answered 17: No topic");
    }
}

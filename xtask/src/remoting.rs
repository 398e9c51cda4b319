//! The little of RocketMQ's remoting protocol that a probe needs.
//!
//! A frame is: its length, the header's length (the top byte names the header's encoding, 0 for JSON), the JSON header,
//! the body. An `mqadmin` call would ask the same, but starts a JVM for seconds each time.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha1::Sha1;

/// The request codes used by the probes.
pub mod code {
    /// Store one message.
    pub const SEND_MESSAGE: i64 = 10;
    /// Read messages from one queue.
    pub const PULL_MESSAGE: i64 = 11;
    /// Change a broker's settings.
    pub const UPDATE_BROKER_CONFIG: i64 = 25;
    /// Which brokers serve a topic.
    pub const GET_ROUTE: i64 = 105;
    /// Which brokers there are.
    pub const GET_CLUSTER: i64 = 106;
    /// The answer when all went well.
    pub const SUCCESS: i64 = 0;
    /// The answer of a broker with access control to a caller it does not know.
    pub const NO_PERMISSION: i64 = 16;
}

/// An answer has some hundred bytes; a foreign protocol would claim anything.
const MAX_FRAME: usize = 16 << 20;

/// Who asks, where access control is on.
#[derive(Clone, Copy, Debug)]
pub struct Credentials {
    /// The user's name.
    pub access_key: &'static str,
    /// The user's password.
    pub secret_key: &'static str,
}

/// One request.
pub struct Request {
    code: i64,
    fields: BTreeMap<&'static str, String>,
    body: Vec<u8>,
}

impl Request {
    /// A request with its header fields and no body.
    pub fn new<const N: usize>(code: i64, fields: [(&'static str, &str); N]) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        Self { code, fields, body: Vec::new() }
    }

    /// The same with a body.
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// The same, signed: HMAC-SHA1 over the fields' values in the order of their names, then the body.
    pub fn signed(mut self, credentials: Option<Credentials>) -> Self {
        let Some(Credentials { access_key, secret_key }) = credentials else { return self };
        self.fields.insert("AccessKey", access_key.to_owned());
        let mut mac =
            Hmac::<Sha1>::new_from_slice(secret_key.as_bytes()).expect("a key of any length will do");
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
    /// Zero for success.
    pub code: i64,
    /// The header fields.
    pub fields: Value,
    /// What went wrong, in words.
    pub remark: String,
    /// The body as text: bodies read here are JSON or a message whose text is searched for.
    pub body: String,
}

impl Answer {
    /// One header field, empty if absent.
    pub fn field(&self, name: &str) -> &str {
        self.fields[name].as_str().unwrap_or_default()
    }

    /// This answer, if it reports success.
    pub fn success(self) -> Result<Self> {
        ensure!(self.code == code::SUCCESS, "RocketMQ answers {}: {}", self.code, self.remark);
        Ok(self)
    }
}

/// Sends a request and reads its answer.
pub fn call(stream: &mut (impl Read + Write), request: &Request) -> Result<Answer> {
    stream.write_all(&request.encode())?;
    stream.flush()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).context("RocketMQ does not answer")?;
    let length = u32::from_be_bytes(length) as usize;
    ensure!((4..MAX_FRAME).contains(&length), "the answer is not RocketMQ's");
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    decode(&frame)
}

fn decode(frame: &[u8]) -> Result<Answer> {
    let mark = frame.first_chunk::<4>().context("the answer is too short")?;
    // The top byte is the encoding; a JSON request is answered in JSON.
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
    fn a_frame_states_both_lengths_and_ends_with_the_body() {
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
    fn without_credentials_nothing_is_added() {
        assert_eq!(Request::new(1, [("topic", "t")]).signed(None).fields.len(), 1);
    }

    #[test]
    fn a_broken_answer_is_an_error_and_not_a_panic() {
        assert!(decode(&[]).is_err());
        assert!(decode(&[0, 0, 0, 9, b'{']).is_err());
        assert!(decode(&[0, 0, 0, 2, b'{', b'}']).is_err());
    }

    #[test]
    fn an_answer_that_reports_failure_is_an_error_with_its_words() {
        let header = br#"{"code":17,"remark":"No topic"}"#;
        let mut frame = (header.len() as u32).to_be_bytes().to_vec();
        frame.extend(header);
        let error = decode(&frame).unwrap().success().unwrap_err();
        assert_eq!(error.to_string(), "RocketMQ answers 17: No topic");
    }
}

//! Random inputs for the decoders of data that brokers send: samples of real answers with damage.
//! No input causes a panic, and the memory of the result is bounded by the input.

#[path = "fuzz/mutate.rs"]
mod mutate;

use bytes::{Bytes, BytesMut};
use mutate::each;
use taskcenter_rocketmq::protocol::frame;
use taskcenter_rocketmq::protocol::json::Json;
use taskcenter_rocketmq::protocol::message::decode_messages;
use taskcenter_rocketmq::{Command, protocol};

const MAX_FRAME: usize = 1 << 20;

/// Returns the frames at the start of a stream that arrives in pieces of `step` bytes.
fn frames(mut stream: &[u8], step: usize) -> Vec<Bytes> {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    while !stream.is_empty() {
        let (piece, rest) = stream.split_at(step.min(stream.len()));
        buffer.extend_from_slice(piece);
        stream = rest;
        loop {
            match frame::take(&mut buffer, MAX_FRAME) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}

fn encode(command: &Command) -> BytesMut {
    let mut encoded = BytesMut::new();
    frame::encode_head(command, &mut encoded);
    encoded.extend_from_slice(&command.body);
    encoded
}

#[test]
fn frame() {
    let mut decoded = 0;
    each("frame", 30_000, |input| {
        let whole = frames(input, input.len().max(1));
        assert_eq!(whole, frames(input, 3), "the pieces of a stream do not matter");
        for frame in whole {
            let Ok(command) = frame::decode(frame) else { continue };
            decoded += 1;
            let again = frames(&encode(&command), MAX_FRAME).remove(0);
            assert_eq!(frame::decode(again).as_ref(), Ok(&command), "a command survives the wire");
        }
    });
    assert!(decoded > 1_000, "only {decoded} frames were valid");
}

#[test]
fn messages() {
    /// Maximum memory of the messages per byte of data. The smallest message has 91 bytes.
    const FACTOR: usize = 16;
    const MAX_BODY: usize = 4 << 20;
    let (mut decoded, mut bodies) = (0, 0);
    each("messages", 30_000, |input| {
        let (messages, error) = decode_messages(input);
        decoded += messages.len();
        let memory: usize = messages.iter().map(protocol::message::StoredMessage::memory).sum();
        // Compressed batches expand.
        assert!(memory <= FACTOR * input.len() + (2 << 20), "{} bytes became {memory}", input.len());
        for message in &messages {
            bodies += usize::from(message.body(MAX_BODY).is_ok_and(|body| body.len() <= MAX_BODY));
            assert!(!message.unique_id().is_empty());
        }
        assert!(error.is_none_or(|error| !error.to_string().is_empty()));
    });
    assert!(decoded > 10_000 && bodies > 10_000, "only {decoded} messages and {bodies} bodies were valid");
}

/// Returns whether the value equals the value that another reader found.
fn is_equal(ours: &Json, theirs: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (ours, theirs) {
        (Json::Null, Value::Null) => true,
        (Json::Bool(ours), Value::Bool(theirs)) => ours == theirs,
        (Json::Text(ours), Value::String(theirs)) => ours == theirs,
        // The other reader keeps the sign of -0.
        (Json::Int(0), Value::Number(theirs)) => theirs.as_f64() == Some(0.0),
        (Json::Int(ours), Value::Number(theirs)) => theirs.as_i64() == Some(*ours),
        (Json::Float(_), Value::Number(theirs)) => theirs.as_i64().is_none(),
        (Json::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(one, other)| is_equal(one, other))
        }
        // Theirs keeps the last of equal keys.
        (Json::Object(ours), Value::Object(theirs)) => theirs.iter().all(|(name, theirs)| {
            let entry = ours.iter().rfind(|(key, _)| key.as_str() == Some(name));
            entry.is_some_and(|(_, ours)| is_equal(ours, theirs))
        }),
        _ => false,
    }
}

#[test]
fn json() {
    let (mut valid, mut standard) = (0, 0);
    each("json", 30_000, |input| {
        let ours = Json::parse(input);
        valid += usize::from(ours.is_ok());
        if let Ok(theirs) = serde_json::from_slice::<serde_json::Value>(input) {
            standard += 1;
            let ours = ours.expect("standard JSON is read");
            assert!(is_equal(&ours, &theirs), "{ours:?} is not {theirs}");
        }
    });
    assert!(
        valid > 1_000 && standard > 500,
        "only {valid} documents were valid, {standard} of them standard"
    );
}

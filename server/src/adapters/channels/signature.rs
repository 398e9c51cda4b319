//! Signatures with HMAC-SHA256.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::core::Moment;
use crate::core::alert::message::Message;

/// Returns the HMAC-SHA256 of a text in base64.
pub fn sign(key: &[u8], text: &[u8]) -> String {
    // HMAC accepts keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(text);
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
}

/// Returns the id of a message that was built at `at`. Attempts of one message have the same id.
pub fn message_id(channel: &str, message: &Message, at: Moment) -> String {
    let mut hash = Sha256::new();
    for part in [channel, &message.title, &message.body, &at.to_string()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    digest.iter().take(16).fold("msg_".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

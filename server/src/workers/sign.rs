//! Signatures of callbacks: an HMAC-SHA256 over time, run, attempt and body, so that a callback cannot be
//! replayed later or for another run.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::core::callback_service::SigningSecret;

/// Header with the time of the signature in seconds since the epoch. A receiver refuses signatures that are
/// minutes old.
pub const TIMESTAMP: &str = "x-taskcenter-timestamp";
/// Header with `v1=` and the signature in hexadecimal digits.
pub const SIGNATURE: &str = "x-taskcenter-signature";

/// Returns the signature over `timestamp.run_id.attempt.body`. `None` without a secret.
pub fn signature(
    secret: &SigningSecret,
    timestamp: i64,
    run_id: &str,
    attempt: u32,
    body: &str,
) -> Option<String> {
    if secret.is_empty() {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
    mac.update(format!("{timestamp}.{run_id}.{attempt}.{body}").as_bytes());
    let mut text = "v1=".to_owned();
    for byte in mac.finalize().into_bytes() {
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_hmac_that_others_compute() {
        // printf %s '1700000000.r-1.2.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let secret = SigningSecret::new("0123456789abcdef");
        let signed = signature(&secret, 1_700_000_000, "r-1", 2, "{\"a\":1}").unwrap();
        assert_eq!(signed, "v1=4db72f509777c0bed0da841a900248c85f21e8e6754451c28d8d4d66880f7591");
        assert_ne!(signature(&secret, 1_700_000_001, "r-1", 2, "{\"a\":1}").unwrap(), signed);
        assert_eq!(signature(&SigningSecret::default(), 0, "r", 1, ""), None);
    }
}

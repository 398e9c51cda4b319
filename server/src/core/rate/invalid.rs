//! Why a rate limit is invalid.

use crate::core::concurrency::MAX_KEY_BYTES;

/// A field of a rate limit that is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct InvalidRate {
    /// Path of the field, such as `rate.limit`.
    pub field: &'static str,
    why: String,
}

impl InvalidRate {
    pub(super) fn check(field: &'static str, value: i64, most: i64) -> Result<(), Self> {
        if (1..=most).contains(&value) {
            return Ok(());
        }
        Err(Self { field, why: format!("{value} is out of bounds: use a value between 1 and {most}") })
    }

    pub(super) fn key(bytes: usize) -> Self {
        let why = format!("the key has {bytes} bytes: use 1 to {MAX_KEY_BYTES}, or leave it out");
        Self { field: "rate.key", why }
    }

    pub(super) fn without_queue() -> Self {
        let why = "the task has no queue: set queue, or use another scope".to_owned();
        Self { field: "rate.scope", why }
    }
}

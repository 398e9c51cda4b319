//! Apache RocketMQ: the [`RocketMq`] transport for consumers, and the [`Producer`] that the server sends with.
//!
//! A narrow layer over `rocketmq-client-rust` (see `docs/decisions/0002-rocketmq-client.md`), which runs on threads of its own
//! here: whatever it does, a panic of it is an error and not the end of the process.

mod config;
mod consumer;
mod lag;
mod link;
mod producer;

pub use config::{RocketMqConfig, Tls};
pub use consumer::RocketMq;
pub use producer::{OutMessage, Producer};

/// What RocketMQ, or the way to it, could not do.
#[derive(Debug, thiserror::Error)]
pub enum RocketMqError {
    /// Not reached, or no answer in time: the message may or may not have arrived.
    #[error("RocketMQ does not answer: {0}")]
    Unavailable(String),
    /// It answered, and said no.
    #[error("RocketMQ refused: {0}")]
    Refused(String),
}

/// The client's errors tell by their text only. What is not a clear "no" counts as not reached, which is the answer that loses nothing.
fn error(cause: impl std::fmt::Display) -> RocketMqError {
    let text = cause.to_string();
    let refusals = ["NO_PERMISSION", "signature", "acl", "MESSAGE_ILLEGAL", "illegal", "size over"];
    if refusals.iter().any(|word| text.contains(word)) {
        RocketMqError::Refused(text)
    } else {
        RocketMqError::Unavailable(text)
    }
}

//! Apache RocketMQ: the [`RocketMq`] transport for consumers, and the [`Producer`] that the server sends with.
//!
//! A narrow layer over `rocketmq-client-rust` (see `docs/decisions/0002-rocketmq-client.md`), which runs on threads of its own
//! here: whatever it does, a panic of it is an error and not the end of the process.

mod config;
mod consumer;
mod lag;
mod link;
mod producer;

use rocketmq_client_rust::ClientError;

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

/// Marks a message whose body is empty: RocketMQ carries no empty body, so a blank stands in for it.
const EMPTY: &str = "TC_EMPTY";

/// The broker's answers that repeating the request does not change: the message is illegal, or the caller may not send it.
const REFUSALS: [i32; 2] = [13, 16];

/// What is not a clear "no" counts as not reached, which is the answer that loses nothing. Only the broker's code tells: the
/// client hides the broker's words, and its own errors say the same of what passes and of what does not.
fn client_error(cause: ClientError) -> RocketMqError {
    match cause.broker_response_code() {
        Some(code) if REFUSALS.contains(&code) => {
            RocketMqError::Refused(format!("the broker's code is {code}"))
        }
        _ => error(cause),
    }
}

fn error(cause: impl std::fmt::Display) -> RocketMqError {
    RocketMqError::Unavailable(cause.to_string())
}

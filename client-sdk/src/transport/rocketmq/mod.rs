//! Apache RocketMQ: [`RocketMq`] is the transport of consumers, and [`Producer`] sends messages.
//!
//! This is a thin layer over `rocketmq-client-rust` (see `docs/decisions/0002-rocketmq-client.md`).
//! The client runs on its own threads, so that its panic is an error and does not end the process.

mod config;
mod consumer;
mod lag;
mod producer;
mod runtime;

use rocketmq_client_rust::ClientError;

pub use config::{RocketMqConfig, Tls};
pub use consumer::RocketMq;
pub use producer::{OutMessage, Producer};

/// Error of RocketMQ.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RocketMqError {
    /// RocketMQ is unreachable or did not answer in time. The message may have arrived.
    #[error("RocketMQ does not answer: {0}")]
    Unavailable(String),
    /// RocketMQ refused the request.
    #[error("RocketMQ refused: {0}")]
    Refused(String),
}

/// Property of a message with an empty payload. RocketMQ has no empty bodies, so the body is one
/// blank.
const EMPTY: &str = "TC_EMPTY";

/// Response codes of the broker that a repetition does not change: illegal message, no permission.
const REFUSALS: [i32; 2] = [13, 16];

/// Classifies an error of the client by the response code of the broker. Every other error counts
/// as unavailable, so that no message is dropped: the client hides the text of the broker, and its
/// own errors do not distinguish transient from permanent ones.
fn client_error(cause: ClientError) -> RocketMqError {
    match cause.broker_response_code() {
        Some(code) if REFUSALS.contains(&code) => {
            RocketMqError::Refused(format!("the broker answered with code {code}"))
        }
        _ => unavailable(cause),
    }
}

fn unavailable(cause: impl std::fmt::Display) -> RocketMqError {
    RocketMqError::Unavailable(cause.to_string())
}

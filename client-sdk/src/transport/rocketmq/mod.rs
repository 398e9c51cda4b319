//! Apache RocketMQ: [`RocketMq`] is the transport of consumers, and [`Producer`] sends messages.
//!
//! This is a thin layer over the crate `taskcenter-rocketmq`, which knows nothing of tasks.

mod config;
mod consumer;
mod producer;

pub use taskcenter_rocketmq::consumer::{Health, Problem};

pub use config::{RocketMqConfig, StartFrom, Tls};
pub use consumer::RocketMq;
pub use producer::{OutMessage, Producer};

/// Error of RocketMQ.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RocketMqError {
    /// RocketMQ is unreachable, is busy, or did not answer in time, or the topic does not exist. The
    /// message may have arrived.
    #[error("RocketMQ is unavailable: {0}")]
    Unavailable(String),
    /// The message is invalid, or the keys have no right to do this. A repetition does not help.
    #[error("RocketMQ refused: {0}")]
    Refused(String),
    /// The configuration is invalid, for example because a certificate file is missing.
    #[error("{0}")]
    Config(String),
}

/// Property of a message with an empty payload. RocketMQ has no empty bodies, so the body is one
/// blank.
const EMPTY: &str = "TC_EMPTY";

impl From<taskcenter_rocketmq::Error> for RocketMqError {
    /// Only an answer that a repetition does not change counts as refused. Every other error counts
    /// as unavailable, so that no message is dropped.
    fn from(error: taskcenter_rocketmq::Error) -> Self {
        use taskcenter_rocketmq::Error;
        let text = error.to_string();
        match error {
            Error::Config(_) => Self::Config(text),
            Error::Invalid(_) => Self::Refused(text),
            Error::Refused { .. } if !error.is_transient() => Self::Refused(text),
            _ => Self::Unavailable(text),
        }
    }
}

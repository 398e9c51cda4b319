//! Errors of the client.

use crate::protocol::codes;

/// Error of the client.
///
/// [`may_have_arrived`](Self::may_have_arrived) says whether the broker may have done what was
/// requested, and [`is_transient`](Self::is_transient) whether a repetition can succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is invalid. The text says what to change.
    #[error("invalid RocketMQ configuration: {0}")]
    Config(String),
    /// A message or an argument is invalid. Nothing was sent.
    #[error("invalid message or argument: {0}")]
    Invalid(String),
    /// No name server knows the topic. Nothing was sent.
    #[error("topic {topic:?} does not exist: create the topic, or check its name and the namespace")]
    TopicNotFound {
        /// Topic as on the wire.
        topic: String,
    },
    /// The topic has no queue that allows the operation. Nothing was sent.
    #[error(
        "topic {topic:?} has no queue that can be {operation}: check the permissions of the topic and whether its brokers run"
    )]
    NoQueue {
        /// Topic as on the wire.
        topic: String,
        /// `written` or `read`.
        operation: &'static str,
    },
    /// The request was not sent: no connection, or the connection has no room for more requests.
    #[error("{address} is unreachable: {reason}")]
    Unreachable {
        /// Address of the broker or name server.
        address: String,
        /// Cause.
        reason: String,
    },
    /// The request was sent, but its answer did not arrive. The request may have been processed.
    #[error("{address} has not answered: {reason}; the request may have been processed")]
    Unanswered {
        /// Address of the broker or name server.
        address: String,
        /// Cause.
        reason: String,
    },
    /// The broker or name server refused the request. Nothing was done, unless the code is
    /// `SYSTEM_ERROR`: see [`may_have_arrived`](Self::may_have_arrived).
    #[error("{address} refused the request with code {code}{}: {remark}", codes::named(*code))]
    Refused {
        /// Address of the broker or name server.
        address: String,
        /// Response code of the protocol (`ResponseCode.java`).
        code: i32,
        /// Reason of the server.
        remark: String,
    },
    /// The broker stored the message without the configured flush or replica. A crash of the broker
    /// may lose the message.
    #[error("{address} has not stored the message safely: {status:?}")]
    NotSafelyStored {
        /// Address of the broker.
        address: String,
        /// Status of the broker.
        status: crate::SendStatus,
    },
    /// The peer violated the protocol.
    #[error("{address} sent an invalid answer: {reason}")]
    Protocol {
        /// Address of the broker or name server.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// The client is closed. Nothing was sent.
    #[error("the RocketMQ client is closed")]
    Closed,
}

impl Error {
    /// Returns whether the broker may have processed the request. If not, nothing was done.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Unanswered { .. } | Self::NotSafelyStored { .. } | Self::Protocol { .. } => true,
            Self::Refused { code, remark, .. } => codes::may_be_done(*code, remark),
            _ => false,
        }
    }

    /// Returns whether the same request can succeed later without a change of the request, of the
    /// configuration, or of rights.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Config(_) | Self::Invalid(_) | Self::Closed => false,
            Self::Refused { code, remark, .. } => codes::is_transient(*code, remark),
            _ => true,
        }
    }

    /// Returns whether the broker refused the message as illegal, for example as too large.
    pub fn is_illegal(&self) -> bool {
        match self {
            Self::Invalid(_) => true,
            Self::Refused { code, remark, .. } => codes::is_illegal(*code, remark),
            _ => false,
        }
    }

    /// Returns whether the broker refused the request because it is too busy, or about to end.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Refused { code, remark, .. } if codes::is_busy(*code, remark))
    }

    /// Returns the response code, if the broker or name server refused the request.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

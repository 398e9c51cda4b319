//! Ids of lease requests.

use super::api::CallError;
use crate::random;

/// Id of the current lease request.
///
/// A request whose answer was lost is repeated with the same id, so that the
/// server returns the runs that it has leased.
pub(super) struct RequestId {
    id: String,
    /// Whether the server knows the field. An older server refuses it.
    is_supported: bool,
}

impl Default for RequestId {
    fn default() -> Self {
        Self { id: random::key(), is_supported: true }
    }
}

impl RequestId {
    /// Returns the id to send, if the server knows the field.
    pub(super) fn current(&self) -> Option<String> {
        self.is_supported.then(|| self.id.clone())
    }

    /// Replaces the id, unless the request may have leased runs without an answer.
    pub(super) fn note<T>(&mut self, answered: &Result<T, CallError>) {
        match answered {
            Err(CallError::Unavailable(_)) => return,
            Err(CallError::Refused(why)) if why.contains("request_id") => self.is_supported = false,
            Ok(_) | Err(CallError::Refused(_) | CallError::Denied(_)) => {}
        }
        self.id = random::key();
    }
}

//! Payload of a run: another one than that of its task, and what earlier attempts had.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Run, RunState};
use crate::core::Moment;
use crate::core::headers::{self, Headers};
use crate::core::submission::{InvalidSubmission, MAX_DATA_BYTES};

/// Maximum number of edits that a run keeps. The older ones are dropped, as their attempts are.
pub const MAX_KEPT_EDITS: usize = super::MAX_KEPT_ATTEMPTS;

/// Another payload for a run. An absent part stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PayloadChange {
    pub data: Option<String>,
    /// All headers of the run, in place of the ones before.
    pub headers: Option<Headers>,
}

impl PayloadChange {
    /// Returns whether the change keeps the payload.
    pub fn is_empty(&self) -> bool {
        self.data.is_none() && self.headers.is_none()
    }

    /// Checks the rules for the payload of a task.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), InvalidSubmission> {
        if let Some(data) = self.data.as_ref().filter(|data| data.len() > MAX_DATA_BYTES) {
            return Err(InvalidSubmission::DataTooLong(data.len()));
        }
        Ok(self.headers.as_ref().map_or(Ok(()), headers::check)?)
    }
}

/// Payload as the attempts before the first edit had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginalPayload {
    pub data: String,
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
}

/// A change of the payload of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadEdit {
    /// 1-based number of the first attempt with the new payload.
    pub attempt: u32,
    pub at: Moment,
    #[serde(flatten)]
    pub payload: PayloadDigest,
}

/// Size and digest of the data of a payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadDigest {
    pub bytes: u64,
    /// SHA-256 of the data, in hexadecimal digits.
    pub sha256: String,
}

impl PayloadDigest {
    /// Returns size and digest of some data.
    pub fn of(data: &str) -> Self {
        let sha256 = Sha256::digest(data).iter().fold(String::new(), |mut text, byte| {
            // A write to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        Self { bytes: data.len() as u64, sha256 }
    }
}

/// Payload of a run that was edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditedPayload {
    pub original: OriginalPayload,
    /// The edits, first one first; the last [`MAX_KEPT_EDITS`] of them.
    pub edits: Vec<PayloadEdit>,
}

impl Run {
    /// Returns this new run with another payload.
    #[must_use]
    pub fn with_payload(mut self, change: &PayloadChange) -> Self {
        self.replace_payload(change);
        self
    }

    fn replace_payload(&mut self, change: &PayloadChange) {
        if let Some(data) = &change.data {
            self.data.clone_from(data);
        }
        if let Some(headers) = &change.headers {
            self.headers.clone_from(headers);
        }
    }

    /// Replaces the payload of the attempts from the next one, and keeps what the attempts before had.
    pub(super) fn edit_payload(&mut self, change: &PayloadChange, at: Moment) {
        let before = OriginalPayload { data: self.data.clone(), headers: self.headers.clone() };
        self.replace_payload(change);
        if self.data == before.data && self.headers == before.headers {
            return;
        }
        let attempt = if self.postponed { self.attempt } else { self.attempt + 1 };
        let edited = EditedPayload { original: before, edits: Vec::new() };
        let edited = self.edited.get_or_insert_with(|| Box::new(edited));
        // No attempt had the payload of an edit that is replaced before its attempt starts.
        edited.edits.retain(|edit| edit.attempt < attempt);
        edited.edits.push(PayloadEdit { attempt, at, payload: PayloadDigest::of(&self.data) });
        let excess = edited.edits.len().saturating_sub(MAX_KEPT_EDITS);
        edited.edits.drain(..excess);
    }

    /// Returns whether the last change of this run edited its payload. A store must write the payload then, and
    /// only then.
    pub fn is_edit(&self) -> bool {
        let edited_at = self.edited.as_ref().and_then(|edited| edited.edits.last()).map(|edit| edit.at);
        self.state == RunState::Retrying && edited_at.is_some() && edited_at == self.attention_at
    }

    /// Returns size and digest of the payload of an attempt. `None`: the payload was never edited.
    pub fn payload_of(&self, attempt: u32) -> Option<PayloadDigest> {
        let edited = self.edited.as_ref()?;
        let edit = edited.edits.iter().rfind(|edit| edit.attempt <= attempt);
        Some(edit.map_or_else(|| PayloadDigest::of(&edited.original.data), |edit| edit.payload.clone()))
    }
}

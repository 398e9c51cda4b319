//! Progress of an attempt, as its handler reports it.

use serde::{Deserialize, Serialize};

use super::Run;
use crate::core::Moment;

/// Maximum length of the text of a progress, in bytes. A longer text is cut.
pub const MAX_PROGRESS_TEXT_BYTES: usize = 256;

/// How far a handler has come, by its own report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Percent of the work, 0 to 100.
    pub percent: u8,
    /// One line for users, cut at [`MAX_PROGRESS_TEXT_BYTES`]. Empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// The last progress of a run, and who reported it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedProgress {
    #[serde(flatten)]
    pub progress: Progress,
    /// [Claim](Run::claim) of the worker that reported it. The progress of another claim is over.
    pub claim: u32,
    pub at: Moment,
}

impl Run {
    /// Returns the progress of the current attempt. `None`: its handler has reported none.
    pub fn current_progress(&self) -> Option<&ReportedProgress> {
        self.progress.as_deref().filter(|reported| reported.claim == self.claim)
    }

    /// Keeps the progress that the worker reports with a renewal.
    pub fn note_progress(&mut self, progress: &Progress, now: Moment) {
        let Progress { percent, text } = progress;
        let text = &text[..text.floor_char_boundary(MAX_PROGRESS_TEXT_BYTES)];
        let progress = Progress { percent: *percent, text: text.to_owned() };
        let is_known = self.current_progress().is_some_and(|reported| reported.progress == progress);
        if !is_known {
            self.progress = Some(Box::new(ReportedProgress { progress, claim: self.claim, at: now }));
        }
    }
}

//! Rows that a replacement of a task inserts.

use crate::core::{Run, Task};

/// Rows that a replacement of a task inserts: all of them and the replacement, or nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attached<'a> {
    /// Row of the moments that the replacement skips.
    pub skipped: Option<&'a Run>,
    /// Tombstone that keeps the answer to the request of the replacement ([`Task::standing_for`]).
    pub answer: Option<&'a Task>,
}

impl<'a> Attached<'a> {
    /// No rows.
    pub const NONE: Self = Self { skipped: None, answer: None };

    /// Returns only the row of the skipped moments.
    pub const fn skipping(row: &'a Run) -> Self {
        Self { skipped: Some(row), answer: None }
    }
}

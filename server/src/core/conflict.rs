//! What a submission does if a live task has its deduplication key.

use super::Moment;

/// What a submission does if a live task has its deduplication key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Returns the live task.
    #[default]
    Return,
    /// Refuses the submission.
    Reject,
    /// Gives the live task the definition of the submission, as an edit.
    Replace,
    /// As `Replace`, but the live task starts at most this time after its creation.
    Debounce {
        /// Milliseconds.
        max_ms: u64,
    },
}

impl OnConflict {
    /// Returns the start of the live task, where the submission starts at `start`.
    pub fn start_of_live(self, start: Option<Moment>, created_at: Moment) -> Option<Moment> {
        let Self::Debounce { max_ms } = self else { return start };
        let latest = created_at.plus_ms(i64::try_from(max_ms).unwrap_or(i64::MAX));
        start.map(|start| start.min(latest))
    }

    /// Returns whether the submission changes the live task.
    pub const fn replaces(self) -> bool {
        matches!(self, Self::Replace | Self::Debounce { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debounced_start_has_a_limit_that_counts_from_the_creation() {
        let created = Moment::from_sec(1_000);
        let after = |ms: i64| Some(created.plus_ms(ms));
        let debounce = OnConflict::Debounce { max_ms: 60_000 };
        let starts = [30_000, 59_000, 61_000, 90_000].map(|ms| debounce.start_of_live(after(ms), created));
        assert_eq!(starts, [30_000, 59_000, 60_000, 60_000].map(after));
        assert_eq!(OnConflict::Replace.start_of_live(after(90_000), created), after(90_000));
        let endless = OnConflict::Debounce { max_ms: u64::MAX };
        assert_eq!(endless.start_of_live(after(5), created), after(5));
    }
}

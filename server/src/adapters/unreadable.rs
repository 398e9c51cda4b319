//! Unreadable rows: damaged, or written by a newer release. A query skips an unreadable row, and the
//! store reports it, so that other tasks do not wait for a repair. Reading an unreadable row by its
//! id fails.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::core::run::{LeasedRun, OpenRun};
use crate::core::{Run, Task};
use crate::ports::UnreadableRows;

/// Maximum number of rows that a store keeps in mind.
const MAX_ROWS: usize = 1_000;
/// Maximum number of rows that are read again at a time.
const CHECKED_AT_ONCE: usize = 100;

/// A row that a store reads.
pub trait Row {
    /// Kind of the row, for people.
    const KIND: &'static str;
}

impl Row for Task {
    const KIND: &'static str = "task";
}

impl Row for Run {
    const KIND: &'static str = "run";
}

impl Row for LeasedRun {
    const KIND: &'static str = "run";
}

impl Row for OpenRun {
    const KIND: &'static str = "run";
}

/// Kind and id of a row.
pub type RowId = (&'static str, String);

/// The unreadable rows that a store has met.
#[derive(Debug, Default)]
pub struct Unreadable(Mutex<Met>);

#[derive(Debug, Default)]
struct Met {
    rows: BTreeSet<RowId>,
    /// The last row that was read again.
    checked: Option<RowId>,
}

impl Unreadable {
    /// Notes an unreadable row of the kind of `R`. Logs the row the first time.
    pub fn note<R: Row>(&self, store: &'static str, id: &str, cause: &dyn Display) {
        let mut met = self.lock();
        let is_new = met.rows.len() < MAX_ROWS && met.rows.insert((R::KIND, id.to_owned()));
        drop(met);
        if is_new {
            let kind = R::KIND;
            tracing::error!(store, kind, row = id, %cause, "unreadable row skipped; repair or remove the row");
        }
    }

    /// Returns the rows to read again now.
    pub fn to_check(&self) -> Vec<RowId> {
        let mut met = self.lock();
        let last = met.checked.take();
        let after = met.rows.iter().filter(|row| last.as_ref().is_none_or(|last| *row > last));
        let next: Vec<RowId> = after.take(CHECKED_AT_ONCE).cloned().collect();
        if next.len() == CHECKED_AT_ONCE {
            met.checked = next.last().cloned();
        }
        next
    }

    /// Forgets a row that was repaired or removed.
    pub fn forget(&self, row: &RowId) {
        if self.lock().rows.remove(row) {
            tracing::info!(kind = row.0, row = row.1, "unreadable row repaired or removed");
        }
    }

    /// Returns what [`Store::unreadable_rows`](crate::ports::Store::unreadable_rows) reports.
    pub fn summary(&self) -> Option<UnreadableRows> {
        let met = self.lock();
        let (kind, id) = met.rows.first()?;
        Some(UnreadableRows { count: met.rows.len(), example: format!("{kind} {id}") })
    }

    fn lock(&self) -> MutexGuard<'_, Met> {
        // Each change is complete before it can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_reported_until_they_are_forgotten() {
        let unreadable = Unreadable::default();
        assert_eq!(unreadable.summary(), None);
        unreadable.note::<Task>("test", "b", &"damaged");
        unreadable.note::<Run>("test", "a", &"damaged");
        unreadable.note::<Run>("test", "a", &"damaged");
        assert_eq!(unreadable.summary(), Some(UnreadableRows { count: 2, example: "run a".to_owned() }));
        for row in unreadable.to_check() {
            unreadable.forget(&row);
        }
        assert_eq!(unreadable.summary(), None);
    }

    #[test]
    fn every_row_is_checked_in_turn() {
        let unreadable = Unreadable::default();
        for n in 0..250 {
            unreadable.note::<Task>("test", &format!("{n:03}"), &"damaged");
        }
        let sizes: Vec<usize> = (0..4).map(|_| unreadable.to_check().len()).collect();
        assert_eq!(sizes, [100, 100, 50, 100]);
    }
}

//! Rows that cannot be read: damaged by hand, or written by a release that is newer. A scan passes over them, since the tasks beside
//! them must not wait for somebody who mends one, and says so; who asks for such a row by its id gets the error.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

/// So many rows are remembered as told.
const REMEMBERED: usize = 1_000;

static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Says once a process that the row cannot be read: a scan comes by twice a second.
pub fn tell(ledger: &'static str, row: &str, cause: &dyn Display) {
    if is_news(row) {
        tracing::error!(ledger, row, %cause, "a row cannot be read and is passed over; mend or remove it");
    }
}

fn is_news(row: &str) -> bool {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    told.len() < REMEMBERED && told.insert(row.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_told_once() {
        assert!(is_news("a damaged row"));
        assert!(!is_news("a damaged row"));
        assert!(is_news("another damaged row"));
    }
}

//! Unreadable rows: damaged, or written by a newer release. A scan skips an unreadable row and logs
//! it, so that other tasks do not wait for a repair. Reading an unreadable row by its id fails.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

/// Largest number of rows that are logged.
const MAX_LOGGED: usize = 1_000;

static LOGGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Logs an unreadable row, once per process: a scan meets the row twice a second.
pub fn log(ledger: &'static str, row: &str, cause: &dyn Display) {
    if is_first(row) {
        tracing::error!(ledger, row, %cause, "unreadable row skipped; repair or remove the row");
    }
}

fn is_first(row: &str) -> bool {
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    logged.len() < MAX_LOGGED && logged.insert(row.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_logged_once() {
        assert!(is_first("a damaged row"));
        assert!(!is_first("a damaged row"));
        assert!(is_first("another damaged row"));
    }
}

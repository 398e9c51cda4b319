//! Splits a batch that the store refuses, so that one bad row delays no other.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::ports::PortError;

/// Number of failures in a row after which the store refuses everything, and not only some rows.
const MAX_FAILURES: u32 = 32;
/// Maximum number of rows that are remembered as logged.
const MAX_LOGGED: usize = 1_000;

/// The batches that remain of one batch.
pub struct Batches<T> {
    waiting: Vec<Vec<T>>,
    failures: u32,
}

/// What follows from a failure.
#[derive(Debug, PartialEq, Eq)]
pub enum AfterFailure<T> {
    /// The halves of the batch are next.
    Split,
    /// This row alone fails.
    HoldBack(T),
    /// The store is unavailable, or refuses everything. These rows remain.
    GiveUp(Vec<T>),
}

impl<T> Batches<T> {
    pub fn new(batch: Vec<T>) -> Self {
        Self { waiting: vec![batch], failures: 0 }
    }

    /// Returns the next batch. It is never empty.
    pub fn next_batch(&mut self) -> Option<Vec<T>> {
        std::iter::from_fn(|| self.waiting.pop()).find(|batch| !batch.is_empty())
    }

    /// Notes that a batch has succeeded.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Notes that `batch` has failed.
    pub fn failed(&mut self, mut batch: Vec<T>, error: &PortError) -> AfterFailure<T> {
        self.failures += 1;
        if !error.is_about_rows() || self.failures > MAX_FAILURES {
            batch.extend(self.waiting.drain(..).flatten());
            return AfterFailure::GiveUp(batch);
        }
        if batch.len() > 1 {
            let second = batch.split_off(batch.len() / 2);
            self.waiting.extend([second, batch]);
            return AfterFailure::Split;
        }
        batch.pop().map_or(AfterFailure::Split, AfterFailure::HoldBack)
    }
}

/// The rows that were held back and logged.
#[derive(Debug, Default)]
pub struct HeldBack(Mutex<HashSet<String>>);

impl HeldBack {
    /// Logs why a row is held back. Logs each row once per process, because it is tried again.
    pub fn log(&self, kind: &'static str, id: &str, why: &str) {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < MAX_LOGGED && logged.insert(id.to_owned()) {
            tracing::error!(kind, row = id, why, "row held back; other rows continue");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> PortError {
        PortError::Refused("store", "error of the test".into())
    }

    /// Returns the rows that were held back, and the number of rows that were done.
    fn split(rows: u32, is_bad: impl Fn(u32) -> bool) -> (Vec<u32>, usize, Vec<u32>) {
        let (mut held_back, mut done) = (Vec::new(), 0);
        let mut batches = Batches::new((0..rows).collect());
        while let Some(batch) = batches.next_batch() {
            if !batch.iter().any(|row| is_bad(*row)) {
                done += batch.len();
                batches.succeeded();
                continue;
            }
            match batches.failed(batch, &refused()) {
                AfterFailure::Split => {}
                AfterFailure::HoldBack(row) => held_back.push(row),
                AfterFailure::GiveUp(left) => return (held_back, done, left),
            }
        }
        (held_back, done, Vec::new())
    }

    #[test]
    fn only_the_bad_rows_are_held_back() {
        assert_eq!(split(1_000, |row| row % 400 == 3), (vec![3, 403, 803], 997, Vec::new()));
        assert_eq!(split(1, |_| true), (vec![0], 0, Vec::new()));
        assert_eq!(split(0, |_| true), (Vec::new(), 0, Vec::new()));
    }

    #[test]
    fn a_store_that_refuses_everything_is_not_asked_for_each_row() {
        let (held_back, done, mut left) = split(1_000, |_| true);
        left.extend(&held_back);
        left.sort_unstable();
        assert_eq!((done, left), (0, (0..1_000).collect()));
        assert!(held_back.len() < 32, "{held_back:?}");
    }

    #[test]
    fn an_unavailable_store_is_not_asked_again() {
        let mut batches = Batches::new(vec![1, 2]);
        let batch = batches.next_batch().unwrap();
        let unavailable = PortError::Unavailable("store", "error of the test".into());
        assert_eq!(batches.failed(batch, &unavailable), AfterFailure::GiveUp(vec![1, 2]));
        assert_eq!(batches.next_batch(), None);
    }
}

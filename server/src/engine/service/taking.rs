//! Runs that workers of this node are just taking.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::core::{Run, RunId};

/// The runs that some call is about to lease. It spares calls of one node the race for the same ones; the store decides.
#[derive(Debug, Default)]
pub struct Taking(Mutex<HashSet<RunId>>);

impl Taking {
    /// How many they are.
    pub fn len(&self) -> u64 {
        self.ids().len() as u64
    }

    /// Of `ready`, the first `limit` that nobody else is taking; they are the caller's while it holds the answer.
    pub fn reserve(&self, ready: Vec<Run>, limit: usize) -> Reserved<'_> {
        let mut ids = self.ids();
        let runs = ready.into_iter().filter(|run| !ids.contains(&run.id)).take(limit).collect::<Vec<_>>();
        ids.extend(runs.iter().map(|run| run.id.clone()));
        Reserved { runs, taking: self }
    }

    fn ids(&self) -> MutexGuard<'_, HashSet<RunId>> {
        // A set of ids is whole after every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs that one call may try to lease; dropped when it has.
pub struct Reserved<'a> {
    /// The runs.
    pub runs: Vec<Run>,
    taking: &'a Taking,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut ids = self.taking.ids();
        for run in &self.runs {
            ids.remove(&run.id);
        }
    }
}

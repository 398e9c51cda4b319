//! Runs that lease calls of this node are about to take.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::core::{Run, RunId};

/// Keeps lease calls of one node from competing for the same runs. The store decides who gets a run, so
/// correctness does not depend on reservations.
#[derive(Debug, Default)]
pub struct LeaseReservations(Mutex<HashSet<RunId>>);

impl LeaseReservations {
    /// Returns the number of reserved runs.
    pub fn len(&self) -> u64 {
        self.ids().len() as u64
    }

    /// Reserves the first `limit` runs of `ready` that are not reserved, until the answer is dropped.
    pub fn reserve(&self, ready: Vec<Run>, limit: usize) -> Reservation<'_> {
        let mut ids = self.ids();
        let runs = ready.into_iter().filter(|run| !ids.contains(&run.id)).take(limit).collect::<Vec<_>>();
        ids.extend(runs.iter().map(|run| run.id.clone()));
        Reservation { runs, reservations: self }
    }

    fn ids(&self) -> MutexGuard<'_, HashSet<RunId>> {
        // Each change is one set operation, so a panic leaves the set consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs that one call may try to lease. Dropping it ends the reservation.
pub struct Reservation<'a> {
    pub runs: Vec<Run>,
    reservations: &'a LeaseReservations,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut ids = self.reservations.ids();
        for run in &self.runs {
            ids.remove(&run.id);
        }
    }
}

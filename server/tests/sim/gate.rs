//! Gate at which every actor waits at each port call. The gate releases one actor at a time, in
//! random order.
//!
//! The runtime calls [`Gate::release_one`] whenever no task can run. The time stands still while an
//! actor waits here. Otherwise, tokio's paused clock jumps to the next timer.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Scheduler of a history, and its only source of order.
pub struct Gate(Mutex<Inner>);

struct Inner {
    rng: fastrand::Rng,
    waiting: Vec<(u64, u64, Waker)>,
    next: u64,
    steps: u64,
    hash: u64,
}

impl Gate {
    /// Creates a gate that draws the order from `seed`.
    pub fn new(seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        Self(Mutex::new(Inner { rng, waiting: Vec::new(), next: 0, steps: 0, hash: seed }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn. `what` becomes part of the history's hash.
    pub fn pass(&self, what: u64) -> Pass<'_> {
        Pass { gate: self, what, place: None }
    }

    /// Releases one of the waiting actors.
    pub fn release_one(&self) {
        let mut inner = self.inner();
        if inner.waiting.is_empty() {
            return;
        }
        let waiting = inner.waiting.len();
        let chosen = inner.rng.usize(..waiting);
        let (_, what, waker) = inner.waiting.swap_remove(chosen);
        inner.steps += 1;
        inner.mix(what);
        drop(inner);
        waker.wake();
    }

    /// Adds `what` to the history's hash.
    pub fn note(&self, what: u64) {
        self.inner().mix(what);
    }

    /// Returns the number of steps: polls of an actor between two halves of a port call.
    pub fn steps(&self) -> u64 {
        self.inner().steps
    }

    /// Returns the hash of all steps in their order.
    pub fn hash(&self) -> u64 {
        self.inner().hash
    }
}

impl Inner {
    fn mix(&mut self, what: u64) {
        let mixed = (self.hash ^ what).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        self.hash = mixed ^ (mixed >> 29);
    }
}

/// One actor at the gate.
pub struct Pass<'a> {
    gate: &'a Gate,
    what: u64,
    place: Option<u64>,
}

impl Future for Pass<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.gate.inner();
        let waker = context.waker().clone();
        let Some(place) = self.place else {
            let place = inner.next;
            inner.next += 1;
            inner.waiting.push((place, self.what, waker));
            drop(inner);
            self.place = Some(place);
            return Poll::Pending;
        };
        match inner.waiting.iter_mut().find(|(waiting, ..)| *waiting == place) {
            Some((.., old)) => {
                *old = waker;
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.gate.inner().waiting.retain(|(waiting, ..)| *waiting != place);
        }
    }
}

//! Ids and tokens, from an injected seed.

use std::sync::Mutex;

use crate::core::Moment;

/// A source of ids. The same seed and the same calls yield the same ids, so that a simulation can be
/// repeated.
#[derive(Debug)]
pub struct Ids(Mutex<fastrand::Rng>);

impl Ids {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }

    /// Returns a UUID of version 7, which sorts by time.
    ///
    /// # Panics
    /// If another thread panicked while it drew a number, which cannot happen.
    pub fn uuid(&self, now: Moment) -> uuid::Uuid {
        let mut bytes = [0; 10];
        self.0.lock().expect("drawing a number does not panic").fill(&mut bytes);
        uuid::Builder::from_unix_timestamp_millis(now.ms().max(0) as u64, &bytes).into_uuid()
    }

    /// Returns the token of an attempt.
    pub fn token(&self, now: Moment) -> String {
        self.uuid(now).simple().to_string()
    }

    /// Returns milliseconds below `bound`, for jitter. Returns 0 if `bound` is 0.
    ///
    /// # Panics
    /// As [`Ids::uuid`].
    pub fn jitter_ms(&self, bound: u64) -> u64 {
        self.0.lock().expect("drawing a number does not panic").u64(0..bound.max(1))
    }
}

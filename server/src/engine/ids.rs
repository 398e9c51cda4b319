//! Fresh ids and tokens, from a seed that is handed in.

use std::sync::Mutex;

use crate::core::Moment;

/// Source of identities. The same seed and the same calls yield the same ids, so that a simulated history can be replayed.
#[derive(Debug)]
pub struct Ids(Mutex<fastrand::Rng>);

impl Ids {
    /// A source with this seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }

    /// A UUID of version 7: sorted by time, unique by chance.
    ///
    /// # Panics
    /// When another thread panicked while it drew a number, which drawing cannot do.
    pub fn uuid(&self, now: Moment) -> uuid::Uuid {
        let mut bytes = [0; 10];
        self.0.lock().expect("drawing a number does not panic").fill(&mut bytes);
        uuid::Builder::from_unix_timestamp_millis(now.ms().max(0) as u64, &bytes).into_uuid()
    }

    /// An attempt's token.
    pub fn token(&self, now: Moment) -> String {
        self.uuid(now).simple().to_string()
    }

    /// Milliseconds below `bound`, for jitter; 0 when `bound` is 0.
    ///
    /// # Panics
    /// As [`Ids::uuid`].
    pub fn jitter_ms(&self, bound: u64) -> u64 {
        self.0.lock().expect("drawing a number does not panic").u64(0..bound.max(1))
    }
}

//! How many runs of each queue workers lease through this node. Nothing is read from the store.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::core::Moment;

const MINUTE_MS: i64 = 60_000;
/// Maximum number of queues that are counted. Further queues have a rate of 0.
const MAX_QUEUES: usize = 1_000;

/// Leases in the current minute and in the minute before.
#[derive(Debug, Clone, Copy, Default)]
struct Leases {
    minute: i64,
    current: u64,
    before: u64,
}

impl Leases {
    /// Returns the counts at a later minute.
    fn at(self, minute: i64) -> Self {
        match minute - self.minute {
            ..=0 => self,
            1 => Self { minute, current: 0, before: self.current },
            _ => Self { minute, current: 0, before: 0 },
        }
    }
}

/// Leases by queue.
#[derive(Default)]
pub struct QueueRates(Mutex<HashMap<String, Leases>>);

impl QueueRates {
    /// Counts a run that a worker has leased at `at`.
    pub fn leased(&self, queue: &str, at: Moment) {
        let minute = at.ms().div_euclid(MINUTE_MS);
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !queues.contains_key(queue) {
            if queues.len() >= MAX_QUEUES {
                queues.retain(|_, leases| leases.minute + 1 >= minute);
            }
            if queues.len() >= MAX_QUEUES {
                return;
            }
            queues.insert(queue.to_owned(), Leases::default());
        }
        if let Some(leases) = queues.get_mut(queue) {
            *leases = leases.at(minute);
            leases.current += 1;
        }
    }

    /// Returns the number of leases in the 60 seconds before `now`. The leases of the minute before count
    /// as spread evenly over this minute.
    pub fn per_minute(&self, queue: &str, now: Moment) -> u64 {
        let queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(leases) = queues.get(queue) else { return 0 };
        let leases = leases.at(now.ms().div_euclid(MINUTE_MS));
        let left_ms = (MINUTE_MS - now.ms().rem_euclid(MINUTE_MS)).unsigned_abs();
        leases.current + (leases.before * left_ms).div_ceil(MINUTE_MS.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_sec(6_000_000);

    #[test]
    fn a_rate_is_the_number_of_leases_in_the_last_minute() {
        let rates = QueueRates::default();
        (0..10).for_each(|_| rates.leased("q", NOW));
        rates.leased("q", NOW.plus_ms(MINUTE_MS));
        rates.leased("other", NOW);
        let rate = |after_ms| rates.per_minute("q", NOW.plus_ms(MINUTE_MS + after_ms));
        assert_eq!([rate(0), rate(30_000), rate(MINUTE_MS), rate(2 * MINUTE_MS)], [11, 6, 1, 0]);
        assert_eq!((rates.per_minute("other", NOW), rates.per_minute("none", NOW)), (1, 0));
    }

    #[test]
    fn the_number_of_queues_is_bounded_and_idle_queues_make_room() {
        let rates = QueueRates::default();
        (0..2 * MAX_QUEUES).for_each(|n| rates.leased(&n.to_string(), NOW));
        assert_eq!(rates.0.lock().unwrap().len(), MAX_QUEUES);
        let later = NOW.plus_ms(5 * MINUTE_MS);
        rates.leased("late", later);
        assert_eq!((rates.per_minute("late", later), rates.0.lock().unwrap().len()), (1, 1));
    }
}

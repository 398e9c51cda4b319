//! When rate limits have their next permits, and when this node must admit the runs that wait for them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::core::Moment;
use crate::core::rate::RateLimit;

/// Rate limits whose next permits a node remembers.
const MAX_LIMITS: usize = 10_000;

/// What a node knows about rate limits. A node that forgets a limit asks the store.
#[derive(Debug, Default)]
pub struct RateTimes {
    times: Mutex<Times>,
    is_earlier: Notify,
}

#[derive(Debug, Default)]
struct Times {
    /// Next permits. Other nodes move them to later moments only.
    next: HashMap<RateLimit, Moment>,
    /// Keys of which runs wait, by the moment of the next permit.
    wakes: BTreeMap<Moment, BTreeSet<String>>,
}

impl RateTimes {
    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the next permit of a limit, as the store has answered.
    pub fn note(&self, limit: &RateLimit, next_at: Moment) {
        let mut times = self.times();
        if times.next.len() >= MAX_LIMITS {
            times.next.clear();
        }
        times.next.insert(limit.clone(), next_at);
    }

    /// Returns when the limit has its next permit. `None`: it may have one at `now`.
    pub fn used_until(&self, limit: &RateLimit, now: Moment) -> Option<Moment> {
        self.times().next.get(limit).copied().filter(|at| now < *at)
    }

    /// Lets this node admit runs of the key at `at`.
    pub fn wake(&self, key: &str, at: Moment) {
        let mut times = self.times();
        let is_earlier = times.wakes.first_key_value().is_none_or(|(first, _)| at < *first);
        times.wakes.entry(at).or_default().insert(key.to_owned());
        if is_earlier {
            self.is_earlier.notify_one();
        }
    }

    /// Returns the keys of which runs may be admitted at `now`, once.
    pub fn take_due(&self, now: Moment) -> BTreeSet<String> {
        let mut times = self.times();
        let later = times.wakes.split_off(&now.plus_ms(1));
        std::mem::replace(&mut times.wakes, later).into_values().flatten().collect()
    }

    /// Returns the moment of the first wake.
    pub fn first(&self) -> Option<Moment> {
        self.times().wakes.first_key_value().map(|(at, _)| *at)
    }

    /// Waits until a wake is earlier than all others.
    pub async fn has_earlier(&self) {
        self.is_earlier.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const NOW: Moment = Moment::from_sec(9);

    fn limit(key: &str) -> RateLimit {
        RateLimit { key: key.to_owned(), limit: 1, period_ms: 1_000, burst: 1, drops: false }
    }

    #[test]
    fn a_used_limit_is_known_until_its_next_permit() {
        let times = RateTimes::default();
        assert_eq!(times.used_until(&limit("a"), NOW), None);
        times.note(&limit("a"), NOW.plus_ms(1));
        assert_eq!(times.used_until(&limit("a"), NOW), Some(NOW.plus_ms(1)));
        assert_eq!(times.used_until(&limit("a"), NOW.plus_ms(1)), None);
        assert_eq!(times.used_until(&limit("b"), NOW), None);
        (0..MAX_LIMITS).for_each(|n| times.note(&limit(&n.to_string()), NOW.plus_ms(1)));
        assert!(times.times().next.len() <= MAX_LIMITS);
    }

    #[test]
    fn a_key_is_due_once_at_its_moment() {
        let times = RateTimes::default();
        let is_earlier = || times.has_earlier().now_or_never().is_some();
        assert_eq!((times.first(), times.take_due(NOW).len(), is_earlier()), (None, 0, false));
        times.wake("a", NOW.plus_ms(2));
        assert!(is_earlier());
        times.wake("b", NOW.plus_ms(5));
        assert!(!is_earlier());
        times.wake("a", NOW);
        times.wake("b", NOW);
        assert!(is_earlier());
        assert_eq!(times.first(), Some(NOW));
        assert_eq!(times.take_due(NOW.plus_ms(1)), ["a", "b"].map(str::to_owned).into());
        assert_eq!(times.take_due(NOW.plus_ms(2)), ["a".to_owned()].into());
        assert_eq!(times.take_due(NOW.plus_ms(4)), BTreeSet::new());
        assert_eq!(times.take_due(NOW.plus_ms(9)), ["b".to_owned()].into());
    }
}

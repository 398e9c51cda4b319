//! Known routes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::Route;
use crate::heartbeat::{self, Members};

/// How long a master that has left a route is looked for. A broker that does not come back in this
/// time was probably removed.
const MAX_ABSENCE: Duration = Duration::from_mins(10);

/// Routes by topic, as on the wire.
#[derive(Default)]
pub(crate) struct Routes(RwLock<HashMap<String, Arc<Route>>>);

impl Routes {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Arc<Route>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, Arc<Route>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the last known route of a topic.
    pub fn get(&self, topic: &str) -> Option<Arc<Route>> {
        self.read().get(topic).cloned()
    }

    /// Replaces the route of a topic. Returns the route, with the masters that have left it, and whether
    /// it has changed. An unchanged route keeps its `Arc`, so that others notice a change by a comparison
    /// of pointers.
    pub fn insert(&self, topic: &str, mut fresh: Route, now: Instant) -> (Arc<Route>, bool) {
        let mut known = self.write();
        if let Some(previous) = known.get(topic) {
            fresh = fresh.with_absent(previous, now, now + MAX_ABSENCE);
            if **previous == fresh {
                return (Arc::clone(previous), false);
            }
        }
        let route = Arc::new(fresh);
        known.insert(topic.to_owned(), Arc::clone(&route));
        (route, true)
    }

    /// Forgets an absent master, because it is no longer a broker of the topic.
    pub fn forget_absent(&self, topic: &str, broker_name: &str) {
        if let Some(route) = self.write().get_mut(topic)
            && route.absent.contains_key(broker_name)
        {
            Arc::make_mut(route).absent.remove(broker_name);
        }
    }

    /// Returns the topics to refresh: all of them, or those whose route lost a master.
    pub fn due(&self, all: bool, now: Instant) -> Vec<String> {
        let is_due = |route: &Route| all || route.absent.values().any(|master| now < master.until);
        self.read().iter().filter(|(_, route)| is_due(route)).map(|(topic, _)| topic.clone()).collect()
    }

    /// Returns the addresses that get the heartbeats of the members.
    pub fn heartbeat_addresses(&self, members: &Members) -> BTreeSet<String> {
        heartbeat::addresses(self.read().values(), members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;
    use crate::{Broker, QueueRange};

    fn route(brokers: &[(&str, i64)]) -> Route {
        let broker = |(name, id): &(&str, i64)| Broker {
            cluster: "c".to_owned(),
            name: (*name).to_owned(),
            addresses: [(*id, format!("{name}:1"))].into(),
        };
        Route { brokers: brokers.iter().map(broker).collect(), ..Route::default() }
    }

    #[test]
    fn an_unchanged_route_keeps_its_identity() {
        let (routes, now) = (Routes::default(), monotonic());
        let (first, changed) = routes.insert("t", route(&[("a", 0)]), now);
        assert!(changed);
        let (second, changed) = routes.insert("t", route(&[("a", 0)]), now);
        assert!(!changed && Arc::ptr_eq(&first, &second));
        assert!(routes.insert("t", route(&[("b", 0)]), now).1);
    }

    #[test]
    fn a_master_that_left_is_written_at_its_last_address_until_it_is_gone_for_long() {
        let (routes, start) = (Routes::default(), monotonic());
        let with_queues = |brokers: &[(&str, i64)]| {
            let range = |(name, _): &(&str, i64)| QueueRange {
                broker_name: (*name).to_owned(),
                read: 1,
                write: 1,
                perm: 6,
                topic_sys_flag: 0,
            };
            Route { queues: brokers.iter().map(range).collect(), ..route(brokers) }
        };
        let (both, one, slave) = (
            with_queues(&[("a", 0), ("b", 0)]),
            with_queues(&[("a", 0)]),
            with_queues(&[("a", 0), ("b", 1)]),
        );
        let numbers = |route: &Route| (route.read_queues("t").len(), route.write_queues("t").len());
        routes.insert("t", both.clone(), start);
        for absent in [&one, &slave, &one] {
            let (known, changed) = routes.insert("t", absent.clone(), start);
            assert!(changed);
            assert_eq!((numbers(&known), known.master("b")), ((absent.queues.len(), 2), Some("b:1")));
            assert!(!routes.insert("t", absent.clone(), start).1, "the same absence is no change");
        }
        let (known, _) = routes.insert("t", both.clone(), start);
        assert!(known.absent.is_empty());
        routes.insert("t", one.clone(), start);
        let (known, _) = routes.insert("t", one.clone(), start + MAX_ABSENCE);
        assert_eq!((numbers(&known), known.master("b")), ((1, 1), None));
        routes.insert("t", both, start);
        routes.insert("t", one.clone(), start);
        routes.forget_absent("t", "b");
        assert_eq!(routes.insert("t", one, start).0.master("b"), None);
    }

    #[test]
    fn a_topic_that_lost_a_master_is_refreshed_until_the_master_is_back() {
        let (routes, now) = (Routes::default(), monotonic());
        routes.insert("t", route(&[("a", 0), ("b", 0)]), now);
        routes.insert("other", route(&[("a", 0)]), now);
        assert!(routes.due(false, now).is_empty());
        assert_eq!(routes.due(true, now).len(), 2);
        // The slave of `b` remains.
        routes.insert("t", route(&[("a", 0), ("b", 1)]), now);
        assert_eq!(routes.due(false, now), ["t"]);
        routes.insert("t", route(&[("b", 1)]), now);
        routes.insert("t", route(&[("a", 0)]), now);
        assert_eq!(routes.due(false, now), ["t"]);
        routes.insert("t", route(&[("a", 0), ("b", 0)]), now);
        assert!(routes.due(false, now).is_empty());
        routes.insert("t", route(&[("a", 0)]), now);
        assert!(routes.due(false, now + MAX_ABSENCE).is_empty());
    }
}

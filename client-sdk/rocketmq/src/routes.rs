//! Known routes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::Route;
use crate::heartbeat::{self, Members};

/// How long a topic whose route lost a master is refreshed often. A broker that does not come back
/// in this time was probably removed.
const MAX_ABSENCE: Duration = Duration::from_mins(10);

/// Routes by topic, as on the wire.
#[derive(Default)]
pub(crate) struct Routes {
    known: RwLock<HashMap<String, Arc<Route>>>,
    /// Masters that have left a route. A name server forgets a broker when the connection to the
    /// broker ends, and knows it again when the broker is back.
    absent: Mutex<HashMap<String, Absent>>,
}

struct Absent {
    brokers: BTreeSet<String>,
    /// When the absence counts as permanent.
    until: Instant,
}

impl Routes {
    /// Returns the last known route of a topic.
    pub fn get(&self, topic: &str) -> Option<Arc<Route>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(topic).cloned()
    }

    /// Replaces the route of a topic. Returns the route, and whether it has changed. An unchanged
    /// route keeps its `Arc`, so that others notice a change by a comparison of pointers.
    pub fn insert(&self, topic: &str, fresh: Route, now: Instant) -> (Arc<Route>, bool) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let previous = known.get(topic);
        if let Some(previous) = previous.filter(|previous| ***previous == fresh) {
            return (Arc::clone(previous), false);
        }
        self.note_absent(topic, previous.map(AsRef::as_ref), &fresh, now);
        let route = Arc::new(fresh);
        known.insert(topic.to_owned(), Arc::clone(&route));
        (route, true)
    }

    fn note_absent(&self, topic: &str, previous: Option<&Route>, fresh: &Route, now: Instant) {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        let names = |route: &Route| -> BTreeSet<String> {
            route.masters().map(|(name, _)| name.to_owned()).collect()
        };
        let mut brokers = absent.remove(topic).map(|absent| absent.brokers).unwrap_or_default();
        brokers.extend(previous.map(names).unwrap_or_default());
        let present = names(fresh);
        brokers.retain(|name| !present.contains(name));
        if !brokers.is_empty() {
            absent.insert(topic.to_owned(), Absent { brokers, until: now + MAX_ABSENCE });
        }
    }

    /// Returns the topics to refresh: all of them, or those whose route lost a master.
    pub fn due(&self, all: bool, now: Instant) -> Vec<String> {
        if all {
            return self.known.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        }
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        absent.retain(|_, absent| now < absent.until);
        absent.keys().cloned().collect()
    }

    /// Returns the addresses that get the heartbeats of the members.
    pub fn heartbeat_addresses(&self, members: &Members) -> BTreeSet<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        heartbeat::addresses(known.values(), members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Broker;
    use crate::clock::monotonic;

    fn route(brokers: &[(&str, i64)]) -> Route {
        let broker = |(name, id): &(&str, i64)| Broker {
            cluster: "c".to_owned(),
            name: (*name).to_owned(),
            addresses: [(*id, format!("{name}:1"))].into(),
        };
        Route { queues: Vec::new(), brokers: brokers.iter().map(broker).collect() }
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

//! Queues of brokers that left the route a short time ago.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::{MessageQueue, Route};

/// Time in which the queues of a broker that left the route still count. Members of Java read the
/// route every 30 s, so they notice an absence as late.
const ABSENCE: Duration = Duration::from_secs(30);

/// The queues that the members of a group share, with the time when the route last had them.
///
/// A name server that has just started knows only the brokers that registered again. If each member
/// shared the queues of those brokers anew, queues would change their owners under load, twice.
#[derive(Debug, Default)]
pub(crate) struct RecentQueues(BTreeMap<MessageQueue, Instant>);

impl RecentQueues {
    /// Returns the queues of the route and those of absent brokers, ordered. `present` are the queues
    /// of the route.
    pub(crate) fn with_absent(
        &mut self,
        present: Vec<MessageQueue>,
        route: &Route,
        now: Instant,
    ) -> Vec<MessageQueue> {
        self.0.retain(|queue, seen| {
            route.broker(&queue.broker_name).is_none() && now.saturating_duration_since(*seen) < ABSENCE
        });
        self.0.extend(present.into_iter().map(|queue| (queue, now)));
        self.0.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;
    use crate::{Broker, QueueRange};

    fn route(brokers: &[(&str, i32)]) -> Route {
        let range = |(name, read): &(&str, i32)| QueueRange {
            broker_name: (*name).to_owned(),
            read: *read,
            write: *read,
            perm: 6,
            topic_sys_flag: 0,
        };
        let broker = |(name, _): &(&str, i32)| Broker { name: (*name).to_owned(), ..Broker::default() };
        Route {
            queues: brokers.iter().map(range).collect(),
            brokers: brokers.iter().map(broker).collect(),
            ..Route::default()
        }
    }

    #[test]
    fn an_absent_broker_counts_for_a_while_and_a_removed_queue_does_not() {
        let (mut recent, start) = (RecentQueues::default(), monotonic());
        let mut names = |route: &Route, now| -> String {
            let queues = recent.with_absent(route.read_queues("t"), route, now);
            let name = |queue: &MessageQueue| format!("{}{} ", queue.broker_name, queue.queue_id);
            queues.iter().map(name).collect()
        };
        assert_eq!(names(&route(&[("b", 1), ("a", 2)]), start), "a0 a1 b0 ");
        assert_eq!(names(&route(&[("a", 2)]), start + ABSENCE / 2), "a0 a1 b0 ");
        assert_eq!(names(&route(&[("a", 1)]), start + ABSENCE / 2), "a0 b0 ");
        assert_eq!(names(&route(&[("a", 1)]), start + ABSENCE), "a0 ");
    }
}

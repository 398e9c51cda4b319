//! Choice of a queue.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::avoid::Avoided;
use crate::{MessageQueue, Route};

/// Queues by topic.
#[derive(Default)]
pub(super) struct Queues(RwLock<HashMap<String, Arc<TopicQueues>>>);

/// Queues of a topic that can be written.
pub(super) struct TopicQueues {
    route: Arc<Route>,
    queues: Vec<MessageQueue>,
    next: AtomicUsize,
}

impl Queues {
    /// Returns the queues of the current route of a topic.
    pub fn of(&self, topic: &str, route: &Arc<Route>) -> Arc<TopicQueues> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(topic).cloned();
        if let Some(known) = known
            && Arc::ptr_eq(&known.route, route)
        {
            return known;
        }
        let queues = interleaved(route.write_queues(topic));
        let next = AtomicUsize::new(fastrand::usize(..queues.len().max(1)));
        let fresh = Arc::new(TopicQueues { route: Arc::clone(route), queues, next });
        let mut topics = self.0.write().unwrap_or_else(PoisonError::into_inner);
        topics.insert(topic.to_owned(), Arc::clone(&fresh));
        fresh
    }
}

/// Orders queues by their id, so that successive ones are on different brokers.
fn interleaved(mut queues: Vec<MessageQueue>) -> Vec<MessageQueue> {
    queues.sort_by(|a, b| (a.queue_id, &a.broker_name).cmp(&(b.queue_id, &b.broker_name)));
    queues
}

impl TopicQueues {
    /// Returns the next queue in turn whose broker is not avoided. If all are avoided, returns the
    /// next queue in turn: a sick broker is better than none.
    pub fn next(&self, avoided: &Avoided) -> Option<&MessageQueue> {
        let number = self.queues.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        if avoided.is_empty() {
            return self.queues.get(first % number.max(1));
        }
        let mut turns = (0..number).map(|turn| &self.queues[first.wrapping_add(turn) % number]);
        turns
            .find(|queue| !avoided.contains(&queue.broker_name))
            .or_else(|| self.queues.get(first % number.max(1)))
    }

    /// Returns the address of the master of a queue.
    pub fn address(&self, queue: &MessageQueue) -> Option<&str> {
        self.route.master(&queue.broker_name)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Broker, QueueRange};

    fn route() -> Arc<Route> {
        let range = |name: &str| QueueRange {
            broker_name: name.to_owned(),
            read: 2,
            write: 2,
            perm: 6,
            topic_sys_flag: 0,
        };
        let broker = |name: &str| Broker {
            cluster: "c".to_owned(),
            name: name.to_owned(),
            addresses: [(0, format!("{name}:10911"))].into(),
        };
        let (queues, brokers) = (vec![range("a"), range("b")], vec![broker("a"), broker("b")]);
        Arc::new(Route { queues, brokers, ..Route::default() })
    }

    fn chosen(queues: &TopicQueues, avoided: &Avoided) -> Vec<String> {
        let name = |_| queues.next(avoided).map(|queue| queue.broker_name.clone());
        let mut names: Vec<String> = (0..4).filter_map(name).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn queues_take_turns_and_avoided_brokers_are_left_out() {
        let (queues, avoided) = (Queues::default(), Avoided::default());
        let topic = queues.of("t", &route());
        assert_eq!(chosen(&topic, &avoided), ["a", "a", "b", "b"]);
        avoided.add_for("a", Duration::from_mins(1));
        assert_eq!(chosen(&topic, &avoided), ["b"; 4]);
        avoided.add_for("b", Duration::from_mins(1));
        assert_eq!(chosen(&topic, &avoided), ["a", "a", "b", "b"]);
    }

    #[test]
    fn a_new_route_replaces_the_queues() {
        let (queues, first, second) = (Queues::default(), route(), route());
        assert!(Arc::ptr_eq(&queues.of("t", &first), &queues.of("t", &first)));
        assert!(!Arc::ptr_eq(&queues.of("t", &first), &queues.of("t", &second)));
        assert!(queues.of("x", &Arc::default()).next(&Avoided::default()).is_none());
    }
}

//! State that the parts of a running consumer share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::flow::{Flow, Room};
use super::health::Problems;
use super::in_flight::{InFlight, MessageKey};
use super::queue::Span;
use super::{ConsumerConfig, Handler};
use crate::protocol::message::StoredMessage;
use crate::protocol::route::MASTER_ID;
use crate::protocol::subscription::{Subscription, SubscriptionData};
use crate::{Client, Error, MessageQueue, Route};

/// Prefix of the topic with the redeliveries of a group.
pub(crate) const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of the topic with the dead letters of a group.
pub(crate) const DEAD_LETTER_PREFIX: &str = "%DLQ%";

/// Number of rebalances after which an absent queue is forgotten: about 10 minutes.
pub(crate) const MAX_ABSENCES: u32 = 30;

/// Turn of one commit after the other.
pub(crate) type Turn = tokio::sync::Mutex<()>;

/// State of a run.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) config: ConsumerConfig,
    /// Group as on the wire.
    pub(crate) group: String,
    /// Subscriptions by topic as on the wire, including the retry topic.
    pub(crate) subscriptions: BTreeMap<String, SubscriptionOf>,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) flow: Flow,
    pub(crate) in_flight: InFlight,
    /// One permit for each handler that runs.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) problems: Arc<Problems>,
    /// Pulled messages for the dispatcher. Bounded by `flow`.
    pub(crate) ready: mpsc::UnboundedSender<Ready>,
    /// The consumer stops: nothing starts any more.
    pub(crate) stop: CancellationToken,
    /// The time limit of the shutdown is over.
    pub(crate) abandon: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Asks for a rebalance, because the first send-back may have created the retry topic.
    pub(crate) retry_topic_created: Notify,
    /// Turns of the commits, by the name of the broker.
    commit_turns: Mutex<BTreeMap<String, Arc<Turn>>>,
    queues: Mutex<BTreeMap<MessageQueue, Arc<Queue>>>,
}

/// Subscription of a topic.
pub(crate) struct SubscriptionOf {
    pub(crate) tags: Subscription,
    pub(crate) data: SubscriptionData,
}

/// A pulled message.
pub(crate) struct Ready {
    pub(crate) queue: Arc<Queue>,
    pub(crate) epoch: u64,
    pub(crate) key: MessageKey,
    pub(crate) message: StoredMessage,
    /// Room of the message in the flow control, until the message is settled.
    pub(crate) _room: Room,
}

/// A queue that this member owns, or owned a short time ago.
pub(crate) struct Queue {
    pub(crate) id: MessageQueue,
    /// Id of the broker from which the broker suggests to pull: 0 for the master, others for slaves.
    pub(crate) suggested_broker: AtomicI64,
    /// Changes with each finished message.
    pub(crate) progress: watch::Sender<()>,
    /// Signals that an operator reset the offset.
    pub(crate) moved: Notify,
    state: Mutex<QueueState>,
}

/// State of a queue.
pub(crate) struct QueueState {
    pub(crate) span: Span,
    /// Token of the present ownership.
    pub(crate) owner: Option<CancellationToken>,
    /// Whether the start offset is known in the present ownership. Until then nothing is committed.
    pub(crate) active: bool,
    /// Offset that the broker has confirmed.
    pub(crate) committed: Option<i64>,
    /// Number of rebalances since the loss of the queue, or since its broker left the route.
    pub(crate) absences: u32,
    /// Offset to which an operator reset the queue before its start offset was known.
    pub(crate) reset_to: Option<i64>,
}

impl Queue {
    fn new(id: MessageQueue) -> Self {
        let state = QueueState {
            span: Span::new(),
            owner: None,
            active: false,
            committed: None,
            absences: 0,
            reset_to: None,
        };
        Self {
            id,
            suggested_broker: AtomicI64::new(0),
            progress: watch::Sender::default(),
            moved: Notify::new(),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the name of the queue in logs and problems.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}/{}", self.id.topic, self.id.broker_name, self.id.queue_id)
    }

    /// Returns the token of the present ownership, which a loss cancels. If this member does not own
    /// the queue, forgets the message and returns `None`: the new owner receives the message.
    pub(crate) fn owner_or_forget(&self, offset: i64, key: &MessageKey) -> Option<CancellationToken> {
        let mut state = self.state();
        if state.owner.is_none() {
            state.span.forget(offset, key);
        }
        state.owner.clone()
    }

    /// Marks a message as finished.
    pub(crate) fn finish(&self, offset: i64, key: &MessageKey) {
        self.state().span.finish(offset, key);
        self.progress.send_replace(());
    }

    /// Continues at an offset that an operator chose. The next commit stores it.
    pub(crate) fn reset(&self, offset: i64) {
        let mut state = self.state();
        state.committed = None;
        if state.active {
            state.span.reset(offset);
            self.moved.notify_one();
        } else if state.owner.is_some() {
            state.reset_to = Some(offset);
        }
    }

    /// Returns the address for pulls: of the suggested broker, or as in [`Route::address`]. A master that
    /// has left the route, and is connected again, comes before its slaves.
    pub(crate) fn pull_address<'a>(
        &self,
        route: &'a Route,
        is_connected: impl Fn(&str) -> bool,
    ) -> Option<&'a str> {
        let (name, suggested) = (&self.id.broker_name, self.suggested_broker.load(Ordering::Relaxed));
        let is_absent = suggested == MASTER_ID && route.absent.contains_key(name);
        let absent = route.master(name).filter(|address| is_absent && is_connected(address));
        absent.or_else(|| route.address(name, suggested))
    }
}

impl Session {
    #[expect(clippy::too_many_arguments, reason = "the parts of a run, each named")]
    pub(crate) fn new(
        client: Client,
        config: ConsumerConfig,
        topics: BTreeMap<String, Subscription>,
        version: i64,
        handler: Arc<dyn Handler>,
        problems: Arc<Problems>,
        stop: CancellationToken,
        ready: mpsc::UnboundedSender<Ready>,
    ) -> Self {
        let group = client.config().wire_name(&config.group);
        let mut topics: BTreeMap<String, Subscription> =
            topics.into_iter().map(|(topic, tags)| (client.config().wire_name(&topic), tags)).collect();
        topics.insert(format!("{RETRY_PREFIX}{group}"), Subscription::All);
        let subscription = |(topic, tags): (String, Subscription)| {
            let data = SubscriptionData::new(&topic, &tags, version);
            (topic, SubscriptionOf { tags, data })
        };
        Self {
            subscriptions: topics.into_iter().map(subscription).collect(),
            flow: Flow::new(config.max_in_flight * 2, config.max_bytes),
            in_flight: InFlight::default(),
            slots: Arc::new(Semaphore::new(config.max_in_flight)),
            abandon: CancellationToken::new(),
            tasks: TaskTracker::new(),
            retry_topic_created: Notify::new(),
            commit_turns: Mutex::default(),
            queues: Mutex::default(),
            group,
            client,
            config,
            handler,
            problems,
            ready,
            stop,
        }
    }

    /// Returns whether the topic has the redeliveries of the group.
    pub(crate) fn is_retry(&self, topic: &str) -> bool {
        topic.strip_prefix(RETRY_PREFIX) == Some(self.group.as_str())
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<MessageQueue, Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the turn of the commits to a broker.
    pub(crate) fn commit_turn(&self, broker_name: &str) -> Arc<Turn> {
        let mut turns = self.commit_turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(broker_name.to_owned()).or_default())
    }

    /// Returns the queue, also if this member does not own it.
    pub(crate) fn queue(&self, id: &MessageQueue) -> Arc<Queue> {
        let new = || Arc::new(Queue::new(id.clone()));
        Arc::clone(self.all().entry(id.clone()).or_insert_with(new))
    }

    /// Returns the queues that this member owns.
    pub(crate) fn owned(&self) -> Vec<Arc<Queue>> {
        self.all().values().filter(|queue| queue.state().owner.is_some()).cloned().collect()
    }

    /// Returns whether this member has read the retry topic.
    pub(crate) fn knows_retry_topic(&self) -> bool {
        self.all().keys().any(|queue| self.is_retry(&queue.topic))
    }

    /// Returns whether this member reads the queue, and the queue is not of the retry topic.
    pub(crate) fn reads(&self, queue: &Queue) -> bool {
        queue.state().active && !self.is_retry(&queue.id.topic)
    }

    /// Forgets queues that this member lost long ago.
    pub(crate) fn forget_lost_queues(&self) {
        self.all().retain(|_, queue| {
            let mut state = queue.state();
            if state.owner.is_none() && state.span.is_idle() {
                state.absences += 1;
            }
            state.absences < MAX_ABSENCES || state.owner.is_some()
        });
    }

    /// Returns the address of the master of a queue, otherwise of a slave.
    pub(crate) async fn master(&self, queue: &MessageQueue) -> Result<String, Error> {
        let route = self.client.route(&queue.topic).await?;
        let address = route.address(&queue.broker_name, MASTER_ID);
        address.map(str::to_owned).ok_or_else(|| no_broker(queue))
    }
}

/// Returns the error of a queue whose broker is absent from the route.
pub(crate) fn no_broker(queue: &MessageQueue) -> Error {
    Error::Unreachable {
        address: queue.broker_name.clone(),
        reason: format!("the route of topic {:?} has no address of this broker", queue.topic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;
    use crate::{Broker, QueueRange};

    fn route(brokers: &[(i64, &str)]) -> Route {
        let addresses = brokers.iter().map(|(id, address)| (*id, (*address).to_owned())).collect();
        let broker = Broker { cluster: "c".to_owned(), name: "a".to_owned(), addresses };
        let queues = vec![QueueRange { broker_name: "a".to_owned(), ..QueueRange::default() }];
        Route { queues, brokers: vec![broker], ..Route::default() }
    }

    #[test]
    fn pulls_go_to_an_absent_master_as_soon_as_it_is_connected_again() {
        let now = monotonic();
        let id = MessageQueue { broker_name: "a".to_owned(), ..MessageQueue::default() };
        let queue = Queue::new(id);
        let both = route(&[(0, "master"), (1, "slave")]);
        let slave = route(&[(1, "slave")]).with_absent(&both, now, now + std::time::Duration::from_secs(1));
        let none = Route::default().with_absent(&both, now, now + std::time::Duration::from_secs(1));
        for (route, connected, expected) in [
            (&both, false, Some("master")),
            (&slave, false, Some("slave")),
            (&slave, true, Some("master")),
            (&none, false, Some("master")),
            (&Route::default(), true, None),
        ] {
            assert_eq!(queue.pull_address(route, |_| connected), expected, "{route:?}");
        }
        queue.suggested_broker.store(1, Ordering::Relaxed);
        assert_eq!(queue.pull_address(&slave, |_| true), Some("slave"));
    }
}

//! Consumer: reads topics as a member of a consumer group.
//!
//! The members of a group share the queues of a topic. They may be of any client that allocates
//! queues by `AllocateMessageQueueAveragely`, such as those of Java and Go. A message that a member
//! has not finished when it leaves or loses the queue is delivered to the next owner.

mod allocate;
mod config;
mod dispatch;
mod flow;
mod handler;
mod health;
mod in_flight;
mod members;
mod offsets;
mod peers;
mod pull;
mod queue;
mod rebalance;
mod recent;
mod reset;
mod session;
mod settle;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use config::{ConsumerConfig, StartFrom};
pub use handler::{Disposition, Handler, Received};
pub use health::{Health, Problem};

use crate::clock::now_ms;
pub use crate::protocol::subscription::Subscription;
use crate::{Client, Error, GroupMember};
use health::Problems;
use session::Session;

/// Member of a consumer group.
pub struct Consumer {
    client: Client,
    config: ConsumerConfig,
    problems: Arc<Problems>,
    session: Mutex<Weak<Session>>,
}

impl Consumer {
    /// Creates a consumer. It does not connect before [`run`](Self::run). A client has at most one
    /// consumer per group: its id is that of the member.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of its bounds.
    pub fn new(client: Client, config: ConsumerConfig) -> Result<Self, Error> {
        config.validate()?;
        Ok(Self { client, config, problems: Arc::default(), session: Mutex::default() })
    }

    /// Reads the topics until `shutdown`. It repeats failed requests for ever. `topics` are the
    /// subscriptions by topic, without the namespace. All members of a group must have the same.
    ///
    /// After `shutdown` it starts no handler any more. It waits for the running handlers without a
    /// time limit, and its queues stand still meanwhile. Then it settles their messages, commits the offsets and leaves the group. Messages that did
    /// not start stay untouched: the next owner receives them as if they had never been pulled.
    ///
    /// Dropping the future stops the consumer without a commit. Its running handlers continue.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no topic, if the consumer runs already, if another consumer of the
    /// client reads for the group, or if other members have another subscription and the settings
    /// refuse that.
    pub async fn run(
        &self,
        topics: BTreeMap<String, Subscription>,
        handler: Arc<dyn Handler>,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        if topics.is_empty() {
            return Err(Error::Config("the consumer has no topic: subscribe to at least one".to_owned()));
        }
        let stop = shutdown.child_token();
        // The end of this future ends all its tasks.
        let _stop = stop.clone().drop_guard();
        let (ready, pulled) = mpsc::unbounded_channel();
        let session = Arc::new(Session::new(
            self.client.clone(),
            self.config.clone(),
            topics,
            now_ms(),
            handler,
            Arc::clone(&self.problems),
            stop.clone(),
            ready,
        ));
        self.occupy(&session)?;
        if let Some(compared) = stop.run_until_cancelled(peers::compare_at_start(&session)).await {
            compared?;
        }
        self.consume(&session, pulled, stop).await
    }

    /// Reserves the consumer for a run. Two runs of one client would have the same id in the group.
    fn occupy(&self, session: &Arc<Session>) -> Result<(), Error> {
        let mut present = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if present.strong_count() > 0 {
            return Err(Error::Config(
                "the consumer runs already: create another client and consumer".to_owned(),
            ));
        }
        *present = Arc::downgrade(session);
        Ok(())
    }

    async fn consume(
        &self,
        session: &Arc<Session>,
        pulled: mpsc::UnboundedReceiver<session::Ready>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let (requests, resets) = (self.client.server_requests(), self.client.server_requests());
        let membership = self.client.join(member(session))?;
        let end_of_commits = CancellationToken::new();
        let _end = end_of_commits.clone().drop_guard();
        let commits = tokio::spawn(offsets::run(Arc::clone(session), end_of_commits.clone()));
        let reset = tokio::spawn(reset::run(Arc::clone(session), resets));
        let compare = tokio::spawn(peers::run(Arc::clone(session)));
        let rebalance = tokio::spawn(rebalance::run(Arc::clone(session), requests));
        let dispatch = tokio::spawn(dispatch::run(Arc::clone(session), pulled));
        stop.cancelled().await;
        // After the dispatcher no handler starts any more.
        let _ = tokio::join!(dispatch, rebalance, compare, reset);
        session.settle().await;
        end_of_commits.cancel();
        let last_commit = async {
            // An earlier commit that arrives later would set the offsets back.
            let _ = commits.await;
            offsets::commit_all(session, false).await;
        };
        let _ = tokio::time::timeout(self.config.settle_timeout, last_commit).await;
        membership.leave().await;
        Ok(())
    }

    /// Returns the state of the consumer.
    pub fn health(&self) -> Health {
        let problems = self.problems.list();
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let Some(session) = session else { return Health { problems, ..Health::default() } };
        Health {
            running: true,
            queues: session.owned().iter().filter(|queue| session.reads(queue)).count(),
            in_flight: session.in_flight.len(),
            pulled: session.flow.used_messages(),
            pulled_bytes: session.flow.used_bytes(),
            problems,
        }
    }
}

impl Session {
    /// Waits for the running handlers, and then a limited time until their verdicts are sent.
    async fn settle(&self) {
        // All slots are free: no handler runs.
        let slots = u32::try_from(self.config.max_in_flight).unwrap_or(u32::MAX);
        let _ = self.slots.acquire_many(slots).await;
        self.tasks.close();
        if tokio::time::timeout(self.config.settle_timeout, self.tasks.wait()).await.is_err() {
            self.abandon.cancel();
            self.tasks.wait().await;
        }
    }
}

fn member(session: &Session) -> GroupMember {
    let consume_from = match session.config.start_from {
        StartFrom::First => "CONSUME_FROM_FIRST_OFFSET",
        StartFrom::Last => "CONSUME_FROM_LAST_OFFSET",
        StartFrom::Time(_) => "CONSUME_FROM_TIMESTAMP",
    };
    GroupMember::Consumer {
        group: session.group.clone(),
        consume_from,
        subscriptions: session.subscriptions.values().map(|subscription| subscription.data.clone()).collect(),
    }
}

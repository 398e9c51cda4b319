//! Rebalance: which queues belong to this member (`RebalanceImpl.java`, `RebalanceService.java`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::allocate::allocate;
use super::members::Members;
use super::recent::RecentQueues;
use super::session::{MAX_ABSENCES, Queue, Session};
use super::{offsets, pull};
use crate::clock::monotonic;
use crate::{Error, MessageQueue, Route, ServerRequest};

/// Pause after a rebalance that did not succeed, as in Java.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Pause while the first heartbeats are on their way to the brokers.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Number of rebalances with the short pause.
const FIRST_REBALANCES: u32 = 10;

/// What the member remembers about a topic.
#[derive(Default)]
struct Topic {
    members: Members,
    queues: RecentQueues,
}

/// Rebalances until the consumer stops.
pub(crate) async fn run(session: Arc<Session>, mut requests: broadcast::Receiver<ServerRequest>) {
    let mut topics: BTreeMap<String, Topic> = BTreeMap::new();
    let mut first = FIRST_REBALANCES;
    loop {
        let rebalanced = rebalance(&session, &mut topics, first > 0);
        let Some(balanced) = session.stop.run_until_cancelled(rebalanced).await else { return };
        let pause = match balanced {
            true => session.config.rebalance_interval,
            false if first > 0 => FIRST_PAUSE,
            false => RETRY_PAUSE,
        };
        first = first.saturating_sub(1);
        tokio::select! {
            () = session.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = retry_topic_created(&session) => {}
            () = group_changed(&mut requests, &session.group) => {}
        }
    }
}

/// Waits for a send-back while this member knows no retry topic.
async fn retry_topic_created(session: &Session) {
    session.retry_topic_created.notified().await;
    if session.knows_retry_topic() {
        std::future::pending::<()>().await;
    }
}

/// Waits for a broker's notification that a member joined or left.
async fn group_changed(requests: &mut broadcast::Receiver<ServerRequest>, changed: &str) {
    loop {
        match requests.recv().await {
            Ok(ServerRequest::GroupChanged { group }) if group == changed => break,
            Ok(_) => {}
            // Some requests are lost: one of them may have been a notification.
            Err(RecvError::Lagged(_)) => break,
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
    // Further notifications up to now are about the same change.
    while requests.try_recv().is_ok() {}
}

/// Rebalances all topics. Returns false if some topic must be tried again soon. `first` says that the
/// first heartbeats are on their way.
async fn rebalance(session: &Arc<Session>, topics: &mut BTreeMap<String, Topic>, first: bool) -> bool {
    let mut balanced = true;
    for topic in session.subscriptions.keys() {
        let operation = format!("rebalance {topic}");
        match rebalance_topic(session, topic, topics.entry(topic.clone()).or_default()).await {
            Ok(done) => {
                balanced &= done;
                session.problems.resolve(&operation, "");
            }
            // Brokers create the retry topic at the first heartbeat or send-back.
            Err(Error::TopicNotFound { .. }) if session.is_retry(topic) => balanced &= !first,
            Err(error) => {
                balanced = false;
                session.problems.report(&operation, "", &error);
            }
        }
    }
    session.forget_lost_queues();
    balanced
}

async fn rebalance_topic(session: &Arc<Session>, topic: &str, known: &mut Topic) -> Result<bool, Error> {
    let client = &session.client;
    let route = client.route(topic).await?;
    let queues = route.read_queues(topic);
    if queues.is_empty() {
        return Err(Error::NoQueue { topic: topic.to_owned(), operation: "read" });
    }
    // Without a trustworthy list of members, each member keeps its queues.
    let Some(members) = known.members.read(client, &session.group, &route).await? else { return Ok(false) };
    let queues = known.queues.with_absent(queues, &route, monotonic());
    let mine = allocate(client.client_id(), &queues, &members);
    apply(session, topic, &route, mine, members.len());
    Ok(true)
}

/// Gives up the queues of the topic that belong to others, and takes those that belong to this
/// member.
fn apply(session: &Arc<Session>, topic: &str, route: &Route, mine: &[MessageQueue], members: usize) {
    let owned = session.owned();
    for queue in owned.iter().filter(|queue| queue.id.topic == topic) {
        if mine.contains(&queue.id) {
            queue.state().absences = 0;
        } else if is_given_up(queue, route) {
            lose(session, queue);
        }
    }
    let delay = if members > 1 { session.config.takeover_delay } else { Duration::ZERO };
    for id in mine {
        let queue = session.queue(id);
        if queue.state().owner.is_none() {
            take(session, queue, delay);
        }
    }
}

/// Returns whether a queue that was not allocated to this member is lost. The queues of a broker that
/// left the route for a short time have no other owner: their handlers continue.
fn is_given_up(queue: &Queue, route: &Route) -> bool {
    let mut state = queue.state();
    state.absences += 1;
    route.broker(&queue.id.broker_name).is_some() || state.absences > MAX_ABSENCES
}

/// Takes a queue. The pull loop starts after the delay.
fn take(session: &Arc<Session>, queue: Arc<Queue>, delay: Duration) {
    let lost = CancellationToken::new();
    {
        let mut state = queue.state();
        state.owner = Some(lost.clone());
        state.absences = 0;
    }
    tracing::debug!(queue = queue.name(), group = session.group, "queue taken");
    let session = Arc::clone(session);
    tokio::spawn(async move {
        let own = pull::run(&session, &queue, &lost, delay);
        tokio::select! {
            () = own => {}
            () = lost.cancelled() => {}
            () = session.stop.cancelled() => {}
        }
    });
}

/// Gives up a queue. Its running handlers continue; its waiting messages are forgotten.
fn lose(session: &Arc<Session>, queue: &Arc<Queue>) {
    let committed = {
        let mut state = queue.state();
        if let Some(owner) = state.owner.take() {
            owner.cancel();
        }
        state.span.drop_waiting();
        state.reset_to = None;
        std::mem::take(&mut state.active).then(|| state.span.commit_offset())
    };
    session.problems.forget(&queue.name());
    tracing::debug!(queue = queue.name(), group = session.group, "queue given up");
    if let Some(offset) = committed {
        session.tasks.spawn(offsets::hand_over(Arc::clone(session), Arc::clone(queue), offset));
    }
}

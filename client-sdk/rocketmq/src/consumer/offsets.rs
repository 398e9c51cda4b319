//! Offsets of the group: where to start, and what is done (`RemoteBrokerOffsetStore.java`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::StartFrom;
use super::session::{Queue, Session};
use crate::protocol::codes;
use crate::protocol::json::Json;
use crate::{Command, Error, MessageQueue};

/// `GET_ALL_CONSUMER_OFFSET`.
const GET_ALL_CONSUMER_OFFSET: i32 = 43;
/// Number of commit intervals after which an unchanged offset is committed again. A broker that
/// crashed may have lost it.
const REPEAT: u32 = 10;
/// Time limit of one commit, and of the wait for the one before it.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time in which running messages of a lost queue may finish and still be committed.
const DRAIN_TIME: Duration = Duration::from_millis(700);

/// Returns the offset at which to start a queue.
pub(crate) async fn start(session: &Session, queue: &Queue) -> Result<i64, Error> {
    let address = session.master(&queue.id).await?;
    if let Some(offset) = query(session, &queue.id, &address).await? {
        queue.state().committed = Some(offset);
        return Ok(offset);
    }
    // The next commit fixes the start.
    queue.state().committed = None;
    let from = if session.is_retry(&queue.id.topic) { StartFrom::First } else { session.config.start_from };
    let offset = without_committed(session, &queue.id, &address, from).await?;
    tracing::info!(
        queue = queue.name(), group = session.group, offset, start_from = ?from,
        "the group has no offset in the queue; starting"
    );
    Ok(offset)
}

/// Returns the committed offset of the group, if any.
async fn query(session: &Session, queue: &MessageQueue, address: &str) -> Result<Option<i64>, Error> {
    let offset = committed(session, &session.group, queue, address).await?;
    if offset != Some(0) || session.config.start_from == StartFrom::First || session.is_retry(&queue.topic) {
        return Ok(offset);
    }
    // Brokers before 5.0 answer 0 also for a group without an offset, if the queue is young.
    let nobody = format!("{}-none", session.group);
    if committed(session, &nobody, queue, address).await.ok().flatten() == Some(0) {
        return Ok(is_stored(session, queue, address).await.then_some(0));
    }
    Ok(offset)
}

/// `QUERY_CONSUMER_OFFSET` = 14 (`QueryConsumerOffsetRequestHeader.java`).
async fn committed(
    session: &Session,
    group: &str,
    queue: &MessageQueue,
    address: &str,
) -> Result<Option<i64>, Error> {
    let request = of_queue(codes::QUERY_CONSUMER_OFFSET, queue)
        .field("consumerGroup", group)
        .field("setZeroIfNotFound", false);
    let answer = session.client.call(address, request, session.client.config().request_timeout).await?;
    if answer.code == codes::QUERY_NOT_FOUND {
        return Ok(None);
    }
    let offset: i64 = answer.success(address)?.parse("offset", address)?;
    Ok(Some(offset).filter(|offset| *offset >= 0))
}

/// Returns whether the broker has stored an offset of the group in the queue:
/// `GET_ALL_CONSUMER_OFFSET` = 43 (`ConsumerOffsetSerializeWrapper.java`). If the broker does not
/// answer, it has: starting too early loses nothing.
async fn is_stored(session: &Session, queue: &MessageQueue, address: &str) -> bool {
    let request = Command::request(GET_ALL_CONSUMER_OFFSET);
    let answer = session.client.call(address, request, session.client.config().request_timeout).await;
    let Ok(answer) = answer.and_then(|answer| answer.success(address)) else { return true };
    let Ok(all) = Json::parse(&answer.body) else { return true };
    let Some(table) = all.get("offsetTable") else { return true };
    let offsets = table.get(&format!("{}@{}", queue.topic, session.group)).map_or(&[][..], Json::entries);
    offsets.iter().any(|(id, _)| id.as_i64() == Some(i64::from(queue.queue_id)))
}

/// `GET_MIN_OFFSET` = 31, `GET_MAX_OFFSET` = 30, `SEARCH_OFFSET_BY_TIMESTAMP` = 29
/// (`GetMinOffsetRequestHeader.java`, `GetMaxOffsetRequestHeader.java`,
/// `SearchOffsetRequestHeader.java`).
async fn without_committed(
    session: &Session,
    queue: &MessageQueue,
    address: &str,
    from: StartFrom,
) -> Result<i64, Error> {
    let request = match from {
        StartFrom::First => of_queue(codes::GET_MIN_OFFSET, queue),
        StartFrom::Last => of_queue(codes::GET_MAX_OFFSET, queue),
        StartFrom::Time(time) => {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            of_queue(codes::SEARCH_OFFSET_BY_TIMESTAMP, queue).field("timestamp", since)
        }
    };
    let answer = session.client.call(address, request, session.client.config().request_timeout).await?;
    let offset: i64 = answer.success(address)?.parse("offset", address)?;
    // The minimum offset of an empty queue may be -1.
    Ok(offset.max(0))
}

/// Creates a request about a queue. Proxies need the name of the broker (`TopicQueueRequestHeader`).
pub(crate) fn of_queue(code: i32, queue: &MessageQueue) -> Command {
    Command::request(code)
        .field("topic", &queue.topic)
        .field("queueId", queue.queue_id)
        .field("bname", &queue.broker_name)
}

/// `UPDATE_CONSUMER_OFFSET` = 15 (`UpdateConsumerOffsetRequestHeader.java`).
///
/// Java sends it one-way. Here the broker confirms, so that a lost commit is repeated. Each broker gets
/// one commit after the other: of the first commits of a group that arrive together, brokers up to 5.5
/// forget all but one (<https://github.com/apache/rocketmq/issues/10700>).
async fn commit(session: &Session, queue: &MessageQueue, offset: i64) -> Result<(), Error> {
    let address = session.master(queue).await?;
    let turn = session.commit_turn(&queue.broker_name);
    let _turn = timeout(COMMIT_TIMEOUT, turn.lock()).await.map_err(|_| Error::Unreachable {
        address: address.clone(),
        reason: "the commit before this one has no answer yet".to_owned(),
    })?;
    let request = of_queue(codes::UPDATE_CONSUMER_OFFSET, queue)
        .field("consumerGroup", &session.group)
        .field("commitOffset", offset);
    session.client.call(&address, request, COMMIT_TIMEOUT).await?.success(&address)?;
    Ok(())
}

/// Commits the offsets of the owned queues, until the consumer stops.
pub(crate) async fn run(session: Arc<Session>, stop: tokio_util::sync::CancellationToken) {
    let mut ticks = tokio::time::interval(session.config.commit_interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for tick in 1_u32.. {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => commit_all(&session, tick.is_multiple_of(REPEAT)).await,
        }
    }
}

/// Commits the offsets of the owned queues that changed, or of all. Brokers are independent of each
/// other: one that hangs does not delay the others.
pub(crate) async fn commit_all(session: &Arc<Session>, unchanged_too: bool) {
    let mut by_broker: BTreeMap<String, Vec<Arc<Queue>>> = BTreeMap::new();
    for queue in session.owned() {
        by_broker.entry(queue.id.broker_name.clone()).or_default().push(queue);
    }
    let mut brokers = JoinSet::new();
    for (broker, queues) in by_broker {
        brokers.spawn(commit_on(Arc::clone(session), broker, queues, unchanged_too));
    }
    while brokers.join_next().await.is_some() {}
}

async fn commit_on(session: Arc<Session>, broker: String, queues: Vec<Arc<Queue>>, unchanged_too: bool) {
    let operation = format!("commit {broker}");
    for queue in queues {
        let Some(offset) = due(&queue, unchanged_too) else { continue };
        match commit(&session, &queue.id, offset).await {
            Ok(()) => {
                confirm(&queue, offset);
                session.problems.resolve(&operation, &queue.name());
            }
            Err(error) => {
                // Unknown: the next interval commits again.
                queue.state().committed = None;
                session.problems.report(&operation, &queue.name(), &error);
                if error.code().is_none() {
                    // The broker does not answer: the other queues would only wait.
                    return;
                }
            }
        }
    }
}

fn due(queue: &Queue, unchanged_too: bool) -> Option<i64> {
    let state = queue.state();
    let offset = state.span.commit_offset();
    (state.active && (unchanged_too || state.committed != Some(offset))).then_some(offset)
}

fn confirm(queue: &Queue, offset: i64) {
    let mut state = queue.state();
    if state.active {
        state.committed = Some(offset);
    }
}

/// Commits the offset of a lost queue. Then waits a short time for its running messages: what they
/// finish is committed as well, unless the new owner has committed.
pub(crate) async fn hand_over(session: Arc<Session>, queue: Arc<Queue>, offset: i64) {
    if let Err(error) = commit(&session, &queue.id, offset).await {
        tracing::warn!(queue = queue.name(), offset, %error, "the offset of a lost queue is not committed");
        return;
    }
    let epoch = queue.state().span.epoch();
    let drained = async {
        let mut progress = queue.progress.subscribe();
        while !queue.state().span.is_idle() && progress.changed().await.is_ok() {}
    };
    let _ = timeout(DRAIN_TIME, drained).await;
    let finished = {
        let state = queue.state();
        let finished = state.span.commit_offset();
        (state.owner.is_none() && state.span.epoch() == epoch && finished > offset).then_some(finished)
    };
    let Some(finished) = finished else { return };
    let Ok(address) = session.master(&queue.id).await else { return };
    let present = committed(&session, &session.group, &queue.id, &address).await;
    if present == Ok(Some(offset)) {
        let _ = commit(&session, &queue.id, finished).await;
    }
}

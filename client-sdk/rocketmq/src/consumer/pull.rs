//! Pull loop of one queue (`PullAPIWrapper.java`, `DefaultMQPushConsumerImpl.java`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::flow::Reserved;
use super::in_flight::MessageKey;
use super::offsets::{self, of_queue};
use super::session::{Queue, Ready, Session, no_broker};
use crate::protocol::codes;
use crate::protocol::message::{StoredMessage, decode_messages};
use crate::protocol::properties::TAGS;
use crate::protocol::route::MASTER_ID;
use crate::{Command, Error};

/// Bit of the system flag of a pull (`PullSysFlag.java`): the broker waits for a message.
const SUSPEND_FLAG: i32 = 1 << 1;
/// Bit of the system flag of a pull: the broker filters by the expression of the request, not by that
/// of the last heartbeat of any member.
const SUBSCRIPTION_FLAG: i32 = 1 << 2;
/// Time that the broker waits for a message, as in Java.
const SUSPEND: Duration = Duration::from_secs(15);
/// Time limit of a pull, as in Java.
const PULL_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after an answer without a message. Brokers without long polling answer at once.
const EMPTY_PAUSE: Duration = Duration::from_millis(10);
/// Shortest and longest pause after an error.
const ERROR_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(1_500));
/// Response of a broker that asks to pull less often.
const BUSY: [i32; 2] = [codes::SYSTEM_BUSY, codes::FLOW_CONTROL];

/// Answer to a pull.
enum Pulled {
    /// Messages, and the offset of the next pull.
    Found(Vec<StoredMessage>, i64),
    /// No message up to the offset of the next pull.
    Nothing(i64),
    /// The requested offset is invalid, or an operator reset the offset of the group.
    Moved(i64),
}

/// Kind of the next pull.
#[derive(Debug, Clone, Copy)]
enum Plan {
    /// The queue is idle: the broker waits for a message. No room is reserved meanwhile, because many
    /// idle queues would reserve all of it. A message without room on arrival is pulled again.
    Wait,
    /// The queue has messages: room is reserved before the pull, so that nothing is pulled in vain.
    Reserve {
        /// Number of messages.
        messages: usize,
        /// Their expected size.
        bytes: usize,
    },
}

/// Pulls from the queue until the future is dropped.
pub(crate) async fn run(
    session: &Arc<Session>,
    queue: &Arc<Queue>,
    lost: &CancellationToken,
    delay: Duration,
) {
    tokio::time::sleep(delay).await;
    let puller = Puller { session, queue, lost, name: queue.name() };
    let start = puller.repeat("query the offset of", |_| offsets::start(session, queue)).await;
    puller.restart(start);
    let mut plan = Plan::Wait;
    loop {
        // After a failure the broker answers at once, so that the end of the problem is noticed.
        let next = |failures: u32| if failures == 0 { plan } else { Plan::Reserve { messages: 1, bytes: 1 } };
        let step = async {
            let plan = puller.repeat("pull", |failures| puller.pull(next(failures))).await;
            puller.wait_for_span().await;
            plan
        };
        plan = tokio::select! {
            plan = step => plan,
            () = queue.moved.notified() => Plan::Wait,
        };
    }
}

struct Puller<'a> {
    session: &'a Arc<Session>,
    queue: &'a Arc<Queue>,
    lost: &'a CancellationToken,
    name: String,
}

impl Puller<'_> {
    /// Repeats an operation until it succeeds, with growing pauses. The operation gets the number of
    /// failures.
    async fn repeat<T, F>(&self, what: &str, operation: impl Fn(u32) -> F) -> T
    where
        F: Future<Output = Result<T, Error>>,
    {
        let problem = format!("{what} {} on {}", self.queue.id.topic, self.queue.id.broker_name);
        let mut pause = ERROR_PAUSES.0;
        let mut failures = 0_u32;
        loop {
            match operation(failures).await {
                Ok(value) => {
                    self.session.problems.resolve(&problem, &self.name);
                    return value;
                }
                Err(error) => {
                    let busy = error.code().is_some_and(|code| BUSY.contains(&code));
                    if !busy {
                        self.session.problems.report(&problem, &self.name, &error);
                    }
                    self.after_error(&error, pause).await;
                    pause = (pause * 2).min(ERROR_PAUSES.1);
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    async fn after_error(&self, error: &Error, pause: Duration) {
        self.queue.suggested_broker.store(MASTER_ID, Ordering::Relaxed);
        // Jitter: the queues of a broker do not return all at once.
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        if error.code().is_none() {
            // The broker may have another address now.
            let _ = self.session.client.refresh_route(&self.queue.id.topic).await;
        }
    }

    /// Starts reading at this offset.
    fn restart(&self, offset: i64) {
        let mut state = self.queue.state();
        // After a loss the token of this ownership is cancelled, and another one may be present.
        if !self.lost.is_cancelled() {
            let reset_to = state.reset_to.take();
            state.span.restart(reset_to.unwrap_or(offset));
            state.active = true;
        }
    }

    /// Waits while too many messages behind the lowest unfinished one are finished or pulled.
    async fn wait_for_span(&self) {
        let mut progress = self.queue.progress.subscribe();
        let is_full = || self.queue.state().span.len() >= self.session.config.max_span;
        while is_full() && progress.changed().await.is_ok() {}
    }

    /// Pulls once. Returns the plan of the next pull.
    async fn pull(&self, plan: Plan) -> Result<Plan, Error> {
        let flow = &self.session.flow;
        let mut reserved = match plan {
            Plan::Reserve { messages, bytes } => flow.reserve(messages, bytes).await,
            Plan::Wait => {
                // A pull without room for any message would be in vain.
                drop(flow.reserve(1, 1).await);
                None
            }
        };
        let (offset, epoch, span) = {
            let state = self.queue.state();
            (state.span.next(), state.span.epoch(), state.span.len())
        };
        let max = reserved.as_ref().map_or_else(|| flow.free_messages(), Reserved::messages);
        let max =
            max.min(self.session.config.pull_batch).min(self.session.config.max_span.saturating_sub(span));
        match self.ask(offset, max.max(1), reserved.is_none()).await? {
            Pulled::Found(messages, next) if !messages.is_empty() => {
                return Ok(self.accept(messages, &mut reserved, offset, next, epoch));
            }
            Pulled::Found(_, next) | Pulled::Nothing(next) => self.advance(epoch, next.max(offset)),
            Pulled::Moved(next) => self.reset(epoch, offset, next),
        }
        if reserved.is_none() {
            tokio::time::sleep(EMPTY_PAUSE).await;
        }
        Ok(Plan::Wait)
    }

    fn reset(&self, epoch: u64, from: i64, to: i64) {
        tracing::warn!(queue = self.name, from, to, "the broker moved the offset");
        let mut state = self.queue.state();
        if state.span.epoch() == epoch {
            state.committed = None;
            state.span.reset(to);
        }
    }

    fn advance(&self, epoch: u64, next: i64) {
        let mut state = self.queue.state();
        if state.span.epoch() == epoch {
            state.span.advance(next);
        }
    }

    /// Hands over the messages for which there is room. The others are pulled again.
    fn accept(
        &self,
        messages: Vec<StoredMessage>,
        reserved: &mut Option<Reserved>,
        offset: i64,
        next: i64,
        epoch: u64,
    ) -> Plan {
        let sizes = messages.iter().map(StoredMessage::memory).sum::<usize>() / messages.len().max(1);
        let batch = (self.session.config.max_in_flight / 2).clamp(1, self.session.config.pull_batch);
        let mut plan = Plan::Reserve { messages: batch, bytes: self.session.flow.share(batch * sizes) };
        let mut state = self.queue.state();
        if state.span.epoch() != epoch {
            return Plan::Wait;
        }
        let mut end = next.max(offset);
        for message in messages {
            // A stored batch may begin before the requested offset.
            if message.queue_offset < offset || !self.is_subscribed(&message) {
                continue;
            }
            let size = message.memory();
            let Some(room) = self.session.flow.take(reserved, size) else {
                end = message.queue_offset;
                plan = Plan::Reserve { messages: 1, bytes: size };
                break;
            };
            end = end.max(message.queue_offset.saturating_add(1));
            let key = MessageKey::of(&message);
            if state.span.add(message.queue_offset, key.clone()) {
                let ready = Ready { queue: Arc::clone(self.queue), epoch, key, message, _room: room };
                // The dispatcher ends before the queues when the consumer stops.
                let _ = self.session.ready.send(ready);
            }
        }
        state.span.advance(end);
        plan
    }

    /// Brokers filter by the hash of the tag, which other tags may have.
    fn is_subscribed(&self, message: &StoredMessage) -> bool {
        let subscription = self.session.subscriptions.get(&self.queue.id.topic);
        subscription.is_some_and(|subscription| subscription.tags.matches(message.property(TAGS)))
    }

    /// `PULL_MESSAGE` = 11 (`PullMessageRequestHeader.java`).
    async fn ask(&self, offset: i64, max_messages: usize, wait: bool) -> Result<Pulled, Error> {
        let id = &self.queue.id;
        let client = &self.session.client;
        let route = client.route(&id.topic).await?;
        let address = self.queue.pull_address(&route, |address| client.is_connected(address));
        let address = address.ok_or_else(|| no_broker(id))?;
        let request = self.request(offset, max_messages, wait);
        let timeout = if wait { PULL_TIMEOUT } else { client.config().request_timeout };
        let answer = client.call(address, request, timeout).await?;
        if let Some(broker) = answer.fields.get("suggestWhichBrokerId").and_then(|id| id.parse().ok()) {
            self.queue.suggested_broker.store(broker, Ordering::Relaxed);
        }
        answer_of(answer, address)
    }

    fn request(&self, offset: i64, max_messages: usize, wait: bool) -> Command {
        let (session, id) = (self.session, &self.queue.id);
        let request = of_queue(codes::PULL_MESSAGE, id)
            .field("consumerGroup", &session.group)
            .field("queueOffset", offset)
            .field("maxMsgNums", max_messages)
            .field("sysFlag", if wait { SUBSCRIPTION_FLAG | SUSPEND_FLAG } else { SUBSCRIPTION_FLAG })
            .field("commitOffset", 0)
            .field("suspendTimeoutMillis", SUSPEND.as_millis())
            .field("maxMsgBytes", session.flow.free_bytes().clamp(1, i32::MAX as usize));
        match session.subscriptions.get(&id.topic) {
            Some(subscription) => request
                .field("subscription", &subscription.data.sub_string)
                .field("subVersion", subscription.data.sub_version)
                .field("expressionType", &subscription.data.expression_type),
            None => request,
        }
    }
}

/// Reads a pull answer (`PullMessageResponseHeader.java`).
fn answer_of(answer: Command, address: &str) -> Result<Pulled, Error> {
    let next = |answer: &Command| -> Result<i64, Error> {
        let next: i64 = answer.parse("nextBeginOffset", address)?;
        let invalid = || Error::Protocol {
            address: address.to_owned(),
            reason: format!("negative offset {next} of the next pull"),
        };
        (next >= 0).then_some(next).ok_or_else(invalid)
    };
    match answer.code {
        codes::SUCCESS => found(&answer, next(&answer)?, address),
        codes::PULL_NOT_FOUND | codes::PULL_RETRY_IMMEDIATELY => Ok(Pulled::Nothing(next(&answer)?)),
        codes::PULL_OFFSET_MOVED => Ok(Pulled::Moved(next(&answer)?)),
        _ => Err(answer.refusal(address)),
    }
}

fn found(answer: &Command, next: i64, address: &str) -> Result<Pulled, Error> {
    let (mut messages, error) = decode_messages(&answer.body);
    // Static topics: the broker's queue offsets differ from those of the topic.
    let delta = answer.fields.get("offsetDelta").and_then(|delta| delta.parse().ok()).unwrap_or(0_i64);
    for message in &mut messages {
        message.queue_offset = message.queue_offset.saturating_add(delta);
    }
    match (error, messages.last()) {
        (None, _) => Ok(Pulled::Found(messages, next)),
        (Some(error), None) => {
            Err(Error::Protocol { address: address.to_owned(), reason: format!("pulled messages: {error}") })
        }
        // Continue behind the last good message: the next pull shows whether the fault lasts.
        (Some(_), Some(last)) => {
            let next = last.queue_offset.saturating_add(1);
            Ok(Pulled::Found(messages, next))
        }
    }
}

//! Hands runs over, to the bus or into their queues: steps 4 and 5 of "How a run fires".

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::node::Node;
use crate::core::run::Outcome;
use crate::core::{Moment, Run};
use crate::ports::{BusMessage, PortError, Result};

/// Names of the user properties that every message carries. The SDK reads the same ones.
pub mod property {
    /// The run's id: the same in every copy and every attempt.
    pub const RUN_ID: &str = "TC_RUN_ID";
    /// The attempt, from 1.
    pub const ATTEMPT: &str = "TC_ATTEMPT";
    /// The nominal moment, in unix milliseconds.
    pub const SCHEDULED_AT: &str = "TC_SCHEDULED_AT";
    /// How often a node has taken the run on: an epoch to fence on.
    pub const CLAIM: &str = "TC_CLAIM";
    /// The attempt's token, which a report must show.
    pub const TOKEN: &str = "TC_TOKEN";
    /// "1" where the server waits for a report.
    pub const ACK: &str = "TC_ACK";
}

/// Tries to write down that messages were confirmed, before the lease is left to run out and they are sent again.
const MARK_TRIES: u32 = 5;

/// Messages that are sent and marked together, at most: so many that the adapter's batches of them are all under way at once, and a
/// broker that is slow delays the first no longer than the last.
const PART: usize = 256;
/// Bytes of them, at most; one that has more stands alone.
const PART_BYTES: usize = 4 * 1024 * 1024;
/// Parts under way.
const PARTS_AT_ONCE: usize = 4;

/// Hands over runs that this node holds and whose tasks have passed their moments. What is not confirmed stays `firing`, and is
/// rescued when its lease has run out.
pub async fn publish(node: &Node, runs: Vec<Run>) {
    let runs = still_held(runs, node.skew.eager(node.clock.now()));
    let (queued, sent): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(|run| run.queue.is_some());
    tokio::join!(queue(node, queued), send(node, sent));
}

/// A queue is a state of the ledger: the write that marks the runs hands them over.
async fn queue(node: &Node, runs: Vec<Run>) {
    if runs.is_empty() {
        return;
    }
    crate::failpoint!("fire::before_queue");
    let queues: BTreeSet<String> = runs.iter().filter_map(|run| run.queue.clone()).collect();
    mark(node, runs, node.clock.now()).await;
    node.hints.ready(queues);
}

async fn send(node: &Node, runs: Vec<Run>) {
    stream::iter(parts(runs)).for_each_concurrent(PARTS_AT_ONCE, |part| send_part(node, part)).await;
}

/// Cuts runs into parts that the broker can be expected to take within half of a lease.
fn parts(runs: Vec<Run>) -> Vec<Vec<Run>> {
    let mut parts: Vec<Vec<Run>> = Vec::new();
    let mut bytes = 0;
    for run in runs {
        bytes += run.data.len();
        match parts.last_mut() {
            Some(part) if part.len() < PART && bytes <= PART_BYTES => part.push(run),
            _ => {
                bytes = run.data.len();
                parts.push(vec![run]);
            }
        }
    }
    parts
}

/// Sends what is held for long enough, and marks it before anybody may take it over. A part that has come too late for that is left to
/// whoever takes it on when its lease has run out.
async fn send_part(node: &Node, runs: Vec<Run>) {
    let now = node.skew.eager(node.clock.now());
    let runs = still_held(runs, now.plus_ms(node.settings.run_lease_ms / 2));
    let held_until = runs.iter().filter_map(|run| run.attention_at).min().unwrap_or(now);
    if runs.is_empty() || node.health.bus.is_down() {
        return;
    }
    crate::failpoint!("fire::before_publish");
    let publish = node.bus.publish(runs.iter().map(message).collect());
    let longest = Duration::from_millis(held_until.since(now).unsigned_abs());
    let answers = tokio::time::timeout(longest, publish).await.unwrap_or_else(|_| unanswered(runs.len()));
    crate::failpoint!("fire::published");
    let now = node.clock.now();
    let Sorted { confirmed, refused, unanswered } = sort(runs, answers);
    judge(node, &confirmed, refused.len(), &unanswered);
    mark(node, confirmed, now).await;
    give_up_attempts(node, refused, now).await;
}

/// Each of them may or may not have been sent.
fn unanswered(messages: usize) -> Vec<Result<()>> {
    let late = || PortError::Unavailable("the broker", "no answer before the lease was over".into());
    (0..messages).map(|_| Err(late())).collect()
}

/// What the broker said, message by message.
#[derive(Default)]
struct Sorted {
    confirmed: Vec<Run>,
    refused: Vec<(Run, PortError)>,
    unanswered: Vec<PortError>,
}

fn sort(runs: Vec<Run>, answers: Vec<Result<()>>) -> Sorted {
    let mut sorted = Sorted::default();
    for (run, answer) in runs.into_iter().zip(answers) {
        match answer {
            Ok(()) => sorted.confirmed.push(run),
            Err(error @ PortError::Refused(..)) => sorted.refused.push((run, error)),
            Err(error) => sorted.unanswered.push(error),
        }
    }
    sorted
}

/// A broker that confirms anything is there, and one that answers nothing is not.
fn judge(node: &Node, confirmed: &[Run], refused: usize, unanswered: &[PortError]) {
    node.metrics.publish_failed((refused + unanswered.len()) as u64);
    let Some(error) = unanswered.last() else {
        if !confirmed.is_empty() {
            node.health.bus.up();
        }
        return;
    };
    let messages = unanswered.len();
    tracing::warn!(messages, %error, cause = cause(error), "the broker has not confirmed messages; they are sent again");
    if confirmed.is_empty() {
        node.health.bus.down(error.to_string());
    }
}

fn cause(error: &PortError) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

/// A message that the broker will not have is a failed attempt like any other: it is tried again ever more rarely, for what forbids
/// it may be a key that is mended tomorrow, and it holds nothing else up.
async fn give_up_attempts(node: &Node, refused: Vec<(Run, PortError)>, now: Moment) {
    let mut failed = Vec::with_capacity(refused.len());
    for (mut run, error) in refused {
        let why = format!("{error}: {}", cause(&error));
        tracing::warn!(run = %run.id, why, "the broker refuses a message");
        let outcome = Outcome::Failed { retry_after_ms: None };
        if run.report(&outcome, Some(why), &node.settings.retry, now).is_ok() {
            failed.push(run);
        }
    }
    if failed.is_empty() {
        return;
    }
    crate::failpoint!("fire::before_refused");
    let noted = node.replace_runs(failed).await;
    crate::failpoint!("fire::refused");
    if let Err(error) = noted {
        tracing::warn!(%error, "refused messages could not be noted; they are sent again");
    }
}

/// A node that was frozen must not send what another has taken over meanwhile.
fn still_held(mut runs: Vec<Run>, now: Moment) -> Vec<Run> {
    runs.retain(|run| run.attention_at.is_some_and(|lease_until| now < lease_until));
    runs
}

fn message(run: &Run) -> BusMessage {
    let mut properties = vec![
        (property::RUN_ID.to_owned(), run.id.to_string()),
        (property::ATTEMPT.to_owned(), run.attempt.to_string()),
        (property::SCHEDULED_AT.to_owned(), run.scheduled_at.ms().to_string()),
        (property::CLAIM.to_owned(), run.claim.to_string()),
        (property::TOKEN.to_owned(), run.token.clone()),
    ];
    if run.outcome_within_ms.is_some() {
        properties.push((property::ACK.to_owned(), "1".to_owned()));
    }
    BusMessage {
        tag: run.tag.clone(),
        key: run.task_id.to_string(),
        body: run.data.clone().into_bytes(),
        properties,
    }
}

async fn mark(node: &Node, confirmed: Vec<Run>, now: Moment) {
    let mut fires: BTreeMap<String, u64> = BTreeMap::new();
    let mut marked = Vec::with_capacity(confirmed.len());
    for mut run in confirmed {
        // A further attempt is no further fire, and says nothing about how late fires are.
        if run.attempt == 1 {
            *fires.entry(run.tag.clone()).or_default() += 1;
            node.metrics.fired(&run.tag, now.since(run.scheduled_at));
        }
        let handed_over = if run.queue.is_some() { run.enqueue(now) } else { run.mark_fired(now) };
        if handed_over.is_ok() {
            marked.push(run);
        }
    }
    if marked.is_empty() {
        return;
    }
    for attempt in 1..=MARK_TRIES {
        match node.store.update_runs(&marked).await {
            // One that was not replaced has been reported on already: the handler was faster than this write.
            Ok(_) => break,
            Err(error) if attempt == MARK_TRIES => {
                tracing::warn!(%error, runs = marked.len(), "what was handed over could not be marked; it is handed over again");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200 << attempt)).await,
        }
    }
    crate::failpoint!("fire::marked");
    let fires: Vec<(String, u64)> = fires.into_iter().collect();
    if let Err(error) = node.store.count_fires(now, &fires).await {
        tracing::warn!(%error, "fires were not counted");
    }
    crate::failpoint!("fire::counted");
}

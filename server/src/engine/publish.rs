//! Hands runs over to the bus or into their queues: steps 4 and 5 of "How a run fires" in
//! `docs/ARCHITECTURE.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::node::Node;
use crate::core::run::Outcome;
use crate::core::{Moment, Run, RunState};
use crate::ports::{BusMessage, Fired, PortError, Result};

/// Names of the user properties of every message. The SDK reads them by the same names.
pub mod property {
    /// The run's id: the same in every duplicate and every attempt.
    pub const RUN_ID: &str = "TC_RUN_ID";
    /// The attempt, from 1.
    pub const ATTEMPT: &str = "TC_ATTEMPT";
    /// The nominal moment, in Unix milliseconds.
    pub const SCHEDULED_AT: &str = "TC_SCHEDULED_AT";
    /// How many times a node or a worker has taken the run: a fencing epoch.
    pub const CLAIM: &str = "TC_CLAIM";
    /// The attempt's token, which a report must carry.
    pub const TOKEN: &str = "TC_TOKEN";
    /// "1" if the server waits for a report.
    pub const ACK: &str = "TC_ACK";
    /// The names of the headers of the task, separated by commas. Each header is a property of its own.
    pub const HEADERS: &str = "TC_HEADERS";
    /// The labels of the run, as a JSON object.
    pub const LABELS: &str = "TC_LABELS";
}

/// Tries to mark confirmed messages. After that the lease expires, and the messages are sent again.
const MARK_TRIES: u32 = 5;

/// Maximum number of messages that are sent and marked together. All batches of the bus adapter for them
/// are in progress at once, so that a slow broker delays the first message no longer than the last.
const PART: usize = 256;
/// Maximum number of payload bytes of a part. A larger message is a part of its own.
const PART_BYTES: usize = 4 * 1024 * 1024;
/// Maximum number of parts in progress.
const PARTS_AT_ONCE: usize = 4;

/// Tells the workers of runs that the store has put into their queues, and the viewers of all runs. Nothing else
/// is left to do for the runs in queues.
pub fn announce(node: &Node, fired: &[Fired]) {
    let now = node.clock.now();
    let mut queues = BTreeSet::new();
    for fired in fired {
        let Fired::Passed { run, queued } = fired else { continue };
        if *queued {
            node.metrics.fired(&run.tag, run.effective_at(), now);
        }
        // A run of an earlier call, whose answer was lost, was not announced.
        if run.state == RunState::Ready {
            queues.extend(run.queue.clone());
        }
    }
    node.hints.ready(queues);
    node.hints.changes.fired(fired);
}

/// Hands over runs whose tasks have passed their moments. A run that the broker does not confirm stays
/// `firing`, and is rescued after its lease has expired.
pub async fn publish(node: &Node, runs: Vec<Run>) {
    let (queued, sent) = by_lane(runs);
    tokio::join!(queue(node, queued), send(node, sent));
}

/// Returns the runs with a queue, and those without one.
pub fn by_lane(runs: Vec<Run>) -> (Vec<Run>, Vec<Run>) {
    runs.into_iter().partition(|run| run.queue.is_some())
}

/// Hands runs over into their queues. A queue is a state in the ledger, so marking the runs is enough.
pub async fn queue(node: &Node, runs: Vec<Run>) {
    let now = node.latest_now();
    let mut runs = with_valid_lease(runs, now);
    // A permit that is used late would be a start in another period. Messages have this limit, too.
    let latest = now.plus_ms(node.settings.run_lease_ms / 2);
    runs.retain(|run| run.permit.is_none() || run.attention_at.is_some_and(|until| latest < until));
    if runs.is_empty() {
        return;
    }
    crate::failpoint!("fire::before_queue");
    let queues: BTreeSet<String> = runs.iter().filter_map(|run| run.queue.clone()).collect();
    mark(node, runs, node.clock.now()).await;
    node.hints.ready(queues);
}

/// Sends runs over the bus. Waits for the broker until their leases end.
pub async fn send(node: &Node, runs: Vec<Run>) {
    let runs = with_valid_lease(runs, node.latest_now());
    let runs = end_expired(node, runs).await;
    stream::iter(parts(runs)).for_each_concurrent(PARTS_AT_ONCE, |part| send_part(node, part)).await;
}

/// Ends the runs that have expired. Returns the others. Their tasks have passed the moments.
async fn end_expired(node: &Node, runs: Vec<Run>) -> Vec<Run> {
    let now = node.earliest_now();
    let (mut expired, runs): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(|run| run.has_expired(now));
    expired.retain_mut(|run| run.expire(now).is_ok());
    if !expired.is_empty() {
        crate::failpoint!("fire::before_expire");
        let stored = node.replace_runs(expired).await;
        crate::failpoint!("fire::expired");
        if let Err(error) = stored {
            tracing::warn!(%error, "expired runs were not stored; they end after their leases");
        }
    }
    runs
}

/// Divides runs into parts that a broker usually confirms within half of a lease.
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

/// Sends runs and marks them before another node may take them over. Runs whose leases are more than half
/// over are not sent; a rescue takes them over.
async fn send_part(node: &Node, runs: Vec<Run>) {
    let now = node.latest_now();
    let runs = with_valid_lease(runs, now.plus_ms(node.settings.run_lease_ms / 2));
    let lease_until = runs.iter().filter_map(|run| run.attention_at).min().unwrap_or(now);
    if runs.is_empty() || node.health.bus.is_down() {
        return;
    }
    crate::failpoint!("fire::before_publish");
    let publish = node.bus.publish(runs.iter().map(message).collect());
    let timeout = Duration::from_millis(lease_until.since(now).unsigned_abs());
    let answers = tokio::time::timeout(timeout, publish).await.unwrap_or_else(|_| timed_out(runs.len()));
    crate::failpoint!("fire::published");
    // The deadline of an outcome must not come early on a node whose clock is slow.
    let now = node.latest_now();
    let Sorted { confirmed, refused, unanswered } = sort(runs, answers);
    note_health(node, &confirmed, refused.len(), &unanswered);
    mark(node, confirmed, now).await;
    fail_attempts(node, refused, now).await;
}

/// Returns an answer for each message: it may or may not have been sent.
fn timed_out(messages: usize) -> Vec<Result<()>> {
    let error = || PortError::Unavailable("the broker", "no answer before the lease expired".into());
    (0..messages).map(|_| Err(error())).collect()
}

/// The runs of a part by the broker's answer.
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

/// Notes that the bus is up if it confirmed all messages, and that it is down if it answered none.
fn note_health(node: &Node, confirmed: &[Run], refused: usize, unanswered: &[PortError]) {
    node.metrics.publish_failed((refused + unanswered.len()) as u64);
    let Some(error) = unanswered.last() else {
        if !confirmed.is_empty() {
            node.health.bus.up();
        }
        return;
    };
    let (messages, cause) = (unanswered.len(), cause(error));
    tracing::warn!(messages, %error, cause, "the broker did not confirm messages; retrying");
    if confirmed.is_empty() {
        node.health.bus.down(error.to_string());
    }
}

fn cause(error: &PortError) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

/// Ends the attempts of messages that the broker refused as failed. They are retried with growing pauses,
/// because the reason may be a setting of the broker that is fixed later, and they delay no other message.
async fn fail_attempts(node: &Node, refused: Vec<(Run, PortError)>, now: Moment) {
    let mut failed = Vec::with_capacity(refused.len());
    for (mut run, error) in refused {
        let why = format!("{error}: {}", cause(&error));
        tracing::warn!(run = %run.id, why, "the broker refused a message");
        let outcome = Outcome::Failed { retry_after_ms: None };
        if run.report(&outcome, Some(why), &node.settings.retry, now).is_ok() {
            failed.push(run);
        }
    }
    if failed.is_empty() {
        return;
    }
    crate::failpoint!("fire::before_refused");
    let stored = node.replace_runs(failed).await;
    crate::failpoint!("fire::refused");
    if let Err(error) = stored {
        tracing::warn!(%error, "failed attempts were not stored; their messages are sent again");
    }
}

/// Returns the runs whose leases are valid at `now`. A node that was suspended must not send runs that
/// another node may have taken over since.
fn with_valid_lease(mut runs: Vec<Run>, now: Moment) -> Vec<Run> {
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
    if !run.headers.is_empty() {
        let names: Vec<&str> = run.headers.keys().map(String::as_str).collect();
        properties.push((property::HEADERS.to_owned(), names.join(",")));
        properties.extend(run.headers.clone());
    }
    if !run.labels.is_empty() {
        properties.push((property::LABELS.to_owned(), serde_json::json!(run.labels).to_string()));
    }
    BusMessage {
        tag: run.tag.clone(),
        key: run.task_id.to_string(),
        body: run.data.clone().into_bytes(),
        properties,
    }
}

/// Marks runs as handed over, and counts fires.
async fn mark(node: &Node, confirmed: Vec<Run>, now: Moment) {
    let mut fires: BTreeMap<String, u64> = BTreeMap::new();
    let mut marked = Vec::with_capacity(confirmed.len());
    for mut run in confirmed {
        // A further attempt is not another fire, and its time says nothing about lateness. A postponed attempt was
        // handed over before.
        if !run.has_been_tried() {
            *fires.entry(run.tag.clone()).or_default() += 1;
            node.metrics.fired(&run.tag, run.effective_at(), now);
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
            // A run that was not replaced has an outcome already: its handler was faster than this write.
            Ok(replaced) => {
                let replaced = marked.iter().zip(replaced).filter(|(_, is_replaced)| *is_replaced);
                node.hints.changes.runs(replaced.map(|(run, _)| run));
                break;
            }
            Err(error) if attempt == MARK_TRIES => {
                let runs = marked.len();
                tracing::warn!(%error, runs, "runs were not marked as handed over; they are handed over again");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::labels::Labels;
    use crate::core::submission::Submission;
    use crate::core::{Task, TaskId};

    #[test]
    fn a_message_has_the_headers_and_labels_of_its_task() {
        let headers = [("tenant", "7"), ("traceparent", "00-1-2-01")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let labels = Labels::from([("team".to_owned(), "pay".to_owned())]);
        let submission =
            Submission { headers: headers.clone().into(), labels, ..Submission::named("n", "d") };
        let now = Moment::from_sec(1_000);
        let task = submission.accept(TaskId::new(uuid::Uuid::nil()), now).unwrap();
        let properties = message(&Run::firing(&task, now, "node", "token".to_owned(), now)).properties;
        assert!(headers.iter().all(|header| properties.contains(header)), "{properties:?}");
        assert!(properties.contains(&(property::HEADERS.to_owned(), "tenant,traceparent".to_owned())));
        assert!(properties.contains(&(property::LABELS.to_owned(), r#"{"team":"pay"}"#.to_owned())));
        let plain = Task { labels: Labels::new(), headers: crate::core::headers::Headers::new(), ..task };
        let properties = message(&Run::firing(&plain, now, "node", "token".to_owned(), now)).properties;
        assert!(properties.iter().all(|(name, _)| name != property::HEADERS && name != property::LABELS));
    }
}

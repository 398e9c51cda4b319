//! Compares three independent sources: messages on the broker, sent runs in the store, deliveries.

use std::collections::{HashMap, HashSet};

use crate::check::HEALED_MS;
use crate::evidence::{Delivery, Evidence, Message, TaskRow};
use crate::handlers::behavior::POISON;
use crate::verdict::{Kind, Verdict};

/// Checks the bus.
pub fn check(evidence: &Evidence, verdict: &mut Verdict) {
    let Some(messages) = &evidence.messages else {
        for delivery in evidence.deliveries.iter().filter(|delivery| delivery.on_bus) {
            verdict.add(
                Kind::Surplus,
                format!("run {} was delivered over a bus that does not exist", delivery.run_id),
            );
        }
        return;
    };
    verdict.figures.messages = messages.len();
    check_sent(evidence, messages, verdict);
    check_delivered(evidence, messages, verdict);
    check_early(messages, verdict);
    check_duplicates(evidence, messages, verdict);
}

/// The broker has a message for each attempt that is sent in the store, and no other messages.
fn check_sent(evidence: &Evidence, messages: &[Message], verdict: &mut Verdict) {
    let there: HashSet<(&str, i64)> =
        messages.iter().map(|message| (message.run_id.as_str(), message.attempt)).collect();
    let on_bus = evidence.runs.iter().filter(|run| run.queue.is_none());
    for run in on_bus.clone().filter(|run| matches!(run.state.as_str(), "fired" | "succeeded")) {
        if !there.contains(&(run.id.as_str(), run.attempt)) {
            let what = format!(
                "attempt {} of run {} is {} and is not on the broker",
                run.attempt, run.id, run.state
            );
            verdict.add(Kind::Lost, what);
        }
    }
    let attempts: HashMap<&str, i64> = on_bus.map(|run| (run.id.as_str(), run.attempt)).collect();
    for message in messages {
        let Message { run_id, attempt, .. } = message;
        if attempts.get(run_id.as_str()).is_none_or(|made| attempt > made) {
            verdict.add(
                Kind::Surplus,
                format!("attempt {attempt} of run {run_id} is on the broker and is not stored"),
            );
        }
    }
}

/// Each attempt on the broker was delivered, and each delivery is on the broker.
fn check_delivered(evidence: &Evidence, messages: &[Message], verdict: &mut Verdict) {
    let names: HashSet<(&str, &str)> =
        messages.iter().map(|message| (message.run_id.as_str(), message.name.as_str())).collect();
    for delivery in evidence.deliveries.iter().filter(|delivery| delivery.on_bus) {
        if !names.contains(&(delivery.run_id.as_str(), delivery.message_id.as_str())) {
            let what =
                format!("run {} was delivered as a message that is not on the broker", delivery.run_id);
            verdict.add(Kind::Surplus, what);
        }
    }
    for Message { run_id, attempt, place, .. } in
        not_delivered(messages, &evidence.tasks, &evidence.deliveries)
    {
        verdict.add(
            Kind::Lost,
            format!("attempt {attempt} of run {run_id} is on the broker at {place} and was never delivered"),
        );
    }
}

/// Returns messages without a delivery. Tasks with poison data are omitted: their data never
/// reaches the recorder.
pub fn not_delivered<'a>(
    messages: &'a [Message],
    tasks: &[TaskRow],
    deliveries: &[Delivery],
) -> Vec<&'a Message> {
    let arrived: HashSet<(&str, i64)> = deliveries
        .iter()
        .filter(|delivery| delivery.on_bus)
        .map(|delivery| (delivery.run_id.as_str(), delivery.attempt))
        .collect();
    let poison: HashSet<&str> =
        tasks.iter().filter(|task| task.data.starts_with(POISON)).map(|task| task.id.as_str()).collect();
    let is_missing = |message: &&Message| {
        !poison.contains(message.task_id.as_str())
            && !arrived.contains(&(message.run_id.as_str(), message.attempt))
    };
    messages.iter().filter(is_missing).collect()
}

/// By the clock of the broker, no message was stored before its moment.
fn check_early(messages: &[Message], verdict: &mut Verdict) {
    for Message { run_id, scheduled_at, stored_at, .. } in messages {
        if stored_at < scheduled_at {
            let early = scheduled_at - stored_at;
            verdict.add(Kind::Early, format!("run {run_id} was on the broker {early} ms early"));
        }
    }
}

/// A second message of an attempt needs a fault that explains it. Redeliveries of one message by
/// the broker do not count.
fn check_duplicates(evidence: &Evidence, messages: &[Message], verdict: &mut Verdict) {
    let mut stored: HashMap<(&str, i64), Vec<i64>> = HashMap::new();
    for message in messages {
        stored.entry((&message.run_id, message.attempt)).or_default().push(message.stored_at);
    }
    for ((run_id, attempt), copies) in stored.into_iter().filter(|(_, copies)| copies.len() > 1) {
        verdict.figures.copies += copies.len() - 1;
        let last = copies.iter().copied().max().unwrap_or_default();
        let explained = |from: i64, to: i64| from <= last && last <= to + HEALED_MS;
        if !evidence.windows.iter().any(|window| explained(window.from, window.to)) {
            let what =
                format!("attempt {attempt} of run {run_id} was sent {} times without a fault", copies.len());
            verdict.add(Kind::Uncaused, what);
        }
    }
}

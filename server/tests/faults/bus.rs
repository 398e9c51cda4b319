//! What lies on the broker against what the store says was sent and what the consumer says has come: three that know nothing of each
//! other.

use std::collections::{HashMap, HashSet};

use crate::check::HEALED_MS;
use crate::evidence::{Delivery, Evidence, Message, TaskRow};
use crate::handlers::mood::POISON;
use crate::verdict::{Kind, Verdict};

/// Judges the bus.
pub fn check(evidence: &Evidence, verdict: &mut Verdict) {
    let Some(messages) = &evidence.messages else {
        for delivery in evidence.deliveries.iter().filter(|delivery| delivery.on_bus) {
            verdict.find(Kind::Surplus, format!("run {} came over a bus that is not there", delivery.run_id));
        }
        return;
    };
    verdict.figures.messages = messages.len();
    sent(evidence, messages, verdict);
    came(evidence, messages, verdict);
    in_time(messages, verdict);
    copies(evidence, messages, verdict);
}

/// What the store calls sent lies on the broker, and nothing else does.
fn sent(evidence: &Evidence, messages: &[Message], verdict: &mut Verdict) {
    let there: HashSet<(&str, i64)> =
        messages.iter().map(|message| (message.run_id.as_str(), message.attempt)).collect();
    let on_bus = evidence.runs.iter().filter(|run| run.queue.is_none());
    for run in on_bus.clone().filter(|run| matches!(run.state.as_str(), "fired" | "succeeded")) {
        if !there.contains(&(run.id.as_str(), run.attempt)) {
            let what =
                format!("attempt {} of run {} is {} and not on the broker", run.attempt, run.id, run.state);
            verdict.find(Kind::Lost, what);
        }
    }
    let attempts: HashMap<&str, i64> = on_bus.map(|run| (run.id.as_str(), run.attempt)).collect();
    for message in messages {
        let Message { run_id, attempt, .. } = message;
        if attempts.get(run_id.as_str()).is_none_or(|made| attempt > made) {
            verdict.find(
                Kind::Surplus,
                format!("the broker has attempt {attempt} of run {run_id}, which is not stored"),
            );
        }
    }
}

/// Each attempt on the broker has come to the consumer, and the consumer was told of nothing else.
fn came(evidence: &Evidence, messages: &[Message], verdict: &mut Verdict) {
    let names: HashSet<(&str, &str)> =
        messages.iter().map(|message| (message.run_id.as_str(), message.name.as_str())).collect();
    for delivery in evidence.deliveries.iter().filter(|delivery| delivery.on_bus) {
        if !names.contains(&(delivery.run_id.as_str(), delivery.message_id.as_str())) {
            let what = format!("run {} came as a message that the broker does not have", delivery.run_id);
            verdict.find(Kind::Surplus, what);
        }
    }
    for Message { run_id, attempt, place, .. } in to_come(messages, &evidence.tasks, &evidence.deliveries) {
        verdict.find(
            Kind::Lost,
            format!("attempt {attempt} of run {run_id} lies on the broker at {place} and never came"),
        );
    }
}

/// What lies on the broker and has not come. Data that no handler takes never gets as far as the one who writes deliveries down.
pub fn to_come<'a>(messages: &'a [Message], tasks: &[TaskRow], deliveries: &[Delivery]) -> Vec<&'a Message> {
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

/// By the broker's own clock, too, nothing was there before its moment.
fn in_time(messages: &[Message], verdict: &mut Verdict) {
    for Message { run_id, scheduled_at, stored_at, .. } in messages {
        if stored_at < scheduled_at {
            let early = scheduled_at - stored_at;
            verdict.find(Kind::Early, format!("run {run_id} lay on the broker {early} ms early"));
        }
    }
}

/// A second message for the same attempt needs a fault that explains it. The broker's redeliveries of one message lie elsewhere, and are
/// not the product's.
fn copies(evidence: &Evidence, messages: &[Message], verdict: &mut Verdict) {
    let mut stored: HashMap<(&str, i64), Vec<i64>> = HashMap::new();
    for message in messages {
        stored.entry((&message.run_id, message.attempt)).or_default().push(message.stored_at);
    }
    for ((run_id, attempt), copies) in stored.into_iter().filter(|(_, copies)| copies.len() > 1) {
        verdict.figures.copies += copies.len() - 1;
        let last = copies.iter().copied().max().unwrap_or_default();
        let explained = |from: i64, to: i64| from <= last && last <= to + HEALED_MS;
        if !evidence.windows.iter().any(|window| explained(window.from, window.to)) {
            let what = format!(
                "attempt {attempt} of run {run_id} was sent {} times with nothing broken",
                copies.len()
            );
            verdict.find(Kind::Uncaused, what);
        }
    }
}

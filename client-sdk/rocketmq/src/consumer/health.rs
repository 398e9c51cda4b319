//! State of a consumer, for operators. Each change of the state is logged once.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::{Mutex, PoisonError};

use crate::Error;

/// State of a consumer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Whether [`run`](super::Consumer::run) is active.
    pub running: bool,
    /// Number of queues of its topics that this member of the group reads.
    pub queues: usize,
    /// Number of messages that are being handled or settled.
    pub in_flight: usize,
    /// Number of pulled messages, including those in flight.
    pub pulled: usize,
    /// Size of the pulled messages in bytes.
    pub pulled_bytes: usize,
    /// Present problems. The consumer repeats what failed until it succeeds.
    pub problems: Vec<Problem>,
}

/// A present problem of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What fails, such as `pull topic` or `commit broker`.
    pub operation: String,
    /// The last error.
    pub error: String,
}

/// The present problems, by operation.
#[derive(Debug, Default)]
pub(crate) struct Problems(Mutex<BTreeMap<String, State>>);

#[derive(Debug)]
struct State {
    /// Kind of the error. Another kind is logged again.
    kind: (mem::Discriminant<Error>, Option<i32>),
    error: String,
    /// The parts that fail, such as the queues of a topic.
    parts: BTreeSet<String>,
}

impl Problems {
    /// Records that a part of an operation failed. Logs if the problem is new or of another kind.
    pub(crate) fn report(&self, operation: &str, part: &str, error: &Error) {
        let kind = (mem::discriminant(error), error.code());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(operation).is_some_and(|state| state.kind == kind);
        if !known {
            tracing::warn!(operation, part, %error, "RocketMQ consumer: operation fails; repeating");
        }
        let state = all.entry(operation.to_owned()).or_insert_with(|| State {
            kind,
            error: String::new(),
            parts: BTreeSet::new(),
        });
        (state.kind, state.error) = (kind, error.to_string());
        if !state.parts.contains(part) {
            state.parts.insert(part.to_owned());
        }
    }

    /// Records that a part of an operation succeeded. Logs if the problem is over.
    pub(crate) fn resolve(&self, operation: &str, part: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = all.get_mut(operation) else { return };
        state.parts.remove(part);
        if state.parts.is_empty() {
            all.remove(operation);
            tracing::info!(operation, "RocketMQ consumer: operation succeeds again");
        }
    }

    /// Forgets a part, for example a lost queue, without a claim about its state.
    pub(crate) fn forget(&self, part: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, state| !(state.parts.remove(part) && state.parts.is_empty()));
    }

    pub(crate) fn list(&self) -> Vec<Problem> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let problem = |(operation, state): (&String, &State)| Problem {
            operation: operation.clone(),
            error: state.error.clone(),
        };
        all.iter().map(problem).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_lasts_until_its_last_part_is_resolved() {
        let problems = Problems::default();
        for part in ["1", "2", "1"] {
            problems.report("pull", part, &Error::Closed);
        }
        problems.resolve("pull", "1");
        assert_eq!(problems.list().len(), 1);
        problems.resolve("commit", "2");
        problems.resolve("pull", "2");
        assert!(problems.list().is_empty());
        problems.report("pull", "3", &Error::Closed);
        problems.forget("3");
        assert!(problems.list().is_empty());
    }
}

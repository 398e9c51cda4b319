//! Evidence of one scenario from four sources: answers of the API, the store, the consumers, the
//! effects.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// Answer to a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Answer<T> {
    /// The server acknowledged the call.
    Acknowledged(T),
    /// No answer, or an answer without a definite result.
    Unknown,
    /// The server refused the call with this status.
    Refused(u16),
}

/// Schedule of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Rhythm {
    Once,
    /// On a grid with this period in milliseconds.
    Every(i64),
    /// At each full second, by a cron expression.
    EachSecond,
}

/// Task as the harness defines it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExpectedTask {
    /// Unique key. The data of each message starts with it.
    pub key: String,
    pub name: String,
    pub rhythm: Rhythm,
    pub start_at: i64,
    pub end_at: Option<i64>,
    pub max_fires: Option<u64>,
    pub ack: bool,
    pub queue: Option<String>,
    /// Expected terminal state of the runs. Default: success.
    pub end_state: Option<&'static str>,
}

/// Call that creates a task.
#[derive(Debug, Clone, Serialize)]
pub struct Created {
    pub expected: ExpectedTask,
    pub sent_at: i64,
    pub answered_at: i64,
    pub answer: Answer<String>,
}

/// Change of a task, or manual trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Action {
    Pause,
    Resume,
    Edit,
    Delete,
    Cancel,
    Trigger,
}

/// Answer to a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ChangeResult {
    /// Revision after the change.
    pub rev: i64,
    /// Runs that fired before the change; for a trigger, its run.
    pub open_runs: Vec<String>,
}

/// Call that changes a task.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    pub task_id: String,
    pub action: Action,
    pub sent_at: i64,
    pub answered_at: i64,
    pub answer: Answer<ChangeResult>,
}

/// Task in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskRow {
    pub id: String,
    pub data: String,
    pub state: String,
    pub rev: i64,
    pub anchored_at: i64,
    pub last_due_at: Option<i64>,
}

/// Run in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunRow {
    pub id: String,
    pub task_id: String,
    pub rev: i64,
    pub scheduled_at: i64,
    pub triggered: bool,
    pub queue: Option<String>,
    pub waits_for_outcome: bool,
    /// Last moment and count of skipped moments.
    pub stretch: Option<(i64, i64)>,
    pub state: String,
    pub reason: Option<String>,
    pub attempt: i64,
    pub claim: i64,
    pub fired_at: Option<i64>,
    pub version: i64,
    pub open: bool,
}

/// One version of a run. Versions are in the order of their writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    pub run_id: String,
    pub state: String,
    pub attempt: i64,
    pub claim: i64,
    pub version: i64,
    pub attention_at: Option<i64>,
}

/// Delivery to a handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    pub run_id: String,
    pub task_id: String,
    pub data: String,
    pub attempt: i64,
    pub claim: i64,
    pub scheduled_at: i64,
    pub arrived_at: i64,
    /// Equal for all redeliveries of one message by the broker.
    pub message_id: String,
    /// Delivered as a message. Otherwise leased from a queue.
    pub on_bus: bool,
}

/// Message on the broker, read by the tool of RocketMQ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Queue and offset. Unique.
    pub place: String,
    /// Id that the sender chose. A client uses the same id when it repeats an unconfirmed send.
    pub name: String,
    pub run_id: String,
    pub task_id: String,
    pub attempt: i64,
    pub scheduled_at: i64,
    pub stored_at: i64,
}

/// Effect in the sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effect {
    pub run_id: String,
    pub task_id: String,
    pub scheduled_at: i64,
    pub claim: i64,
    pub at: i64,
}

/// Time of a fault. It ends when an independent probe succeeds, or when the product must have
/// worked around the fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Window {
    pub what: String,
    pub from: i64,
    pub to: i64,
    /// Whether the fault may delay moments. A fault of a part that the product does not need may
    /// not.
    pub delays: bool,
}

/// Evidence of one scenario.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Evidence {
    pub created: Vec<Created>,
    pub changes: Vec<Change>,
    pub tasks: Vec<TaskRow>,
    pub runs: Vec<RunRow>,
    pub steps: Vec<Step>,
    pub deliveries: Vec<Delivery>,
    /// All messages on the broker at the end; `None` without a bus.
    pub messages: Option<Vec<Message>>,
    pub effects: Vec<Effect>,
    /// Runs whose success the server acknowledged to a worker.
    pub acknowledged_outcomes: Vec<String>,
    pub windows: Vec<Window>,
    /// Injected faults and their number.
    pub faults: BTreeMap<String, u64>,
    /// Whether the misfire policy may skip moments.
    pub may_skip: bool,
    /// Error of the wait for the end of all runs.
    pub unsettled: Option<String>,
}

impl Evidence {
    /// Returns the current figures as one line.
    pub fn progress(&self) -> String {
        let Self { created, changes, deliveries, effects, steps, .. } = self;
        format!(
            "faults {}, tasks {}, changes {}, deliveries {}, effects {}, steps {}",
            self.faults.values().sum::<u64>(),
            created.len(),
            changes.len(),
            deliveries.len(),
            effects.len(),
            steps.len()
        )
    }
}

/// Collects evidence, and is the sink of all effects.
#[derive(Default)]
pub struct Recorder {
    evidence: Mutex<Evidence>,
    /// Runs with an effect.
    done: Mutex<HashSet<String>>,
}

impl Recorder {
    pub fn get(&self) -> MutexGuard<'_, Evidence> {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a fault. Moments that it delays may arrive up to 30 seconds after `to`.
    pub fn fault(&self, what: &str, from: i64, to: i64) {
        self.isolated_fault(what);
        self.window(what, from, to, true);
    }

    /// Records a fault that may cause duplicates and may not delay moments.
    pub fn fault_without_delay(&self, what: &str, from: i64, to: i64) {
        self.isolated_fault(what);
        self.aftermath(what, from, to);
    }

    /// Records a fault that may affect nothing else: no duplicates, no delay.
    pub fn isolated_fault(&self, what: &str) {
        *self.get().faults.entry(what.to_owned()).or_default() += 1;
    }

    /// Records a late effect of a fault: it may cause duplicates and may not delay moments.
    pub fn aftermath(&self, what: &str, from: i64, to: i64) {
        self.window(what, from, to, false);
    }

    /// Records the end of a fault that may delay moments as its begin did.
    pub fn heal(&self, what: &str, from: i64, to: i64) {
        self.window(what, from, to, true);
    }

    fn window(&self, what: &str, from: i64, to: i64, delays: bool) {
        self.get().windows.push(Window { what: what.to_owned(), from, to, delays });
    }

    /// Records a delivery and, the first time, its effect. The sink is idempotent by run id.
    /// Returns whether the effect is new.
    pub fn handle(&self, delivery: Delivery) -> bool {
        let new = self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(delivery.run_id.clone());
        let mut evidence = self.get();
        if new {
            let effect = Effect {
                run_id: delivery.run_id.clone(),
                task_id: delivery.task_id.clone(),
                scheduled_at: delivery.scheduled_at,
                claim: delivery.claim,
                at: delivery.arrived_at,
            };
            evidence.effects.push(effect);
        }
        evidence.deliveries.push(delivery);
        new
    }

    /// Records a delivery without an effect.
    pub fn handle_without_effect(&self, delivery: Delivery) {
        self.get().deliveries.push(delivery);
    }
}

//! Everything that was seen of one scenario, from four sides: the API's answers, the store, the consumers, the effects.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// What is known of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Answer<T> {
    /// It was acknowledged.
    Acknowledged(T),
    /// No answer, or one that says "may or may not have been done".
    Unknown,
    /// The server said no.
    Refused(u16),
}

/// How often a task fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Rhythm {
    Once,
    /// On a grid of so many milliseconds.
    Every(i64),
    /// At each whole second, by a cron expression.
    EachSecond,
}

/// A task as the harness meant it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// In the data of each of its messages; no two tasks have the same.
    pub key: String,
    pub name: String,
    pub rhythm: Rhythm,
    pub start_at: i64,
    pub end_at: Option<i64>,
    pub max_fires: Option<u64>,
    pub ack: bool,
    pub queue: Option<String>,
    /// How its runs have to end; `None`: in success.
    pub ends: Option<&'static str>,
}

/// A task that was handed in.
#[derive(Debug, Clone, Serialize)]
pub struct Created {
    pub wanted: Wanted,
    pub asked_at: i64,
    pub answered_at: i64,
    pub answer: Answer<String>,
}

/// What a person did to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Deed {
    Pause,
    Resume,
    Edit,
    Delete,
    Cancel,
    Trigger,
}

/// What the server said to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// The revision that stands now.
    pub rev: i64,
    /// Runs whose fire came first; of a trigger its run.
    pub open_runs: Vec<String>,
}

/// A change of a task.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    pub task_id: String,
    pub deed: Deed,
    pub asked_at: i64,
    pub answered_at: i64,
    pub answer: Answer<Done>,
}

/// A task as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskRow {
    pub id: String,
    pub data: String,
    pub state: String,
    pub rev: i64,
    pub anchored_at: i64,
    pub last_due_at: Option<i64>,
}

/// A run as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunRow {
    pub id: String,
    pub task_id: String,
    pub rev: i64,
    pub scheduled_at: i64,
    pub triggered: bool,
    pub queue: Option<String>,
    pub waits_for_outcome: bool,
    /// The last moment and the count of a skipped stretch.
    pub stretch: Option<(i64, i64)>,
    pub state: String,
    pub reason: Option<String>,
    pub attempt: i64,
    pub claim: i64,
    pub fired_at: Option<i64>,
    pub version: i64,
    pub open: bool,
}

/// One version of a run, in the order in which they were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    pub run_id: String,
    pub state: String,
    pub attempt: i64,
    pub claim: i64,
    pub version: i64,
    pub attention_at: Option<i64>,
}

/// A delivery to a handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    pub run_id: String,
    pub task_id: String,
    pub data: String,
    pub attempt: i64,
    pub claim: i64,
    pub scheduled_at: i64,
    pub arrived_at: i64,
    /// The same in each redelivery of one message by the broker.
    pub message_id: String,
    /// As a message. Otherwise as a claim on a queue, which one worker has at a time.
    pub on_bus: bool,
}

/// A message as the broker has it, read by the broker's own tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Queue and offset: no two messages have the same.
    pub place: String,
    /// What its sender called it; a client that sends anew what was not confirmed calls it the same.
    pub name: String,
    pub run_id: String,
    pub task_id: String,
    pub attempt: i64,
    pub scheduled_at: i64,
    pub stored_at: i64,
}

/// An effect that the sink has let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effect {
    pub run_id: String,
    pub task_id: String,
    pub scheduled_at: i64,
    pub claim: i64,
    pub at: i64,
}

/// A time in which something was broken. It ends when an independent probe says that it is mended, or when the product has
/// promised to have worked around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Window {
    pub what: String,
    pub from: i64,
    pub to: i64,
    /// Whether it may make moments late. What the product promises to work without may not.
    pub delays: bool,
}

/// All of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Evidence {
    pub created: Vec<Created>,
    pub changes: Vec<Change>,
    pub tasks: Vec<TaskRow>,
    pub runs: Vec<RunRow>,
    pub steps: Vec<Step>,
    pub deliveries: Vec<Delivery>,
    /// Everything on the broker in the end; `None` where there is no bus.
    pub messages: Option<Vec<Message>>,
    pub effects: Vec<Effect>,
    /// Runs whose success a worker reported, and the server acknowledged.
    pub acknowledged_outcomes: Vec<String>,
    pub windows: Vec<Window>,
    /// Faults that were injected, and how often each.
    pub faults: BTreeMap<String, u64>,
    /// Moments may be skipped here, by the misfire policy.
    pub may_skip: bool,
    /// Runs that have not ended when the scenario gave up waiting.
    pub unsettled: Option<String>,
}

impl Evidence {
    /// What there is so far, in a line.
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

/// Evidence that is being gathered, and the sink of all effects.
#[derive(Default)]
pub struct Recorder {
    evidence: Mutex<Evidence>,
    /// The runs that had their effect.
    done: Mutex<HashSet<String>>,
}

impl Recorder {
    pub fn get(&self) -> MutexGuard<'_, Evidence> {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fault from `from` to `to`, after which the moments that it held up have 30 seconds.
    pub fn fault(&self, what: &str, from: i64, to: i64) {
        self.harmless_fault(what);
        self.window(what, from, to, true);
    }

    /// A fault that explains copies, and that may hold nothing up.
    pub fn painless_fault(&self, what: &str, from: i64, to: i64) {
        self.harmless_fault(what);
        self.aftermath(what, from, to);
    }

    /// A fault that nothing but what it was done to may feel.
    pub fn harmless_fault(&self, what: &str) {
        *self.get().faults.entry(what.to_owned()).or_default() += 1;
    }

    /// What a fault leads to later: it explains copies, and may hold nothing up.
    pub fn aftermath(&self, what: &str, from: i64, to: i64) {
        self.window(what, from, to, false);
    }

    /// The end of a fault that holds things up as its begin did.
    pub fn heal(&self, what: &str, from: i64, to: i64) {
        self.window(what, from, to, true);
    }

    fn window(&self, what: &str, from: i64, to: i64, delays: bool) {
        self.get().windows.push(Window { what: what.to_owned(), from, to, delays });
    }

    /// A delivery and, the first time, its effect: the sink is idempotent by the run id.
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

    /// Another try, which the sink has not let through.
    pub fn tried(&self, delivery: Delivery) {
        self.get().deliveries.push(delivery);
    }
}

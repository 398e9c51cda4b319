//! Checks a history against the invariants of the design: each change when it happens, each answer
//! when it arrives, and the whole history at its end.

mod admission;
mod answers;
mod finish;
mod hand_over;
mod holds;
mod model;
mod quotas;
mod rates;
mod runs;
mod tasks;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use taskcenter_server::core::task::stable_hash;
use taskcenter_server::core::{Moment, Run, RunId, RunState, Task, TaskId};

use super::gate::Gate;
use super::life::Life;
use super::time::Time;

pub use answers::Kind;
use holds::HoldStory;
pub use quotas::QUOTA;

/// Maximum number of recorded violations per rule: later ones often follow from the first.
const MAX_VIOLATIONS: usize = 5;

/// Records of a history, and its violations.
pub struct Checker {
    time: Time,
    gate: Arc<Gate>,
    /// Maximum deviation of a clock.
    skew_ms: i64,
    /// Whether the store fires in one write.
    fires_in_one_write: bool,
    prints: bool,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    tasks: BTreeMap<TaskId, TaskStory>,
    runs: BTreeMap<RunId, RunStory>,
    keys: BTreeMap<String, TaskId>,
    requests: BTreeMap<String, Vec<TaskId>>,
    holds: Vec<HoldStory>,
    /// By the keys of rate limits.
    rates: BTreeMap<String, rates::RateStory>,
    violations: Vec<String>,
    /// Number of violations of each rule.
    counts: BTreeMap<String, usize>,
}

/// Records of one task.
struct TaskStory {
    task: Task,
    /// Fires of all revisions, counted by the advances of the task.
    fires: u64,
    /// Whether the submit was acknowledged.
    acknowledged: bool,
    promises: Vec<Promise>,
}

/// An acknowledged delete, pause or edit. Runs of the old definition must no longer fire, unless
/// the answer lists them or they were handed over before.
struct Promise {
    kind: Kind,
    /// Last revision whose scheduled runs must not fire.
    rev: u32,
    /// Last revision whose triggered runs must not fire.
    triggered_rev: u32,
    listed: BTreeSet<RunId>,
}

/// Records of one run.
struct RunStory {
    run: Run,
    /// Whether the task has advanced past the moment because of this row.
    decided: bool,
    /// Whether the run was sent, or put into its queue.
    handed_over: bool,
    /// Every message: attempt, sender and time.
    sent: Vec<(u32, Arc<Life>, Moment)>,
    /// Holder of each claim.
    holders: BTreeMap<u32, String>,
    /// Reports: attempt, token and outcome.
    reports: BTreeSet<(u32, String, &'static str)>,
    /// States that confirmations without a token requested.
    confirmed: HashSet<RunState>,
    tokens: BTreeMap<u32, BTreeSet<String>>,
    redriven: u32,
    /// Time of the insert, or of the last redrive.
    begun: Moment,
}

impl Checker {
    /// Creates the checker of a history that starts now. No clock deviates by more than `skew_ms`.
    pub fn new(time: Time, gate: Arc<Gate>, skew_ms: i64, fires_in_one_write: bool) -> Self {
        let prints = std::env::var("SIM_LOG").is_ok();
        Self { time, gate, skew_ms, fires_in_one_write, prints, book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        self.time.now()
    }

    /// Returns the recorded violations.
    pub fn violations(&self) -> Vec<String> {
        self.book().violations.clone()
    }

    /// Returns the numbers of tasks and runs.
    pub fn size(&self) -> (usize, usize) {
        let book = self.book();
        (book.tasks.len(), book.runs.len())
    }

    /// Adds a line to the history's hash, and prints it if `SIM_LOG` is set.
    pub fn log(&self, line: impl FnOnce() -> String) {
        let line = line();
        self.gate.note(stable_hash(line.as_bytes()));
        if self.prints {
            println!("{} {line}", self.now());
        }
    }

    /// Records a panic.
    pub fn panicked(&self, what: &str) {
        self.violation(&mut self.book(), "a panic", what);
    }

    fn violation(&self, book: &mut Book, rule: &str, what: impl std::fmt::Display) {
        let line = format!("{} {rule}: {what}", self.now());
        if self.prints {
            println!("!!! {line}");
        }
        let count = book.counts.entry(rule.to_owned()).or_insert(0_usize);
        *count += 1;
        if *count <= MAX_VIOLATIONS {
            book.violations.push(line);
        }
    }
}

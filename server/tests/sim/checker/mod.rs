//! Judges a history by the invariants of the design: each change where it happens, each answer when it comes, and the whole at its end.

mod answers;
mod finish;
mod hand_over;
mod model;
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

/// Violations of a rule that are kept; what follows from the first ones says little.
const KEPT: usize = 5;

/// What is known of a history, and what was wrong with it.
pub struct Checker {
    time: Time,
    gate: Arc<Gate>,
    /// How far any clock may be off.
    skew_ms: i64,
    told: bool,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    tasks: BTreeMap<TaskId, TaskStory>,
    runs: BTreeMap<RunId, RunStory>,
    keys: BTreeMap<String, TaskId>,
    requests: BTreeMap<String, Vec<TaskId>>,
    violations: Vec<String>,
    /// How often each rule was broken.
    told: BTreeMap<String, usize>,
}

/// What became of a task.
struct TaskStory {
    task: Task,
    /// Fires that its steps have counted, over all revisions.
    fires: u64,
    /// Acknowledged to the one who submitted it.
    acknowledged: bool,
    promises: Vec<Promise>,
}

/// An acknowledged delete, pause or edit: what it says must not fire any more, unless it is listed or was handed over before.
struct Promise {
    kind: Kind,
    /// Runs of revisions up to this one, and triggered ones up to the other.
    rev: u32,
    triggered_rev: u32,
    listed: BTreeSet<RunId>,
}

/// What became of a run.
struct RunStory {
    run: Run,
    /// The task has passed its moment because of this row.
    decided: bool,
    /// First time that it was sent or put into its queue.
    handed_over: bool,
    /// Every message: the attempt, by whom, when.
    sent: Vec<(u32, Arc<Life>, Moment)>,
    /// Who held it, by claim.
    holders: BTreeMap<u32, String>,
    /// What was reported on it: attempt, token, and the state that it asks for.
    reports: BTreeSet<(u32, String, &'static str)>,
    /// What somebody has put on record without a token.
    confirmed: HashSet<RunState>,
    tokens: BTreeMap<u32, BTreeSet<String>>,
    redriven: u32,
    /// When it came, or was brought back.
    begun: Moment,
}

impl Checker {
    /// A checker of a history that begins now, in which no clock is further off than `skew_ms`.
    pub fn new(time: Time, gate: Arc<Gate>, skew_ms: i64) -> Self {
        let told = std::env::var("SIM_LOG").is_ok();
        Self { time, gate, skew_ms, told, book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        self.time.now()
    }

    /// What was wrong.
    pub fn violations(&self) -> Vec<String> {
        self.book().violations.clone()
    }

    /// Tasks and runs that the history knows.
    pub fn size(&self) -> (usize, usize) {
        let book = self.book();
        (book.tasks.len(), book.runs.len())
    }

    /// Writes a line of the history: into its hash, and where `SIM_LOG` is set to the standard output.
    pub fn log(&self, line: impl FnOnce() -> String) {
        let line = line();
        self.gate.note(stable_hash(line.as_bytes()));
        if self.told {
            println!("{} {line}", self.now());
        }
    }

    /// Somebody's code panicked.
    pub fn panicked(&self, what: &str) {
        self.wrong(&mut self.book(), "a panic", what);
    }

    fn wrong(&self, book: &mut Book, rule: &str, what: impl std::fmt::Display) {
        let line = format!("{} {rule}: {what}", self.now());
        if self.told {
            println!("!!! {line}");
        }
        let told = book.told.entry(rule.to_owned()).or_insert(0_usize);
        *told += 1;
        if *told <= KEPT {
            book.violations.push(line);
        }
    }
}

//! Canary of a redrive: the first runs. Their outcomes decide whether the operation continues.

use serde::{Deserialize, Serialize};

use super::{Failure, Item};
use crate::core::{Run, RunState};

/// Maximum size of a canary.
pub const MAX_CANARY: u32 = 100;
/// Failures that a message names.
const NAMED: usize = 3;

/// State of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryState {
    /// The runs are redriven, or have not all ended.
    Open,
    /// All runs have succeeded.
    Passed,
    /// A run has ended without success.
    Failed,
    /// A user has continued the operation although the canary failed.
    Overruled,
}

impl CanaryState {
    /// Returns the state as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Overruled => "overruled",
        }
    }
}

/// The first runs of a redrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Number of runs. Bounds: 1 to [`MAX_CANARY`].
    pub size: u32,
    pub state: CanaryState,
    /// The runs, with their versions before the redrive. A run that keeps its version was not redriven, and leaves
    /// the canary.
    pub runs: Vec<Item>,
    /// Whether the selection has no further runs.
    #[serde(default)]
    pub has_all: bool,
    /// Runs that ended without success.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
}

/// What a canary needs of a run: the run without its payload and result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanaryRun {
    pub id: String,
    pub version: u64,
    pub state: RunState,
    /// Whether the run has ended.
    pub has_ended: bool,
    /// Why the run ended or failed, if known.
    pub reason: Option<String>,
}

impl From<Run> for CanaryRun {
    fn from(run: Run) -> Self {
        Self {
            has_ended: run.ended_at.is_some(),
            id: run.id.to_string(),
            version: run.version,
            state: run.state,
            reason: run.reason,
        }
    }
}

impl CanaryRun {
    fn has_succeeded(&self) -> bool {
        // A `fired` run that has ended reports no outcome: its delivery is all that is known.
        matches!(self.state, RunState::Succeeded | RunState::Fired)
    }

    fn failure(&self) -> Failure {
        let reason = self.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        Failure::new(&self.id, &format!("{}{reason}", self.state))
    }
}

impl Canary {
    /// Returns a canary that has not begun.
    pub fn new(size: u32) -> Self {
        Self { size, state: CanaryState::Open, runs: Vec::new(), has_all: false, failures: Vec::new() }
    }

    pub fn is_open(&self) -> bool {
        self.state == CanaryState::Open
    }

    /// Returns the number of runs that are missing.
    pub fn missing(&self) -> u32 {
        if self.has_all { 0 } else { self.size.saturating_sub(self.runs.len() as u32) }
    }

    /// Returns whether the operation must wait for the outcomes of the runs.
    pub fn waits(&self) -> bool {
        self.is_open() && self.missing() == 0
    }

    /// Returns the canary after a look at its runs.
    #[must_use]
    pub fn judged(&self, runs: &[CanaryRun]) -> Self {
        let find =
            |item: &Item| runs.iter().find(|run| run.id == item.id && Some(run.version) != item.version);
        let (items, redriven): (Vec<_>, Vec<_>) =
            self.runs.iter().filter_map(|item| Some((item.clone(), find(item)?))).unzip();
        let mut next = Self { runs: items, ..self.clone() };
        if next.waits() && redriven.iter().all(|run| run.has_ended) {
            let failed = redriven.iter().filter(|run| !run.has_succeeded());
            next.failures = failed.map(|run| run.failure()).collect();
            next.state = if next.failures.is_empty() { CanaryState::Passed } else { CanaryState::Failed };
        }
        next
    }

    /// Returns why the operation does not continue.
    pub fn verdict(&self) -> String {
        let named =
            self.failures.iter().take(NAMED).map(|failure| format!("{} {}", failure.id, failure.error));
        let named = named.collect::<Vec<_>>().join("; ");
        let more = if self.failures.len() > NAMED { "; ..." } else { "" };
        let (failed, all) = (self.failures.len(), self.runs.len());
        format!("the canary failed: {failed} of {all} runs did not succeed: {named}{more}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canary(size: u32, ids: &[&str]) -> Canary {
        let item = |id: &&str| Item { id: (*id).to_owned(), version: Some(3) };
        Canary { runs: ids.iter().map(item).collect(), ..Canary::new(size) }
    }

    fn run(id: &str, version: u64, state: RunState) -> CanaryRun {
        let has_ended = RunState::TERMINAL.contains(&state);
        CanaryRun { id: id.to_owned(), version, state, has_ended, reason: Some("no".to_owned()) }
    }

    #[test]
    fn a_canary_waits_until_all_its_runs_have_ended() {
        let canary = canary(2, &["a", "b"]);
        let open = canary.judged(&[run("a", 5, RunState::Dead), run("b", 4, RunState::Ready)]);
        assert_eq!((&open, open.waits()), (&canary, true));
        let passed = canary.judged(&[run("a", 5, RunState::Succeeded), run("b", 6, RunState::Succeeded)]);
        assert_eq!((passed.state, passed.waits()), (CanaryState::Passed, false));
        let failed = canary.judged(&[run("a", 5, RunState::Dead), run("b", 6, RunState::Succeeded)]);
        assert_eq!(failed.state, CanaryState::Failed);
        assert_eq!(failed.verdict(), "the canary failed: 1 of 2 runs did not succeed: a dead: no");
    }

    #[test]
    fn a_run_that_was_not_redriven_makes_room_for_another() {
        let unchanged = [run("a", 3, RunState::Dead), run("b", 5, RunState::Succeeded)];
        let refilled = canary(2, &["a", "b", "gone"]).judged(&unchanged);
        assert_eq!((refilled.runs.len(), refilled.missing(), refilled.state), (1, 1, CanaryState::Open));
        let last = Canary { has_all: true, ..canary(2, &["a", "b"]) }.judged(&unchanged);
        assert_eq!((last.state, last.runs.len()), (CanaryState::Passed, 1), "there is no other");
        let none = Canary { has_all: true, ..canary(1, &["a"]) }.judged(&unchanged);
        assert_eq!((none.state, none.runs.len()), (CanaryState::Passed, 0));
    }
}

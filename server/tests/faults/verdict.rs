//! Findings of the checker.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// Acknowledged but not stored, or handed over but not delivered.
    Lost,
    /// Two effects of one moment, two tasks of one call, or one claim of two workers.
    DoubledEffect,
    /// Delivered before its moment.
    Early,
    /// State transition that the state machine does not have.
    Illegal,
    /// Nominal moment without a run.
    Missing,
    /// Nominal moment with two runs, or run without a moment.
    Surplus,
    /// Delivered too late.
    Late,
    /// Duplicate message without a fault that explains it.
    Uncaused,
    /// Fire of an old definition after an acknowledged change.
    Stale,
    /// Run or task that did not reach a terminal state.
    Unfinished,
    /// Run in another terminal state than expected.
    WrongEnd,
    /// Version of a run that the journal does not have: its transitions are not checked.
    Unseen,
}

impl Kind {
    pub const ALL: [Self; 12] = [
        Self::Lost,
        Self::DoubledEffect,
        Self::Early,
        Self::Illegal,
        Self::Missing,
        Self::Surplus,
        Self::Late,
        Self::Uncaused,
        Self::Stale,
        Self::Unfinished,
        Self::WrongEnd,
        Self::Unseen,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::DoubledEffect => "doubled effects",
            Self::Early => "early",
            Self::Illegal => "illegal",
            Self::Missing => "missing",
            Self::Surplus => "surplus",
            Self::Late => "late",
            Self::Uncaused => "uncaused copies",
            Self::Stale => "stale",
            Self::Unfinished => "unfinished",
            Self::WrongEnd => "wrong end",
            Self::Unseen => "unseen",
        }
    }
}

/// Findings and figures of one scenario.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verdict {
    pub found: BTreeMap<Kind, Vec<String>>,
    pub figures: Figures,
}

/// Figures of one scenario.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// Injected faults and their number.
    pub faults: BTreeMap<String, u64>,
    pub calls_acknowledged: usize,
    pub calls_unknown: usize,
    pub tasks: usize,
    pub runs: usize,
    pub moments: usize,
    pub deliveries: usize,
    pub effects: usize,
    /// Messages on the broker at the end.
    pub messages: usize,
    /// Messages beyond the first one of their attempt.
    pub copies: usize,
    pub steps: usize,
    /// Maximum time from a moment to its first delivery, in milliseconds.
    pub latest_ms: i64,
    pub latest_quiet_ms: i64,
    pub latest_healed_ms: i64,
}

impl Figures {
    pub fn faults(&self) -> u64 {
        self.faults.values().sum()
    }
}

impl Verdict {
    pub fn is_sound(&self) -> bool {
        self.found.is_empty()
    }

    pub fn count(&self, kind: Kind) -> usize {
        self.found.get(&kind).map_or(0, Vec::len)
    }

    pub fn add(&mut self, kind: Kind, what: String) {
        self.found.entry(kind).or_default().push(what);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = self.figures.faults();
        let Figures { tasks, runs, moments, deliveries, effects, messages, copies, steps, .. } =
            &self.figures;
        let Figures {
            calls_acknowledged, calls_unknown, latest_ms, latest_quiet_ms, latest_healed_ms, ..
        } = &self.figures;
        write!(
            f,
            "faults {faults} | calls {calls_acknowledged} acknowledged, {calls_unknown} unknown | tasks {tasks} | moments {moments} | \
             runs {runs}, {steps} versions | messages {messages} | deliveries {deliveries} | effects {effects} | copies {copies} |"
        )?;
        for kind in Kind::ALL {
            write!(f, " {} {}", kind.name(), self.count(kind))?;
            f.write_str(if kind == Kind::Unseen { " |" } else { "," })?;
        }
        write!(
            f,
            " latest {latest_ms} ms, {latest_quiet_ms} ms without a fault, {latest_healed_ms} ms after recovery"
        )
    }
}

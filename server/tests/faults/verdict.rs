//! What the checker can find, and what it has found.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// What is forbidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// Acknowledged and gone, or handed over and never arrived.
    Lost,
    /// Two effects for one moment, two tasks for one call, one claim for two workers.
    DoubledEffect,
    /// Before its moment.
    Early,
    /// A step that the table of transitions does not have.
    Illegal,
    /// A nominal moment without a run.
    Missing,
    /// A nominal moment with two runs, or a run without a moment.
    Surplus,
    /// Too late.
    Late,
    /// A copy on the bus without a fault that explains it.
    Uncaused,
    /// An old definition fired after its change was acknowledged.
    Stale,
    /// A run or task that has not come to its end.
    Unfinished,
    /// A run that ended otherwise than its handler wanted.
    WrongEnd,
    /// A version of a run that the watch on the store has not seen: then the steps prove nothing.
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

/// What the checker found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verdict {
    pub found: BTreeMap<Kind, Vec<String>>,
    pub figures: Figures,
}

/// What was measured beside.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// How often each was injected.
    pub faults: BTreeMap<String, u64>,
    pub calls_acknowledged: usize,
    pub calls_unknown: usize,
    pub tasks: usize,
    pub runs: usize,
    pub moments: usize,
    pub deliveries: usize,
    pub effects: usize,
    /// On the broker in the end.
    pub messages: usize,
    /// Those among them that are a second or further one of their attempt.
    pub copies: usize,
    pub steps: usize,
    /// The longest from a moment to its first arrival, whatever was broken.
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

    pub fn find(&mut self, kind: Kind, what: String) {
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
            " latest {latest_ms} ms, {latest_quiet_ms} ms with nothing broken, {latest_healed_ms} ms after healing"
        )
    }
}

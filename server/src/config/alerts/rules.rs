//! Sections of the rules beside the backlog. Each section has its own defaults.

use serde::{Deserialize, Serialize};

use crate::core::alert::{Measure, Rule, Severity};
use crate::engine::settings::AlertWindows;

/// Severity of a rule, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleSeverity {
    Off,
    Info,
    Warning,
    Critical,
}

/// Defines the section of a rule with its keys and their defaults.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { severity: $severity:ident, $($key:ident: $default:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            pub severity: RuleSeverity,
            $(pub $key: u64,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { severity: RuleSeverity::$severity, $($key: $default,)* }
            }
        }
    };
}

section! {
    /// More than `threshold` runs of a tag became dead within `window_sec`.
    DeadRuns { severity: Warning, threshold: 10, window_sec: 300, for_sec: 0, }
}
section! {
    /// A run of a tag became dead, the first one for `quiet_sec`.
    FirstDead { severity: Info, quiet_sec: 3_600, }
}
section! {
    /// Runs wait in a queue from which no worker has taken a run for `for_sec`.
    NoWorker { severity: Warning, for_sec: 60, }
}
section! {
    /// More than `threshold` leases of a tag expired within `window_sec`, on one node.
    ExpiredLeases { severity: Warning, threshold: 10, window_sec: 300, for_sec: 0, }
}
section! {
    /// A moment is due for more than `threshold_sec` and was not handed over.
    Undecided { severity: Critical, threshold_sec: 60, for_sec: 0, }
}
section! {
    /// A back end does not answer for `for_sec`.
    BackEndDown { severity: Critical, for_sec: 30, }
}
section! {
    /// The clock of a node is wrong, or was set, by more than `threshold_ms`.
    Clock { severity: Critical, threshold_ms: 2_000, for_sec: 0, }
}
section! {
    /// Fewer nodes than in the last hour, for `for_sec`.
    NodesMissing { severity: Warning, for_sec: 60, }
}
section! {
    /// A concurrency limit has no free slot while runs wait, for `for_sec`.
    LimitSaturated { severity: Info, for_sec: 600, }
}
section! {
    /// 1 % of the runs of a node were handed over more than `threshold_ms` late within `window_sec`.
    Lateness { severity: Warning, threshold_ms: 5_000, window_sec: 300, for_sec: 0, }
}

/// The rules beside the backlog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleSections {
    pub dead_runs: DeadRuns,
    pub first_dead: FirstDead,
    pub no_worker: NoWorker,
    pub expired_leases: ExpiredLeases,
    pub undecided: Undecided,
    pub back_end_down: BackEndDown,
    pub clock: Clock,
    pub nodes_missing: NodesMissing,
    pub limit_saturated: LimitSaturated,
    pub lateness: Lateness,
}

impl RuleSections {
    /// Returns the rules that are not off.
    pub(super) fn all(&self) -> Vec<(Measure, Rule)> {
        let rules = [
            (Measure::DeadRuns, self.dead_runs.severity, self.dead_runs.threshold, self.dead_runs.for_sec),
            (Measure::FirstDead, self.first_dead.severity, 0, 0),
            (Measure::NoWorker, self.no_worker.severity, 0, self.no_worker.for_sec),
            (
                Measure::ExpiredLeases,
                self.expired_leases.severity,
                self.expired_leases.threshold,
                self.expired_leases.for_sec,
            ),
            (
                Measure::Undecided,
                self.undecided.severity,
                self.undecided.threshold_sec,
                self.undecided.for_sec,
            ),
            (Measure::BackEndDown, self.back_end_down.severity, 0, self.back_end_down.for_sec),
            (Measure::Clock, self.clock.severity, self.clock.threshold_ms, self.clock.for_sec),
            (Measure::NodesMissing, self.nodes_missing.severity, 0, self.nodes_missing.for_sec),
            (Measure::LimitSaturated, self.limit_saturated.severity, 0, self.limit_saturated.for_sec),
            (Measure::Lateness, self.lateness.severity, self.lateness.threshold_ms, self.lateness.for_sec),
        ];
        let rule = |(measure, severity, threshold, for_sec)| {
            let rule = Rule::above(threshold, severity_of(severity)?);
            Some((measure, Rule { for_ms: ms(for_sec), ..rule }))
        };
        rules.into_iter().filter_map(rule).collect()
    }

    pub(super) fn windows(&self) -> AlertWindows {
        AlertWindows {
            dead_ms: ms(self.dead_runs.window_sec),
            quiet_ms: ms(self.first_dead.quiet_sec),
            expired_leases_ms: ms(self.expired_leases.window_sec),
            undecided_ms: ms(self.undecided.threshold_sec),
            no_worker_ms: ms(self.no_worker.for_sec),
            lateness_ms: ms(self.lateness.window_sec),
        }
    }

    /// Returns the keys that hold seconds, with their values.
    pub fn seconds(&self) -> [(&'static str, u64); 14] {
        [
            ("dead_runs.window_sec", self.dead_runs.window_sec),
            ("dead_runs.for_sec", self.dead_runs.for_sec),
            ("first_dead.quiet_sec", self.first_dead.quiet_sec),
            ("no_worker.for_sec", self.no_worker.for_sec),
            ("expired_leases.window_sec", self.expired_leases.window_sec),
            ("expired_leases.for_sec", self.expired_leases.for_sec),
            ("undecided.threshold_sec", self.undecided.threshold_sec),
            ("undecided.for_sec", self.undecided.for_sec),
            ("back_end_down.for_sec", self.back_end_down.for_sec),
            ("clock.for_sec", self.clock.for_sec),
            ("nodes_missing.for_sec", self.nodes_missing.for_sec),
            ("limit_saturated.for_sec", self.limit_saturated.for_sec),
            ("lateness.window_sec", self.lateness.window_sec),
            ("lateness.for_sec", self.lateness.for_sec),
        ]
    }
}

fn severity_of(severity: RuleSeverity) -> Option<Severity> {
    match severity {
        RuleSeverity::Off => None,
        RuleSeverity::Info => Some(Severity::Info),
        RuleSeverity::Warning => Some(Severity::Warning),
        RuleSeverity::Critical => Some(Severity::Critical),
    }
}

/// Returns seconds in milliseconds.
pub(super) fn ms(sec: u64) -> i64 {
    i64::try_from(sec.saturating_mul(1_000)).unwrap_or(i64::MAX)
}

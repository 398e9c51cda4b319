//! How an expression is read: its dialect, and what happens when clocks change.

use serde::{Deserialize, Serialize};

/// Options of a cron schedule. The default is one expression in the dialect of crontabs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CronOptions {
    /// Further expressions. A moment that any expression selects is a moment of the schedule, once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Meaning of the fields.
    #[serde(default, skip_serializing_if = "Dialect::is_unix")]
    pub dialect: Dialect,
    /// What happens when clocks change.
    #[serde(default, skip_serializing_if = "Dst::is_default")]
    pub dst: Dst,
}

impl CronOptions {
    /// Returns whether the schedule is one expression with the default meaning.
    pub fn is_default(&self) -> bool {
        self.also.is_empty() && self.dialect.is_unix() && self.dst.is_default()
    }
}

/// Meaning of the fields of an expression.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Crontabs: 5 to 7 fields; Sunday is 0 or 7.
    #[default]
    Unix,
    /// Quartz: 6 or 7 fields; Sunday is 1. One day field selects the days.
    Quartz,
}

impl Dialect {
    pub const ALL: [Self; 2] = [Self::Unix, Self::Quartz];

    /// Returns the dialect as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Quartz => "quartz",
        }
    }

    /// Returns whether this is the default.
    pub fn is_unix(&self) -> bool {
        *self == Self::Unix
    }
}

/// What happens when clocks change. What is `None` depends on the expression: see `mapping`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dst {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
}

impl Dst {
    /// Returns whether the expression decides.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What happens to a match that the clock skips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// The match is no moment.
    Skip,
    /// The moment is the first instant after the gap.
    After,
}

impl Gap {
    pub const ALL: [Self; 2] = [Self::Skip, Self::After];

    /// Returns the rule as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::After => "after",
        }
    }
}

/// Which passes of a repeated match are moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeat {
    /// The first pass.
    First,
    /// The second pass.
    Last,
    /// Both passes.
    Both,
}

impl Repeat {
    pub const ALL: [Self; 3] = [Self::First, Self::Last, Self::Both];

    /// Returns the rule as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
            Self::Both => "both",
        }
    }
}

//! Schedules: when a task is due.

use serde::{Deserialize, Serialize};

use super::Moment;
use super::cron::CronRule;

/// Rule for a task's nominal moments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Schedule {
    /// One moment: the anchor, which is the later of a task's start and its creation.
    Once,
    /// The anchor, and every multiple of `period_ms` after it. The grid does not drift.
    Every {
        /// Milliseconds between two moments; at least 1.
        period_ms: i64,
    },
    /// Every match of a cron expression.
    Cron {
        /// Expression as the user wrote it.
        expression: String,
        /// IANA time zone of an expression without a `TZ=` prefix. It is stored, so that a changed
        /// default does not move existing tasks.
        zone: String,
    },
}

impl Schedule {
    /// Returns the first moment at or after `anchor`, if any.
    pub fn first(&self, anchor: Moment) -> Option<Moment> {
        match self {
            Self::Once | Self::Every { .. } => Some(anchor),
            Self::Cron { expression, zone } => {
                within_calendar(CronRule::parse(expression, zone).ok()?.first(anchor)?)
            }
        }
    }

    /// Returns the moment after `moment`, which must be a moment of this schedule.
    pub fn after(&self, moment: Moment) -> Option<Moment> {
        self.rule().after(moment)
    }

    /// Returns the parsed schedule, for several searches: parsing an expression takes longer than a
    /// search.
    pub fn rule(&self) -> Rule {
        Rule(match self {
            Self::Once => None,
            Self::Every { period_ms } => Some(CronRule::Period(*period_ms)),
            Self::Cron { expression, zone } => CronRule::parse(expression, zone).ok(),
        })
    }
}

/// A parsed schedule. `None`: no moment follows another.
#[derive(Debug, Clone)]
pub struct Rule(Option<CronRule>);

impl Rule {
    /// Same as [`Schedule::after`].
    pub fn after(&self, moment: Moment) -> Option<Moment> {
        within_calendar(self.0.as_ref()?.after(moment)?)
    }
}

/// Removes moments after the year 9999: not every store and client can represent them.
fn within_calendar(moment: Moment) -> Option<Moment> {
    (moment <= Moment::NEVER).then_some(moment)
}

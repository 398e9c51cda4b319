//! When a task is due.

use serde::{Deserialize, Serialize};

use super::Moment;
use super::cron::CronRule;

/// The rule that yields a task's nominal moments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Schedule {
    /// One moment: the anchor.
    Once,
    /// The anchor and every `period_ms` after it, on a grid that never drifts.
    Every {
        /// Milliseconds between two moments; above 0.
        period_ms: i64,
    },
    /// Each match of a cron expression.
    Cron {
        /// As the user wrote it.
        expression: String,
        /// IANA zone for an expression without a zone of its own; kept, so that a changed default moves no task.
        zone: String,
    },
}

impl Schedule {
    /// The first moment at or after `anchor`, the later of a task's start and its creation. `None`: there is none.
    pub fn first(&self, anchor: Moment) -> Option<Moment> {
        match self {
            Self::Once | Self::Every { .. } => Some(anchor),
            Self::Cron { expression, zone } => {
                within_calendar(CronRule::parse(expression, zone).ok()?.first(anchor)?)
            }
        }
    }

    /// The moment that follows `moment`, itself one of this schedule.
    pub fn after(&self, moment: Moment) -> Option<Moment> {
        self.rule().after(moment)
    }

    /// The same schedule for whoever asks it many times: an expression is parsed once, which takes longer than a search with it.
    pub fn rule(&self) -> Rule {
        Rule(match self {
            Self::Once => None,
            Self::Every { period_ms } => Some(CronRule::Period(*period_ms)),
            Self::Cron { expression, zone } => CronRule::parse(expression, zone).ok(),
        })
    }
}

/// A schedule, ready to be asked. `None` has no moment after another.
#[derive(Debug, Clone)]
pub struct Rule(Option<CronRule>);

impl Rule {
    /// As [`Schedule::after`].
    pub fn after(&self, moment: Moment) -> Option<Moment> {
        within_calendar(self.0.as_ref()?.after(moment)?)
    }
}

/// What lies beyond the calendar never comes, and can be neither stored nor shown by everybody.
fn within_calendar(moment: Moment) -> Option<Moment> {
    (moment <= Moment::NEVER).then_some(moment)
}

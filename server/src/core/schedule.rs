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
    /// Returns the first moment from `now` on. A schedule begins at `start_at`, or at `now` without one;
    /// the grid of `every` begins there too, even if `start_at` is in the past. `None`: no moment exists.
    pub fn first(&self, start_at: Option<Moment>, now: Moment) -> Option<Moment> {
        let start = start_at.unwrap_or(now);
        match self {
            Self::Once => Some(start.max(now)),
            Self::Every { period_ms } => within_calendar(on_grid(start, *period_ms, now)),
            Self::Cron { expression, zone } => {
                within_calendar(CronRule::parse(expression, zone).ok()?.first(start.max(now))?)
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

/// Returns the first moment at or after `now` of the grid that begins at `origin`.
pub fn on_grid(origin: Moment, period_ms: i64, now: Moment) -> Moment {
    let passed_ms = now.since(origin).max(0);
    let periods = passed_ms / period_ms + i64::from(passed_ms % period_ms > 0);
    origin.plus_ms(periods.saturating_mul(period_ms))
}

/// Removes moments after the year 9999: not every store and client can represent them.
fn within_calendar(moment: Moment) -> Option<Moment> {
    (moment <= Moment::NEVER).then_some(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_rate_keeps_the_grid_of_a_start_in_the_past() {
        let every = Schedule::Every { period_ms: 900_000 };
        let at = |ms| Moment::from_ms(ms);
        assert_eq!(every.first(Some(at(180_000)), at(6_210_000)), Some(at(6_480_000)));
        assert_eq!(every.first(Some(at(180_000)), at(1_080_000)), Some(at(1_080_000)), "on the grid");
        assert_eq!(every.first(Some(at(180_000)), at(0)), Some(at(180_000)), "the start is ahead");
        assert_eq!(every.first(None, at(77)), Some(at(77)));
        assert_eq!(every.first(Some(at(0)), Moment::from_ms(i64::MAX)), None, "beyond the calendar");
    }
}

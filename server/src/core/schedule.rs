//! Schedules: when a task is due.

use serde::{Deserialize, Serialize};

use super::Moment;
use super::calendar::{Calendars, Openings, Search};
use super::cron::{CronOptions, CronRule, InvalidCron};

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
        /// Further expressions, dialect, and rules for changes of clocks.
        #[serde(default, skip_serializing_if = "CronOptions::is_default")]
        options: CronOptions,
    },
}

/// Largest number of expressions of one schedule.
pub const MAX_EXPRESSIONS: usize = 16;

impl Schedule {
    /// Returns the schedule of one expression, without options.
    pub fn cron(expression: impl Into<String>, zone: impl Into<String>) -> Self {
        let (expression, zone) = (expression.into(), zone.into());
        Self::Cron { expression, zone, options: CronOptions::default() }
    }

    /// Returns the first moment from `now` on. A schedule begins at `start_at`, or at `now` without one;
    /// the grid of `every` begins there too, even if `start_at` is in the past. `None`: no moment exists.
    pub fn first(&self, start_at: Option<Moment>, now: Moment) -> Option<Moment> {
        let start = start_at.unwrap_or(now);
        match self {
            Self::Once => Some(start.max(now)),
            Self::Every { period_ms } => within_years(on_grid(start, *period_ms, now)),
            Self::Cron { .. } => within_years(self.rule().moments.first(start.max(now))?),
        }
    }

    /// Returns the IANA time zone of a cron schedule: that of a prefix `TZ=`, or else its own.
    pub fn zone_name(&self) -> Option<&str> {
        let Self::Cron { expression, zone, .. } = self else { return None };
        let text = expression.trim();
        let prefixed = text.strip_prefix("CRON_TZ=").or(text.strip_prefix("TZ="));
        Some(prefixed.and_then(|rest| rest.split_whitespace().next()).unwrap_or(zone))
    }

    /// Returns the moment after `moment`, which must be a moment of this schedule.
    pub fn after(&self, moment: Moment) -> Option<Moment> {
        self.rule().after(moment)
    }

    /// Returns the parsed schedule, for several searches: parsing an expression takes longer than a
    /// search.
    pub fn rule(&self) -> Rule {
        self.rule_within(None)
    }

    /// Same as [`rule`](Self::rule), limited to the moments that calendars leave.
    pub fn rule_within(&self, calendars: Option<&Calendars>) -> Rule {
        let moments = match self {
            Self::Once => Moments::Nothing,
            Self::Every { period_ms } => Moments::One(CronRule::Period(*period_ms)),
            Self::Cron { expression, zone, options } => {
                parse(expression, zone, options).unwrap_or(Moments::Nothing)
            }
        };
        match calendars.map(Calendars::openings) {
            None => Rule { moments, openings: None },
            Some(Some(openings)) => Rule { moments, openings: Some(Box::new(openings)) },
            Some(None) => Rule { moments: Moments::Nothing, openings: None },
        }
    }

    /// Parses the expressions of a cron schedule.
    ///
    /// # Errors
    /// The first expression that is invalid, or too many expressions.
    pub fn check_cron(expression: &str, zone: &str, options: &CronOptions) -> Result<Rule, InvalidCron> {
        Ok(Rule { moments: parse(expression, zone, options)?, openings: None })
    }
}

fn parse(expression: &str, zone: &str, options: &CronOptions) -> Result<Moments, InvalidCron> {
    let rule = |text: &str| CronRule::parse_with(text, zone, options.dialect, options.dst);
    let first = rule(expression)?;
    if options.also.is_empty() {
        return Ok(Moments::One(first));
    }
    if options.also.len() >= MAX_EXPRESSIONS {
        return Err(InvalidCron::also(&format!(
            "at most {} further expressions are allowed",
            MAX_EXPRESSIONS - 1
        )));
    }
    let further =
        options.also.iter().map(|text| rule(text).map_err(|why| InvalidCron::also(&why.to_string())));
    let rules: Vec<CronRule> = std::iter::once(Ok(first)).chain(further).collect::<Result<_, _>>()?;
    // The moments of a period depend on the moment before, which another expression may have selected.
    if rules.iter().any(|rule| matches!(rule, CronRule::Period(_))) {
        return Err(InvalidCron::also("@every cannot be combined with other expressions"));
    }
    Ok(Moments::AnyOf(rules))
}

/// A parsed schedule, with the calendars that limit it.
#[derive(Debug, Clone)]
pub struct Rule {
    moments: Moments,
    openings: Option<Box<Openings>>,
}

/// The moments of a schedule without calendars.
#[derive(Debug, Clone)]
enum Moments {
    /// No moment follows another.
    Nothing,
    /// The moments of one rule.
    One(CronRule),
    /// The moments of all rules. A moment that several rules select is one moment.
    AnyOf(Vec<CronRule>),
}

impl Rule {
    /// Same as [`Schedule::after`].
    pub fn after(&self, moment: Moment) -> Option<Moment> {
        self.open_from(self.moments.after(moment)?)
    }

    /// Returns the moment after `moment` that the schedule has without its calendars.
    pub fn after_unlimited(&self, moment: Moment) -> Option<Moment> {
        self.moments.after(moment)
    }

    /// Returns the first moment at or after `from`. `known` is a moment of the schedule, with or without
    /// calendars: the grid of a period contains it.
    pub fn next_from(&self, known: Moment, from: Moment) -> Option<Moment> {
        self.open_from(self.moments.at_or_after(known, from)?)
    }

    /// Returns the first moment at or after `moment`, which the schedule has without its calendars. `None`: the
    /// bounded search of the calendars has found no moment.
    pub fn open_from(&self, mut moment: Moment) -> Option<Moment> {
        let Some(openings) = &self.openings else { return within_years(moment) };
        let mut search = Search::new();
        loop {
            let open = openings.next_open(within_years(moment)?, &mut search)?;
            if open == moment {
                return Some(moment);
            }
            search.pass_moment()?;
            moment = self.moments.at_or_after(moment, open)?;
        }
    }

    /// Returns the name of a calendar that excludes an instant. `None`: no calendar excludes it.
    pub fn excluded_by(&self, at: Moment) -> Option<&str> {
        self.openings.as_ref()?.excluded_by(at)
    }

    /// Returns the first moment at or after the next change of the clocks. See [`CronRule::after_clock_change`].
    pub fn after_clock_change(&self, moment: Moment) -> Option<Moment> {
        let rules = self.moments.rules().iter();
        self.open_from(rules.filter_map(|rule| rule.after_clock_change(moment)).min()?)
    }

    /// Returns remarks on the expressions.
    pub fn notes(&self) -> impl Iterator<Item = &String> {
        self.moments.rules().iter().flat_map(CronRule::notes)
    }
}

impl Moments {
    fn after(&self, moment: Moment) -> Option<Moment> {
        within_years(match self {
            Self::Nothing => None,
            Self::One(rule) => rule.after(moment),
            Self::AnyOf(rules) => rules.iter().filter_map(|rule| rule.after(moment)).min(),
        }?)
    }

    /// Returns the first moment at or after `anchor`; for a period, one period after it.
    fn first(&self, anchor: Moment) -> Option<Moment> {
        self.rules().iter().filter_map(|rule| rule.first(anchor)).min()
    }

    /// Returns the first moment at or after `from`. The grid of a period contains `known`, and has no begin.
    fn at_or_after(&self, known: Moment, from: Moment) -> Option<Moment> {
        let Self::One(CronRule::Period(period_ms)) = self else { return self.first(from) };
        // Rounded up.
        let periods = -known.since(from).div_euclid(*period_ms);
        within_years(known.plus_ms(periods.saturating_mul(*period_ms)))
    }

    fn rules(&self) -> &[CronRule] {
        match self {
            Self::Nothing => &[],
            Self::One(rule) => std::slice::from_ref(rule),
            Self::AnyOf(rules) => rules,
        }
    }
}

/// Returns the first moment at or after `now` of the grid that begins at `origin`.
pub fn on_grid(origin: Moment, period_ms: i64, now: Moment) -> Moment {
    let passed_ms = now.since(origin).max(0);
    let periods = passed_ms / period_ms + i64::from(passed_ms % period_ms > 0);
    origin.plus_ms(periods.saturating_mul(period_ms))
}

/// Removes moments after the year 9999: not every store and client can represent them.
fn within_years(moment: Moment) -> Option<Moment> {
    (moment <= Moment::NEVER).then_some(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_several_expressions_is_one_moment() {
        let cron = |expression: &str, also: &[&str]| Schedule::Cron {
            expression: expression.to_owned(),
            zone: "UTC".to_owned(),
            options: CronOptions {
                also: also.iter().map(ToString::to_string).collect(),
                ..CronOptions::default()
            },
        };
        let hours = |schedule: &Schedule| {
            let rule = schedule.rule();
            let first = schedule.first(None, Moment::from_sec(0));
            let moments = std::iter::successors(first, |at| rule.after(*at)).take(5);
            moments.map(|at| at.sec() / 3_600).collect::<Vec<_>>()
        };
        assert_eq!(hours(&cron("0 2,4 * * *", &["0 4,6 * * *", "0 1 * * *"])), [1, 2, 4, 6, 25]);
        assert_eq!(hours(&cron("0 0 0 1 1 * 1970", &["0 3 * * *"])), [0, 3, 27, 51, 75]);
        let refused = |schedule: &Schedule| match schedule {
            Schedule::Cron { expression, zone, options } => {
                Schedule::check_cron(expression, zone, options).unwrap_err().to_string()
            }
            _ => unreachable!("a cron schedule"),
        };
        assert!(refused(&cron("@daily", &["@every 1h"])).starts_with("also: @every"));
        assert_eq!(refused(&cron("@daily", &["0 25 * * *"])), "also: hour: \"25\" is not between 0 and 23");
        assert_eq!(
            refused(&cron("@daily", &["@daily"; 16])),
            "also: at most 15 further expressions are allowed"
        );
        assert!(Schedule::check_cron("@daily", "UTC", &CronOptions::default()).is_ok());
    }

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

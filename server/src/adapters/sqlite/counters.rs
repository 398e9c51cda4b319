//! Counters of fires and outcomes per tag: one row per minute and per day, so that no query counts
//! history.

use rusqlite::{Connection, params};

use super::errors::corrupt;
use crate::core::{Moment, RunState};
use crate::ports::{DAYS_KEPT_MS, MINUTES_KEPT_MS, OutcomeCount, Result};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

const ADD: &str = "INSERT INTO fires (period, starts_at, tag, fires) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET fires = fires + excluded.fires";

pub const IN_MINUTE: &str = "SELECT tag, fires FROM fires WHERE period = 'minute' AND starts_at = ?1";

/// Ended runs are counted in the same table: `period` is the state in which they ended.
pub const ON_DAY: &str = "SELECT period, tag, fires FROM fires
    WHERE period IN ('succeeded', 'dead', 'skipped', 'cancelled') AND starts_at = ?1";

pub const EXPIRE: &str = "DELETE FROM fires WHERE period = ?1 AND starts_at < ?2";

/// Adds fires to the counters of the minute and of the UTC day of `at`.
pub fn count(db: &Connection, at: Moment, fires: &[(String, u64)]) -> Result<()> {
    let mut add = db.prepare_cached(ADD)?;
    for (tag, fires) in fires {
        add.execute(params!["minute", start(at, MINUTE_MS), tag, *fires as i64])?;
        add.execute(params!["day", start(at, DAY_MS), tag, *fires as i64])?;
    }
    Ok(())
}

/// Returns the start of the period of `length_ms` that contains `at`.
fn start(at: Moment, length_ms: i64) -> i64 {
    at.ms().saturating_sub(at.ms().rem_euclid(length_ms))
}

/// Returns fires per tag in the minute of `at`.
pub fn in_minute(db: &Connection, at: Moment) -> Result<Vec<(String, u64)>> {
    let mut find = db.prepare_cached(IN_MINUTE)?;
    let rows =
        find.query_map([start(at, MINUTE_MS)], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Adds ended runs to the counters of a day.
pub fn count_outcomes(db: &Connection, day: Moment, counts: &[OutcomeCount]) -> Result<()> {
    let mut add = db.prepare_cached(ADD)?;
    for row in counts {
        add.execute(params![row.state.as_str(), start(day, DAY_MS), row.tag, row.runs as i64])?;
    }
    Ok(())
}

/// Returns the runs that ended on a day.
pub fn outcomes_on(db: &Connection, day: Moment) -> Result<Vec<OutcomeCount>> {
    let mut find = db.prepare_cached(ON_DAY)?;
    let mut found = find.query([start(day, DAY_MS)])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let (text, tag, runs): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let state = RunState::parse(&text).ok_or_else(|| corrupt(format!("unknown run state {text:?}")))?;
        rows.push(OutcomeCount { tag, state, runs: runs as u64 });
    }
    Ok(rows)
}

/// Removes counters that are older than [`MINUTES_KEPT_MS`] and [`DAYS_KEPT_MS`].
pub fn expire(db: &Connection, now: Moment) -> Result<()> {
    let mut expire = db.prepare_cached(EXPIRE)?;
    expire.execute(params!["minute", now.plus_ms(-MINUTES_KEPT_MS).ms()])?;
    let days = now.plus_ms(-DAYS_KEPT_MS).ms();
    for period in ["day"].into_iter().chain(RunState::TERMINAL.map(RunState::as_str)) {
        expire.execute(params![period, days])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_starts_on_the_minute_or_at_midnight() {
        let at = Moment::from_ms(1_795_000_012_345);
        assert_eq!(Moment::from_ms(start(at, MINUTE_MS)).to_string(), "2026-11-18T11:06:00.000Z");
        assert_eq!(Moment::from_ms(start(at, DAY_MS)).to_string(), "2026-11-18T00:00:00.000Z");
        assert_eq!(start(Moment::from_ms(i64::MIN), DAY_MS), i64::MIN);
    }
}

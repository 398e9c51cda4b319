//! Fires by tag, a row for each minute and each UTC day, so that no page counts over history.

use rusqlite::{Connection, params};

use crate::core::Moment;
use crate::ports::Result;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
const KEEP_MINUTES_MS: i64 = 2 * DAY_MS;
const KEEP_DAYS_MS: i64 = 400 * DAY_MS;

const ADD: &str = "INSERT INTO fires (period, starts_at, tag, fires) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET fires = fires + excluded.fires";

pub const IN_MINUTE: &str = "SELECT tag, fires FROM fires WHERE period = 'minute' AND starts_at = ?1";

pub const EXPIRE: &str = "DELETE FROM fires WHERE period = ?1 AND starts_at < ?2";

/// Adds to the fires of tags in the minute and the day of `at`.
pub fn count(db: &Connection, at: Moment, fires: &[(String, u64)]) -> Result<()> {
    let mut add = db.prepare_cached(ADD)?;
    for (tag, fires) in fires {
        add.execute(params!["minute", start(at, MINUTE_MS), tag, *fires as i64])?;
        add.execute(params!["day", start(at, DAY_MS), tag, *fires as i64])?;
    }
    Ok(())
}

/// When the period of `length_ms` that holds `at` began.
fn start(at: Moment, length_ms: i64) -> i64 {
    at.ms().saturating_sub(at.ms().rem_euclid(length_ms))
}

/// Fires by tag in the minute of `at`.
pub fn in_minute(db: &Connection, at: Moment) -> Result<Vec<(String, u64)>> {
    let mut find = db.prepare_cached(IN_MINUTE)?;
    let rows =
        find.query_map([start(at, MINUTE_MS)], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Removes minutes after two days, and days after four hundred.
pub fn expire(db: &Connection, now: Moment) -> Result<()> {
    let mut expire = db.prepare_cached(EXPIRE)?;
    expire.execute(params!["minute", now.plus_ms(-KEEP_MINUTES_MS).ms()])?;
    expire.execute(params!["day", now.plus_ms(-KEEP_DAYS_MS).ms()])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_begins_on_the_minute_or_at_midnight() {
        let at = Moment::from_ms(1_795_000_012_345);
        assert_eq!(Moment::from_ms(start(at, MINUTE_MS)).to_string(), "2026-11-18T11:06:00.000Z");
        assert_eq!(Moment::from_ms(start(at, DAY_MS)).to_string(), "2026-11-18T00:00:00.000Z");
        assert_eq!(start(Moment::from_ms(i64::MIN), DAY_MS), i64::MIN);
    }
}

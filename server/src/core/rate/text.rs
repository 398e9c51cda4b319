//! Rate limits as texts: `LIMIT/PERIOD:SCOPE:KEY` for people, and the name of a limit within a group of waiting runs.

use std::fmt;
use std::str::FromStr;

use super::{OnExcess, Rate, RateLimit};
use crate::core::concurrency::Scope;

/// Units of a period, and their milliseconds. Longest first.
const UNITS: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl fmt::Display for Rate {
    /// Writes `LIMIT/PERIOD:SCOPE`, or `LIMIT/PERIOD:SCOPE:KEY`. `burst` and `on_excess` are not part of the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.limit, period_text(self.period_ms), self.scope.as_str())?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, ":{key}"))
    }
}

/// Returns a period in its longest unit, such as `1s` or `90s`.
pub fn period_text(period_ms: i64) -> String {
    let fits = |(_, ms): &&(&str, i64)| period_ms % ms == 0;
    let (unit, ms) = UNITS.iter().find(fits).unwrap_or(&("ms", 1));
    format!("{}{unit}", period_ms / ms)
}

fn read_period(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(digits);
    let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    count.parse::<i64>().ok()?.checked_mul(*ms)
}

/// The text is not a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a rate limit: use LIMIT/PERIOD, LIMIT/PERIOD:SCOPE or LIMIT/PERIOD:SCOPE:KEY, such as 10/1s:queue"
)]
pub struct NotARate;

impl FromStr for Rate {
    type Err = NotARate;

    /// Reads `LIMIT/PERIOD`, `LIMIT/PERIOD:SCOPE` or `LIMIT/PERIOD:SCOPE:KEY`.
    fn from_str(text: &str) -> Result<Self, NotARate> {
        let mut parts = text.splitn(3, ':');
        let (limit, period) = parts.next().and_then(|rate| rate.split_once('/')).ok_or(NotARate)?;
        let limit = limit.parse().map_err(|_| NotARate)?;
        let period_ms = read_period(period).ok_or(NotARate)?;
        let scope = parts.next().map_or(Some(Scope::Task), Scope::parse).ok_or(NotARate)?;
        let key = parts.next().map(str::to_owned);
        Ok(Self { limit, period_ms, burst: None, scope, key, on_excess: OnExcess::Wait })
    }
}

impl fmt::Display for RateLimit {
    /// Writes the name of the limit within a group of waiting runs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, limit, period_ms, burst, drops } = self;
        write!(f, "{key}/{limit}-{period_ms}-{burst}{}", if *drops { "-drop" } else { "" })
    }
}

impl RateLimit {
    /// Reads the name of a limit. `None`: another name.
    pub fn parse(name: &str) -> Option<Self> {
        let (key, numbers) = name.rsplit_once('/').filter(|(key, _)| key.starts_with("rate:"))?;
        let (numbers, drops) =
            numbers.strip_suffix("-drop").map_or((numbers, false), |numbers| (numbers, true));
        let mut numbers = numbers.split('-');
        let (limit, period_ms, burst) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let (limit, period_ms, burst) = (limit.parse().ok()?, period_ms.parse().ok()?, burst.parse().ok()?);
        Some(Self { key: key.to_owned(), limit, period_ms, burst, drops })
    }
}

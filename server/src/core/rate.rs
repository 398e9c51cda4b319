//! Rate limit of a task: how many runs may start in a period.
//!
//! The generic cell rate algorithm (GCRA) decides. Each key has a theoretical arrival time (TAT): the moment from which the
//! limit is unused. A permit moves the TAT by the interval `period / limit`. A run gets a permit while the TAT is less
//! than `burst` intervals ahead.

mod invalid;
mod text;

use serde::{Deserialize, Serialize};

pub use self::invalid::InvalidRate;
pub use self::text::{NotARate, period_text};
use super::Moment;
use super::concurrency::{MAX_KEY_BYTES, Scope, escape};

/// Largest number of starts in a period.
pub const MAX_STARTS: u32 = 1_000_000;
/// Longest period, in milliseconds: 31 days.
pub const MAX_PERIOD_MS: i64 = 31 * 86_400_000;
/// Time whose starts are the default burst, in milliseconds. A decision takes some milliseconds, so a limit of many starts
/// per second is reached only if several runs start at once.
const BURST_MS: i64 = 50;

/// A rate limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Maximum number of starts in a period, 1 to [`MAX_STARTS`].
    pub limit: u32,
    /// Length of the period in milliseconds, 1 to [`MAX_PERIOD_MS`].
    pub period_ms: i64,
    /// Maximum number of runs that start at once, 1 to [`MAX_STARTS`]. `None`: the starts of 50 ms, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// The runs that count.
    #[serde(default, skip_serializing_if = "Scope::is_default")]
    pub scope: Scope,
    /// Only runs with a rate limit of this key count. `None`: only runs with a rate limit without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What happens to a run that exceeds the limit.
    #[serde(default, skip_serializing_if = "OnExcess::is_default")]
    pub on_excess: OnExcess,
}

/// What happens to a run that exceeds a rate limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExcess {
    /// The run waits.
    #[default]
    Wait,
    /// The run ends as skipped, unless an attempt has started before.
    Drop,
}

impl OnExcess {
    /// Returns the value as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Drop => "drop",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Rate {
    /// Checks the limit of a task.
    ///
    /// # Errors
    /// The first invalid field.
    pub fn validate(&self, has_queue: bool) -> Result<(), InvalidRate> {
        InvalidRate::check("rate.limit", i64::from(self.limit), i64::from(MAX_STARTS))?;
        InvalidRate::check("rate.period_ms", self.period_ms, MAX_PERIOD_MS)?;
        InvalidRate::check("rate.burst", self.burst.map_or(1, i64::from), i64::from(MAX_STARTS))?;
        let key_bytes = self.key.as_ref().map_or(1, String::len);
        if !(1..=MAX_KEY_BYTES).contains(&key_bytes) {
            return Err(InvalidRate::key(key_bytes));
        }
        let lacks_queue = self.scope == Scope::Queue && !has_queue;
        if lacks_queue { Err(InvalidRate::without_queue()) } else { Ok(()) }
    }

    /// Returns the maximum number of runs that start at once.
    pub fn burst(&self) -> u32 {
        let default = || i64::from(self.limit) * BURST_MS / self.period_ms.max(1);
        let burst = self.burst.map_or_else(default, i64::from);
        u32::try_from(burst.clamp(1, i64::from(MAX_STARTS))).unwrap_or(MAX_STARTS)
    }

    /// Returns the limit with its key. `value` is the value of the scope: the task, tag or queue of a run.
    pub fn of_value(&self, value: Option<&str>) -> RateLimit {
        let parts = [Some(self.scope.as_str()), value, self.key.as_deref()];
        let parts: Vec<String> = parts.into_iter().flatten().map(escape).collect();
        RateLimit {
            key: format!("rate:{}", parts.join(":")),
            limit: self.limit,
            period_ms: self.period_ms,
            burst: self.burst(),
            drops: self.on_excess == OnExcess::Drop,
        }
    }
}

/// A rate limit with its key. Runs whose limits have an equal key share the TAT.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RateLimit {
    pub key: String,
    pub limit: u32,
    pub period_ms: i64,
    pub burst: u32,
    /// Whether a run without a permit ends as skipped.
    pub drops: bool,
}

/// Answer to a request for permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permits {
    pub granted: u32,
    /// Permits that the limit has left.
    pub free: u32,
    /// Milliseconds until the limit has the least number of permits that the request needs, by the clock of the store. 0: it
    /// has them now.
    pub wait_ms: i64,
}

impl RateLimit {
    /// Returns the time between two permits in microseconds, rounded up: `limit` intervals are never shorter than the
    /// period.
    pub fn interval_us(&self) -> i64 {
        let (period_us, limit) = (self.period_ms.saturating_mul(1_000), i64::from(self.limit.max(1)));
        (period_us / limit + i64::from(period_us % limit > 0)).max(1)
    }

    /// Returns how far the TAT may be ahead of the clock when a run gets a permit, in microseconds.
    pub fn tolerance_us(&self) -> i64 {
        self.interval_us().saturating_mul(i64::from(self.burst.max(1)) - 1)
    }

    /// Returns the TAT in microseconds after a request at `now`, and the answer. The request gets at most `most` permits, and
    /// none if fewer than `least` are free. A key without a TAT has 0.
    pub fn take(&self, tat_us: i64, least: u32, most: u32, now: Moment) -> (i64, Permits) {
        let free = self.free(tat_us, now);
        let granted = if free < least { 0 } else { free.min(most) };
        let tat_us = tat_us.max(now_us(now)).saturating_add(self.permits_us(granted));
        (tat_us, self.answer(granted, tat_us, least, now))
    }

    /// Returns the answer to a request that has left the TAT in microseconds at `tat_us`.
    pub fn answer(&self, granted: u32, tat_us: i64, least: u32, now: Moment) -> Permits {
        let last_us = tat_us.saturating_add(self.permits_us(least.saturating_sub(1)));
        Permits { granted, free: self.free(tat_us, now), wait_ms: self.next_at(last_us).since(now).max(0) }
    }

    /// Returns the number of permits that the limit has at `now`.
    fn free(&self, tat_us: i64, now: Moment) -> u32 {
        let now_us = now_us(now);
        let room_us = now_us.saturating_add(self.tolerance_us()) - tat_us.max(now_us);
        let free = if room_us < 0 { 0 } else { room_us / self.interval_us() + 1 };
        u32::try_from(free).unwrap_or(u32::MAX)
    }

    /// Returns the time of permits in microseconds.
    fn permits_us(&self, permits: u32) -> i64 {
        self.interval_us().saturating_mul(i64::from(permits))
    }

    /// Returns when the limit has its next permit, by its TAT in microseconds.
    pub fn next_at(&self, tat_us: i64) -> Moment {
        let at_us = tat_us.saturating_sub(self.tolerance_us());
        Moment::from_ms(at_us.div_euclid(1_000) + i64::from(at_us.rem_euclid(1_000) > 0))
    }
}

fn now_us(now: Moment) -> i64 {
    now.ms().saturating_mul(1_000)
}

#[cfg(test)]
mod tests;

//! Instants on the wall clock.

use serde::{Deserialize, Serialize};

/// An instant on the wall clock, in milliseconds since 1970-01-01T00:00:00Z. Milliseconds are the
/// precision of the stores. The type is for any instant, not only for a moment of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(i64);

impl Moment {
    /// Creates a moment from milliseconds since the epoch.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Creates a moment from seconds since the epoch, as in the v1 API. Saturates.
    pub const fn from_sec(sec: i64) -> Self {
        Self(sec.saturating_mul(1000))
    }

    /// 9999-12-31: later than every real moment.
    pub const NEVER: Self = Self::from_sec(253_402_207_200);

    /// Returns milliseconds since the epoch.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// Returns seconds since the epoch, rounded down.
    pub const fn sec(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Returns the moment `ms` milliseconds later. Saturates.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Returns the date of this instant in `zone` (an IANA name). The result is 00:00 UTC of that
    /// date. An unknown zone counts as UTC.
    #[must_use]
    pub fn day_in(self, zone: &str) -> Self {
        let Ok(at) = jiff::Timestamp::from_millisecond(self.0) else { return self };
        let zone = super::zone::find(zone).unwrap_or(jiff::tz::TimeZone::UTC);
        let midnight = at.to_zoned(zone).date().to_zoned(jiff::tz::TimeZone::UTC);
        midnight.map_or(self, |midnight| Self(midnight.timestamp().as_millisecond()))
    }

    /// Returns milliseconds from `earlier` to this moment; negative if this moment is before
    /// `earlier`.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::fmt::Display for Moment {
    /// Writes RFC 3339 in UTC, or milliseconds for an instant outside the calendar.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_rfc_3339() {
        assert_eq!(Moment::from_ms(1_500).to_string(), "1970-01-01T00:00:01.500Z");
        assert_eq!(Moment::from_ms(i64::MAX).to_string(), format!("{}ms", i64::MAX));
    }

    #[test]
    fn a_day_is_the_local_date_of_the_zone() {
        // 2015-10-30T03:08:10Z
        let at = Moment::from_sec(1_446_174_490);
        assert_eq!(at.day_in("UTC").to_string(), "2015-10-30T00:00:00.000Z");
        assert_eq!(at.day_in("America/Los_Angeles").to_string(), "2015-10-29T00:00:00.000Z");
        assert_eq!(
            at.plus_ms(13 * 3_600_000).day_in("Asia/Shanghai").to_string(),
            "2015-10-31T00:00:00.000Z"
        );
    }

    #[test]
    fn seconds_round_down_before_the_epoch_too() {
        assert_eq!(Moment::from_ms(-1).sec(), -1);
        assert_eq!(Moment::from_sec(i64::MAX).ms(), i64::MAX);
    }
}

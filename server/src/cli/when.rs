//! Durations and instants, as people write and read them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};
use taskcenter_client::clock::{Clock as _, SystemClock};

const UNITS: &[(i64, &str)] = &[(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];

/// The time of day.
pub fn now() -> Timestamp {
    Timestamp::from_millisecond(SystemClock.now_ms()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Milliseconds of a duration such as `500ms`, `10s`, `1h30m`, `2d`. A day has 24 hours.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    const HOW: &str = "write it with a unit, such as 500ms, 10s, 5m, 1h30m or 2d";
    let span: Span = text.parse().map_err(|_| HOW.to_owned())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours());
    let duration = duration.map_err(|_| "months and years have no fixed length; use days".to_owned())?;
    u64::try_from(duration.as_millis()).map_err(|_| "it should not be negative".to_owned())
}

/// Whole seconds of a duration.
pub fn duration_sec(text: &str) -> Result<u64, String> {
    match duration_ms(text)? {
        0 => Err("it should be at least 1s".to_owned()),
        ms if ms % 1_000 > 0 => Err("it should be whole seconds".to_owned()),
        ms => Ok(ms / 1_000),
    }
}

/// An instant by RFC 3339, or by the clock on the wall where no offset is given.
pub fn instant(text: &str) -> Result<Timestamp, String> {
    const HOW: &str = "write it as 2030-01-31T08:00:00Z, or without an offset for this machine's time zone";
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let on_the_wall: DateTime = text.parse().map_err(|_| HOW.to_owned())?;
    let at = on_the_wall.to_zoned(TimeZone::system()).map_err(|error| error.to_string())?;
    Ok(at.timestamp())
}

/// An instant on the wall of `zone`.
pub fn in_zone(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// An instant on this machine's wall.
pub fn local(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The time of day on this machine's wall, to the millisecond.
pub fn local_time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%H:%M:%S%.3f").to_string()
}

/// An instant on this machine's wall, and how far that is from `now`.
pub fn both(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", local(at), relative(at, now))
}

/// How far it is from `now`: `in 5m`, `3h 20m ago`.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    // To the second: what was asked for in an hour is shown as that, a moment later.
    let ms = (at.as_millisecond() - now.as_millisecond() + 500).div_euclid(1_000) * 1_000;
    match ms {
        0 => "now".to_owned(),
        1.. => format!("in {}", length(ms)),
        _ => format!("{} ago", length(-ms)),
    }
}

/// A length of time by its two largest units.
pub fn length(ms: i64) -> String {
    if ms < 1_000 {
        return format!("{ms}ms");
    }
    let mut left = ms / 1_000;
    let mut parts = Vec::new();
    for (size, unit) in UNITS {
        if left >= *size {
            parts.push(format!("{}{unit}", left / size));
        }
        left %= size;
    }
    parts.truncate(2);
    parts.join(" ")
}

/// A length of time in full, as it would be written to have it again.
pub fn exactly(ms: i64) -> String {
    match UNITS.iter().find(|(size, _)| ms > 0 && ms % (size * 1_000) == 0) {
        Some((size, unit)) => format!("{}{unit}", ms / (size * 1_000)),
        None => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let good = [
            ("500ms", 500),
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("2 weeks", 1_209_600_000),
        ];
        for (text, ms) in good {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "10", "-10s", "10s ago", "1mo", "soon"] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
        assert_eq!(duration_sec("2m"), Ok(120));
        assert!(duration_sec("0s").is_err() && duration_sec("1500ms").is_err());
    }

    #[test]
    fn an_instant_may_have_an_offset_or_none() {
        let at = instant("2030-01-31T08:00:00+08:00").unwrap();
        assert_eq!(at, "2030-01-31T00:00:00Z".parse().unwrap());
        assert!(instant("2030-01-31T08:00:00").is_ok() && instant("2030-01-31 08:00").is_ok());
        assert!(instant("tomorrow").is_err());
    }

    #[test]
    fn a_distance_is_told_by_its_two_largest_units() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let told = [499, 5_000, 89_990, 3_599_500, -93_784_000].map(|ms| relative(at(ms), now));
        assert_eq!(told, ["now", "in 5s", "in 1m 30s", "in 1h", "1d 2h ago"]);
        assert_eq!(
            [0, 1, 1_500, 60_000, 90_000, 172_800_000].map(exactly),
            ["0ms", "1ms", "1500ms", "1m", "90s", "2d"]
        );
    }
}

//! Instants and durations in words.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::words::{Lang, Words, fill};
use crate::core::Moment;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Returns date and time of an instant in a zone, without milliseconds. `None`: outside the calendar.
pub fn date_time(at: Moment, zone: &TimeZone, lang: Lang) -> Option<String> {
    let at = Timestamp::from_millisecond(at.ms()).ok()?.to_zoned(zone.clone());
    let format = match lang {
        Lang::En => "%a %-d %b %Y, %H:%M:%S",
        Lang::Zh => "%Y-%m-%d %H:%M:%S",
    };
    Some(at.strftime(format).to_string())
}

/// Returns the time of day of an instant in a zone, with milliseconds. `None`: outside the calendar.
pub fn time_of_day(at: Moment, zone: &TimeZone) -> Option<String> {
    let at = Timestamp::from_millisecond(at.ms()).ok()?.to_zoned(zone.clone());
    Some(at.strftime("%H:%M:%S.%3f").to_string())
}

/// Returns the abbreviation of the zone at an instant, such as `CEST`.
pub fn abbreviation(at: Moment, zone: &TimeZone) -> String {
    let at = Timestamp::from_millisecond(at.ms()).unwrap_or(Timestamp::UNIX_EPOCH);
    zone.to_offset_info(at).abbreviation().to_owned()
}

/// Returns a duration with its two largest units, such as `3 h 20 min`.
pub fn duration(ms: i64, t: &Words) -> String {
    let ms = ms.max(0);
    if ms < SECOND {
        return format!("{ms} {}", t.unit_ms);
    }
    if ms < MINUTE {
        let tenths = ms % SECOND / 100;
        let part = if tenths == 0 { String::new() } else { format!(".{tenths}") };
        return format!("{}{part} {}", ms / SECOND, t.unit_s);
    }
    let units = [(DAY, &t.unit_d), (HOUR, &t.unit_h), (MINUTE, &t.unit_m), (SECOND, &t.unit_s)];
    let largest = units.iter().position(|(size, _)| ms >= *size).unwrap_or(units.len() - 1);
    let mut text = String::new();
    let mut rest = ms;
    for (size, unit) in units.iter().skip(largest).take(2) {
        if rest >= *size {
            let space = if text.is_empty() { "" } else { " " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{space}{} {unit}", rest / size);
        }
        rest %= size;
    }
    text
}

/// Returns the distance from `now`, such as `in 3 s` or `2 min ago`.
pub fn relative(at: Moment, now: Moment, t: &Words) -> String {
    let distance = at.since(now);
    match distance.abs() {
        ..SECOND => t.now_time.clone(),
        ms => {
            let words = duration(whole(ms), t);
            fill(if distance > 0 { &t.in_time } else { &t.past_time }, &[&words])
        }
    }
}

/// Drops the part of a second.
fn whole(ms: i64) -> i64 {
    ms - ms % SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_their_two_largest_units() {
        let text = |ms| duration(ms, Lang::En.words());
        assert_eq!(text(0), "0 ms");
        assert_eq!(text(999), "999 ms");
        assert_eq!(text(1_500), "1.5 s");
        assert_eq!(text(60_000), "1 min");
        assert_eq!(text(3 * HOUR + 20 * MINUTE + 5_000), "3 h 20 min");
        assert_eq!(text(DAY + MINUTE), "1 d");
        assert_eq!(duration(2 * HOUR, Lang::Zh.words()), "2 小时");
    }

    #[test]
    fn a_distance_says_its_direction() {
        let now = Moment::from_sec(1_000);
        let text = |ms| relative(now.plus_ms(ms), now, Lang::En.words());
        assert_eq!((text(3_400), text(-61_000)), ("in 3 s".to_owned(), "1 min 1 s ago".to_owned()));
        assert_eq!(text(-400), "now");
    }

    #[test]
    fn an_instant_is_shown_in_its_zone() {
        let at = Moment::from_sec(1_446_174_490);
        let shown = |lang| date_time(at, &TimeZone::UTC, lang).unwrap();
        assert_eq!(shown(Lang::En), "Fri 30 Oct 2015, 03:08:10");
        assert_eq!(shown(Lang::Zh), "2015-10-30 03:08:10");
        assert_eq!(date_time(Moment::from_ms(i64::MAX), &TimeZone::UTC, Lang::En), None);
        assert_eq!(time_of_day(at.plus_ms(7), &TimeZone::UTC).unwrap(), "03:08:10.007");
    }
}

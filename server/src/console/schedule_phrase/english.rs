//! English phrases.

use super::time_of_day::{Half, clock, number};
use super::{Composed, Rhythm};

/// Days of the week by their first three letters, from Sunday.
const DAYS: [(&str, &str); 7] = [
    ("sun", "sunday"),
    ("mon", "monday"),
    ("tue", "tuesday"),
    ("wed", "wednesday"),
    ("thu", "thursday"),
    ("fri", "friday"),
    ("sat", "saturday"),
];

/// Returns the schedule of a phrase in lower case.
pub fn parse(phrase: &str) -> Option<Composed> {
    rhythm(phrase)?.schedule()
}

fn rhythm(phrase: &str) -> Option<Rhythm> {
    let phrase = phrase.strip_prefix("every ").or(phrase.strip_prefix("on ")).unwrap_or(phrase);
    match phrase {
        "second" => return Some(Rhythm::Seconds(1)),
        "minute" => return Some(Rhythm::Minutes(1)),
        "hour" | "hourly" => return Some(Rhythm::Hourly(0)),
        "midnight" => return weekly("day", "midnight"),
        "noon" => return weekly("day", "noon"),
        _ => {}
    }
    if let Some((count, unit)) = phrase.split_once(' ')
        && let Some(count) = number(count)
    {
        return steps(count, unit);
    }
    let (days, time) = phrase.rsplit_once(" at ")?;
    if matches!(days, "hour" | "hourly") {
        return number(time.strip_prefix("minute ")?).map(Rhythm::Hourly);
    }
    match day_of_month(days) {
        Some(day) => time_of_day(time).map(|(hour, minute)| Rhythm::Monthly(day, hour, minute)),
        None => weekly(days, time),
    }
}

fn steps(count: u32, unit: &str) -> Option<Rhythm> {
    match unit {
        "second" | "seconds" => Some(Rhythm::Seconds(count)),
        "minute" | "minutes" => Some(Rhythm::Minutes(count)),
        "hour" | "hours" => Some(Rhythm::Hours(count)),
        _ => None,
    }
}

/// Returns the day of `day 15 of every month`, `month on the 1st` or `monthly on day 1`.
fn day_of_month(days: &str) -> Option<u32> {
    let day = match days.strip_prefix("month on ").or(days.strip_prefix("monthly on ")) {
        Some(day) => day,
        None => days.strip_suffix(" of every month").or(days.strip_suffix(" of the month"))?,
    };
    let day = day.strip_prefix("day ").or(day.strip_prefix("the ")).unwrap_or(day);
    number(day.trim_end_matches(|c: char| "stndrh".contains(c)))
}

fn weekly(days: &str, time: &str) -> Option<Rhythm> {
    let (hour, minute) = time_of_day(time)?;
    let days = match days {
        "day" | "daily" => "*".to_owned(),
        "weekday" | "weekdays" | "monday to friday" => "1-5".to_owned(),
        "weekend" | "weekends" => "6,0".to_owned(),
        days => {
            let separated = days.replace(" and ", ",");
            let days: Option<Vec<String>> = separated.split(',').map(|day| weekday(day.trim())).collect();
            days?.join(",")
        }
    };
    Some(Rhythm::Weekly(days, hour, minute))
}

fn weekday(word: &str) -> Option<String> {
    let word = word.strip_prefix("every ").unwrap_or(word);
    let is_day =
        |(short, long): &(&str, &str)| word == *short || word.strip_suffix('s').unwrap_or(word) == *long;
    DAYS.iter().position(is_day).map(|day| day.to_string())
}

fn time_of_day(text: &str) -> Option<(u32, u32)> {
    match text {
        "midnight" => return Some((0, 0)),
        "noon" => return Some((12, 0)),
        _ => {}
    }
    let (text, half) = match (text.strip_suffix("am"), text.strip_suffix("pm")) {
        (Some(text), _) => (text.trim_end(), Some(Half::Morning)),
        (_, Some(text)) => (text.trim_end(), Some(Half::Afternoon)),
        _ => (text, None),
    };
    let (hour, minute) = text.split_once(':').map_or((text, ""), |(hour, minute)| (hour, minute));
    if text.ends_with(':') {
        return None;
    }
    clock(hour, minute, half)
}

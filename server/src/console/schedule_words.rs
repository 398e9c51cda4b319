//! Schedules in words.

use super::time::duration;
use super::words::{Words, fill};
use crate::core::Schedule;

/// Returns a schedule in words. An uncommon cron expression is only named as such.
pub fn describe(schedule: &Schedule, t: &Words) -> String {
    match schedule {
        Schedule::Once => t.once.clone(),
        Schedule::Every { period_ms } => fill(&t.every, &[&duration(*period_ms, t)]),
        Schedule::Cron { expression, options, .. } if options.dialect.is_unix() => {
            let words = |text: &String| cron(text, t).unwrap_or_else(|| t.cron_expression.clone());
            let all: Vec<String> = std::iter::once(expression).chain(&options.also).map(words).collect();
            all.join(" · ")
        }
        Schedule::Cron { .. } => t.cron_expression.clone(),
    }
}

/// Returns the cron expression of a schedule with its zone. Empty for other schedules.
pub fn expression(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Cron { expression, zone, options } => {
            let all: Vec<&str> =
                std::iter::once(expression).chain(&options.also).map(String::as_str).collect();
            let zone = Some(zone).filter(|zone| !has_zone(expression) && !zone.is_empty()).cloned();
            let dialect = (!options.dialect.is_unix()).then(|| options.dialect.as_str().to_owned());
            let words = [Some(all.join(" | ")), zone, dialect];
            words.into_iter().flatten().collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

fn has_zone(expression: &str) -> bool {
    expression.trim_start().starts_with("TZ=") || expression.trim_start().starts_with("CRON_TZ=")
}

fn cron(expression: &str, t: &Words) -> Option<String> {
    let mut fields: Vec<&str> = expression.split_whitespace().collect();
    if has_zone(expression) {
        fields.remove(0);
    }
    match fields[..] {
        ["@hourly"] => Some(fill(&t.cron_hourly, &["0"])),
        ["@daily" | "@midnight"] => Some(fill(&t.cron_daily, &["00:00"])),
        ["@every", period] => Some(fill(&t.every, &[period])),
        ["*", "*", "*", "*", "*", "*"] => Some(fill(&t.cron_every_seconds, &["1"])),
        [second, "*", "*", "*", "*", "*"] if step(second, 60).is_some() => {
            Some(fill(&t.cron_every_seconds, &[step(second, 60)?]))
        }
        ["0", minute, hour, day, month, weekday] | [minute, hour, day, month, weekday] => {
            five_fields(minute, hour, day, month, weekday, t)
        }
        _ => None,
    }
}

fn five_fields(minute: &str, hour: &str, day: &str, month: &str, weekday: &str, t: &Words) -> Option<String> {
    if month != "*" {
        return None;
    }
    match (minute, hour, day, weekday) {
        ("*", "*", "*", "*") => Some(t.cron_every_minute.clone()),
        (minute, "*", "*", "*") if step(minute, 60).is_some() => {
            Some(fill(&t.cron_every_minutes, &[step(minute, 60)?]))
        }
        (minute, "*", "*", "*") => Some(fill(&t.cron_hourly, &[number(minute, 59)?])),
        ("0", hour, "*", "*") if step(hour, 24).is_some() => {
            Some(fill(&t.cron_every_hours, &[step(hour, 24)?]))
        }
        (minute, hour, "*", "*") => Some(fill(&t.cron_daily, &[&clock(minute, hour)?])),
        (minute, hour, "*", "1-5" | "mon-fri" | "MON-FRI") => {
            Some(fill(&t.cron_weekdays, &[&clock(minute, hour)?]))
        }
        (minute, hour, "*", weekday) => {
            Some(fill(&t.cron_weekly, &[weekday_word(weekday, t)?, &clock(minute, hour)?]))
        }
        (minute, hour, day, "*") => {
            Some(fill(&t.cron_days_of_month, &[number(day, 31)?, &clock(minute, hour)?]))
        }
        _ => None,
    }
}

/// Returns the step of a field such as `*/5`, if the field of this size has equal steps.
fn step(field: &str, size: u32) -> Option<&str> {
    let is_equal = |step: u32| (1..size).contains(&step) && size.is_multiple_of(step);
    field.strip_prefix("*/").filter(|step| step.parse().is_ok_and(is_equal))
}

/// Returns the field if it is one number up to `most`.
fn number(field: &str, most: u32) -> Option<&str> {
    field.parse().is_ok_and(|number: u32| number <= most).then_some(field)
}

fn clock(minute: &str, hour: &str) -> Option<String> {
    let (minute, hour): (u32, u32) = (number(minute, 59)?.parse().ok()?, number(hour, 23)?.parse().ok()?);
    Some(format!("{hour:02}:{minute:02}"))
}

fn weekday_word<'a>(field: &str, t: &'a Words) -> Option<&'a str> {
    const NAMES: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let days = [&t.day_0, &t.day_1, &t.day_2, &t.day_3, &t.day_4, &t.day_5, &t.day_6];
    let lower = field.to_ascii_lowercase();
    let at = NAMES.iter().position(|name| *name == lower);
    let at = at.or_else(|| field.parse().ok().filter(|day: &usize| *day <= 7))?;
    Some(days[at % 7])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::words::Lang;

    #[test]
    fn common_expressions_have_words() {
        let words = |expression: &str| {
            let schedule = Schedule::cron(expression, "UTC");
            describe(&schedule, Lang::En.words())
        };
        for (expression, expected) in [
            ("* * * * *", "Every minute"),
            ("*/5 * * * *", "Every 5 minutes"),
            ("*/10 * * * * *", "Every 10 seconds"),
            ("15 * * * *", "Every hour at minute 15"),
            ("0 */2 * * *", "Every 2 hours"),
            ("30 2 * * *", "Every day at 02:30"),
            ("0 30 2 * * *", "Every day at 02:30"),
            ("TZ=Europe/Berlin 30 2 * * *", "Every day at 02:30"),
            ("0 9 * * 1-5", "Monday to Friday at 09:00"),
            ("0 9 * * SUN", "Every Sunday at 09:00"),
            ("0 9 * * 7", "Every Sunday at 09:00"),
            ("0 9 1 * *", "On day 1 of every month at 09:00"),
            ("@daily", "Every day at 00:00"),
            ("@every 1h30m", "Every 1h30m"),
            ("0 9 1 * 1", "By a cron expression"),
            ("0 9 * 2 *", "By a cron expression"),
            ("1,2 9 * * *", "By a cron expression"),
            ("*/90 * * * *", "By a cron expression"),
            ("*/7 * * * *", "By a cron expression"),
            ("0 */5 * * *", "By a cron expression"),
        ] {
            assert_eq!(words(expression), expected, "{expression}");
        }
    }

    #[test]
    fn periods_have_words() {
        let every = |lang: Lang| describe(&Schedule::Every { period_ms: 90_000 }, lang.words());
        assert_eq!((every(Lang::En), every(Lang::Zh)), ("Every 1 min 30 s".into(), "每 1 分钟 30 秒".into()));
    }
}

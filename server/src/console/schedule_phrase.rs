//! Schedules out of words, such as `every weekday at 09:30` or `每天 9:30`: the other direction of
//! `schedule_words`.

mod chinese;
mod english;
mod time_of_day;

/// A schedule out of words or choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Composed {
    /// A cron expression.
    Cron(String),
    /// A fixed period: its number, and its unit as the form for tasks names it.
    Every(u32, &'static str),
}

/// Returns the schedule of a phrase in English or Chinese. `None`: the phrase is not understood.
pub fn parse(phrase: &str) -> Option<Composed> {
    let phrase = phrase.trim().to_lowercase();
    english::parse(&phrase).or_else(|| chinese::parse(&phrase))
}

/// When something is due, as people say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rhythm {
    Seconds(u32),
    Minutes(u32),
    Hours(u32),
    /// At this minute of every hour.
    Hourly(u32),
    /// On these days of the week, as cron writes them; at hour and minute.
    Weekly(String, u32, u32),
    /// On this day of every month; at hour and minute.
    Monthly(u32, u32, u32),
}

impl Rhythm {
    /// Returns the schedule: a cron expression, or a fixed period if no cron expression has equal steps. `None`: a
    /// number is out of bounds.
    pub fn schedule(&self) -> Option<Composed> {
        let at = |hour: u32, minute: u32| (hour < 24 && minute < 60).then(|| format!("{minute} {hour}"));
        Some(Composed::Cron(match self {
            Self::Seconds(number) => return steps(*number, 60, "s", |step| format!("{step} * * * * *")),
            Self::Minutes(number) => return steps(*number, 60, "min", |step| format!("{step} * * * *")),
            Self::Hours(number) => return steps(*number, 24, "h", |step| format!("0 {step} * * *")),
            Self::Hourly(minute) => format!("{} * * * *", (*minute < 60).then_some(minute)?),
            Self::Weekly(days, hour, minute) => format!("{} * * {days}", at(*hour, *minute)?),
            Self::Monthly(day, hour, minute) => {
                let day = (1..=31).contains(day).then_some(day)?;
                format!("{} {day} * *", at(*hour, *minute)?)
            }
        }))
    }
}

/// Returns a schedule with equal steps. The steps of a cron field begin anew after its `size` values: they are equal if
/// the number divides the size.
fn steps(
    number: u32,
    size: u32,
    unit: &'static str,
    expression: impl Fn(String) -> String,
) -> Option<Composed> {
    match number {
        0 => None,
        1 => Some(Composed::Cron(expression("*".to_owned()))),
        number if number < size && size.is_multiple_of(number) => {
            Some(Composed::Cron(expression(format!("*/{number}"))))
        }
        number => Some(Composed::Every(number, unit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::schedule_words::describe;
    use crate::console::words::Lang;
    use crate::core::Schedule;

    fn cron(phrase: &str) -> Option<String> {
        match parse(phrase)? {
            Composed::Cron(expression) => Some(expression),
            Composed::Every(..) => None,
        }
    }

    #[test]
    fn steps_are_equal() {
        for (phrase, expected) in [
            ("every 7 minutes", Composed::Every(7, "min")),
            ("every 45 minutes", Composed::Every(45, "min")),
            ("every 60 minutes", Composed::Every(60, "min")),
            ("every 90 minutes", Composed::Every(90, "min")),
            ("every 40 seconds", Composed::Every(40, "s")),
            ("every 5 hours", Composed::Every(5, "h")),
            ("every 24 hours", Composed::Every(24, "h")),
            ("每 7 分钟", Composed::Every(7, "min")),
            ("每 90 分钟", Composed::Every(90, "min")),
            ("每 9 小时", Composed::Every(9, "h")),
            ("every 30 minutes", Composed::Cron("*/30 * * * *".to_owned())),
            ("every 12 hours", Composed::Cron("0 */12 * * *".to_owned())),
            ("every 1 minutes", Composed::Cron("* * * * *".to_owned())),
        ] {
            assert_eq!(parse(phrase), Some(expected), "{phrase}");
        }
        for number in 2..60 {
            let composed = Rhythm::Minutes(number).schedule().unwrap();
            let is_cron = matches!(composed, Composed::Cron(_));
            assert_eq!(is_cron, 60 % number == 0, "every {number} minutes");
        }
    }

    #[test]
    fn english_and_chinese_phrases_are_understood() {
        for (phrase, expected) in [
            ("every minute", "* * * * *"),
            ("Every 5 minutes", "*/5 * * * *"),
            ("every 30 seconds", "*/30 * * * * *"),
            ("every 2 hours", "0 */2 * * *"),
            ("every hour", "0 * * * *"),
            ("hourly at minute 15", "15 * * * *"),
            ("every weekday at 09:30", "30 9 * * 1-5"),
            ("weekdays at 9:30 am", "30 9 * * 1-5"),
            ("Monday to Friday at 9", "0 9 * * 1-5"),
            ("every day at 9pm", "0 21 * * *"),
            ("daily at noon", "0 12 * * *"),
            ("every day at 12:05 am", "5 0 * * *"),
            ("every midnight", "0 0 * * *"),
            ("every monday and friday at 18:00", "0 18 * * 1,5"),
            ("Sundays at 7:15", "15 7 * * 0"),
            ("every weekend at 10:00", "0 10 * * 6,0"),
            ("on day 15 of every month at 08:00", "0 8 15 * *"),
            ("every month on the 1st at 8:00", "0 8 1 * *"),
            ("monthly on the 3rd at 8:00", "0 8 3 * *"),
            ("每天 9:30", "30 9 * * *"),
            ("每天上午9点半", "30 9 * * *"),
            ("每日 21：05", "5 21 * * *"),
            ("每天晚上8点", "0 20 * * *"),
            ("每天中午12点", "0 12 * * *"),
            ("工作日 09:30", "30 9 * * 1-5"),
            ("每个工作日早上9点", "0 9 * * 1-5"),
            ("周一至周五 9:00", "0 9 * * 1-5"),
            ("每周一 9:00", "0 9 * * 1"),
            ("每星期日 9点15分", "15 9 * * 0"),
            ("每周一、周三 9:00", "0 9 * * 1,3"),
            ("周末 10:00", "0 10 * * 6,0"),
            ("每月 15 日 8:00", "0 8 15 * *"),
            ("每月1号8点", "0 8 1 * *"),
            ("每分钟", "* * * * *"),
            ("每 5 分钟", "*/5 * * * *"),
            ("每隔10分钟", "*/10 * * * *"),
            ("每小时", "0 * * * *"),
            ("每 2 小时", "0 */2 * * *"),
            ("每小时的第 15 分钟", "15 * * * *"),
            ("每 30 秒", "*/30 * * * * *"),
        ] {
            assert_eq!(cron(phrase).as_deref(), Some(expected), "{phrase}");
        }
    }

    #[test]
    fn other_phrases_are_refused() {
        for phrase in [
            "",
            "every",
            "every day at 25:00",
            "every day at 9:60",
            "every 0 minutes",
            "every blue moon",
            "on day 32 of every month at 8:00",
            "every day at 13pm",
            "every monday and funday at 9:00",
            "at 9:00 today",
            "每",
            "每天 25:00",
            "每月 32 日 8:00",
            "每周八 9:00",
            "明天 9:00",
            "每天上午9点99分",
        ] {
            assert_eq!(parse(phrase), None, "{phrase}");
        }
    }

    #[test]
    fn the_words_of_an_expression_are_understood_again() {
        for expression in [
            "* * * * *",
            "*/5 * * * *",
            "*/10 * * * * *",
            "15 * * * *",
            "0 */2 * * *",
            "30 2 * * *",
            "0 9 * * 1-5",
            "0 9 * * 0",
            "0 9 * * 3",
            "0 9 1 * *",
            "59 23 31 * *",
        ] {
            for lang in Lang::ALL {
                let schedule = Schedule::cron(expression, String::new());
                let words = describe(&schedule, lang.words());
                assert_eq!(cron(&words).as_deref(), Some(expression), "{words}");
            }
        }
    }

    #[test]
    fn the_examples_of_the_manual_are_true() {
        let manual = include_str!("../../../docs/console.md");
        let table = manual.split("| words | expression |\n|---|---|\n").nth(1).unwrap();
        let rows = table.lines().take_while(|line| line.starts_with("| `"));
        let mut phrases = 0;
        for row in rows {
            let (words, expression) = row.trim_matches(['|', ' ']).split_once(" | ").unwrap();
            for phrase in words.split("`, `").map(|phrase| phrase.trim_matches('`')) {
                assert_eq!(cron(phrase).as_deref(), Some(expression.trim_matches('`')), "{phrase}");
                phrases += 1;
            }
        }
        assert!(phrases >= 10, "found only {phrases} examples");
    }
}

//! A schedule out of choices and words, in the form for tasks.

use super::super::schedule_phrase::{self, Composed, Rhythm};
use super::super::visit::Fields;
use super::super::words::Words;
use super::task_draft::Refusal;

/// The choices as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choices {
    pub phrase: String,
    pub rhythm: String,
    pub every: String,
    pub minute: String,
    pub time: String,
    pub weekday: String,
    pub day: String,
}

impl Default for Choices {
    fn default() -> Self {
        let text = str::to_owned;
        Self {
            phrase: String::new(),
            rhythm: text("daily"),
            every: text("5"),
            minute: text("0"),
            time: text("09:00"),
            weekday: text("1"),
            day: text("1"),
        }
    }
}

impl Choices {
    /// Reads a sent form.
    pub fn read(fields: &Fields) -> Self {
        let default = Self::default();
        let text = |name, default| fields.get(name).map_or(default, str::to_owned);
        Self {
            phrase: text("phrase", default.phrase),
            rhythm: text("rhythm", default.rhythm),
            every: text("c_every", default.every),
            minute: text("c_minute", default.minute),
            time: text("c_time", default.time),
            weekday: text("c_weekday", default.weekday),
            day: text("c_day", default.day),
        }
    }

    /// Returns the schedule that a form asks for. `None`: the form asks for none.
    ///
    /// # Errors
    /// The words or the choices are not valid.
    pub fn compose(&self, fields: &Fields, t: &Words) -> Result<Option<Composed>, Refusal> {
        // The Enter key presses the first button, which has no name. After a phrase, a person expects its schedule.
        let is_enter =
            !self.phrase.is_empty() && ["save", "preview"].iter().all(|name| fields.get(name).is_none());
        match fields.get("compose").or(is_enter.then_some("phrase")) {
            None => Ok(None),
            Some("phrase") => {
                let unknown = || Refusal { field: "phrase", why: t.compose_phrase_unknown.clone() };
                schedule_phrase::parse(&self.phrase).map(Some).ok_or_else(unknown)
            }
            Some(_) => {
                let wrong = || Refusal { field: "choices", why: t.compose_wrong.clone() };
                let schedule = self.rhythm().and_then(|rhythm| rhythm.schedule());
                schedule.map(Some).ok_or_else(wrong)
            }
        }
    }

    fn rhythm(&self) -> Option<Rhythm> {
        let weekly = |days: &str| {
            let (hour, minute) = self.clock()?;
            Some(Rhythm::Weekly(days.to_owned(), hour, minute))
        };
        match &*self.rhythm {
            "minutes" => self.every.parse().ok().map(Rhythm::Minutes),
            "hours" => self.every.parse().ok().map(Rhythm::Hours),
            "hourly" => self.minute.parse().ok().map(Rhythm::Hourly),
            "daily" => weekly("*"),
            "weekdays" => weekly("1-5"),
            "weekly" => {
                let day: u32 = self.weekday.parse().ok().filter(|day| *day < 7)?;
                weekly(&day.to_string())
            }
            "monthly" => {
                let (hour, minute) = self.clock()?;
                Some(Rhythm::Monthly(self.day.parse().ok()?, hour, minute))
            }
            _ => None,
        }
    }

    /// Returns hour and minute. Some browsers send seconds too.
    fn clock(&self) -> Option<(u32, u32)> {
        let mut parts = self.time.split(':').map(|part| part.parse().ok());
        Some((parts.next()??, parts.next()??))
    }
}

/// Returns the rhythms with their labels.
pub fn rhythms(t: &Words) -> [(&'static str, &str); 7] {
    [
        ("minutes", &t.rhythm_minutes),
        ("hours", &t.rhythm_hours),
        ("hourly", &t.rhythm_hourly),
        ("daily", &t.rhythm_daily),
        ("weekdays", &t.rhythm_weekdays),
        ("weekly", &t.rhythm_weekly),
        ("monthly", &t.rhythm_monthly),
    ]
}

/// Returns the days of the week with their labels, Monday first.
pub fn weekdays(t: &Words) -> [(&'static str, &str); 7] {
    [
        ("1", &t.day_1),
        ("2", &t.day_2),
        ("3", &t.day_3),
        ("4", &t.day_4),
        ("5", &t.day_5),
        ("6", &t.day_6),
        ("0", &t.day_0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::words::Lang;

    fn composed(form: &str) -> Option<Composed> {
        let fields = Fields::parse(form.as_bytes());
        Choices::read(&fields).compose(&fields, Lang::En.words()).unwrap_or(None)
    }

    fn compose(form: &str) -> Option<String> {
        match composed(form)? {
            Composed::Cron(expression) => Some(expression),
            Composed::Every(..) => None,
        }
    }

    #[test]
    fn a_number_without_equal_steps_becomes_a_period() {
        let every = composed("compose=choices&rhythm=minutes&c_every=7");
        assert_eq!(every, Some(Composed::Every(7, "min")));
        assert_eq!(composed("compose=choices&rhythm=hours&c_every=5"), Some(Composed::Every(5, "h")));
    }

    #[test]
    fn choices_become_an_expression() {
        for (form, expected) in [
            ("rhythm=daily&c_time=09:30", "30 9 * * *"),
            ("rhythm=weekdays&c_time=09:30:00", "30 9 * * 1-5"),
            ("rhythm=weekly&c_weekday=0&c_time=18:00", "0 18 * * 0"),
            ("rhythm=monthly&c_day=31&c_time=00:05", "5 0 31 * *"),
            ("rhythm=hourly&c_minute=15", "15 * * * *"),
            ("rhythm=minutes&c_every=1", "* * * * *"),
            ("rhythm=hours&c_every=2", "0 */2 * * *"),
            ("", "0 9 * * *"),
        ] {
            assert_eq!(compose(&format!("compose=choices&{form}")).as_deref(), Some(expected), "{form}");
        }
        assert_eq!(compose("compose=phrase&phrase=every+weekday+at+9").as_deref(), Some("0 9 * * 1-5"));
    }

    #[test]
    fn wrong_choices_are_refused() {
        for form in
            ["rhythm=x", "rhythm=daily&c_time=24:00", "rhythm=minutes&c_every=0", "rhythm=monthly&c_day=32"]
        {
            assert_eq!(compose(&format!("compose=choices&{form}")), None, "{form}");
        }
        assert_eq!(compose("compose=phrase&phrase=sometimes"), None);
        assert_eq!(compose("rhythm=daily"), None, "nothing was asked for");
    }
}

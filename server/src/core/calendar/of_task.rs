//! The calendars of a task.

use serde::{Deserialize, Serialize};

use super::{Calendar, Openings, check_name};

/// Maximum number of calendars of a task. The task has a copy of each.
pub const MAX_CALENDARS: usize = 4;

/// The calendars of a task, with their content: a fire reads no calendar.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Calendars {
    /// Calendars that must all contain a moment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Calendar>,
    /// Calendars that must not contain a moment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Calendar>,
}

/// Why the calendars of a task are invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidCalendars {
    /// Path of the field.
    pub field: &'static str,
    pub message: String,
}

impl Calendars {
    /// Returns calendars that are only named. `None`: no name is given.
    pub fn named(only: Vec<String>, exclude: Vec<String>) -> Option<Box<Self>> {
        let named = |names: Vec<String>| names.into_iter().map(Calendar::named).collect::<Vec<_>>();
        let calendars = Self { only: named(only), exclude: named(exclude) };
        (!calendars.is_empty()).then(|| Box::new(calendars))
    }

    /// Returns whether there is no calendar.
    pub fn is_empty(&self) -> bool {
        self.only.is_empty() && self.exclude.is_empty()
    }

    /// Returns all calendars.
    pub fn all(&self) -> impl Iterator<Item = &Calendar> {
        self.only.iter().chain(&self.exclude)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Calendar> {
        self.only.iter_mut().chain(&mut self.exclude)
    }

    /// Replaces the content of the calendars whose current content is known.
    pub fn update<'a>(&mut self, current: impl Fn(&str) -> Option<&'a Calendar>) {
        for calendar in self.all_mut() {
            if let Some(current) = current(&calendar.name) {
                calendar.clone_from(current);
            }
        }
    }

    /// Returns the names of the calendars of `only` and of `exclude`.
    pub fn names(&self) -> (Vec<String>, Vec<String>) {
        let names = |calendars: &[Calendar]| calendars.iter().map(|calendar| calendar.name.clone()).collect();
        (names(&self.only), names(&self.exclude))
    }

    /// Checks number and names, and that each calendar has content.
    ///
    /// # Errors
    /// The broken rule.
    pub fn check(&self) -> Result<(), InvalidCalendars> {
        let count = self.all().count();
        if count > MAX_CALENDARS {
            let message = format!("a task has at most {MAX_CALENDARS} calendars, and this one has {count}");
            return Err(InvalidCalendars { field: "calendars", message });
        }
        for (field, calendars) in [("calendars.only", &self.only), ("calendars.exclude", &self.exclude)] {
            for calendar in calendars {
                check_name(&calendar.name).map_err(|message| InvalidCalendars { field, message })?;
                if self.all().filter(|other| other.name == calendar.name).count() > 1 {
                    let message = format!("calendar {:?} is named twice: name it once", calendar.name);
                    return Err(InvalidCalendars { field, message });
                }
                if calendar.version == 0 {
                    return Err(Self::unknown(field, &calendar.name));
                }
            }
        }
        Ok(())
    }

    fn unknown(field: &'static str, name: &str) -> InvalidCalendars {
        let message = format!("calendar {name:?} does not exist: create it with POST /v1/calendars");
        InvalidCalendars { field, message }
    }

    /// Parses the calendars. `None`: this release cannot read a calendar, so that no moment is open.
    pub fn openings(&self) -> Option<Openings> {
        let parse = |calendars: &[Calendar]| {
            calendars.iter().map(Calendar::open_times).collect::<Result<Vec<_>, _>>().ok()
        };
        Some(Openings { only: parse(&self.only)?, exclude: parse(&self.exclude)? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::calendar;
    use super::*;

    fn of(only: &[&str], exclude: &[&str]) -> Calendars {
        let known = |names: &[&str]| {
            let known = |name: &&str| Calendar { name: (*name).to_owned(), ..calendar(&["mon"], &[], &[]) };
            names.iter().map(known).collect()
        };
        Calendars { only: known(only), exclude: known(exclude) }
    }

    #[test]
    fn a_task_has_few_known_calendars() {
        of(&["a", "b"], &["c", "d"]).check().unwrap();
        let refused = |calendars: &Calendars| {
            let why = calendars.check().unwrap_err();
            (why.field, why.message)
        };
        assert_eq!(refused(&of(&["a", "b", "c"], &["d", "e"])).0, "calendars");
        assert_eq!(refused(&of(&["a"], &["a"])).0, "calendars.only");
        assert_eq!(refused(&of(&[], &["A"])).0, "calendars.exclude");
        let unknown = Calendars::named(Vec::new(), vec!["holidays".to_owned()]).unwrap();
        let (field, message) = refused(&unknown);
        assert_eq!(field, "calendars.exclude");
        assert!(message.contains("\"holidays\" does not exist"), "{message}");
        assert_eq!(Calendars::named(Vec::new(), Vec::new()), None);
    }
}

//! Calendars: named sets of days and hours in a time zone, to which tasks limit their moments.
//!
//! A calendar contains its weekly hours without the hours of `exclude`, and then all hours of `include`. So a
//! holiday is an entry of `exclude`, and a Saturday on which people work is an entry of `include`.

mod entry;
mod of_task;
mod openings;

use serde::{Deserialize, Serialize};

use entry::{DateEntry, WeeklyEntry};
pub use of_task::{Calendars, InvalidCalendars, MAX_CALENDARS};
pub use openings::{OpenTimes, Openings, Search};

use super::{Moment, zone};

/// Maximum number of entries of a calendar. Each task with the calendar has a copy of the entries.
pub const MAX_ENTRIES: usize = 200;
/// Maximum length of an entry, in bytes.
pub const MAX_ENTRY_BYTES: usize = 64;
/// Maximum length of a name, in bytes.
pub const MAX_NAME_BYTES: usize = 63;
/// Maximum length of a description, in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 500;
/// Maximum number of calendars of a server.
pub const MAX_STORED: usize = 1_000;

/// The content of a calendar, as a task keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Calendar {
    /// Name: 1 to 63 lower-case letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Number of the content, from 1. 0: the calendar is only named, and has no content yet.
    #[serde(default)]
    pub version: u64,
    /// IANA time zone of the entries.
    #[serde(default)]
    pub zone: String,
    /// Hours of the days of a week, such as `mon-fri 09:00-17:00`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weekly: Vec<String>,
    /// Dates to add, such as `2026-02-14` or `2026-10-10 09:00-17:00`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Dates to remove from the weekly hours, such as `2026-10-01/2026-10-07`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

/// Why a calendar is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidCalendar {
    /// Path of the field, such as `include[3]`.
    pub field: String,
    pub message: String,
}

impl InvalidCalendar {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl Calendar {
    /// Returns a calendar without content, for a definition that names it.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Checks name, zone and entries.
    ///
    /// # Errors
    /// The first field that is invalid.
    pub fn check(&self) -> Result<(), InvalidCalendar> {
        check_name(&self.name).map_err(|why| InvalidCalendar::new("name", why))?;
        let count = self.weekly.len() + self.include.len() + self.exclude.len();
        if count > MAX_ENTRIES {
            let why = format!("a calendar has at most {MAX_ENTRIES} entries, and this one has {count}");
            return Err(InvalidCalendar::new("include", why));
        }
        if self.weekly.is_empty() && self.include.is_empty() {
            let why =
                "the calendar contains no time: add weekly hours such as \"mon-sun\", or dates in include";
            return Err(InvalidCalendar::new("weekly", why));
        }
        self.open_times().map(drop)
    }

    /// Parses the entries.
    ///
    /// # Errors
    /// The first entry that is invalid, or an unknown zone.
    pub fn open_times(&self) -> Result<OpenTimes, InvalidCalendar> {
        let unknown = || {
            let why =
                format!("unknown time zone {:?}: use an IANA name such as \"Asia/Shanghai\"", self.zone);
            InvalidCalendar::new("zone", why)
        };
        let zone = zone::find(&self.zone).filter(|_| !self.zone.is_empty()).ok_or_else(unknown)?;
        let weekly = parse_all("weekly", &self.weekly, WeeklyEntry::parse)?;
        let include = parse_all("include", &self.include, DateEntry::parse)?;
        let exclude = parse_all("exclude", &self.exclude, DateEntry::parse)?;
        Ok(OpenTimes::new(self.name.clone(), zone, &weekly, include, exclude))
    }
}

fn parse_all<T>(
    list: &str,
    entries: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, InvalidCalendar> {
    let parse = |(at, text): (usize, &String)| {
        let checked = if text.len() > MAX_ENTRY_BYTES {
            Err(format!("an entry has at most {MAX_ENTRY_BYTES} bytes"))
        } else {
            parse(text)
        };
        checked.map_err(|why| InvalidCalendar::new(format!("{list}[{at}]"), why))
    };
    entries.iter().enumerate().map(parse).collect()
}

/// Checks the name of a calendar.
///
/// # Errors
/// What is wrong, and what to do.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if begins && name.len() <= MAX_NAME_BYTES && name.chars().all(is_valid) {
        return Ok(());
    }
    let shown: String = name.chars().take(MAX_NAME_BYTES).collect();
    Err(format!(
        "calendar name {shown:?} is invalid: use 1 to {MAX_NAME_BYTES} lower-case letters, digits, `-`, `_` and `.`, and \
         begin with a letter or a digit"
    ))
}

/// A stored calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCalendar {
    #[serde(flatten)]
    pub calendar: Calendar,
    /// Human-readable text. May be empty.
    #[serde(default)]
    pub description: String,
    /// When the version was stored.
    pub changed_at: Moment,
    /// Name of the caller that stored the version.
    #[serde(default)]
    pub changed_by: String,
    /// Whether every task with the calendar has this version.
    #[serde(default)]
    pub is_settled: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn calendar(weekly: &[&str], include: &[&str], exclude: &[&str]) -> Calendar {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Calendar {
            zone: "Asia/Shanghai".to_owned(),
            version: 1,
            weekly: texts(weekly),
            include: texts(include),
            exclude: texts(exclude),
            ..Calendar::named("workdays")
        }
    }

    #[test]
    fn each_field_has_rules() {
        calendar(&["mon-fri 09:00-12:00,13:00-18:00"], &["2026-02-14"], &["2026-02-15/2026-02-23"])
            .check()
            .unwrap();
        let field = |calendar: Calendar| calendar.check().unwrap_err().field;
        let valid = || calendar(&["mon-fri"], &[], &[]);
        for name in ["", "Workdays", "-a", "a b", &"n".repeat(64)] {
            assert_eq!(field(Calendar { name: name.to_owned(), ..valid() }), "name", "{name}");
        }
        for zone in ["", "Mars/Base"] {
            assert_eq!(field(Calendar { zone: zone.to_owned(), ..valid() }), "zone", "{zone}");
        }
        assert_eq!(field(calendar(&[], &[], &["2026-01-01"])), "weekly");
        assert_eq!(field(calendar(&["mon", "tu"], &[], &[])), "weekly[1]");
        assert_eq!(field(calendar(&[], &["2026-01-01", "2026-02-30"], &[])), "include[1]");
        assert_eq!(field(calendar(&["mon"], &[], &["2026-01-02/2026-01-01"])), "exclude[0]");
        assert_eq!(field(calendar(&["mon"], &[&"2".repeat(65)], &[])), "include[0]");
        assert_eq!(field(calendar(&["mon"; MAX_ENTRIES + 1], &[], &[])), "include");
    }
}

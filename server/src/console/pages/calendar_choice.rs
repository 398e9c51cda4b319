//! The calendars of a task as two fields of the form, and in words.

use super::super::words::{Words, fill};
use crate::core::calendar::{Calendar, Calendars};

/// Returns the names of a list as text.
fn text(calendars: &[Calendar]) -> String {
    calendars.iter().map(|calendar| calendar.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Returns the two fields: the calendars that limit the moments, and those that exclude moments.
pub fn fields(calendars: Option<&Calendars>) -> (String, String) {
    calendars.map(|calendars| (text(&calendars.only), text(&calendars.exclude))).unwrap_or_default()
}

/// Reads the two fields: names that commas or white space separate. `base` has the content of calendars that the
/// task has already.
pub fn read(only: &str, exclude: &str, base: Option<&Calendars>) -> Option<Box<Calendars>> {
    let names = |text: &str| {
        let names = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|name| !name.is_empty());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut calendars = Calendars::named(names(only), names(exclude))?;
    calendars.update(|name| base?.all().find(|calendar| calendar.name == name));
    Some(calendars)
}

/// Returns the calendars in words.
pub fn in_words(calendars: &Calendars, t: &Words) -> String {
    let (only, exclude) = fields(Some(calendars));
    let said = |words: &str, names: String| (!names.is_empty()).then(|| fill(words, &[&names]));
    let parts = [said(&t.calendars_only_fact, only), said(&t.calendars_except_fact, exclude)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

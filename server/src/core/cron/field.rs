//! Reads the fields of a cron expression into sets of numbers.
//!
//! A field is a list of items: `*`, a value, a range `a-b`, each with an optional step `/n`. A range
//! whose end comes first wraps around (`22-2`, `FRI-MON`). A value with a step is open: `5/20` runs
//! to the end of the field. A step larger than the field selects the first value only.

use super::{InvalidCron, refuse, shorten};

/// The name, the bounds and the words of one field.
pub struct Field {
    pub name: &'static str,
    pub min: u16,
    pub max: u16,
    /// Words for the values from `min`, as their full English names. The first three letters also count.
    words: &'static [&'static str],
}

const MONTHS: &[&str] = &[
    "JANUARY",
    "FEBRUARY",
    "MARCH",
    "APRIL",
    "MAY",
    "JUNE",
    "JULY",
    "AUGUST",
    "SEPTEMBER",
    "OCTOBER",
    "NOVEMBER",
    "DECEMBER",
];
const WEEKDAYS: &[&str] = &["SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY"];

pub const SECOND: Field = Field { name: "second", min: 0, max: 59, words: &[] };
pub const MINUTE: Field = Field { name: "minute", min: 0, max: 59, words: &[] };
pub const HOUR: Field = Field { name: "hour", min: 0, max: 23, words: &[] };
pub const DAY_OF_MONTH: Field = Field { name: "day of month", min: 1, max: 31, words: &[] };
pub const MONTH: Field = Field { name: "month", min: 1, max: 12, words: MONTHS };
pub const DAY_OF_WEEK: Field = Field { name: "day of week", min: 0, max: 6, words: WEEKDAYS };
/// Day of week in Quartz: Sunday is 1.
pub const QUARTZ_DAY_OF_WEEK: Field = Field { name: "day of week", min: 1, max: 7, words: WEEKDAYS };
pub const YEAR: Field = Field { name: "year", min: 1970, max: 2999, words: &[] };

/// One item of a list, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The selected values, ascending, without repetition.
    pub values: Vec<u16>,
    /// Whether the item follows the clock in regular steps: it begins with `*`, or is an open step `a/n`.
    pub is_interval: bool,
    /// The step, when it is so large that only the first value is left.
    pub oversized_step: Option<u32>,
}

/// Splits a field at its commas.
///
/// # Errors
/// A list has no empty items.
pub fn items<'a>(text: &'a str, field: &Field) -> Result<Vec<&'a str>, InvalidCron> {
    let items: Vec<&str> = text.split(',').collect();
    if items.iter().any(|item| item.is_empty()) {
        return refuse(format!(
            "{}: the list {:?} has an empty item: remove the extra comma",
            field.name,
            shorten(text)
        ));
    }
    Ok(items)
}

impl Field {
    /// Reads one item that is `*`, a value or a range, with an optional step.
    pub fn item(&self, text: &str) -> Result<Item, InvalidCron> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (text, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.min, self.max),
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            None => {
                let value = self.value(range)?;
                (value, if step.is_some() { self.max } else { value })
            }
        };
        let values = self.expand(from, to, step.unwrap_or(1))?;
        let is_open_step = step.is_some() && !range.contains('-');
        Ok(Item {
            is_interval: text.starts_with('*') || is_open_step,
            oversized_step: step.filter(|_| from != to && values.len() == 1),
            values,
        })
    }

    fn step(&self, text: &str) -> Result<u32, InvalidCron> {
        match number(text) {
            Some(step) if step > 0 => Ok(step),
            _ => refuse(format!("{}: step {:?} is not a number from 1", self.name, shorten(text))),
        }
    }

    /// Reads a number or a word of the field.
    pub fn value(&self, text: &str) -> Result<u16, InvalidCron> {
        if let Some(at) = self.words.iter().position(|word| is_word(text, word)) {
            return Ok(at as u16 + self.min);
        }
        let is_sunday = |value: u32| self.max == DAY_OF_WEEK.max && value == 7;
        match number(text) {
            Some(value) if is_sunday(value) => Ok(7),
            Some(value) if (u32::from(self.min)..=u32::from(self.max)).contains(&value) => Ok(value as u16),
            _ => refuse(self.out_of_bounds(text)),
        }
    }

    fn out_of_bounds(&self, text: &str) -> String {
        let (name, min, max, text) = (self.name, self.min, self.max, shorten(text));
        match self.words {
            [first, .., last] => format!(
                "{name}: {text:?} is not between {min} and {max}, or a name from {} to {}",
                &first[..3],
                &last[..3]
            ),
            _ => format!("{name}: {text:?} is not between {min} and {max}"),
        }
    }

    /// Every `step`-th value from `from` to `to`, past the end of the field and around where `to` is less.
    fn expand(&self, from: u16, to: u16, step: u32) -> Result<Vec<u16>, InvalidCron> {
        if self.name == YEAR.name && to < from {
            return refuse(format!("year: the range {from}-{to} ends before it begins"));
        }
        let span = self.max - self.min + 1;
        let length = if to >= from { to - from } else { to + span - from };
        let wrap = |value: u16| (value - self.min) % span + self.min;
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        let mut values: Vec<u16> = (0..=length).step_by(step).map(|i| wrap(from + i)).collect();
        values.sort_unstable();
        values.dedup();
        Ok(values)
    }
}

/// A decimal number without a sign. Nine digits are enough for any bound, and leave no overflow.
fn number(text: &str) -> Option<u32> {
    let is_plain = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok())?
}

fn is_word(text: &str, word: &str) -> bool {
    text.eq_ignore_ascii_case(word) || text.eq_ignore_ascii_case(&word[..3])
}

//! The concurrency limits of a task as lines of the form, and in words.

use super::super::words::{Words, fill};
use super::field_text::Refusal;
use crate::core::concurrency::{Limit, Scope};

/// Returns the limits, one a line.
pub fn lines(limits: &[Limit]) -> String {
    limits.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads limits, one a line.
///
/// # Errors
/// A line that is not a limit.
pub fn read(field: &'static str, lines: &str, t: &Words) -> Result<Vec<Limit>, Refusal> {
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    let wrong = |line: &str| Refusal { field, why: fill(&t.wrong_limit, &[line]) };
    lines.map(|line| line.parse().map_err(|_| wrong(line))).collect()
}

/// Returns a limit in words.
pub fn in_words(limit: &Limit, t: &Words) -> String {
    let text = match limit.scope {
        Scope::Task => &t.limit_of_task,
        Scope::Tag => &t.limit_of_tag,
        Scope::Queue => &t.limit_of_queue,
        Scope::All => &t.limit_of_all,
    };
    let text = fill(text, &[&limit.max.to_string()]);
    limit.key.as_ref().map_or(text.clone(), |key| fill(&t.limit_with_key, &[&text, key]))
}

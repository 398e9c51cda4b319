//! Numbers in the texts of form fields.

use super::super::words::{Words, fill};

/// A field that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub field: &'static str,
    pub why: String,
}

/// Reads a whole number of at least 1. An empty field has none.
///
/// # Errors
/// The text is no such number.
pub fn positive(field: &'static str, text: &str, t: &Words) -> Result<Option<u64>, Refusal> {
    let wrong = || Refusal { field, why: fill(&t.wrong_number, &[text]) };
    match text {
        "" => Ok(None),
        text => {
            let number = text.parse().ok().filter(|number| (1..=i64::MAX as u64).contains(number));
            number.map(Some).ok_or_else(wrong)
        }
    }
}

/// Reads a number of at least 0.
///
/// # Errors
/// The text is no such number.
pub fn decimal(field: &'static str, text: &str, t: &Words) -> Result<f64, Refusal> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| Refusal { field, why: fill(&t.wrong_number, &[text]) })
}

/// Reads seconds as milliseconds.
///
/// # Errors
/// The text is no number of at least 0.
pub fn milliseconds(field: &'static str, text: &str, t: &Words) -> Result<u64, Refusal> {
    decimal(field, text, t).map(|seconds| (seconds * 1_000.0).round() as u64)
}

/// Writes milliseconds as seconds.
pub fn seconds(ms: u64) -> String {
    (ms as f64 / 1_000.0).to_string()
}

//! Labels that a user gives to a task: a small map of text, which its runs carry and lists filter by.
//!
//! The bounds are those of Kubernetes: a key and a value have at most 63 characters. A key may contain a
//! `/`, as there, and is lower case, so that two spellings of a key are not two labels.

use std::collections::BTreeMap;

/// Labels: values by key.
pub type Labels = BTreeMap<String, String>;

/// Maximum number of labels of a task. Each label is an index entry of the task and of each of its runs.
pub const MAX_LABELS: usize = 16;
/// Maximum length of a key, in bytes.
pub const MAX_KEY_BYTES: usize = 63;
/// Maximum length of a value, in characters.
pub const MAX_VALUE_CHARS: usize = 63;

/// Why labels are invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabels {
    /// More than [`MAX_LABELS`]; the actual number.
    #[error("labels should be at most {MAX_LABELS}, and are {0}")]
    TooMany(usize),
    /// Not a key.
    #[error(
        "label key {0:?} is invalid: use 1 to {MAX_KEY_BYTES} lower-case letters, digits, `-`, `_`, `.` and `/`, with a \
         letter or digit at both ends"
    )]
    Key(String),
    /// Not a value.
    #[error(
        "the value of label {0:?} is invalid: use 1 to {MAX_VALUE_CHARS} characters, without control characters and \
         without white space at either end"
    )]
    Value(String),
}

/// Checks number, keys and values.
///
/// # Errors
/// The first broken rule.
pub fn check(labels: &Labels) -> Result<(), InvalidLabels> {
    if labels.len() > MAX_LABELS {
        return Err(InvalidLabels::TooMany(labels.len()));
    }
    labels.iter().try_for_each(|(key, value)| check_one(key, value))
}

fn check_one(key: &str, value: &str) -> Result<(), InvalidLabels> {
    if !is_key(key) {
        return Err(InvalidLabels::Key(key.chars().take(MAX_KEY_BYTES).collect()));
    }
    if is_value(value) { Ok(()) } else { Err(InvalidLabels::Value(key.to_owned())) }
}

fn is_key(key: &str) -> bool {
    let is_alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    key.len() <= MAX_KEY_BYTES
        && key.starts_with(is_alphanumeric)
        && key.ends_with(is_alphanumeric)
        && key.chars().all(|c| is_alphanumeric(c) || matches!(c, '-' | '_' | '.' | '/'))
}

fn is_value(value: &str) -> bool {
    (1..=MAX_VALUE_CHARS).contains(&value.chars().count())
        && !value.chars().any(char::is_control)
        && value.trim() == value
}

/// Returns a label as one text. A key has no `=`, so the text is unique.
pub fn text(key: &str, value: &str) -> String {
    format!("{key}={value}")
}

/// Returns the labels as texts, in the order of their keys.
pub fn texts(labels: &Labels) -> Vec<String> {
    labels.iter().map(|(key, value)| text(key, value)).collect()
}

/// Returns the text by which a store finds the tasks of a calendar. It has no `=`, so it is no label.
pub fn calendar_text(name: &str) -> String {
    format!("calendar:{name}")
}

/// Returns the text by which a store finds the tasks that the quota of a token counts. It has no `=`, so it is no label.
pub fn token_text(id: &str) -> String {
    format!("token:{id}")
}

/// Returns the labels of texts. A text without `=` is skipped.
pub fn parse(texts: &[String]) -> Labels {
    let pairs = texts.iter().filter_map(|text| text.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_label(key: &str, value: &str) -> Result<(), InvalidLabels> {
        check(&Labels::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn keys_and_values_have_rules() {
        let longest = ("k".repeat(MAX_KEY_BYTES), "\u{8ba2}".repeat(MAX_VALUE_CHARS));
        for (key, value) in [
            ("team", "pay"),
            ("acme.com/cost-center_2", "a = b"),
            ("7", "\u{652f}\u{4ed8}"),
            (&*longest.0, &*longest.1),
        ] {
            assert_eq!(check_label(key, value), Ok(()), "{key}");
        }
        let long = "k".repeat(MAX_KEY_BYTES + 1);
        for key in ["", "Team", "-a", "a-", "a/", "a b", "a=b", "\u{e9}", &*long] {
            assert!(matches!(check_label(key, "v"), Err(InvalidLabels::Key(_))), "{key}");
        }
        let long = "v".repeat(MAX_VALUE_CHARS + 1);
        for value in ["", " a", "a\u{3000}", "a\nb", "\0", &*long] {
            assert!(matches!(check_label("k", value), Err(InvalidLabels::Value(_))), "{value:?}");
        }
    }

    #[test]
    fn a_task_has_at_most_16_labels() {
        let labels = |count: usize| (0..count).map(|n| (format!("k{n}"), "v".to_owned())).collect();
        assert_eq!(check(&labels(MAX_LABELS)), Ok(()));
        assert_eq!(check(&labels(MAX_LABELS + 1)), Err(InvalidLabels::TooMany(MAX_LABELS + 1)));
    }

    #[test]
    fn texts_become_the_same_labels() {
        let labels = Labels::from([("a".into(), "1=2".into()), ("b".into(), "3".into())]);
        assert_eq!(texts(&labels), ["a=1=2", "b=3"]);
        assert_eq!(parse(&texts(&labels)), labels);
    }
}

//! Headers that a user gives to a task: a small map of text, which every delivery of its runs carries.

use std::collections::{BTreeMap, HashMap};

/// Headers by name.
pub type Headers = BTreeMap<String, String>;

/// Maximum number of headers of a task.
pub const MAX_HEADERS: usize = 16;
/// Maximum length of a name, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Maximum length of a value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1_024;
/// Maximum length of all names and values, in bytes. HTTP servers accept 8 KiB of headers.
pub const MAX_HEADERS_BYTES: usize = 4_096;

/// Beginnings of the names that the server and the built-in workers use, in lower case.
const RESERVED_PREFIXES: [&str; 5] = ["tc_", "tc-", "taskcenter", "x-taskcenter", "proxy-"];
/// Names that belong to an HTTP connection, in lower case.
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Why headers are invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeaders {
    /// More than [`MAX_HEADERS`]; the actual number.
    #[error("headers should be at most {MAX_HEADERS}, and are {0}")]
    TooMany(usize),
    /// More than [`MAX_HEADERS_BYTES`]; the actual length.
    #[error("headers should have at most {MAX_HEADERS_BYTES} bytes in all names and values, and have {0}")]
    TooLong(usize),
    /// Not a name.
    #[error(
        "header name {0:?} is invalid: use 1 to {MAX_NAME_BYTES} letters, digits, `-`, `_` and `.`, with a letter first, \
         and at least one lower-case letter"
    )]
    Name(String),
    /// A name that the server, a broker or HTTP uses.
    #[error("header name {0:?} is reserved: use another name")]
    Reserved(String),
    /// Two names that a script cannot distinguish.
    #[error("header names {0:?} and {1:?} differ only in case or punctuation: use one of them")]
    Duplicate(String, String),
    /// Not a value.
    #[error(
        "the value of header {0:?} is invalid: use 1 to {MAX_VALUE_BYTES} printable ASCII characters, without a space at \
         either end"
    )]
    Value(String),
}

/// Checks number, length, names and values.
///
/// # Errors
/// The first broken rule.
pub fn check(headers: &Headers) -> Result<(), InvalidHeaders> {
    if headers.len() > MAX_HEADERS {
        return Err(InvalidHeaders::TooMany(headers.len()));
    }
    let mut names = HashMap::new();
    for (name, value) in headers {
        check_name(name)?;
        if !is_value(value) {
            return Err(InvalidHeaders::Value(name.clone()));
        }
        if let Some(other) = names.insert(variable(name), name) {
            return Err(InvalidHeaders::Duplicate(other.clone(), name.clone()));
        }
    }
    let bytes = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_HEADERS_BYTES { Err(InvalidHeaders::TooLong(bytes)) } else { Ok(()) }
}

fn check_name(name: &str) -> Result<(), InvalidHeaders> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let is_name = name.len() <= MAX_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(is_allowed)
        // Names in upper case are properties of RocketMQ, such as KEYS.
        && name.bytes().any(|b| b.is_ascii_lowercase());
    if !is_name {
        return Err(InvalidHeaders::Name(name.chars().take(MAX_NAME_BYTES).collect()));
    }
    let lower = name.to_ascii_lowercase();
    let is_reserved =
        RESERVED.contains(&&*lower) || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
    if is_reserved { Err(InvalidHeaders::Reserved(name.to_owned())) } else { Ok(()) }
}

fn is_value(value: &str) -> bool {
    (1..=MAX_VALUE_BYTES).contains(&value.len())
        && value.bytes().all(|b| matches!(b, b' '..=b'~'))
        && value.trim_matches(' ') == value
}

/// Returns the name as part of an environment variable: upper case, with `_` for punctuation.
pub fn variable(name: &str) -> String {
    name.to_ascii_uppercase().replace(['-', '.'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(name: &str, value: &str) -> Result<(), InvalidHeaders> {
        check(&Headers::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn names_and_values_have_rules() {
        let longest = ("n".repeat(MAX_NAME_BYTES), "v".repeat(MAX_VALUE_BYTES));
        for (name, value) in
            [("traceparent", "00-0af7-b7ad-01"), ("X-Tenant.id_2", "a b"), (&*longest.0, &*longest.1)]
        {
            assert_eq!(check_one(name, value), Ok(()), "{name}");
        }
        for name in ["", "KEYS", "__key", "1a", "a b", "a:b", "\u{e9}", &*"n".repeat(MAX_NAME_BYTES + 1)] {
            assert!(matches!(check_one(name, "v"), Err(InvalidHeaders::Name(_))), "{name}");
        }
        for name in ["Host", "tc_run_id", "Tc-a", "x-taskcenter-run-id", "content-length", "Proxy-a"] {
            assert!(matches!(check_one(name, "v"), Err(InvalidHeaders::Reserved(_))), "{name}");
        }
        for value in ["", " a", "a ", "a\tb", "a\nb", "\u{e9}", &*"v".repeat(MAX_VALUE_BYTES + 1)] {
            assert!(matches!(check_one("a", value), Err(InvalidHeaders::Value(_))), "{value}");
        }
    }

    #[test]
    fn number_and_length_have_bounds_and_variables_are_unique() {
        let headers = |number: usize, bytes: usize| -> Headers {
            (0..number).map(|n| (format!("n{n:02}"), "v".repeat(bytes))).collect()
        };
        assert_eq!(check(&headers(MAX_HEADERS, 253)), Ok(()));
        assert_eq!(check(&headers(MAX_HEADERS + 1, 1)), Err(InvalidHeaders::TooMany(MAX_HEADERS + 1)));
        assert_eq!(check(&headers(MAX_HEADERS, 254)), Err(InvalidHeaders::TooLong(MAX_HEADERS * 257)));
        let twins = ["a-B", "a.b"].map(|name| (name.to_owned(), "v".to_owned()));
        assert!(matches!(check(&Headers::from(twins)), Err(InvalidHeaders::Duplicate(..))));
    }
}

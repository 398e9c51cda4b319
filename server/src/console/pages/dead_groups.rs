//! Groups of dead runs by tag and error, in a sample of the latest ones.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::filter::href;
use super::super::filter_line;
use crate::core::{Moment, Run};

/// Groups that are shown.
const MOST: usize = 8;
/// Longest part of an error that is shown, in bytes.
const SHOWN_BYTES: usize = 160;
/// Shortest part of an error that selects a group, in bytes.
const SELECTING_BYTES: usize = 4;
/// Shortest word with a digit that is an id, such as `a71c90ff`.
const ID_BYTES: usize = 6;

/// Dead runs of a tag whose errors differ in numbers and ids only.
pub struct Group {
    pub tag: String,
    /// Error of the latest run.
    pub error: String,
    pub runs: u64,
    pub latest_at: Moment,
    /// List of the runs of the group.
    pub href: String,
    /// Page that asks before all dead runs of the tag are redriven.
    pub redrive_href: String,
}

/// Returns the groups of runs that come latest first, the largest group first. `path`: path of the list.
pub fn groups(latest_first: &[Run], path: &str) -> Vec<Group> {
    let mut groups = BTreeMap::<(&str, String), Group>::new();
    for run in latest_first {
        let error = run.reason.as_deref().unwrap_or_default();
        let group = groups.entry((&run.tag, fold(error))).or_insert_with(|| group(run, error, path));
        group.runs += 1;
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse((group.runs, group.latest_at)));
    groups.truncate(MOST);
    groups
}

fn group(latest: &Run, error: &str, path: &str) -> Group {
    let tag = filter_line::write("tag", &latest.tag);
    let mut line = tag.clone();
    if let Some(part) = selecting_part(error) {
        // Writing to a string cannot fail.
        let _ = write!(line, " {}", filter_line::write("error", part));
    }
    let mut redrive = form_urlencoded::Serializer::new(String::new());
    redrive.append_pair("action", "redrive").append_pair("all", "1").append_pair("q", &tag);
    Group {
        tag: latest.tag.clone(),
        error: error[..error.floor_char_boundary(SHOWN_BYTES)].to_owned(),
        runs: 0,
        latest_at: latest.ended_at.unwrap_or(latest.scheduled_at),
        href: href(path, &line, None),
        redrive_href: format!("/console/operations/new?{}", redrive.finish()),
    }
}

/// Returns whether a word differs between runs with one cause: a number or an id.
fn is_variable(word: &str) -> bool {
    let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b':'));
    has_digit && (is_number || word.len() >= ID_BYTES)
}

/// Returns the words of an error with their places: texts between spaces and punctuation that ids do not have.
fn words(error: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_end = |c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'));
    let mut next = 0;
    error.split(is_end).map(move |word| {
        let at = next;
        let end = at + word.len();
        next = end + error[end..].chars().next().map_or(0, char::len_utf8);
        (at, word)
    })
}

/// Returns an error without numbers and ids.
fn fold(error: &str) -> String {
    let words = words(error).map(|(_, word)| word).filter(|word| !word.is_empty());
    words.map(|word| if is_variable(word) { "#" } else { word }).collect::<Vec<_>>().join(" ")
}

/// Returns the longest part of an error without a number or an id.
fn selecting_part(error: &str) -> Option<&str> {
    let (mut best, mut begin): (&str, usize) = ("", 0);
    let variables = words(error).filter(|(_, word)| is_variable(word));
    for (at, word) in variables.chain([(error.len(), "")]) {
        let part = error[begin..at].trim();
        if part.len() > best.len() {
            best = part;
        }
        begin = at + word.len();
    }
    let best = best[..best.floor_char_boundary(SHOWN_BYTES)].trim();
    (best.len() >= SELECTING_BYTES).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ids_do_not_separate_groups() {
        let same = ["order 17 not found (id a71c90ff)", "order 4711 not found (id 0b1c22ee9)"];
        assert_eq!(fold(same[0]), fold(same[1]));
        assert_ne!(fold(same[0]), fold("order 17 is closed (id a71c90ff)"));
        assert_ne!(fold("HTTP/2 stream reset"), fold("TLS stream reset"));
        assert_eq!(fold("timeout after 3.5 s"), fold("timeout after 30 s"));
    }

    #[test]
    fn the_longest_constant_part_selects_a_group() {
        assert_eq!(selecting_part("order 17 not found (id a71c90ff)"), Some("not found (id"));
        assert_eq!(selecting_part("mailbox is full"), Some("mailbox is full"));
        assert_eq!(selecting_part("错误 1234567: 邮箱已满"), Some("邮箱已满"));
        assert_eq!((selecting_part("17"), selecting_part(""), selecting_part("a 1 b")), (None, None, None));
        let long = "é".repeat(SHOWN_BYTES);
        assert!(selecting_part(&long).is_some_and(|part| part.len() <= SHOWN_BYTES));
    }
}

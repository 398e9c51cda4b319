//! The overlap policy of a task as a choice of the form, and in words.

use super::super::words::{Words, fill};
use crate::core::overlap::{Keep, Overlap};

/// Most runs that wait if the form has no number.
const MAX_WAITING: u32 = 100;

/// Returns the choices with their labels. The empty choice allows that runs overlap.
pub fn choices(t: &Words) -> [(&'static str, &str); 6] {
    [
        ("", &t.overlap_allow),
        ("skip", &t.overlap_skip),
        ("first", &t.overlap_first),
        ("latest", &t.overlap_latest),
        ("all", &t.overlap_all),
        ("cancel", &t.overlap_cancel),
    ]
}

/// Returns the policy of a choice. `max` is the number of runs that wait under `all`.
pub fn policy(choice: &str, max: Option<u64>) -> Option<Overlap> {
    match choice {
        "skip" => Some(Overlap::Skip),
        "first" => Some(Overlap::QueueOne { keep: Keep::First }),
        "latest" => Some(Overlap::QueueOne { keep: Keep::Latest }),
        "cancel" => Some(Overlap::CancelPrevious),
        "all" => {
            let max = max.map_or(MAX_WAITING, |max| u32::try_from(max).unwrap_or(u32::MAX));
            Some(Overlap::QueueAll { max })
        }
        _ => None,
    }
}

/// Returns the choice of a policy, and the number of runs that wait.
pub fn choice(overlap: Option<Overlap>) -> (&'static str, Option<u32>) {
    match overlap {
        None => ("", None),
        Some(Overlap::Skip) => ("skip", None),
        Some(Overlap::QueueOne { keep: Keep::First }) => ("first", None),
        Some(Overlap::QueueOne { keep: Keep::Latest }) => ("latest", None),
        Some(Overlap::CancelPrevious) => ("cancel", None),
        Some(Overlap::QueueAll { max }) => ("all", Some(max)),
    }
}

/// Returns the policy in words.
pub fn in_words(overlap: Overlap, t: &Words) -> String {
    match choice(Some(overlap)) {
        (_, Some(max)) => fill(&t.overlap_all_of, &[&max.to_string()]),
        (name, None) => choices(t)
            .into_iter()
            .find(|(choice, _)| *choice == name)
            .map(|(_, word)| word.to_owned())
            .unwrap_or_default(),
    }
}

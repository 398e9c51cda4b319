//! Admission: decides which runs of a task with an overlap policy start, wait, or are suppressed.

use super::overlap::{Keep, Overlap};
use super::run::{OpenRun, RunId};

/// A run that asks for admission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    pub id: RunId,
    pub overlap: Overlap,
    /// Whether a later attempt of the run shall start. Such a run was asked for by a person, and is never
    /// suppressed.
    pub is_redriven: bool,
}

impl Contender {
    /// Returns an open run as a contender. `None`: the run has no overlap policy.
    pub fn of(run: &OpenRun) -> Option<Self> {
        Some(Self { id: run.id.clone(), overlap: run.overlap?, is_redriven: run.attempt > 1 })
    }
}

/// Decision on a contender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The run takes the slot of its task.
    Start,
    /// The run waits until the slot is free.
    Wait,
    /// The run waits, and the run with the slot is cancelled.
    Replace,
    /// The run ends as skipped, because of the run `by`.
    Suppress { by: RunId },
}

impl Verdict {
    /// Returns whether the run waits.
    pub const fn waits(&self) -> bool {
        matches!(self, Self::Wait | Self::Replace)
    }
}

/// Decides on the contenders of one task, in the order in which they shall start. `running` has the slot of the
/// task. Returns one verdict per contender.
pub fn admit(running: Option<&RunId>, contenders: &[Contender]) -> Vec<Verdict> {
    let mut running = running.cloned();
    let mut verdicts: Vec<Verdict> = Vec::with_capacity(contenders.len());
    for run in contenders {
        let waiting: Vec<usize> =
            (0..verdicts.len()).filter(|at| verdicts[*at].waits() && !contenders[*at].is_redriven).collect();
        let verdict = match (&running, run.overlap) {
            (None, _) => {
                running = Some(run.id.clone());
                Verdict::Start
            }
            _ if run.is_redriven => Verdict::Wait,
            (Some(by), Overlap::Skip) => Verdict::Suppress { by: by.clone() },
            (Some(_), Overlap::QueueOne { keep: Keep::First }) => match waiting.first() {
                Some(first) => Verdict::Suppress { by: contenders[*first].id.clone() },
                None => Verdict::Wait,
            },
            (Some(_), Overlap::QueueOne { keep: Keep::Latest } | Overlap::CancelPrevious) => {
                waiting.iter().for_each(|at| verdicts[*at] = Verdict::Suppress { by: run.id.clone() });
                if run.overlap == Overlap::CancelPrevious { Verdict::Replace } else { Verdict::Wait }
            }
            (Some(by), Overlap::QueueAll { max }) if waiting.len() >= max as usize => {
                Verdict::Suppress { by: by.clone() }
            }
            (Some(_), Overlap::QueueAll { .. }) => Verdict::Wait,
        };
        verdicts.push(verdict);
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Overlap = Overlap::QueueOne { keep: Keep::First };
    const LATEST: Overlap = Overlap::QueueOne { keep: Keep::Latest };
    const TWO: Overlap = Overlap::QueueAll { max: 2 };

    /// Decides on runs with the names a, b, c and so on. An upper-case letter stands for a redriven run.
    fn decide(running: Option<&str>, overlap: Overlap, names: &str) -> String {
        let running = running.map(RunId::from_text);
        let contender = |name: char| Contender {
            id: RunId::from_text(name.to_string()),
            overlap,
            is_redriven: name.is_uppercase(),
        };
        let contenders: Vec<Contender> = names.chars().map(contender).collect();
        let word = |verdict: Verdict| match verdict {
            Verdict::Start => "start".to_owned(),
            Verdict::Wait => "wait".to_owned(),
            Verdict::Replace => "replace".to_owned(),
            Verdict::Suppress { by } => format!("by {by}"),
        };
        admit(running.as_ref(), &contenders).into_iter().map(word).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn every_combination_of_policy_running_run_and_contenders() {
        let table = [
            (None, Overlap::Skip, "a", "start"),
            (None, Overlap::Skip, "ab", "start, by a"),
            (Some("r"), Overlap::Skip, "ab", "by r, by r"),
            (Some("r"), Overlap::Skip, "Ab", "wait, by r"),
            (None, Overlap::Skip, "Ab", "start, by A"),
            (None, FIRST, "a", "start"),
            (None, FIRST, "abc", "start, wait, by b"),
            (Some("r"), FIRST, "a", "wait"),
            (Some("r"), FIRST, "abc", "wait, by a, by a"),
            (Some("r"), FIRST, "Abc", "wait, wait, by b"),
            (None, LATEST, "a", "start"),
            (None, LATEST, "abc", "start, by c, wait"),
            (Some("r"), LATEST, "a", "wait"),
            (Some("r"), LATEST, "abc", "by b, by c, wait"),
            (Some("r"), LATEST, "Abc", "wait, by c, wait"),
            (None, Overlap::CancelPrevious, "a", "start"),
            (None, Overlap::CancelPrevious, "abc", "start, by c, replace"),
            (Some("r"), Overlap::CancelPrevious, "a", "replace"),
            (Some("r"), Overlap::CancelPrevious, "abc", "by b, by c, replace"),
            (Some("r"), Overlap::CancelPrevious, "Abc", "wait, by c, replace"),
            (Some("r"), Overlap::CancelPrevious, "aB", "replace, wait"),
            (None, TWO, "abcd", "start, wait, wait, by a"),
            (Some("r"), TWO, "abc", "wait, wait, by r"),
            (Some("r"), TWO, "Abcd", "wait, wait, wait, by r"),
            (Some("r"), TWO, "", ""),
            (None, TWO, "", ""),
        ];
        for (running, overlap, names, expected) in table {
            assert_eq!(decide(running, overlap, names), expected, "{running:?} {overlap:?} {names}");
        }
    }

    #[test]
    fn a_run_of_the_one_place_stays_when_the_policy_changes_to_skip() {
        let contender =
            |name: &str, overlap| Contender { id: RunId::from_text(name), overlap, is_redriven: false };
        let running = RunId::from_text("r");
        let verdicts = admit(Some(&running), &[contender("a", FIRST), contender("b", Overlap::Skip)]);
        assert_eq!(verdicts, [Verdict::Wait, Verdict::Suppress { by: running }]);
    }
}

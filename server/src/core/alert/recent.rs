//! Counts within a sliding window. Their memory is bounded.

use std::collections::{BTreeMap, VecDeque};

use crate::core::Moment;

/// Precision of a window, in milliseconds.
const STEP_MS: i64 = 10_000;
/// Maximum number of tags in one step. Further tags are counted as [`OTHER`].
const MAX_TAGS: usize = 1_000;
const OTHER: &str = "other";

/// Number of events of each tag in the last time.
#[derive(Debug)]
pub struct RecentCounts {
    keep_ms: i64,
    /// The first moment of each step, and its counts. Steps without events are left out.
    steps: VecDeque<(Moment, BTreeMap<String, u64>)>,
}

impl RecentCounts {
    /// Returns empty counts of the last `keep_ms` milliseconds.
    pub fn new(keep_ms: i64) -> Self {
        Self { keep_ms, steps: VecDeque::new() }
    }

    /// Counts events of a tag at `now`.
    pub fn add(&mut self, tag: &str, events: u64, now: Moment) {
        let since = now.plus_ms(-self.keep_ms);
        self.steps.retain(|(at, _)| *at > since);
        if self.steps.back().is_none_or(|(at, _)| now.since(*at).abs() >= STEP_MS) {
            self.steps.push_back((now, BTreeMap::new()));
        }
        let Some((_, counts)) = self.steps.back_mut() else { return };
        let is_full = counts.len() >= MAX_TAGS && !counts.contains_key(tag);
        *counts.entry(if is_full { OTHER } else { tag }.to_owned()).or_default() += events;
    }

    /// Returns the number of events of each tag in the last `window_ms` milliseconds.
    pub fn within(&self, window_ms: i64, now: Moment) -> Vec<(String, u64)> {
        let since = now.plus_ms(-window_ms);
        let mut sums = BTreeMap::<&str, u64>::new();
        for (_, counts) in self.steps.iter().filter(|(at, _)| *at > since) {
            counts.iter().for_each(|(tag, events)| *sums.entry(tag).or_default() += events);
        }
        sums.into_iter().map(|(tag, events)| (tag.to_owned(), events)).collect()
    }
}

/// Largest value in the last time.
#[derive(Debug)]
pub struct RecentPeak {
    keep_ms: i64,
    /// Each change of the value: when, and the new value.
    changes: VecDeque<(Moment, u64)>,
}

impl RecentPeak {
    /// Returns a peak of the last `keep_ms` milliseconds, without values.
    pub fn new(keep_ms: i64) -> Self {
        Self { keep_ms, changes: VecDeque::new() }
    }

    /// Records the value at `now`, and returns by how much it is below the largest recent value.
    pub fn drop_from_peak(&mut self, value: u64, now: Moment) -> u64 {
        if self.changes.back().is_none_or(|(_, last)| *last != value) {
            self.changes.push_back((now, value));
        }
        let since = now.plus_ms(-self.keep_ms);
        // A value holds until the next change.
        while self.changes.get(1).is_some_and(|(next, _)| *next <= since) {
            self.changes.pop_front();
        }
        self.changes.iter().map(|(_, value)| *value).max().unwrap_or(value).saturating_sub(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sec: i64) -> Moment {
        Moment::from_sec(sec)
    }

    #[test]
    fn events_leave_the_window() {
        let mut counts = RecentCounts::new(60_000);
        counts.add("a", 2, at(0));
        counts.add("a", 1, at(1));
        counts.add("b", 5, at(30));
        assert_eq!(counts.within(60_000, at(31)), [("a".to_owned(), 3), ("b".to_owned(), 5)]);
        assert_eq!(counts.within(20_000, at(31)), [("b".to_owned(), 5)]);
        assert_eq!(counts.within(60_000, at(60)), [("b".to_owned(), 5)]);
        counts.add("c", 1, at(200));
        assert_eq!(counts.steps.len(), 1, "old steps are removed");
    }

    #[test]
    fn the_number_of_tags_is_bounded() {
        let mut counts = RecentCounts::new(60_000);
        for n in 0..MAX_TAGS + 5 {
            counts.add(&format!("tag-{n}"), 1, at(0));
        }
        let rows = counts.within(60_000, at(1));
        assert_eq!(rows.len(), MAX_TAGS + 1);
        assert!(rows.contains(&(OTHER.to_owned(), 5)));
    }

    #[test]
    fn a_peak_ends_after_its_time() {
        let mut peak = RecentPeak::new(100_000);
        assert_eq!(peak.drop_from_peak(3, at(0)), 0);
        assert_eq!(peak.drop_from_peak(2, at(50)), 1);
        assert_eq!(peak.drop_from_peak(2, at(149)), 1, "three nodes until second 50");
        assert_eq!(peak.drop_from_peak(2, at(150)), 0);
        assert_eq!(peak.drop_from_peak(3, at(151)), 0);
    }
}

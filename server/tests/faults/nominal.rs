//! Nominal moments of a task, computed without code of the product.

use crate::evidence::{ExpectedTask, Rhythm};

/// Returns every moment up to the end of the task and to `limit`.
pub fn moments(expected: &ExpectedTask, anchored_at: i64, limit: i64) -> Vec<i64> {
    let anchor = expected.start_at.max(anchored_at);
    let last = expected.end_at.map_or(limit, |end| end.min(limit));
    let most = expected.max_fires.unwrap_or(u64::MAX) as usize;
    let (first, period) = match expected.rhythm {
        Rhythm::Once => return Some(anchor).filter(|at| *at <= last).into_iter().collect(),
        // The grid of a start in the past begins at the start.
        Rhythm::Every(period) => (anchor + (expected.start_at - anchor).rem_euclid(period), period),
        Rhythm::EachSecond => ((anchor + 999) / 1000 * 1000, 1000),
    };
    let steps = usize::try_from(period).expect("a period is positive");
    (first..=last).step_by(steps).take(most).collect()
}

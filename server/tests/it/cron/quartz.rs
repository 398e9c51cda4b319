//! Answers of Quartz 2.3.2 (`org.quartz.CronExpression`), as expected answers of the quartz dialect.

use serde::Deserialize;
use taskcenter_server::core::Moment;
use taskcenter_server::core::cron::{CronRule, Dialect, Dst};

#[derive(Deserialize)]
struct Vector {
    cron: String,
    zone: String,
    /// Unix time in seconds.
    after: i64,
    /// The first five moments, or all of them. Empty: no date matches.
    next: Vec<i64>,
}

fn found(vector: &Vector) -> Vec<i64> {
    let rule = CronRule::parse_with(&vector.cron, &vector.zone, Dialect::Quartz, Dst::default());
    // An expression that no date matches is refused.
    let Ok(rule) = rule else { return Vec::new() };
    let first = rule.after(Moment::from_sec(vector.after));
    let moments = std::iter::successors(first, |moment| rule.after(*moment));
    moments.take(vector.next.len().max(1)).map(Moment::sec).collect()
}

#[test]
fn quartz_gives_the_same_moments() {
    let vectors: Vec<Vector> =
        include_str!("quartz.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(vectors.len() > 150, "{} vectors", vectors.len());
    let wrong: Vec<String> = vectors
        .iter()
        .filter(|vector| found(vector) != vector.next)
        .map(|vector| {
            let Vector { cron, zone, after, next } = vector;
            format!("{cron} in {zone} after {after}: {:?}, expected {next:?}", found(vector))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), vectors.len());
}

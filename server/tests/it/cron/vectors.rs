//! 3,000 expected answers around the clock changes of 2026 and 2027, for zones whose rules are stable.

use jiff::Timestamp;
use serde::Deserialize;
use taskcenter_server::core::{Moment, zone};

use super::moments_after;

#[derive(Deserialize)]
struct Vector {
    cron: String,
    zone: String,
    after: Timestamp,
    next: Vec<Timestamp>,
}

#[test]
fn expressions_fire_at_the_expected_moments() {
    let mut wrong = Vec::new();
    let lines: Vec<&str> = include_str!("vectors.jsonl").lines().collect();
    for line in &lines {
        let vector: Vector = serde_json::from_str(line).expect("a vector");
        let expected: Vec<Moment> =
            vector.next.iter().map(|at| Moment::from_ms(at.as_millisecond())).collect();
        let found = moments_after(
            &vector.cron,
            zone::find(&vector.zone).expect("a zone"),
            vector.after,
            expected.len(),
        );
        if found != expected {
            wrong.push(format!("{line}\n  found {found:?}"));
        }
    }
    assert_eq!(lines.len(), 3_000);
    assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
}

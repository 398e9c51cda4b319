//! The examples of docs/cron.md.

use jiff::Timestamp;
use taskcenter_server::core::cron::CronOptions;
use taskcenter_server::core::{Moment, Schedule, zone};

use super::moments_after;

/// The cells of a table row that holds an example: expression, zone, start, expected moments.
fn example(line: &str) -> Option<(&str, &str, Timestamp, Vec<Timestamp>)> {
    let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
    let [cron, zone, after, next] = cells[..] else { return None };
    let next = next.split(", ").map(|at| at.parse().ok()).collect::<Option<_>>()?;
    Some((cron.trim_matches('`'), zone, after.parse().ok()?, next))
}

/// Same as [`example`], with the options of the schedule in the first cell.
fn example_with_options(line: &str) -> Option<(CronOptions, &str, &str, Timestamp, Vec<Timestamp>)> {
    let (options, rest) = line.trim_matches('|').trim().split_once(" | ")?;
    let options = serde_json::from_str(options.trim_matches('`')).ok()?;
    let (cron, zone, after, next) = example(rest)?;
    Some((options, cron, zone, after, next))
}

#[test]
fn the_examples_with_options_are_true() {
    let page = include_str!("../../../../docs/cron.md");
    let examples: Vec<_> = page.lines().filter_map(example_with_options).collect();
    assert!(examples.len() > 8, "{} examples", examples.len());
    for (options, cron, zone, after, next) in examples {
        let rule = Schedule::check_cron(cron, zone, &options).unwrap();
        let first = rule.after(Moment::from_ms(after.as_millisecond()));
        let found: Vec<Moment> =
            std::iter::successors(first, |moment| rule.after(*moment)).take(next.len()).collect();
        let expected: Vec<Moment> = next.iter().map(|at| Moment::from_ms(at.as_millisecond())).collect();
        assert_eq!(found, expected, "{cron} with {options:?} in {zone} after {after}");
    }
}

#[test]
fn the_examples_of_the_cron_page_are_true() {
    let page = include_str!("../../../../docs/cron.md");
    let examples: Vec<_> = page.lines().filter_map(example).collect();
    assert!(examples.len() > 20, "{} examples", examples.len());
    for (cron, name, after, next) in examples {
        let expected: Vec<Moment> = next.iter().map(|at| Moment::from_ms(at.as_millisecond())).collect();
        let zone = zone::find(name).expect("a zone");
        assert_eq!(
            moments_after(cron, zone, after, expected.len()),
            expected,
            "{cron} in {name} after {after}"
        );
    }
}

//! Every expression of a collection, around the clock changes of every zone, against cronsim.
//!
//! The gate takes every [`SAMPLE`]-th question; `TASKCENTER_TEST_CRON_FULL=1` takes all of them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::moments_after;

const SAMPLE: usize = 40;
/// Moments compared for each question.
const COUNT: usize = 6;

/// The zone database of the PyPI package `tzdata`, which both sides read.
fn zone_directory(packages: &str) -> PathBuf {
    Path::new(packages).join("tzdata/zoneinfo")
}

#[derive(Serialize)]
struct Question<'a> {
    cron: &'a str,
    zone: &'a str,
    after: i64,
    count: usize,
}

/// Moments to ask from: some hours before each clock change of 2026 and 2027, or one moment without any.
fn starts(zone: &TimeZone) -> Vec<Timestamp> {
    let (from, to) = ("2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z");
    let (from, to): (Timestamp, Timestamp) = (from.parse().unwrap(), to.parse().unwrap());
    let changes = zone.following(from).map(|change| change.timestamp()).take_while(|at| *at < to);
    let before = |hours| move |at: Timestamp| at - SignedDuration::from_hours(hours);
    let starts: Vec<Timestamp> =
        changes.flat_map(|at| [before(26)(at), before(2)(at), before(0)(at)]).collect();
    if starts.is_empty() { vec![from] } else { starts }
}

fn answers(packages: &str, questions: &[Question]) -> Vec<Vec<i64>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cron/oracle.py");
    let mut python = Command::new("python3");
    python.arg(script).env("PYTHONPATH", packages).stdin(Stdio::piped()).stdout(Stdio::piped());
    python.env("PYTHONTZPATH", zone_directory(packages));
    let mut python = python.spawn().expect("python3 starts");
    let mut input = python.stdin.take().expect("its input is open");
    let lines: Vec<String> =
        questions.iter().map(|question| serde_json::to_string(question).expect("JSON")).collect();
    let writer = std::thread::spawn(move || {
        for line in lines {
            writeln!(input, "{line}").expect("the oracle reads all questions");
        }
    });
    let output = python.wait_with_output().expect("the oracle ends");
    writer.join().expect("all questions were written");
    assert!(output.status.success(), "the oracle failed: {}", output.status);
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("an answer")).collect()
}

#[test]
fn an_independent_implementation_gives_the_same_moments() {
    let packages = std::env::var("TASKCENTER_TEST_CRON_ORACLE").expect(
        "TASKCENTER_TEST_CRON_ORACLE names a directory with cronsim: run `cargo xtask services up`, then `source target/services/env`",
    );
    let is_full = std::env::var("TASKCENTER_TEST_CRON_FULL").is_ok();
    let expressions: Vec<&str> = include_str!("expressions.txt").lines().collect();
    assert!(expressions.len() >= 200, "{} expressions", expressions.len());
    let database = TimeZoneDatabase::from_dir(zone_directory(&packages)).expect("a zone database");
    let zones: Vec<String> = database.available().map(|zone| zone.to_string()).collect();
    assert!(zones.len() > 400, "{} zones", zones.len());

    let mut questions = Vec::new();
    for zone in
        zones.iter().filter(|zone| !["Factory", "localtime"].contains(&zone.as_str()) && !zone.contains('.'))
    {
        for after in starts(&database.get(zone).expect("a zone of the database")) {
            questions.extend(expressions.iter().map(|cron| Question {
                cron,
                zone,
                after: after.as_second(),
                count: COUNT,
            }));
        }
    }
    let step = if is_full { 1 } else { SAMPLE };
    // A step without a common divisor with the number of expressions visits all of them.
    assert!(
        is_full || expressions.len() % 2 == 1 && !expressions.len().is_multiple_of(5),
        "{}",
        expressions.len()
    );
    let questions: Vec<Question> = questions.into_iter().step_by(step).collect();
    let expected = answers(&packages, &questions);
    assert_eq!(expected.len(), questions.len());
    let mut wrong = Vec::new();
    for (question, expected) in questions.iter().zip(&expected) {
        let after = Timestamp::from_second(question.after).expect("a moment");
        let found = moments_after(question.cron, database.get(question.zone).expect("a zone"), after, COUNT);
        let found: Vec<i64> = found.iter().map(|moment| moment.sec()).collect();
        if found != *expected {
            wrong.push(format!(
                "{:?} in {} after {after}: found {found:?}, expected {expected:?}",
                question.cron, question.zone
            ));
        }
    }
    println!("{} questions, {} differences", questions.len(), wrong.len());
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        questions.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}

//! Runs the steps of a gate one after another, and prints how long each took.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cargo::{Environment, TestTime, cargo, cargo_tests};

/// Number of tests in the list of the slowest.
const SLOWEST: usize = 10;

/// The steps of one gate.
pub struct Steps<'a> {
    workspace: &'a Path,
    /// Environment variables of every cargo command.
    pub environment: Environment,
    rows: Vec<Row>,
    tests: Vec<TestTime>,
}

struct Row {
    name: String,
    took: Duration,
    passed: bool,
}

impl<'a> Steps<'a> {
    /// A gate without steps.
    pub fn new(workspace: &'a Path) -> Self {
        Self { workspace, environment: Environment::new(), rows: Vec::new(), tests: Vec::new() }
    }

    /// Runs one step and prints its result. The error names the step.
    pub fn run<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("== {name}");
        let start = Instant::now();
        let result = step();
        let (took, passed) = (start.elapsed(), result.is_ok());
        let verdict = if passed { "passed" } else { "FAILED" };
        println!("== {name} {verdict} after {:.1} s", took.as_secs_f32());
        self.rows.push(Row { name: name.to_owned(), took, passed });
        result.with_context(|| format!("step \"{name}\" failed"))
    }

    /// Runs a cargo command as a step.
    pub fn cargo(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        let (workspace, environment) = (self.workspace, self.environment.clone());
        self.run(name, || cargo(workspace, &environment, arguments))
    }

    /// Runs `cargo test` as a step, and notes the time of each test.
    pub fn tests(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        let (workspace, environment) = (self.workspace, self.environment.clone());
        let mut times = Vec::new();
        let result = self.run(name, || cargo_tests(workspace, &environment, arguments, &mut times));
        self.tests.extend(times);
        result
    }

    /// Prints the time of each step and the slowest tests.
    pub fn print_summary(&self) {
        print!("{}", self.summary());
    }

    fn summary(&self) -> String {
        let mut lines = vec!["== summary".to_owned()];
        for Row { name, took, passed } in &self.rows {
            let verdict = if *passed { "passed" } else { "FAILED" };
            lines.push(format!("{:>8.1} s  {verdict}  {name}", took.as_secs_f32()));
        }
        let total: Duration = self.rows.iter().map(|row| row.took).sum();
        lines.push(format!("{:>8.1} s  in total", total.as_secs_f32()));
        let mut tests: Vec<&TestTime> = self.tests.iter().collect();
        tests.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
        if !tests.is_empty() {
            lines.push("The slowest tests:".to_owned());
        }
        for test in tests.iter().take(SLOWEST) {
            lines.push(format!("{:>8.1} s  {}", test.seconds, test.name));
        }
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_failure_names_its_step_and_keeps_its_cause() {
        let mut steps = Steps::new(Path::new("."));
        let error = steps.run("lint", || -> Result<()> { bail!("3 warnings") }).unwrap_err();
        assert_eq!(format!("{error:#}"), "step \"lint\" failed: 3 warnings");
    }

    #[test]
    fn the_summary_lists_every_step_and_the_ten_slowest_tests() {
        let mut steps = Steps::new(Path::new("."));
        steps.run("format", || Ok(())).unwrap();
        steps.run("tests", || -> Result<()> { bail!("one failed") }).unwrap_err();
        steps.tests = (0..12).map(|n| TestTime { name: format!("t{n}"), seconds: f64::from(n) }).collect();
        let summary = steps.summary();
        assert!(summary.contains("passed  format") && summary.contains("FAILED  tests"), "{summary}");
        let tests: Vec<&str> = summary.lines().skip_while(|line| !line.starts_with("The slowest")).collect();
        assert_eq!((tests.len(), tests[1].trim()), (11, "11.0 s  t11"), "{summary}");
    }
}

//! `cargo xtask test`: everything that a change must pass.

use std::path::Path;

use anyhow::Result;

use crate::browser::{self, Browser};
use crate::cargo::clippy;
use crate::catalog::Profile;
use crate::check::TESTS_WITHOUT_CLUSTER;
use crate::deny;
use crate::faults::{self, Faults};
use crate::services::Services;
use crate::steps::Steps;

/// Runs every check and prints the time of each step, also after a failure.
pub fn run(workspace: &Path, services: &Services, keep: bool) -> Result<()> {
    let mut steps = Steps::new(workspace);
    let result = run_steps(&mut steps, workspace, services, keep);
    steps.print_summary();
    result
}

fn run_steps(steps: &mut Steps<'_>, workspace: &Path, services: &Services, keep: bool) -> Result<()> {
    steps.run("deny", || deny::run(workspace, &workspace.join("target/services")))?;
    lint(steps)?;
    steps.tests("tests without cluster", &TESTS_WITHOUT_CLUSTER)?;
    on_services(steps, services, keep)?;
    steps.run("console in a browser", || browser::run(workspace, &Browser::all()))?;
    steps.run("faults", || faults::run(workspace, &Faults::short()))
}

fn lint(steps: &mut Steps<'_>) -> Result<()> {
    steps.cargo("format", &["fmt", "--all", "--check"])?;
    steps.cargo("lint", &clippy(&["--workspace", "--all-targets"]))?;
    let embedded = ["--workspace", "--all-targets", "--no-default-features"];
    steps.cargo("lint without cluster", &clippy(&embedded))?;
    // `--all-targets` leaves out a target with `test = false`.
    steps.cargo("lint the fault harness", &clippy(&["--package", "taskcenter-server", "--test", "faults"]))
}

/// Starts the services, runs the tests, and stops the services that did not run before. With `keep`
/// all services continue to run.
fn on_services(steps: &mut Steps<'_>, services: &Services, keep: bool) -> Result<()> {
    let before = services.running();
    let result = steps.run("services up", || services.up(Profile::Secure)).and_then(|()| {
        steps.environment = services.environment();
        test(steps)
    });
    if keep {
        return result;
    }
    let mut started = services.running();
    started.retain(|name| !before.contains(name));
    let stopped = steps.run("services down", || services.stop_all(&started, false));
    // The first failure is the one to report.
    result.and(stopped)
}

fn test(steps: &mut Steps<'_>) -> Result<()> {
    // `--no-fail-fast`: one run reports every failure.
    let targets = ["--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"];
    let tests = steps.tests("tests", &targets);
    let doc_tests = steps.cargo("doc tests", &["test", "--workspace", "--locked", "--no-fail-fast", "--doc"]);
    tests.and(doc_tests)
}

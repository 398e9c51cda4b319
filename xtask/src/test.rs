//! `cargo xtask test`: everything that a change must pass.

use std::path::Path;

use anyhow::Result;

use crate::browser::{self, Browser};
use crate::cargo::clippy;
use crate::catalog::Profile;
use crate::check::{TESTS_WITHOUT_CLUSTER, UNIT_TESTS_WITHOUT_CLUSTER};
use crate::deny;
use crate::dist::{self, Dist};
use crate::faults::{self, Faults};
use crate::services::Services;
use crate::steps::Steps;

/// Amounts of the short form. The defaults of the tests are those of the full form.
const SHORT: [(&str, &str); 1] = [("FAILPOINT_HITS", "25")];

/// Options of `cargo xtask test`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Test {
    /// Keep the services running afterwards: the next run starts faster
    #[arg(long)]
    keep: bool,
    /// Also run the slow parts, before a release: an hour and a half
    #[arg(long)]
    full: bool,
}

/// Runs every check and prints the time of each step, also after a failure.
pub fn run(workspace: &Path, services: &Services, test: Test) -> Result<()> {
    let mut steps = Steps::new(workspace);
    let result = run_steps(&mut steps, workspace, services, test);
    steps.print_summary();
    if !test.full {
        println!(
            "This form shortens failpoints, faults and tests without cluster, and skips the package: see --full"
        );
    }
    result
}

fn run_steps(steps: &mut Steps<'_>, workspace: &Path, services: &Services, test: Test) -> Result<()> {
    steps.run("deny", || deny::run(workspace, &workspace.join("target/services")))?;
    lint(steps)?;
    let without_cluster = if test.full { &TESTS_WITHOUT_CLUSTER[..] } else { &UNIT_TESTS_WITHOUT_CLUSTER };
    steps.tests("tests without cluster", without_cluster)?;
    on_services(steps, services, test)?;
    steps.run("console in a browser", || browser::run(workspace, &Browser::all()))?;
    let faults = if test.full { Faults::quick() } else { Faults::sample() };
    steps.run("faults", || faults::run(workspace, &faults))?;
    if test.full {
        steps.run("package", || dist::run(workspace, &Dist::trial()))?;
    }
    Ok(())
}

fn lint(steps: &mut Steps<'_>) -> Result<()> {
    steps.cargo("format", &["fmt", "--all", "--check"])?;
    // `--all-targets` leaves out a target with `test = false`, such as the fault harness.
    steps.cargo("lint", &clippy(&["--workspace", "--all-targets", "--test", "faults"]))?;
    steps.cargo("lint without cluster", &clippy(&["--workspace", "--all-targets", "--no-default-features"]))
}

/// Starts the services, runs the tests, and stops the services that did not run before. With `keep`
/// all services continue to run.
fn on_services(steps: &mut Steps<'_>, services: &Services, test: Test) -> Result<()> {
    let before = services.running();
    let result = steps.run("services up", || services.up(Profile::Secure)).and_then(|()| {
        steps.environment = services.environment();
        if !test.full {
            steps.environment.extend(SHORT.map(|(name, value)| (name, value.to_owned())));
        }
        all_tests(steps)
    });
    if test.keep {
        return result;
    }
    let mut started = services.running();
    started.retain(|name| !before.contains(name));
    let stopped = steps.run("services down", || services.stop_all(&started, false));
    // The first failure is the one to report.
    result.and(stopped)
}

fn all_tests(steps: &mut Steps<'_>) -> Result<()> {
    // `--no-fail-fast`: one run reports every failure.
    let targets = ["--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"];
    let tests = steps.tests("tests", &targets);
    let doc_tests = steps.cargo("doc tests", &["test", "--workspace", "--locked", "--no-fail-fast", "--doc"]);
    tests.and(doc_tests)
}

//! Everything a change must pass, in one command.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::cargo::cargo;
use crate::catalog::Profile;
use crate::deny;
use crate::faults::{self, Faults};
use crate::services::Services;

/// The checks, after the services are up.
const STEPS: [(&str, &[&str]); 4] = [
    ("format", &["fmt", "--all", "--check"]),
    ("lint", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    // No test of its own: all targets are not all of them.
    (
        "lint the faults",
        &["clippy", "--package", "taskcenter-server", "--test", "faults", "--locked", "--", "-D", "warnings"],
    ),
    // One run tells of every failure.
    ("tests", &["test", "--workspace", "--locked", "--no-fail-fast"]),
];

/// The checks on services, then the faults on back ends of their own.
pub fn run(workspace: &Path, services: &Services, keep: bool) -> Result<()> {
    timed("deny", || deny::run(workspace, &workspace.join("target/services")))?;
    on_services(workspace, services, keep)?;
    timed("faults", || faults::run(workspace, &Faults::short()))
}

/// Services up, the checks, services down. What ran before keeps running, and with `keep` so does the rest.
fn on_services(workspace: &Path, services: &Services, keep: bool) -> Result<()> {
    let before = services.running();
    let result =
        timed("services up", || services.up(Profile::Secure)).and_then(|()| check(workspace, services));
    if keep {
        return result;
    }
    let mut started = services.running();
    started.retain(|name| !before.contains(name));
    let stopped = timed("services down", || services.stop_all(&started, false));
    // The first failure is the one to report.
    result.and(stopped)
}

fn check(workspace: &Path, services: &Services) -> Result<()> {
    for (name, arguments) in STEPS {
        timed(name, || cargo(workspace, &services.environment(), arguments))?;
    }
    Ok(())
}

fn timed(name: &str, step: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("== {name}");
    let start = Instant::now();
    let result = step();
    let verdict = if result.is_ok() { "passed" } else { "FAILED" };
    println!("== {name} {verdict} after {:.1} s", start.elapsed().as_secs_f32());
    result.with_context(|| format!("the step \"{name}\" failed"))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_failure_names_its_step_and_keeps_its_cause() {
        let error = timed("lint", || bail!("3 warnings")).unwrap_err();
        assert_eq!(format!("{error:#}"), "the step \"lint\" failed: 3 warnings");
    }
}

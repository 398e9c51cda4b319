//! Everything a change must pass, in one command.

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::catalog::Profile;
use crate::services::Services;

/// The checks, after the services are up.
const STEPS: [(&str, &[&str]); 3] = [
    ("format", &["fmt", "--all", "--check"]),
    ("lint", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    ("tests", &["test", "--workspace", "--locked"]),
];

/// Services up, the checks, services down. What ran before keeps running, and with `keep` so does the rest.
pub fn run(workspace: &Path, services: &Services, keep: bool) -> Result<()> {
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
        timed(name, || cargo(workspace, services, arguments))?;
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

fn cargo(workspace: &Path, services: &Services, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Cargo describes this crate to us; passed on, it would make build scripts that look at it run again each time.
    for (name, _) in env::vars_os().filter(|(name, _)| describes_this_crate(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    let status = command.args(arguments).current_dir(workspace).envs(services.environment()).status()?;
    if !status.success() {
        bail!("cargo {}: {status}", arguments.join(" "));
    }
    Ok(())
}

fn describes_this_crate(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_step_and_keeps_its_cause() {
        let error = timed("lint", || bail!("3 warnings")).unwrap_err();
        assert_eq!(format!("{error:#}"), "the step \"lint\" failed: 3 warnings");
    }

    #[test]
    fn a_developers_own_cargo_settings_are_passed_on() {
        assert!(describes_this_crate("CARGO_PKG_NAME"));
        assert!(describes_this_crate("CARGO_MANIFEST_DIR"));
        assert!(!describes_this_crate("CARGO_TARGET_DIR"));
        assert!(!describes_this_crate("CARGO_HOME"));
    }
}

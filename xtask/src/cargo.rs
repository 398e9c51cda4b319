//! Starts cargo from a program that cargo itself has started.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Environment variables by name.
pub type Environment = BTreeMap<&'static str, String>;

/// libtest reports the time of each test under this option, which it has on nightly compilers only.
/// The variable opens it at run time for the test programs alone; nothing is compiled with the
/// variable set.
const TIMED_RUNNER: &str = "target.'cfg(unix)'.runner = ['env', 'RUSTC_BOOTSTRAP=1']";
const TIMED_ARGUMENTS: [&str; 2] = ["-Zunstable-options", "--report-time"];

/// How long one test took.
#[derive(Debug, Clone, PartialEq)]
pub struct TestTime {
    /// Module path and name.
    pub name: String,
    /// Wall-clock time in seconds.
    pub seconds: f64,
}

impl TestTime {
    /// Reads a line such as `test http::limits::a_test ... ok <0.213s>`.
    fn of_line(line: &str) -> Option<Self> {
        let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ")?;
        let seconds = rest.rsplit_once('<')?.1.strip_suffix("s>")?.parse().ok()?;
        Some(Self { name: name.to_owned(), seconds })
    }
}

/// Returns the arguments of clippy on these targets. Every warning is an error.
pub fn clippy<'a>(targets: &[&'a str]) -> Vec<&'a str> {
    [&["clippy", "--locked"][..], targets, &["--", "-D", "warnings"]].concat()
}

/// Runs cargo with additional environment variables. Fails if cargo fails.
pub fn cargo(workspace: &Path, environment: &Environment, arguments: &[&str]) -> Result<()> {
    let status = command(workspace, environment).args(arguments).status()?;
    ensure!(status.success(), "cargo {}: {status}", arguments.join(" "));
    Ok(())
}

/// Runs `cargo test` as [`cargo`] does, and adds the time of each test to `times`.
///
/// `arguments` must not select doc tests: rustdoc does not know the option.
pub fn cargo_tests(
    workspace: &Path,
    environment: &Environment,
    arguments: &[&str],
    times: &mut Vec<TestTime>,
) -> Result<()> {
    let (of_cargo, of_tests) = match arguments.iter().position(|argument| *argument == "--") {
        Some(at) => (&arguments[..at], &arguments[at + 1..]),
        None => (arguments, &[][..]),
    };
    let mut child = command(workspace, environment)
        .arg("test")
        .args(of_cargo)
        .args(["--config", TIMED_RUNNER, "--"])
        .args(of_tests)
        .args(TIMED_ARGUMENTS)
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("cargo has no standard output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        times.extend(TestTime::of_line(&line));
    }
    let status = child.wait()?;
    ensure!(status.success(), "cargo test {}: {status}", arguments.join(" "));
    Ok(())
}

/// Returns a cargo command with additional environment variables.
pub fn command(workspace: &Path, environment: &Environment) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Cargo sets variables that describe this crate. Build scripts that read them would run again
    // each time.
    for (name, _) in env::vars_os().filter(|(name, _)| describes_this_crate(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.current_dir(workspace).envs(environment);
    command
}

fn describes_this_crate(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_developers_own_cargo_settings_are_passed_on() {
        assert!(describes_this_crate("CARGO_PKG_NAME"));
        assert!(describes_this_crate("CARGO_MANIFEST_DIR"));
        assert!(!describes_this_crate("CARGO_TARGET_DIR"));
        assert!(!describes_this_crate("CARGO_HOME"));
    }

    #[test]
    fn the_time_of_a_test_is_read_from_its_line() {
        let time = |line| TestTime::of_line(line).map(|time| (time.name, time.seconds));
        assert_eq!(time("test a::b ... ok <0.213s>"), Some(("a::b".to_owned(), 0.213)));
        assert_eq!(time("test a::b ... FAILED <12.000s>"), Some(("a::b".to_owned(), 12.0)));
        for other in
            ["test a::b ... ok", "test result: ok. 3 passed; finished in 1.00s", "running 3 tests", ""]
        {
            assert_eq!(time(other), None, "{other}");
        }
    }
}

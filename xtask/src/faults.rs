//! `cargo xtask faults`: downloads the programs that the fault harness starts, and runs the
//! harness.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cargo::{Environment, cargo};
use crate::download;

/// Options of the fault harness.
#[derive(clap::Args)]
pub struct Faults {
    /// Short form: about 14 minutes instead of an hour
    #[arg(long)]
    quick: bool,
    /// Only these scenarios, separated by commas
    #[arg(long, value_name = "NAMES")]
    only: Option<String>,
    /// List the scenarios
    #[arg(long)]
    list: bool,
    /// Server program of an earlier release, for the rolling restart. Default: the current program
    #[arg(long, value_name = "FILE")]
    old: Option<PathBuf>,
    /// Seed of all random choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// One scenario of each kind of fault, for `cargo xtask test`.
const SAMPLE: &str = "kill,mongo,wire-bus,clock-jump,misfire-fire-last,embedded-kill";

impl Faults {
    /// Every scenario in its short form.
    pub fn quick() -> Self {
        Self { quick: true, only: None, list: false, old: None, seed: 1 }
    }

    /// One scenario of each kind of fault, in its short form: about five minutes.
    pub fn sample() -> Self {
        Self { only: Some(SAMPLE.to_owned()), ..Self::quick() }
    }
}

/// Runs the harness. The harness starts and stops its own back ends below target/faults.
pub fn run(workspace: &Path, faults: &Faults) -> Result<()> {
    let services = workspace.join("target/services");
    download::program("redis-server", "redis-server")?;
    // Sets wrong clocks; the package contains the preloaded library.
    download::program("faketime", "faketime")?;
    let environment = Environment::from([
        ("TASKCENTER_FAULTS_MONGOD", download::mongod(&services)?.display().to_string()),
        ("TASKCENTER_FAULTS_ROCKETMQ", download::rocketmq(&services)?.display().to_string()),
    ]);
    let arguments = arguments(faults);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cargo(workspace, &environment, &arguments)
}

fn arguments(faults: &Faults) -> Vec<String> {
    // Features of shared dependencies differ between packages: `--workspace` avoids a second build.
    let test = ["test", "--workspace", "--test", "faults", "--locked", "--"];
    let mut arguments: Vec<String> = test.map(str::to_owned).into();
    arguments.extend(faults.quick.then(|| "--quick".to_owned()));
    arguments.extend(faults.list.then(|| "--list".to_owned()));
    arguments.extend(faults.only.iter().map(|names| format!("--only={names}")));
    arguments.extend(faults.old.iter().map(|file| format!("--old={}", file.display())));
    arguments.push(format!("--seed={}", faults.seed));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_passed_to_the_harness() {
        let faults = Faults { only: Some("kill,mongo".to_owned()), seed: 7, ..Faults::quick() };
        let passed: Vec<String> =
            arguments(&faults).into_iter().skip_while(|argument| argument != "--").collect();
        assert_eq!(passed, ["--", "--quick", "--only=kill,mongo", "--seed=7"]);
    }
}

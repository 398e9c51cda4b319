//! The live fault harness: fetches what it starts, and runs it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cargo::cargo;
use crate::download;

/// Which part of the harness to run.
#[derive(clap::Args)]
pub struct Faults {
    /// The short form: about ten minutes instead of an hour
    #[arg(long)]
    quick: bool,
    /// Only the scenarios of these names, with commas between
    #[arg(long, value_name = "NAMES")]
    only: Option<String>,
    /// Say which scenarios there are
    #[arg(long)]
    list: bool,
    /// The server of an earlier release, for the rolling restart; without it, old and new are the same
    #[arg(long, value_name = "FILE")]
    old: Option<PathBuf>,
    /// Seed of everything that is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Faults {
    /// What is part of every test.
    pub fn short() -> Self {
        Self { quick: true, only: None, list: false, old: None, seed: 1 }
    }
}

/// The harness starts and ends its own back ends, below target/faults; here they are only fetched.
pub fn run(workspace: &Path, faults: &Faults) -> Result<()> {
    let services = workspace.join("target/services");
    download::program("redis-server", "redis-server")?;
    // Wrong clocks; the preloaded library comes with the program.
    download::program("faketime", "faketime")?;
    let environment = BTreeMap::from([
        ("TASKCENTER_FAULTS_MONGOD", download::mongod(&services)?.display().to_string()),
        ("TASKCENTER_FAULTS_ROCKETMQ", download::rocketmq(&services)?.display().to_string()),
    ]);
    let arguments = arguments(faults);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cargo(workspace, &environment, &arguments)
}

fn arguments(faults: &Faults) -> Vec<String> {
    // The whole workspace, so that nothing is built twice: its parts ask for more features of what they share.
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
    fn what_is_asked_for_is_passed_on() {
        let faults = Faults { only: Some("kill,mongo".to_owned()), seed: 7, ..Faults::short() };
        let passed: Vec<String> =
            arguments(&faults).into_iter().skip_while(|argument| argument != "--").collect();
        assert_eq!(passed, ["--", "--quick", "--only=kill,mongo", "--seed=7"]);
    }
}

//! Builds the release programs. A copy is measured: a build in the meantime does not replace it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bench::interrupt::Interrupt;
use crate::cargo;

const SERVER: &str = "taskcenter";
const LOAD: &str = "taskcenter-bench";

/// The release programs.
pub struct Programs {
    /// The server.
    pub server: PathBuf,
    /// The load generator.
    pub load: PathBuf,
}

impl Programs {
    /// Builds the server and the load generator.
    pub fn build(workspace: &Path, dir: &Path, cluster: bool, interrupt: &Interrupt) -> Result<Self> {
        let mut build = cargo::command(workspace, &cargo::Environment::new());
        build.args(["build", "--release", "--locked", "--bins", "--message-format=json-render-diagnostics"]);
        build.args(["--package=taskcenter-server", "--package=taskcenter-bench"]);
        if !cluster {
            build.arg("--no-default-features");
        }
        eprintln!("Building the release programs. The first build takes minutes.");
        let messages = interrupt.output(&mut build)?;
        let find =
            |name: &str| executable(&messages, name).with_context(|| format!("cargo did not build {name}"));
        Self::copies(&find(SERVER)?, &find(LOAD)?, dir)
    }

    /// Copies the programs from a directory.
    pub fn copy(built: &Path, dir: &Path) -> Result<Self> {
        Self::copies(&built.join(SERVER), &built.join(LOAD), dir)
    }

    fn copies(server: &Path, load: &Path, dir: &Path) -> Result<Self> {
        let copies = dir.join("programs");
        fs::create_dir_all(&copies)?;
        let copy = |program: &Path, name: &str| {
            let copy = copies.join(name);
            // A copy of a file to itself would empty the file.
            if program
                .canonicalize()
                .is_ok_and(|program| copy.canonicalize().is_ok_and(|copy| copy == program))
            {
                return Ok(copy);
            }
            fs::copy(program, &copy).with_context(|| format!("cannot copy {}", program.display()))?;
            anyhow::Ok(copy)
        };
        Ok(Self { server: copy(server, SERVER)?, load: copy(load, LOAD)? })
    }
}

/// Finds the path of a program in the messages of cargo.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut built = messages.filter(|message| message["target"]["name"] == name);
    built.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_its_name() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other"}
            {"reason":"compiler-artifact","target":{"name":"taskcenter"},"executable":null}
            {"reason":"compiler-artifact","target":{"name":"taskcenter"},"executable":"/t/taskcenter"}"#;
        assert_eq!(executable(messages, "taskcenter"), Some(PathBuf::from("/t/taskcenter")));
        assert_eq!(executable(messages, "taskcenter-bench"), None);
    }
}

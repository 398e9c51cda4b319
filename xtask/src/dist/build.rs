//! The program of each target.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::{Environment, cargo};
use crate::download::{find_program, program, run};

const X86_64: &str = "x86_64-unknown-linux-musl";
const ARM64: &str = "aarch64-unknown-linux-musl";
/// C compiler of [`ARM64`]. Debian has no package of it.
const ARM64_CC: &str = "aarch64-linux-musl-gcc";

/// A Rust target.
pub struct Target {
    pub triple: String,
}

impl Target {
    /// Returns the targets with these triples, or the default targets.
    pub fn select(triples: &[String]) -> Result<Vec<Self>> {
        let mut triples = triples.to_vec();
        if triples.is_empty() {
            triples.push(X86_64.to_owned());
            if find_program(ARM64_CC).is_some() {
                triples.push(ARM64.to_owned());
            } else {
                println!("  {ARM64} is not built: its C compiler {ARM64_CC} is missing");
            }
        }
        let targets: Vec<Self> = triples.into_iter().map(|triple| Self { triple }).collect();
        for target in &targets {
            target.debian_architecture()?;
        }
        Ok(targets)
    }

    /// Returns Debian's name of the architecture.
    pub fn debian_architecture(&self) -> Result<&'static str> {
        Ok(match self.rust_architecture() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            _ => bail!("unknown target {:?}: use x86_64-... or aarch64-...", self.triple),
        })
    }

    /// Returns whether this machine can run the program.
    pub fn is_native(&self) -> bool {
        self.rust_architecture() == std::env::consts::ARCH
    }

    fn rust_architecture(&self) -> &str {
        self.triple.split('-').next().unwrap_or_default()
    }

    fn is_musl(&self) -> bool {
        self.triple.ends_with("-musl")
    }
}

/// Builds the program, and returns its path.
pub fn build(workspace: &Path, target: &Target, profile: &str) -> Result<PathBuf> {
    prepare(target)?;
    let triple = format!("--target={}", target.triple);
    let profile_option = format!("--profile={profile}");
    let bin = ["build", "--locked", "--package=taskcenter-server", "--bin=taskcenter"];
    let mut environment = Environment::new();
    if target.triple == ARM64 {
        environment.insert("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", ARM64_CC.to_owned());
    }
    cargo(workspace, &environment, &[&bin[..], &[&triple, &profile_option]].concat())?;
    let dir = if profile == "dev" { "debug" } else { profile };
    let program = workspace.join("target").join(&target.triple).join(dir).join("taskcenter");
    ensure!(program.is_file(), "{} is missing: unset CARGO_TARGET_DIR", program.display());
    Ok(program)
}

/// Installs what the target needs.
fn prepare(target: &Target) -> Result<()> {
    if target.triple == X86_64 {
        program("musl-gcc", "musl-tools")?;
    }
    let print = ["--print=target-libdir", "--target", &target.triple];
    let output = Command::new("rustc").args(print).output().context("rustc is missing")?;
    if Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir() {
        return Ok(());
    }
    run(Command::new("rustup").args(["target", "add", &target.triple])).with_context(|| {
        format!("Rust's standard library for {} is missing: `rustup target add` must work", target.triple)
    })
}

/// Returns the newest version of glibc that a program needs, such as "2.34". None: the program is static.
pub fn required_glibc(target: &Target, program: &[u8]) -> Result<Option<String>> {
    let versions = program.split(|byte| *byte == 0).filter_map(|text| text.strip_prefix(b"GLIBC_"));
    let versions = versions.filter_map(|text| std::str::from_utf8(text).ok());
    let newest = versions.filter_map(|text| Some((version_key(text)?, text))).max();
    ensure!(
        newest.is_none() || !target.is_musl(),
        "the program is for glibc, and the target is {}: name the target of the program",
        target.triple
    );
    Ok(newest.map(|(_, text)| text.to_owned()))
}

fn version_key(text: &str) -> Option<Vec<u32>> {
    text.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(triple: &str) -> Target {
        Target { triple: triple.to_owned() }
    }

    #[test]
    fn the_newest_glibc_is_compared_by_numbers() {
        let program = b"x\0GLIBC_2.9\0GLIBC_2.34\0GLIBC_PRIVATE\0GLIBC_2.2.5\0";
        let gnu = target("x86_64-unknown-linux-gnu");
        assert_eq!(required_glibc(&gnu, program).unwrap(), Some("2.34".to_owned()));
        assert_eq!(required_glibc(&gnu, b"nothing").unwrap(), None);
        let error = required_glibc(&target(X86_64), program).unwrap_err().to_string();
        assert!(error.contains("for glibc"), "{error}");
    }

    #[test]
    fn a_target_has_the_name_of_its_architecture() {
        assert_eq!(target(X86_64).debian_architecture().unwrap(), "amd64");
        assert_eq!(target(ARM64).debian_architecture().unwrap(), "arm64");
        let error = Target::select(&["riscv64gc-unknown-linux-gnu".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("riscv64gc"), "{error}");
    }
}

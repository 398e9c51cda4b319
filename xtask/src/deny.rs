//! `cargo xtask deny`: licences, banned crates and sources, as `deny.toml` defines them.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::download;

/// Checks every crate that can be compiled in. Does not check advisories: their database is not in
/// the registry.
pub fn run(workspace: &Path, root: &Path) -> Result<()> {
    let program = download::cargo_deny(root)?;
    let arguments = ["--locked", "--log-level", "warn", "check", "licenses", "bans", "sources"];
    // cargo-deny prints one report for each crate.
    let status = Command::new(program).args(arguments).current_dir(workspace).status()?;
    ensure!(status.success(), "cargo-deny: {status}; deny.toml lists what is allowed, with reasons");
    Ok(())
}

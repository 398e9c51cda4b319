//! What may come in from outside: licences, banned crates and sources, as `deny.toml` has them.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::download;

/// Checks every crate that can be compiled in. Advisories are left out: they need more than the registry.
pub fn run(workspace: &Path, root: &Path) -> Result<()> {
    let program = download::cargo_deny(root)?;
    let arguments = ["--locked", "--log-level", "warn", "check", "licenses", "bans", "sources"];
    // What is wrong is told crate by crate, in its own words.
    let status = Command::new(program).args(arguments).current_dir(workspace).status()?;
    ensure!(status.success(), "cargo-deny: {status}; deny.toml says what is allowed, and why");
    Ok(())
}

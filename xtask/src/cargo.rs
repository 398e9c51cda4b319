//! Cargo, called by a program that cargo has started.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

/// Runs cargo with more variables in its environment. An error when it does not succeed.
pub fn cargo(workspace: &Path, environment: &BTreeMap<&str, String>, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Cargo describes this crate to us; passed on, it would make build scripts that look at it run again each time.
    for (name, _) in env::vars_os().filter(|(name, _)| describes_this_crate(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    let status = command.args(arguments).current_dir(workspace).envs(environment).status()?;
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
    fn a_developers_own_cargo_settings_are_passed_on() {
        assert!(describes_this_crate("CARGO_PKG_NAME"));
        assert!(describes_this_crate("CARGO_MANIFEST_DIR"));
        assert!(!describes_this_crate("CARGO_TARGET_DIR"));
        assert!(!describes_this_crate("CARGO_HOME"));
    }
}

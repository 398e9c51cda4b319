//! The plain services from `config/compose.yaml`, for machines with Docker.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Starts the containers and waits for their health checks.
pub fn up(workspace: &Path) -> Result<()> {
    compose(workspace, &["up", "-d", "--wait"])
}

/// Removes the containers; `wipe` also removes their volumes.
pub fn down(workspace: &Path, wipe: bool) -> Result<()> {
    compose(workspace, if wipe { &["down", "--volumes"] } else { &["down"] })
}

fn compose(workspace: &Path, arguments: &[&str]) -> Result<()> {
    let status = Command::new("docker")
        .args(["compose", "-f", "config/compose.yaml"])
        .args(arguments)
        .current_dir(workspace)
        .status()
        .context("docker is missing: install docker, or run without --docker")?;
    ensure!(
        status.success(),
        "docker compose failed: check that the Docker daemon runs and the compose plugin is installed"
    );
    Ok(())
}

//! Child processes of the harness. Each has its own log.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{parent_death, time};

/// Running program. The drop kills it.
pub struct Program {
    child: Child,
}

impl Program {
    /// Starts a program with its output in `log`.
    pub fn start(command: &Command, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let name = command.get_program().display().to_string();
        // Own process group: Ctrl-C at the terminal ends the harness, which then ends its children.
        let mut command = parent_death::kill_with_parent(command);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn();
        Ok(Self { child: child.with_context(|| format!("cannot start {name}"))? })
    }

    /// Sends a signal by its name, such as STOP.
    pub fn signal(&self, name: &str) -> Result<()> {
        let status =
            Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status()?;
        ensure!(status.success(), "cannot send SIG{name} to process {}", self.child.id());
        Ok(())
    }

    /// Kills the program (SIGKILL).
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(&mut self, limit_ms: i64) -> Result<()> {
        self.signal("TERM")?;
        time::wait_until("the process has ended", limit_ms, async || self.has_ended()).await
    }

    /// Returns whether the program has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

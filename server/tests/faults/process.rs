//! Child processes of the harness: started with a log of their own, signalled and ended by their pid.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{leash, time};

/// A program that was started here. It is killed when it goes out of scope.
pub struct Program {
    child: Child,
}

impl Program {
    /// Starts it; what it says goes to `log`.
    pub fn start(command: &Command, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let name = command.get_program().display().to_string();
        // A group of its own: Ctrl-C at the terminal ends the harness, which then ends its children in order.
        let mut leashed = leash::on(command);
        leashed.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = leashed.spawn();
        Ok(Self { child: child.with_context(|| format!("cannot start {name}"))? })
    }

    /// Sends a signal by its name, such as STOP.
    pub fn signal(&self, name: &str) -> Result<()> {
        let status =
            Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status()?;
        ensure!(status.success(), "process {} takes no SIG{name}", self.child.id());
        Ok(())
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub async fn terminate(&mut self, limit_ms: i64) -> Result<()> {
        self.signal("TERM")?;
        time::until("the process has ended", limit_ms, async || self.has_ended()).await
    }

    /// Whether it has ended by itself.
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

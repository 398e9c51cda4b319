//! Ctrl-C: ends the running program, and lets everything that was started be stopped.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

const POLL: Duration = Duration::from_millis(20);

/// Whether the benchmark should end.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Handles Ctrl-C and SIGTERM from now on. The second signal ends the process at once.
    pub fn install() -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
            flag::register(signal, Arc::clone(&stop))?;
        }
        Ok(Self(stop))
    }

    /// Fails after a signal.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.0.load(Ordering::SeqCst), "interrupted: everything that was started is stopped");
        Ok(())
    }

    /// Runs a program until it ends or a signal comes, and returns its standard output.
    pub fn output(&self, command: &mut Command) -> Result<String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("cannot start {name}"))?;
        // A thread, because a program waits when the pipe is full.
        let mut pipe = child.stdout.take().context("no standard output")?;
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).map(|_| text)
        });
        let succeeded = self.wait(&mut child)?;
        let text = reader.join().ok().context("the reader ended early")??;
        ensure!(succeeded, "{name} failed");
        Ok(text)
    }

    fn wait(&self, child: &mut Child) -> Result<bool> {
        loop {
            if let Some(status) = child.try_wait()? {
                self.check()?;
                return Ok(status.success());
            }
            if let Err(interrupted) = self.check() {
                child.kill()?;
                child.wait()?;
                return Err(interrupted);
            }
            sleep(POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_ends_the_running_program() {
        let interrupt = Interrupt(Arc::default());
        let mut echo = Command::new("echo");
        assert_eq!(interrupt.output(echo.arg("one")).unwrap(), "one\n");
        assert!(interrupt.output(&mut Command::new("false")).is_err());
        interrupt.0.store(true, Ordering::SeqCst);
        let error = interrupt.output(Command::new("sleep").arg("600")).unwrap_err();
        assert!(error.to_string().contains("interrupted"), "{error}");
    }
}

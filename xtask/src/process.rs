//! Detached child processes and their pid files. Only processes that were started here are stopped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::CommandExt;

/// How to stop a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// SIGTERM, then SIGKILL after [`STOP_TIMEOUT`].
    Graceful,
    /// SIGKILL at once, as a crash.
    Kill,
}

/// Maximum time of a stop. A broker takes up to 20 s on a busy machine.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// Directory of one service with pid file, log and data.
#[derive(Clone, Debug)]
pub struct Home {
    dir: PathBuf,
}

impl Home {
    /// Creates a home at `dir`. The directory may be missing.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the file with the output of the service.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("pid")
    }

    /// Starts `command` as a detached process and writes its pid file.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        fs::create_dir_all(&self.dir)?;
        let log = File::create(self.log())?;
        // Own process group: Ctrl-C at the terminal, or the end of a CI step, must not stop the
        // services.
        let mut child = command
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        fs::write(self.pid_file(), child.id().to_string())?;
        // Right after its start a process has no command line, and `running` cannot recognise it.
        let start = Instant::now();
        while self.running().is_none()
            && child.try_wait()?.is_none()
            && start.elapsed() < Duration::from_secs(1)
        {
            sleep(Duration::from_millis(1));
        }
        Ok(child)
    }

    /// Returns the pid of the process that was started here, if it runs.
    pub fn running(&self) -> Option<Pid> {
        let pid: i32 = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        owns(&self.dir, pid).then(|| Pid::from_raw(pid))?
    }

    /// Stops the process that was started here. Returns `false` if none runs.
    pub fn stop(&self, ending: Ending) -> Result<bool> {
        let Some(pid) = self.running() else { return Ok(false) };
        if ending == Ending::Graceful {
            signal(pid, Signal::TERM)?;
        }
        if ending == Ending::Kill || !self.ends_within(STOP_TIMEOUT) {
            signal(pid, Signal::KILL)?;
        }
        if !self.ends_within(STOP_TIMEOUT) {
            bail!("process {} in {} does not end after SIGKILL", pid, self.dir.display());
        }
        fs::remove_file(self.pid_file())?;
        Ok(true)
    }

    /// Returns the last lines of the log, for an error message.
    pub fn log_tail(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }

    fn ends_within(&self, timeout: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < timeout {
            if self.running().is_none() {
                return true;
            }
            sleep(Duration::from_millis(20));
        }
        false
    }
}

fn signal(pid: Pid, signal: Signal) -> Result<()> {
    match kill_process(pid, signal) {
        // The process ended before the signal.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot signal process {pid}")),
    }
}

/// Returns whether `pid` is the process that was started in `dir`. Pids are reused, so both the
/// working directory and the command line must contain `dir`. A zombie has neither and counts as
/// ended.
fn owns(dir: &Path, pid: i32) -> bool {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let Ok(cwd) = fs::read_link(proc.join("cwd")) else { return false };
    let Ok(cmdline) = fs::read(proc.join("cmdline")) else { return false };
    cwd.starts_with(dir) && String::from_utf8_lossy(&cmdline).contains(&*dir.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(home: &Home) -> Command {
        let mut command = Command::new("sh");
        // `$0` puts the directory on the command line, as each real service does.
        command.args(["-c", "sleep 60; :"]).arg(home.dir());
        command
    }

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path().canonicalize().unwrap());
        (dir, home)
    }

    #[test]
    fn starts_finds_and_stops_its_own_process() {
        let (_dir, home) = home();
        let mut child = home.spawn(&mut sleeper(&home)).unwrap();
        assert!(home.running().is_some());
        assert!(home.stop(Ending::Kill).unwrap());
        child.wait().unwrap();
        assert!(home.running().is_none());
        assert!(!home.stop(Ending::Kill).unwrap(), "no process is left");
    }

    #[test]
    fn a_reused_pid_is_not_recognised() {
        let (_dir, home) = home();
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(home.dir().join("pid"), other.id().to_string()).unwrap();
        assert!(home.running().is_none());
        assert!(!home.stop(Ending::Graceful).unwrap());
        assert!(other.try_wait().unwrap().is_none(), "the other process still runs");
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn another_process_in_the_directory_is_not_recognised() {
        let (_dir, home) = home();
        let mut other = Command::new("sleep").arg("60").current_dir(home.dir()).spawn().unwrap();
        assert!(!owns(home.dir(), other.id() as i32));
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_missing_or_invalid_pid_file_means_that_no_process_runs() {
        let (_dir, home) = home();
        assert!(home.running().is_none());
        fs::write(home.dir().join("pid"), "not a number").unwrap();
        assert!(home.running().is_none());
    }

    #[test]
    fn the_log_tail_has_eight_lines() {
        let (_dir, home) = home();
        let lines: Vec<String> = (0..100).map(|i| i.to_string()).collect();
        fs::write(home.log(), lines.join("\n")).unwrap();
        assert_eq!(home.log_tail(), "92\n93\n94\n95\n96\n97\n98\n99");
    }
}

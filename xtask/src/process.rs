//! Detached child processes, their pid files, and how to end exactly what was started here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::CommandExt;

/// How a process is asked to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// SIGTERM, then SIGKILL after a patience.
    Graceful,
    /// SIGKILL at once: a crash.
    Kill,
}

/// A broker takes up to 20 s on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// The directory of one service: pid file, log and data.
#[derive(Clone, Debug)]
pub struct Home {
    dir: PathBuf,
}

impl Home {
    /// The home at `dir`, which need not exist yet.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the service's output goes.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("pid")
    }

    /// Starts `command` so that it outlives this program, and remembers its pid.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        fs::create_dir_all(&self.dir)?;
        let log = File::create(self.log())?;
        // Its own process group: Ctrl-C at the terminal, or the end of a CI step, is not for the services.
        let mut child = command
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        fs::write(self.pid_file(), child.id().to_string())?;
        // For an instant after its start a process has no command line, and could not be recognised.
        let start = Instant::now();
        while self.running().is_none()
            && child.try_wait()?.is_none()
            && start.elapsed() < Duration::from_secs(1)
        {
            sleep(Duration::from_millis(1));
        }
        Ok(child)
    }

    /// The pid of the running process that was started here, if there is one.
    pub fn running(&self) -> Option<Pid> {
        let pid: i32 = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        owns(&self.dir, pid).then(|| Pid::from_raw(pid))?
    }

    /// Ends the process that was started here; `false` if there was none.
    pub fn stop(&self, ending: Ending) -> Result<bool> {
        let Some(pid) = self.running() else { return Ok(false) };
        if ending == Ending::Graceful {
            signal(pid, Signal::TERM)?;
        }
        if ending == Ending::Kill || !self.ends_within(PATIENCE) {
            signal(pid, Signal::KILL)?;
        }
        if !self.ends_within(PATIENCE) {
            bail!("process {} in {} does not end", pid, self.dir.display());
        }
        fs::remove_file(self.pid_file())?;
        Ok(true)
    }

    /// The last lines of the log, for an error message.
    pub fn log_tail(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }

    fn ends_within(&self, patience: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < patience {
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
        // It ended between the look and the signal.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot signal process {pid}")),
    }
}

/// Whether `pid` still is the process started in `dir`. Pids are reused, so both its working directory and its
/// command line must point there. A zombie has neither, and counts as ended.
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
        // The directory as `$0` puts it on the command line, as each real service does.
        command.args(["-c", "sleep 60; :"]).arg(home.dir());
        command
    }

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path().canonicalize().unwrap());
        (dir, home)
    }

    #[test]
    fn starts_finds_and_ends_its_own_process() {
        let (_dir, home) = home();
        let mut child = home.spawn(&mut sleeper(&home)).unwrap();
        assert!(home.running().is_some());
        assert!(home.stop(Ending::Kill).unwrap());
        child.wait().unwrap();
        assert!(home.running().is_none());
        assert!(!home.stop(Ending::Kill).unwrap(), "nothing is left to stop");
    }

    #[test]
    fn a_reused_pid_is_not_ours() {
        let (_dir, home) = home();
        let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(home.dir().join("pid"), stranger.id().to_string()).unwrap();
        assert!(home.running().is_none());
        assert!(!home.stop(Ending::Graceful).unwrap());
        assert!(stranger.try_wait().unwrap().is_none(), "the stranger lives");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn a_stranger_that_works_in_our_directory_is_not_ours() {
        let (_dir, home) = home();
        let mut stranger = Command::new("sleep").arg("60").current_dir(home.dir()).spawn().unwrap();
        assert!(!owns(home.dir(), stranger.id() as i32));
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn a_missing_or_broken_pid_file_means_nothing_runs() {
        let (_dir, home) = home();
        assert!(home.running().is_none());
        fs::write(home.dir().join("pid"), "not a number").unwrap();
        assert!(home.running().is_none());
    }

    #[test]
    fn the_log_tail_is_short() {
        let (_dir, home) = home();
        let lines: Vec<String> = (0..100).map(|i| i.to_string()).collect();
        fs::write(home.log(), lines.join("\n")).unwrap();
        assert_eq!(home.log_tail(), "92\n93\n94\n95\n96\n97\n98\n99");
    }
}

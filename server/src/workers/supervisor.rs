//! Supervisor of a script: the process between a worker and the script.
//!
//! The worker holds the supervisor's standard input open. When the input closes, because the worker
//! has ended or wants the script to end, the supervisor kills the script with all its descendants.
//! It is their subreaper, so it also finds descendants that have left the process group.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, getppid, kill_process, set_child_subreaper,
    set_parent_process_death_signal, waitpid,
};

use super::limits::{self, Limits};

/// Program of this process, also after the file was replaced.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// Added to the number of a signal, as shells do.
const SIGNAL_BASE: i32 = 128;

/// Runs a program with its limits until it ends, or until standard input closes. Then kills all
/// descendants, and ends this process as the program ended.
///
/// # Errors
/// The program cannot be started.
pub fn supervise(limits: &Limits, program: &OsStr, args: &[OsString]) -> io::Result<Infallible> {
    limits::no_core_files()?;
    set_child_subreaper(Some(getpid()))?;
    let mut launch = Command::new(OWN_PROGRAM);
    launch.arg(limits::VERB).arg("--parent").arg(getpid().as_raw_pid().to_string());
    launch.args(limits.options()).arg("--").arg(program).args(args).stdin(Stdio::null());
    let script = Pid::from_child(&launch.spawn()?);
    std::thread::spawn(kill_descendants_at_end_of_input);
    let status = wait_for(script)?;
    end_descendants()?;
    end_as(status)
}

/// Lets the system kill this process when its parent ends. The script inherits the setting.
///
/// # Errors
/// The parent has ended before.
pub fn die_with(parent: i32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let is_parent = getppid().is_some_and(|pid| pid.as_raw_pid() == parent);
    if is_parent { Ok(()) } else { Err(io::Error::other("the supervisor of the script has ended")) }
}

fn kill_descendants_at_end_of_input() {
    // An error ends the input as well.
    let _ = io::stdin().lock().read_to_end(&mut Vec::new());
    kill_descendants();
}

/// Waits until this child ends, and reaps adopted descendants meanwhile.
fn wait_for(child: Pid) -> io::Result<ExitStatus> {
    loop {
        match waitpid(None, WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => return Ok(ExitStatus::from_raw(status.as_raw())),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills descendants until none is left. A descendant of a killed process becomes a child of this
/// process.
fn end_descendants() -> io::Result<()> {
    loop {
        kill_descendants();
        match waitpid(None, WaitOptions::empty()) {
            Err(Errno::CHILD) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn kill_descendants() {
    let children = children_by_parent();
    let mut found = vec![getpid().as_raw_pid()];
    while let Some(parent) = found.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if let Some(pid) = Pid::from_raw(*child) {
                // Fails if the process has ended.
                let _ = kill_process(pid, Signal::KILL);
            }
            found.push(*child);
        }
    }
}

/// Returns the ids of all processes by the id of their parent.
fn children_by_parent() -> HashMap<i32, Vec<i32>> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in processes {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that has ended no longer has a file.
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(parent) = parent(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

/// Returns the parent in a line of `/proc/<pid>/stat`: `pid (name) state parent ...`. A name may
/// contain brackets and blanks.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn end_as(status: ExitStatus) -> ! {
    if let Some(signal) = status.signal().and_then(Signal::from_named_raw) {
        // The signal may be ignored.
        let _ = kill_process(getpid(), signal);
    }
    std::process::exit(status.code().unwrap_or_else(|| SIGNAL_BASE + status.signal().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_read_behind_the_name() {
        assert_eq!(parent("12 (sh) S 7 12 12 0"), Some(7));
        assert_eq!(parent("12 (a) b) R 1) S 8 12"), Some(8));
        assert_eq!(parent(""), None);
    }

    #[test]
    fn this_process_is_a_child_of_its_parent() {
        let parent = getppid().unwrap().as_raw_pid();
        assert!(children_by_parent()[&parent].contains(&getpid().as_raw_pid()));
    }
}

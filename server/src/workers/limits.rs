//! Limits of scripts: resources and time. A process can set limits only for itself. So the script
//! worker starts `taskcenter launch`, which sets the limits and then executes the script in the same
//! process.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::settings::Script;

/// Name of the command that sets the limits and executes the script.
pub const VERB: &str = "launch";

/// Checks the `timeout_ms` of a job.
///
/// # Errors
/// A text that names the field and its bounds.
pub fn timeout(timeout_ms: Option<u64>, default: Duration, max_ms: u64) -> Result<Duration, String> {
    match timeout_ms {
        None => Ok(default),
        Some(ms) if (1..=max_ms).contains(&ms) => Ok(Duration::from_millis(ms)),
        Some(ms) => Err(format!("timeout_ms: {ms} is out of bounds: use a value between 1 and {max_ms}")),
    }
}

/// Limits. 0 means unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// CPU time in seconds.
    pub cpu_sec: u64,
    /// Address space in bytes.
    pub memory_bytes: u64,
    /// Maximum size of a file in bytes.
    pub file_bytes: u64,
    /// Number of open files.
    pub open_files: u64,
    /// Number of processes of the user.
    pub processes: u64,
}

impl Limits {
    /// Returns the configured limits.
    pub fn of(script: &Script) -> Self {
        Self {
            cpu_sec: script.cpu_sec,
            memory_bytes: script.memory_bytes,
            file_bytes: script.file_bytes,
            open_files: script.open_files,
            processes: script.processes,
        }
    }

    /// Returns the limits as command-line options.
    pub fn options(&self) -> Vec<String> {
        let options = [
            ("--cpu-sec", self.cpu_sec),
            ("--memory-bytes", self.memory_bytes),
            ("--file-bytes", self.file_bytes),
            ("--open-files", self.open_files),
            ("--processes", self.processes),
        ];
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]).collect()
    }

    /// Sets the limits of this process and its children. Existing lower limits stay.
    ///
    /// # Errors
    /// The system refuses a limit.
    pub fn set(&self) -> io::Result<()> {
        no_core_files()?;
        for (resource, max) in [
            (Resource::Cpu, self.cpu_sec),
            (Resource::As, self.memory_bytes),
            (Resource::Fsize, self.file_bytes),
            (Resource::Nofile, self.open_files),
            (Resource::Nproc, self.processes),
        ] {
            if max > 0 {
                limit(resource, max)?;
            }
        }
        Ok(())
    }
}

/// Forbids core files of this process and its children.
///
/// # Errors
/// The system refuses the limit.
pub fn no_core_files() -> io::Result<()> {
    limit(Resource::Core, 0)
}

fn limit(resource: Resource, max: u64) -> io::Result<()> {
    let current = rustix::process::getrlimit(resource).maximum;
    let max = Some(current.map_or(max, |current| current.min(max)));
    Ok(setrlimit(resource, Rlimit { current: max, maximum: max })?)
}

/// Sets the limits and executes the program in this process. Returns only on failure.
pub fn become_program(limits: &Limits, program: &OsStr, args: &[OsString]) -> io::Error {
    match limits.set() {
        Ok(()) => Command::new(program).args(args).exec(),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_out_of_bounds_is_refused_with_field_and_bound() {
        let checked = |ms| timeout(ms, Duration::from_secs(9), 1_000);
        assert_eq!(checked(None), Ok(Duration::from_secs(9)));
        assert_eq!(checked(Some(1_000)), Ok(Duration::from_secs(1)));
        for ms in [0, 1_001, u64::MAX] {
            let why = checked(Some(ms)).unwrap_err();
            assert!(why.contains("timeout_ms") && why.contains("between 1 and 1000"), "{why}");
        }
    }
}

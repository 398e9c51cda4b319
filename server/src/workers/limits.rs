//! What a script may use. A process's limits can only be set from inside it, and before its program begins: so the program `taskcenter`
//! itself is started first, limits itself, and becomes the script.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::settings::Script;

/// The verb of the command line that does this.
pub const VERB: &str = "launch";

/// Limits; 0: none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Processor time, in seconds.
    pub cpu_sec: u64,
    /// Address space, in bytes.
    pub memory_bytes: u64,
    /// The largest file, in bytes.
    pub file_bytes: u64,
    /// Open files.
    pub open_files: u64,
    /// Processes of the user.
    pub processes: u64,
}

impl Limits {
    /// Those of the configuration.
    pub fn of(script: &Script) -> Self {
        Self {
            cpu_sec: script.cpu_sec,
            memory_bytes: script.memory_bytes,
            file_bytes: script.file_bytes,
            open_files: script.open_files,
            processes: script.processes,
        }
    }

    /// As options of the verb.
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

    /// Sets them on this process, and on what comes of it. They are never more than what holds already.
    ///
    /// # Errors
    /// When the system does not take one.
    pub fn set(&self) -> io::Result<()> {
        // A core file is no output.
        limit(Resource::Core, 0)?;
        for (resource, most) in [
            (Resource::Cpu, self.cpu_sec),
            (Resource::As, self.memory_bytes),
            (Resource::Fsize, self.file_bytes),
            (Resource::Nofile, self.open_files),
            (Resource::Nproc, self.processes),
        ] {
            if most > 0 {
                limit(resource, most)?;
            }
        }
        Ok(())
    }
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let standing = rustix::process::getrlimit(resource).maximum;
    let most = Some(standing.map_or(most, |standing| standing.min(most)));
    Ok(setrlimit(resource, Rlimit { current: most, maximum: most })?)
}

/// Limits this process and makes it the program. Comes back only where that fails.
pub fn become_program(limits: &Limits, program: &OsStr, args: &[OsString]) -> io::Error {
    match limits.set() {
        Ok(()) => Command::new(program).args(args).exec(),
        Err(error) => error,
    }
}

//! `launch`: sets resource limits, and then executes a program in its own process (exec). The
//! script worker starts each script with this command.

use std::ffi::OsString;

use clap::Args;
use taskcenter_server::workers::limits::{Limits, become_program};
use taskcenter_server::workers::supervisor::{die_with, supervise};

use super::exit::Failure;

const NOTES: &str = "\
A limit of 0 means unlimited.

Examples:
  taskcenter launch --cpu-sec 10 --memory-bytes 1000000000 -- /bin/echo hello";

/// Options of `launch`. A limit of 0 means unlimited.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct Launch {
    /// Maximum processor time in seconds.
    #[arg(long, value_name = "N", default_value_t = 0)]
    cpu_sec: u64,
    /// Maximum address space in bytes.
    #[arg(long, value_name = "N", default_value_t = 0)]
    memory_bytes: u64,
    /// Maximum size of a file that the program writes, in bytes.
    #[arg(long, value_name = "N", default_value_t = 0)]
    file_bytes: u64,
    /// Maximum number of open files.
    #[arg(long, value_name = "N", default_value_t = 0)]
    open_files: u64,
    /// Maximum number of processes of the user.
    #[arg(long, value_name = "N", default_value_t = 0)]
    processes: u64,
    /// Stay the parent of the program, and kill it with all its descendants when standard input
    /// closes
    #[arg(long)]
    supervised: bool,
    /// Die when the process with this id, which must be the parent, ends
    #[arg(long, value_name = "PID")]
    parent: Option<i32>,
    /// Program with its arguments.
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

impl Launch {
    /// Replaces this process with the program. Returns only on failure.
    pub fn run(self) -> Result<(), Failure> {
        let limits = Limits {
            cpu_sec: self.cpu_sec,
            memory_bytes: self.memory_bytes,
            file_bytes: self.file_bytes,
            open_files: self.open_files,
            processes: self.processes,
        };
        let Some((program, args)) = self.program.split_first() else { return Ok(()) };
        let error = match self.parent.map_or(Ok(()), die_with) {
            Err(error) => error,
            Ok(()) if self.supervised => {
                let Err(error) = supervise(&limits, program, args);
                error
            }
            Ok(()) => become_program(&limits, program, args),
        };
        Err(Failure::Failed(format!("cannot run {}: {error}", program.display())))
    }
}

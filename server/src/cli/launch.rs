//! `launch`: becomes a script, within limits. The script worker starts its programs by this.

use std::ffi::OsString;

use clap::Args;
use taskcenter_server::workers::limits::{Limits, become_program};

use super::exit::Failure;

const EXAMPLES: &str = "\
Examples:
  taskcenter launch --cpu-sec 10 --memory-bytes 1000000000 -- /bin/echo hello";

/// Limits, 0 for none, and a program.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Launch {
    /// Processor time, in seconds.
    #[arg(long, default_value_t = 0)]
    cpu_sec: u64,
    /// Address space.
    #[arg(long, default_value_t = 0)]
    memory_bytes: u64,
    /// The largest file that it can write.
    #[arg(long, default_value_t = 0)]
    file_bytes: u64,
    /// Open files.
    #[arg(long, default_value_t = 0)]
    open_files: u64,
    /// Processes of the user.
    #[arg(long, default_value_t = 0)]
    processes: u64,
    /// The program with its arguments.
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

impl Launch {
    /// Comes back only where it fails.
    pub fn run(self) -> Result<(), Failure> {
        let limits = Limits {
            cpu_sec: self.cpu_sec,
            memory_bytes: self.memory_bytes,
            file_bytes: self.file_bytes,
            open_files: self.open_files,
            processes: self.processes,
        };
        let Some((program, args)) = self.program.split_first() else { return Ok(()) };
        let error = become_program(&limits, program, args);
        Err(Failure::Failed(format!("cannot run {}: {error}", program.display())))
    }
}

//! No child outlives the harness: each child asks the kernel to be killed with its parent.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};

/// First argument of this program when it must replace itself with another program.
const EXEC: &str = "--exec";

/// Returns a command that starts this program. It sets the death signal and then replaces itself
/// with the program of `command`. A call between fork and exec would need unsafe code.
pub fn kill_with_parent(command: &Command) -> Command {
    // Not the path: a build may have replaced the file.
    let mut wrapper = Command::new("/proc/self/exe");
    wrapper.arg(EXEC).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapper.env(name, value),
            None => wrapper.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        wrapper.current_dir(dir);
    }
    wrapper
}

/// Replaces this process with the program in the arguments, if the first argument says so. Returns
/// the error.
pub fn exec_other_program() -> Option<std::io::Error> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != EXEC {
        return None;
    }
    let program = arguments.next()?;
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return Some(error.into());
    }
    Some(Command::new(program).args(arguments).exec())
}

/// Ends the harness with cargo, as Ctrl-C does.
pub fn end_with_parent() {
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
}

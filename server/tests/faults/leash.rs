//! Nothing that the harness starts may outlive it, however it ends: each child asks the kernel to be killed with its parent.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};

/// The first argument of this program when it is to become another one.
const BECOME: &str = "--become";

/// The same command on a leash: this program again, which takes the leash and then becomes the other. To ask between fork and exec
/// would need unsafe code.
pub fn on(command: &Command) -> Command {
    // Not its path: the file may have been built anew meanwhile.
    let mut leashed = Command::new("/proc/self/exe");
    leashed.arg(BECOME).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => leashed.env(name, value),
            None => leashed.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        leashed.current_dir(dir);
    }
    leashed
}

/// Becomes the program that the arguments name, if they do; returns what went wrong.
pub fn become_other() -> Option<std::io::Error> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != BECOME {
        return None;
    }
    let program = arguments.next()?;
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return Some(error.into());
    }
    Some(Command::new(program).args(arguments).exec())
}

/// When cargo dies, the harness ends as if by Ctrl-C.
pub fn take() {
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
}

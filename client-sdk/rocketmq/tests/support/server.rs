//! Server processes that a test starts, freezes, kills and restarts.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A program and its process, if it runs. The process ends with the test.
pub struct Server {
    name: &'static str,
    command: Command,
    child: Option<Child>,
}

impl Server {
    /// Starts a program. Its output is appended to `name.log` in `dir`.
    pub fn start(name: &'static str, program: &Command, dir: &Path) -> Self {
        // The kernel kills the program together with this process, also if this process is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            command.env(name, value.expect("the program removes no variable"));
        }
        let log = std::fs::File::options().create(true).append(true).open(dir.join(format!("{name}.log")));
        let log = log.expect("the directory is writable");
        command.current_dir(dir).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a descriptor is free")).stderr(log);
        let mut server = Self { name, command, child: None };
        server.restart();
        server
    }

    /// Starts the program again, unless it runs.
    pub fn restart(&mut self) {
        if self.child.is_none() {
            let child = self.command.spawn();
            self.child = Some(child.unwrap_or_else(|error| panic!("{} does not start: {error}", self.name)));
        }
    }

    /// Crashes the process (SIGKILL).
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        child.kill().expect("the process is a child of this one");
        child.wait().expect("the process is a child of this one");
    }

    /// Stops the process until [`Self::thaw`] (SIGSTOP). Its connections stay open.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Continues a frozen process (SIGCONT).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the server runs");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid fits")).expect("a pid is positive");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.name));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

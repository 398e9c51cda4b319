//! Starts the program and reads its output line by line.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Time limit of each step.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Exit code, standard output, standard error.
pub type ProgramOutput = (i32, String, String);

/// Returns the program with these arguments, without the environment settings of this machine.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskcenter"));
    command.args(arguments).env_remove("TASKCENTER_SERVER").kill_on_drop(true).stdin(Stdio::null());
    command
}

/// Runs the program until it exits.
pub async fn taskcenter(arguments: &[&str]) -> ProgramOutput {
    decode(timeout(TIMEOUT, command(arguments).output()).await.expect("it exits in time").expect("it starts"))
}

/// Runs the program with standard input until it exits.
pub async fn taskcenter_with_input(arguments: &[&str], input: &str) -> ProgramOutput {
    let mut command = command(arguments);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    stdin.write_all(input.as_bytes()).await.expect("it reads its input");
    drop(stdin);
    decode(
        timeout(TIMEOUT, child.wait_with_output())
            .await
            .expect("it exits in time")
            .expect("its exit status is known"),
    )
}

fn decode(Output { status, stdout, stderr }: Output) -> ProgramOutput {
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    (status.code().expect("it exits without a signal"), text(stdout), text(stderr))
}

/// Program that runs until it is stopped.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(command(arguments))
    }

    /// Starts another program.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
        Self { child, lines }
    }

    /// Reads lines until one contains `wanted`, and returns it.
    pub async fn until(&mut self, wanted: &str) -> String {
        let mut before = Vec::new();
        loop {
            let line = timeout(TIMEOUT, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("no line with {wanted:?} in time after {before:#?}"));
            let Some(line) = line.expect("output is UTF-8") else {
                let mut errors = String::new();
                let stderr = self.child.stderr.as_mut().expect("standard error is piped");
                stderr.read_to_string(&mut errors).await.expect("output is UTF-8");
                panic!("it exited before a line with {wanted:?}: {before:#?}, {errors}")
            };
            if line.contains(wanted) {
                return line;
            }
            before.push(line);
        }
    }

    /// Reads lines until each of `wanted` was in one, in any order.
    pub async fn until_each(&mut self, wanted: &[String]) {
        let mut missing = wanted.to_vec();
        while !missing.is_empty() {
            let line = self.until("").await;
            missing.retain(|wanted| !line.contains(wanted));
        }
    }

    /// Reads lines of standard error until one contains `wanted`.
    pub async fn until_error(&mut self, wanted: &str) -> String {
        let stderr = self.child.stderr.take().expect("standard error is piped");
        let mut lines = BufReader::new(stderr).lines();
        loop {
            let line = timeout(TIMEOUT, lines.next_line()).await.expect("a line comes in time");
            let line = line.expect("output is UTF-8").expect("it is still running");
            if line.contains(wanted) {
                return line;
            }
        }
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id as i32)).expect("it is still running");
        kill_process(pid, Signal::INT).expect("the signal is sent");
    }

    /// Waits for the program to exit, and returns the exit code.
    pub async fn wait(mut self) -> i32 {
        // A full pipe would block the program.
        while let Ok(Some(_)) = timeout(TIMEOUT, self.lines.next_line()).await.expect("it exits in time") {}
        let status = timeout(TIMEOUT, self.child.wait())
            .await
            .expect("it exits in time")
            .expect("its exit status is known");
        status.code().expect("it exits without a signal")
    }

    pub async fn stop(self) -> i32 {
        self.interrupt();
        self.wait().await
    }
}

/// `taskcenter dev` on a free port.
pub struct Dev {
    pub running: Running,
    pub url: String,
}

impl Dev {
    pub async fn start(data: &Path, options: &[&str]) -> Self {
        let data = data.to_str().expect("the path is UTF-8");
        let words = ["dev", "--listen", "127.0.0.1:0", "--data-dir", data];
        let mut running = Running::start(&[&words, options].concat());
        let line = running.until("  address ").await;
        let url = line.split_whitespace().last().expect("the line ends with the address").to_owned();
        Self { running, url }
    }

    /// Runs a command against this server.
    pub async fn run(&self, arguments: &[&str]) -> ProgramOutput {
        taskcenter(&[arguments, &["--server", &self.url]].concat()).await
    }

    /// Runs a command that must succeed, and returns the one JSON document that it prints.
    pub async fn json(&self, arguments: &[&str]) -> Value {
        let (code, out, err) = self.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?} printed {out:?}: {error}"))
    }
}

/// Returns an HTTP client that needs no other test to set up TLS first.
pub fn http_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

pub fn data_dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

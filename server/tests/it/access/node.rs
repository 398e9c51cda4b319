//! `taskcenter serve` and its log.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

/// Time limit of each step.
pub const TIMEOUT: Duration = Duration::from_mins(2);

/// Returns the program without the environment settings of this machine.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskcenter"));
    command.env_remove("TASKCENTER_SERVER").env_remove("TASKCENTER_TOKEN").kill_on_drop(true);
    command.stdin(Stdio::null());
    command
}

/// Runs a command, and returns its exit code and its whole output.
pub async fn taskcenter(arguments: &[&str], env: &[(&str, &str)]) -> (i32, String) {
    let output = program().args(arguments).envs(env.iter().copied()).output();
    let output = timeout(TIMEOUT, output).await.expect("it exits in time").expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().expect("it exits without a signal"),
        String::from_utf8(text).expect("output is UTF-8"),
    )
}

pub struct Node {
    child: Child,
    lines: UnboundedReceiver<String>,
    /// Log lines so far.
    pub log: Vec<String>,
    /// Host and port of the API.
    pub address: String,
}

impl Node {
    /// Starts a node on a free port, and returns when it listens. A task reads the log, because a
    /// full pipe would block the node.
    pub async fn start(env: &[(&str, &str)]) -> Self {
        // For HTTP clients of the test. Fails if another test of this process has installed the
        // provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0"]).envs(env.iter().copied());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut read = BufReader::new(child.stderr.take().expect("standard error is piped")).lines();
        let (sender, lines) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = read.next_line().await {
                let _ = sender.send(line);
            }
        });
        let mut node = Self { child, lines, log: Vec::new(), address: String::new() };
        let line = node.until("\"listening\"").await;
        let line: Value = serde_json::from_str(&line).expect("each line is JSON");
        node.address = line["address"].as_str().expect("the line has the address").to_owned();
        node
    }

    /// Reads the log until a line contains `wanted`, and returns the line.
    pub async fn until(&mut self, wanted: &str) -> String {
        if let Some(line) = self.log.iter().find(|line| line.contains(wanted)) {
            return line.clone();
        }
        loop {
            let line = timeout(TIMEOUT, self.lines.recv()).await.ok().flatten();
            let line = line.unwrap_or_else(|| panic!("no line with {wanted:?} in time: {:#?}", self.log));
            self.log.push(line.clone());
            if line.contains(wanted) {
                return line;
            }
        }
    }

    /// Returns the largest resident memory of the process so far, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let pid = self.child.id().expect("it is still running");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the line exists");
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Kills the process.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it is still running");
    }

    /// Stops the node gracefully, and returns its log.
    pub async fn stop(mut self) -> Vec<String> {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id as i32)).expect("it is still running");
        kill_process(pid, Signal::TERM).expect("the signal is sent");
        while let Some(line) = timeout(TIMEOUT, self.lines.recv()).await.expect("it exits in time") {
            self.log.push(line);
        }
        timeout(TIMEOUT, self.child.wait())
            .await
            .expect("it exits in time")
            .expect("its exit status is known");
        self.log
    }
}

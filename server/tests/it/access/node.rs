//! `taskcenter serve`, with its log.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

/// Nothing takes this long.
pub const NEVER: Duration = Duration::from_mins(2);

/// The program, with none of this machine's settings.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskcenter"));
    command.env_remove("TASKCENTER_SERVER").env_remove("TASKCENTER_TOKEN").kill_on_drop(true);
    command.stdin(Stdio::null());
    command
}

/// Exit code and all that a verb says.
pub async fn taskcenter(arguments: &[&str], env: &[(&str, &str)]) -> (i32, String) {
    let output = program().args(arguments).envs(env.iter().copied()).output();
    let output = timeout(NEVER, output).await.expect("it ends").expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("it ends by itself"), String::from_utf8(said).expect("it prints text"))
}

pub struct Node {
    child: Child,
    lines: UnboundedReceiver<String>,
    /// What the log has said so far.
    pub log: Vec<String>,
    /// Host and port.
    pub address: String,
}

impl Node {
    /// Starts one on a free port, and returns when it listens. Its log is read all the time, so that it can go on.
    pub async fn start(env: &[(&str, &str)]) -> Self {
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0"]).envs(env.iter().copied());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut read = BufReader::new(child.stderr.take().expect("it has one")).lines();
        let (heard, lines) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = read.next_line().await {
                let _ = heard.send(line);
            }
        });
        let mut node = Self { child, lines, log: Vec::new(), address: String::new() };
        let line = node.until("\"listening\"").await;
        let line: Value = serde_json::from_str(&line).expect("a line is JSON");
        node.address = line["address"].as_str().expect("it names the address").to_owned();
        node
    }

    /// Reads the log until it has said a line with this; that line.
    pub async fn until(&mut self, wanted: &str) -> String {
        if let Some(line) = self.log.iter().find(|line| line.contains(wanted)) {
            return line.clone();
        }
        loop {
            let line = timeout(NEVER, self.lines.recv()).await.ok().flatten();
            let line = line.unwrap_or_else(|| panic!("no line with {wanted:?} comes: {:#?}", self.log));
            self.log.push(line.clone());
            if line.contains(wanted) {
                return line;
            }
        }
    }

    /// Stops it in order; all that its log said.
    pub async fn stop(mut self) -> Vec<String> {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id as i32)).expect("it still runs");
        kill_process(pid, Signal::TERM).expect("it can be signalled");
        while let Some(line) = timeout(NEVER, self.lines.recv()).await.expect("it ends") {
            self.log.push(line);
        }
        timeout(NEVER, self.child.wait()).await.expect("it ends").expect("it can be waited for");
        self.log
    }
}

//! The program, running: what it says is read as it says it.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Nothing takes this long.
const NEVER: Duration = Duration::from_mins(1);

/// Exit code, standard output, standard error.
pub type Said = (i32, String, String);

/// The program with these arguments, and none of this machine's settings.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskcenter"));
    command.args(arguments).env_remove("TASKCENTER_SERVER").kill_on_drop(true).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub async fn taskcenter(arguments: &[&str]) -> Said {
    said(timeout(NEVER, command(arguments).output()).await.expect("it ends").expect("it starts"))
}

/// The same, with something to read.
pub async fn taskcenter_reading(arguments: &[&str], input: &str) -> Said {
    let mut command = command(arguments);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it has an input");
    stdin.write_all(input.as_bytes()).await.expect("it reads");
    drop(stdin);
    said(timeout(NEVER, child.wait_with_output()).await.expect("it ends").expect("it can be waited for"))
}

fn said(Output { status, stdout, stderr }: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).expect("it prints text");
    (status.code().expect("it ends by itself"), text(stdout), text(stderr))
}

/// One that goes on until it is told to stop.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("it has an output")).lines();
        Self { child, lines }
    }

    /// Reads on up to a line that holds this, and returns that line.
    pub async fn until(&mut self, wanted: &str) -> String {
        let mut before = Vec::new();
        loop {
            let line = timeout(NEVER, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("no line with {wanted:?} comes after {before:#?}"));
            let Some(line) = line.expect("it prints text") else {
                let mut errors = String::new();
                let stderr = self.child.stderr.as_mut().expect("it has one");
                stderr.read_to_string(&mut errors).await.expect("it prints text");
                panic!("it ended before a line with {wanted:?}: {before:#?}, {errors}")
            };
            if line.contains(wanted) {
                return line;
            }
            before.push(line);
        }
    }

    /// What Ctrl-C does.
    pub fn interrupt(&self) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id as i32)).expect("it still runs");
        kill_process(pid, Signal::INT).expect("it can be signalled");
    }

    /// Waits for its end; the exit code.
    pub async fn ended(mut self) -> i32 {
        // It must be able to print to the end.
        while let Ok(Some(_)) = timeout(NEVER, self.lines.next_line()).await.expect("it ends") {}
        let status = timeout(NEVER, self.child.wait()).await.expect("it ends").expect("it can be waited for");
        status.code().expect("it ends by itself")
    }

    pub async fn stop(self) -> i32 {
        self.interrupt();
        self.ended().await
    }
}

/// `taskcenter dev`, on a free port.
pub struct Dev {
    pub running: Running,
    pub url: String,
}

impl Dev {
    pub async fn start(data: &Path, options: &[&str]) -> Self {
        let data = data.to_str().expect("a path that is text");
        let words = ["dev", "--listen", "127.0.0.1:0", "--data-dir", data];
        let mut running = Running::start(&[&words, options].concat());
        let line = running.until("  address ").await;
        let url = line.split_whitespace().last().expect("the line names the address").to_owned();
        Self { running, url }
    }

    /// A verb against this server.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        taskcenter(&[arguments, &["--server", &self.url]].concat()).await
    }

    /// The same, when it should succeed and answer one document.
    pub async fn json(&self, arguments: &[&str]) -> Value {
        let (code, out, err) = self.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?} printed {out:?}: {error}"))
    }
}

pub fn data_dir() -> TempDir {
    tempfile::tempdir().expect("there is room for a directory")
}

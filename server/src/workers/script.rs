//! The worker of the queue `script`: runs a program of one directory, without a shell.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use taskcenter_client::{Context, HandlerError};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::attempt;
use super::limits::{self, Limits};
use super::settings;

/// The queue.
pub const QUEUE: &str = "script";
/// Where programs find others; nothing else of the server's environment reaches them.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// A longer line of output is logged in pieces.
const LINE_BYTES: usize = 1_024;

/// What the handler works with.
pub struct Script {
    directory: PathBuf,
    /// The program `taskcenter`, which sets the limits.
    launcher: PathBuf,
    limits: Limits,
    timeout: Duration,
    output_bytes: usize,
}

/// A task's data.
#[derive(Debug, Deserialize)]
pub struct Job {
    bin_name: String,
    #[serde(default)]
    args: Vec<String>,
    timeout_ms: Option<u64>,
    retry_after_ms: Option<Vec<u64>>,
}

/// Why there is no program to run.
#[derive(Debug, PartialEq, Eq)]
enum NoProgram {
    /// There may be one later.
    Missing,
    /// There never will be.
    Refused(String),
}

/// What a program left behind.
struct Ended {
    status: ExitStatus,
    out: Vec<u8>,
    err: Vec<u8>,
}

/// Runs the program for one attempt.
///
/// # Errors
/// How the attempt failed.
pub async fn handle(context: Context<Script>, job: Job) -> Result<(), HandlerError> {
    let again = |reason| attempt::failed(job.retry_after_ms.as_deref(), context.attempt(), reason);
    let program = match context.state().find(&job).await {
        Ok(program) => program,
        Err(NoProgram::Missing) => return Err(again("file not exist".to_owned())),
        Err(NoProgram::Refused(why)) => return Err(HandlerError::dead_letter(why)),
    };
    match context.state().run(&program, &job, &context).await {
        Ok(Some(ended)) => match ended.said() {
            Ok(output) => attempt::keep(&context, &output),
            Err(reason) => Err(again(reason)),
        },
        Ok(None) => Err(again("exec time out".to_owned())),
        Err(error) => Err(again(format!("cannot be run: {error}"))),
    }
}

impl Script {
    /// Programs of the configuration's directory, started by `launcher`.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn new(settings: &settings::Script, launcher: PathBuf) -> std::io::Result<Self> {
        Ok(Self {
            // What a name leads to is compared with this.
            directory: Path::new(&settings.bin_path).canonicalize()?,
            launcher,
            limits: Limits::of(settings),
            timeout: Duration::from_millis(settings.timeout_ms),
            output_bytes: settings.output_bytes,
        })
    }

    /// A name leads to a program right inside the directory, or to nothing.
    async fn find(&self, job: &Job) -> Result<PathBuf, NoProgram> {
        let refused = |why: String| NoProgram::Refused(why);
        let name = &job.bin_name;
        if name.is_empty()
            || name == "."
            || name == ".."
            || name.contains(['/', '\\'])
            || name.contains(char::is_control)
        {
            return Err(refused(format!("bin_name {name:?} is not the name of a program")));
        }
        if let Some(arg) = job.args.iter().find(|arg| arg.contains('\0')) {
            return Err(refused(format!("args: {arg:?} cannot be an argument")));
        }
        let path =
            tokio::fs::canonicalize(self.directory.join(name)).await.map_err(|_| NoProgram::Missing)?;
        if path.parent() != Some(&*self.directory) {
            return Err(refused(format!("bin_name {name:?} leads out of the directory")));
        }
        let about = tokio::fs::metadata(&path).await.map_err(|_| NoProgram::Missing)?;
        if !about.is_file() || about.permissions().mode() & 0o111 == 0 {
            return Err(refused(format!("bin_name {name:?} is not a program")));
        }
        Ok(path)
    }

    /// `None`: its time was over. However this ends, also by being dropped, nothing of the program's group is left.
    async fn run(
        &self,
        program: &Path,
        job: &Job,
        context: &Context<Self>,
    ) -> std::io::Result<Option<Ended>> {
        let mut child = self.command(program, job, context).spawn()?;
        let group = Group::of(&child);
        let timeout = job.timeout_ms.map_or(self.timeout, Duration::from_millis);
        let ended = tokio::time::timeout(timeout, self.watch(&mut child, &group, context)).await;
        drop(group);
        match ended {
            Ok(ended) => ended.map(Some),
            Err(_) => child.wait().await.map(|_| None),
        }
    }

    async fn watch(
        &self,
        child: &mut Child,
        group: &Group,
        context: &Context<Self>,
    ) -> std::io::Result<Ended> {
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let status = async {
            let status = child.wait().await;
            // Whom it leaves behind would hold its output open.
            group.kill();
            status
        };
        let out = self.collect(out, "stdout", context);
        let err = self.collect(err, "stderr", context);
        let (status, out, err) = tokio::join!(status, out, err);
        Ok(Ended { status: status?, out, err })
    }

    fn command(&self, program: &Path, job: &Job, context: &Context<Self>) -> Command {
        let mut command = Command::new(&self.launcher);
        command.arg(limits::VERB).args(self.limits.options()).arg("--").arg(program).args(&job.args);
        command.env_clear().env("PATH", PATH).env("LANG", "C.UTF-8");
        command
            .env("TASKCENTER_TASK_ID", context.task_id())
            .env("TASKCENTER_ATTEMPT", context.attempt().to_string());
        command.env("TASKCENTER_RUN_ID", context.run_id().unwrap_or_default());
        command.current_dir(&self.directory).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Reads to the end, so that the program is never held up; keeps and logs no more than is allowed.
    async fn collect(
        &self,
        stream: Option<impl AsyncRead + Unpin>,
        name: &'static str,
        context: &Context<Self>,
    ) -> Vec<u8> {
        let (mut kept, mut logged) = (Vec::new(), 0);
        let Some(mut stream) = stream else { return kept };
        let mut buffer = vec![0; 8_192];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            let room = self.output_bytes - kept.len();
            kept.extend_from_slice(&buffer[..read.min(room)]);
            logged += log_lines(&kept[logged..], false, name, context);
        }
        log_lines(&kept[logged..], true, name, context);
        kept
    }
}

/// Logs the lines that are complete; all that there is at the end. How many bytes that were.
fn log_lines<S>(output: &[u8], is_end: bool, stream: &'static str, context: &Context<S>) -> usize {
    let mut done = 0;
    while done < output.len() {
        let rest = &output[done..];
        let line = rest.iter().take(LINE_BYTES).position(|byte| *byte == b'\n');
        let length = match line {
            Some(end) => end,
            None if is_end || rest.len() >= LINE_BYTES => rest.len().min(LINE_BYTES),
            None => break,
        };
        let text = String::from_utf8_lossy(&rest[..length]);
        tracing::info!(
            run_id = context.run_id(),
            attempt = context.attempt(),
            stream,
            text = &*text,
            "script"
        );
        done += length + usize::from(line.is_some());
    }
    done
}

impl Ended {
    /// Its output, or why it failed: it succeeds when it says so and has nothing to complain of.
    fn said(&self) -> Result<String, String> {
        if self.status.success() && self.err.is_empty() {
            return Ok(text(&self.out));
        }
        let complaint = text(&self.err);
        if complaint.is_empty() { Err(self.status.to_string().replace(": ", " ")) } else { Err(complaint) }
    }
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim_end_matches(['\r', '\n']).to_owned()
}

/// A program with all that it starts, unless that leaves the group on purpose.
struct Group(Mutex<Option<Pid>>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(Mutex::new(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))))
    }

    /// Once: when the program has been waited for, its number may be another's.
    fn kill(&self) {
        let leader = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(leader) = leader {
            // Nobody left is no trouble.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

//! The worker of the queue `script`: runs programs of one directory without a shell.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;
use taskcenter_client::{Context, HandlerError, LogLevel};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::attempt;
use super::limits::{self, Limits};
use super::lost_leases::Attempts;
use super::script_lines::LineSplitter;
use super::settings;
use super::slots::Slots;
use crate::core::headers;
use crate::core::submission::MAX_SCRIPT_MS;

/// Name of the queue.
pub const QUEUE: &str = "script";
/// `PATH` of a script. It gets nothing else of the environment of the server.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Prefix of the variables with the headers of the task.
const HEADER_VARIABLE: &str = "TASKCENTER_HEADER_";
/// Time that the supervisor has to kill a program.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum length of a logged line. Longer lines are split.
const LINE_BYTES: usize = 1_024;

/// State of the handler.
pub struct Script {
    directory: PathBuf,
    /// Path of the program `taskcenter`, which supervises the script and sets its limits.
    launcher: PathBuf,
    limits: Limits,
    timeout: Duration,
    output_bytes: usize,
    slots: Slots,
    attempts: Attempts,
}

/// The data of a task.
#[derive(Debug, Deserialize)]
pub struct Job {
    bin_name: String,
    #[serde(default)]
    args: Vec<String>,
    timeout_ms: Option<u64>,
    retry_after_ms: Option<Vec<u64>>,
}

/// Why there is no program.
#[derive(Debug, PartialEq, Eq)]
enum NoProgram {
    /// Not found. A later attempt may find it.
    Missing,
    /// Refused permanently.
    Refused(String),
}

/// How an attempt ended.
enum Ending {
    /// The program has ended.
    Ended(Output),
    /// The program exceeded its timeout.
    TimedOut,
    /// A user cancelled the run, or the server gave it to another worker.
    Lost,
}

/// Returns whether each part of a relative path is a plain file name.
fn is_program_name(name: &str) -> bool {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    name.split('/').all(is_plain) && !name.contains('\\') && !name.contains(char::is_control)
}

/// Exit status and output of a program.
struct Output {
    status: ExitStatus,
    out: Vec<u8>,
    err: Vec<u8>,
}

/// Runs the program of an attempt.
///
/// # Errors
/// The failure of the attempt. The texts `file not exist` and `exec time out` are part of a legacy contract.
pub async fn handle(context: Context<Script>, job: Job) -> Result<(), HandlerError> {
    let failed = |reason| attempt::failed(job.retry_after_ms.as_deref(), context.attempt(), reason);
    let timeout = limits::timeout(job.timeout_ms, context.state().timeout, MAX_SCRIPT_MS);
    let timeout = timeout.map_err(HandlerError::dead_letter)?;
    let program = match context.state().find(&job).await {
        Ok(program) => program,
        Err(NoProgram::Missing) => return Err(failed("file not exist".to_owned())),
        Err(NoProgram::Refused(why)) => return Err(HandlerError::dead_letter(why)),
    };
    let Some(_slot) = context.state().slots.take(&job.bin_name).await else {
        return Err(HandlerError::release("all slots for this program are in use"));
    };
    match context.state().run(&program, &job, timeout, &context).await {
        Ok(Ending::Ended(output)) => match output.result() {
            Ok(message) => attempt::set_message(&context, &message),
            Err(reason) => Err(failed(reason)),
        },
        Ok(Ending::TimedOut) => Err(failed("exec time out".to_owned())),
        Ok(Ending::Lost) => {
            Err(HandlerError::retry("the program was killed: the run is cancelled, or the lease is lost"))
        }
        Err(error) => Err(failed(format!("cannot run the program: {error}"))),
    }
}

impl Script {
    /// Returns a worker for the configured directory.
    ///
    /// # Errors
    /// The directory does not exist.
    pub fn new(
        settings: &settings::Script,
        launcher: PathBuf,
        slots: Slots,
        attempts: Attempts,
    ) -> std::io::Result<Self> {
        Ok(Self {
            // Canonical, for comparison with the canonical path of a program.
            directory: Path::new(&settings.bin_path).canonicalize()?,
            launcher,
            limits: Limits::of(settings),
            timeout: Duration::from_millis(settings.timeout_ms),
            output_bytes: settings.output_bytes,
            slots,
            attempts,
        })
    }

    /// Finds a program in the directory or below it.
    async fn find(&self, job: &Job) -> Result<PathBuf, NoProgram> {
        let refused = |why: String| NoProgram::Refused(why);
        let name = &job.bin_name;
        if !is_program_name(name) {
            return Err(refused(format!("bin_name {name:?} is not a program name")));
        }
        if let Some(arg) = job.args.iter().find(|arg| arg.contains('\0')) {
            return Err(refused(format!("args: {arg:?} contains a zero byte")));
        }
        let path =
            tokio::fs::canonicalize(self.directory.join(name)).await.map_err(|_| NoProgram::Missing)?;
        if !path.starts_with(&self.directory) {
            return Err(refused(format!("bin_name {name:?} is outside the directory")));
        }
        let metadata = tokio::fs::metadata(&path).await.map_err(|_| NoProgram::Missing)?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            return Err(refused(format!("bin_name {name:?} is not a program")));
        }
        Ok(path)
    }

    /// Runs a program. When this function ends or is dropped, the supervisor kills the program with its
    /// descendants.
    async fn run(
        &self,
        program: &Path,
        job: &Job,
        timeout: Duration,
        context: &Context<Self>,
    ) -> std::io::Result<Ending> {
        let mut supervisor = self.command(program, job, context).spawn()?;
        let leash = supervisor.stdin.take();
        let attempt = self.attempts.observe(context.run_id().unwrap_or_default(), context.attempt());
        let ending = tokio::select! {
            output = self.watch(&mut supervisor, context) => return output.map(Ending::Ended),
            () = tokio::time::sleep(timeout) => Ending::TimedOut,
            () = attempt.lost() => Ending::Lost,
        };
        drop(leash);
        if tokio::time::timeout(KILL_TIMEOUT, supervisor.wait()).await.is_err() {
            tracing::warn!(run_id = context.run_id(), "a process of a script cannot be killed");
            supervisor.kill().await?;
        }
        Ok(ending)
    }

    async fn watch(&self, supervisor: &mut Child, context: &Context<Self>) -> std::io::Result<Output> {
        let (out, err) = (supervisor.stdout.take(), supervisor.stderr.take());
        let out = self.collect(out, ("stdout", LogLevel::Info), context);
        let err = self.collect(err, ("stderr", LogLevel::Error), context);
        // The supervisor ends after all processes that hold the output open.
        let (status, out, err) = tokio::join!(supervisor.wait(), out, err);
        Ok(Output { status: status?, out, err })
    }

    fn command(&self, program: &Path, job: &Job, context: &Context<Self>) -> Command {
        let mut command = Command::new(&self.launcher);
        command
            .arg(limits::VERB)
            .arg("--supervised")
            .args(self.limits.options())
            .arg("--")
            .arg(program)
            .args(&job.args);
        command.env_clear().env("PATH", PATH).env("LANG", "C.UTF-8");
        command
            .env("TASKCENTER_TASK_ID", context.task_id())
            .env("TASKCENTER_ATTEMPT", context.attempt().to_string());
        command.env("TASKCENTER_RUN_ID", context.run_id().unwrap_or_default());
        for (name, value) in context.headers() {
            command.env(format!("{HEADER_VARIABLE}{}", headers::variable(name)), value);
        }
        command.current_dir(&self.directory).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Reads to the end, so that the program never blocks. Keeps and logs at most the maximum size. The log of
    /// the run, which has its own bounds, gets all lines.
    async fn collect(
        &self,
        stream: Option<impl AsyncRead + Unpin>,
        (name, level): (&'static str, LogLevel),
        context: &Context<Self>,
    ) -> Vec<u8> {
        let mut lines = LineSplitter::default();
        let (mut kept, mut logged) = (Vec::new(), 0);
        let Some(mut stream) = stream else { return kept };
        let mut buffer = vec![0; 8_192];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            lines.push(&buffer[..read], |line| context.log(level, line));
            let room = self.output_bytes - kept.len();
            kept.extend_from_slice(&buffer[..read.min(room)]);
            logged += log_lines(&kept[logged..], false, name, context);
        }
        lines.finish(|line| context.log(level, line));
        log_lines(&kept[logged..], true, name, context);
        kept
    }
}

/// Logs complete lines, or everything if `is_end`. Returns the number of logged bytes.
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

impl Output {
    /// Returns the output, or the reason of a failure. Text on stderr is a failure too.
    fn result(&self) -> Result<String, String> {
        if self.status.success() && self.err.is_empty() {
            return Ok(text(&self.out));
        }
        let error = text(&self.err);
        if error.is_empty() { Err(self.status.to_string().replace(": ", " ")) } else { Err(error) }
    }
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim_end_matches(['\r', '\n']).to_owned()
}

//! Programs with Apache's Java and Go clients. Their sources are in `client-sdk/tests/apache`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::{DEADLINE, Version, workspace};

/// Language of a client of Apache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Go,
    Java,
}

/// A running program. A drop kills it.
pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts `Member` or `Produce`. `version` is the version of the Java client.
    pub fn start(language: Language, version: Version, class: &'static str, arguments: &[&str]) -> Self {
        let mut command = match language {
            Language::Go => Command::new(go().join(class.to_lowercase())),
            Language::Java => java(version, class),
        };
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = tokio::process::Command::from(command).kill_on_drop(true).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{language:?} {class} does not start: {error}"));
        let input = child.stdin.take();
        let output = child.stdout.take().expect("the output is piped");
        Self { child, input, lines: BufReader::new(output).lines() }
    }

    /// Returns the next line. `None` after the last one. Cancel safe.
    pub async fn line(&mut self) -> Option<String> {
        self.lines.next_line().await.expect("the output is UTF-8")
    }

    /// Returns the input. Its drop makes a member leave its group and end.
    pub fn take_input(&mut self) -> Option<ChildStdin> {
        self.input.take()
    }

    /// Closes the input, waits until the program has ended, and asserts that it succeeded.
    pub async fn end(mut self) {
        self.input = None;
        let status = timeout(DEADLINE, self.child.wait()).await.expect("the program ends in time");
        assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{status:?}");
    }

    /// Waits until the program has ended, and returns all lines.
    pub async fn all_lines(mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = timeout(DEADLINE, self.line()).await.expect("the program ends in time") {
            lines.push(line);
        }
        self.end().await;
        lines
    }
}

fn java(version: Version, class: &str) -> Command {
    let classes = java_classes(version);
    let path = format!("{}/*:{}", version.jars().display(), classes.display());
    let mut command = Command::new("java");
    // The log files of the client are written below `user.home`.
    command.arg(format!("-Duser.home={}", classes.display()));
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp", &path, class]);
    command
}

/// Returns the directory with the compiled Java programs.
fn java_classes(version: Version) -> &'static Path {
    static CLASSES: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
    CLASSES[usize::from(version == Version::Five)].get_or_init(|| {
        let classes = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("apache-java-{version:?}"));
        let mut compiler = Command::new("javac");
        compiler.arg("-cp").arg(version.jars().join("*")).arg("-d").arg(&classes);
        compiler.args(["Member.java", "Produce.java"]).current_dir(sources("java"));
        run(&mut compiler);
        classes
    })
}

/// Returns the directory with the compiled Go programs.
fn go() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let programs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("apache-go");
        std::fs::create_dir_all(&programs).expect("the target directory is writable");
        let mut compiler = Command::new("go");
        // Without C and without the commit: neither a C compiler nor access to the repository is needed.
        compiler.args(["build", "-mod=readonly", "-buildvcs=false", "-o"]).arg(&programs);
        compiler.args(["./member", "./produce"]).current_dir(sources("go")).env("CGO_ENABLED", "0");
        run(&mut compiler);
        programs
    })
}

fn sources(language: &str) -> PathBuf {
    workspace().join("client-sdk/tests/apache").join(language)
}

fn run(compiler: &mut Command) {
    let output = compiler.output().expect("the compiler is installed");
    assert!(output.status.success(), "{compiler:?}: {}", String::from_utf8_lossy(&output.stderr));
}

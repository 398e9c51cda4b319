//! Programs of one directory.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use taskcenter_server::core::RunState;
use taskcenter_server::workers::settings::Settings;
use tempfile::TempDir;

use super::{Bench, message, settings, stage, until};

const SCRIPT: &str = "script";

/// A directory with programs, and one beside it where nothing should appear.
struct Shelf {
    root: TempDir,
}

impl Shelf {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("bin")).unwrap();
        Self { root }
    }

    fn bin(&self) -> PathBuf {
        self.root.path().join("bin")
    }

    /// Writes a program. Another process does it: a child of this one that begins at the same time must not hold the file open.
    fn put(&self, name: &str, text: &str) {
        let mut write = Command::new("/bin/sh");
        write
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(self.bin().join(name))
            .stdin(Stdio::piped());
        let mut write = write.spawn().unwrap();
        write.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{text}\n").as_bytes()).unwrap();
        assert!(write.wait().unwrap().success());
    }

    fn settings(&self) -> Settings {
        let mut settings = settings(&[SCRIPT]);
        settings.script.enabled = true;
        settings.script.bin_path = self.bin().display().to_string();
        settings
    }

    async fn bench(&self) -> Bench {
        Bench::on(stage().await, self.settings())
    }
}

fn job(name: &str, args: &[&str]) -> Value {
    json!({"bin_name": name, "args": args, "timeout_ms": 30_000, "retry_after_ms": []})
}

/// Gone, or waiting only for its parent to hear of it.
fn is_gone(pid: &str) -> bool {
    let about = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    about.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
}

#[tokio::test]
async fn arguments_arrive_as_they_are_and_no_shell_reads_them() {
    let shelf = Shelf::new();
    shelf.put("show", "for arg in \"$@\"; do printf '<%s>' \"$arg\"; done");
    let bench = shelf.bench().await;
    let args = [
        "; touch canary",
        "$(touch canary)",
        "`touch canary`",
        "| touch canary",
        "\ntouch canary\n",
        "&& touch ../canary",
        "../canary",
        "> canary",
        "a b",
        "",
        "-x",
        "--",
        "'\"",
        "*",
        "~",
        "$HOME",
        "é",
    ];
    let shown = format!("<{}>", args.join("><"));
    assert_eq!(message(&bench.work(SCRIPT, &job("show", &args)).await), shown);
    let left: Vec<_> =
        std::fs::read_dir(shelf.bin()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["show"]);
    assert!(!shelf.root.path().join("canary").exists());
    bench.stop().await;
}

#[tokio::test]
async fn a_name_leads_to_a_program_of_the_directory_or_to_nothing() {
    let shelf = Shelf::new();
    std::fs::copy("/bin/true", shelf.root.path().join("outside")).unwrap();
    symlink("/bin/true", shelf.bin().join("link")).unwrap();
    symlink("../outside", shelf.bin().join("relative")).unwrap();
    std::fs::create_dir(shelf.bin().join("folder")).unwrap();
    std::fs::write(shelf.bin().join("text"), "#!/bin/sh\n").unwrap();
    let bench = shelf.bench().await;
    for name in [
        "../outside",
        "/bin/true",
        "..",
        ".",
        "",
        "folder",
        "folder/x",
        "text",
        "link",
        "relative",
        "tr\0ue",
        "a\nb",
        "..\\outside",
        "./text",
    ] {
        let run = bench.work(SCRIPT, &json!({"bin_name": name, "retry_after_ms": [1_000]})).await;
        assert_eq!(run.state, RunState::Dead, "{name:?}: {:?}", run.reason);
        assert!(run.reason.as_deref().is_some_and(|reason| reason.contains("bin_name")), "{:?}", run.reason);
    }
    let run = bench.work(SCRIPT, &json!({"bin_name": "absent", "retry_after_ms": [1_000]})).await;
    assert_eq!((run.state, run.reason.as_deref()), (RunState::Retrying, Some("file not exist")));
    let run = bench.work(SCRIPT, &job("absent", &["a\0b"])).await;
    assert!(run.state == RunState::Dead && run.reason.unwrap().contains("args"));
    bench.stop().await;
}

#[tokio::test]
async fn it_succeeds_when_it_says_so_and_has_nothing_to_complain_of() {
    let shelf = Shelf::new();
    shelf.put("good", "echo '46'; echo");
    shelf.put("complains", "echo fine; echo careful >&2");
    shelf.put("fails", "echo out; exit 3");
    shelf.put("breaks", "kill -9 $$");
    let bench = shelf.bench().await;
    assert_eq!(message(&bench.work(SCRIPT, &job("good", &[])).await), "46");
    for (name, reason) in
        [("complains", "careful"), ("fails", "exit status 3"), ("breaks", "signal 9 (SIGKILL)")]
    {
        let run = bench.work(SCRIPT, &job(name, &[])).await;
        assert_eq!((run.state, run.reason.as_deref()), (RunState::Dead, Some(reason)), "{name}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn nothing_of_the_servers_environment_reaches_it_and_its_limits_hold() {
    let shelf = Shelf::new();
    shelf.put("env", "env | cut -d= -f1 | sort | tr '\\n' ' '");
    shelf.put("limits", "ulimit -n; ulimit -t; ulimit -v; ulimit -c");
    shelf.put("large", "dd if=/dev/zero of=\"$1\" bs=1024 count=100 2>/dev/null");
    let mut settings = shelf.settings();
    settings.script.open_files = 64;
    settings.script.cpu_sec = 7;
    settings.script.memory_bytes = 1_024 * 1_024 * 1_024;
    settings.script.file_bytes = 10 * 1_024;
    let bench = Bench::on(stage().await, settings);
    let names = message(&bench.work(SCRIPT, &job("env", &[])).await);
    let ours = ["LANG", "PATH", "TASKCENTER_ATTEMPT", "TASKCENTER_RUN_ID", "TASKCENTER_TASK_ID"];
    let strangers: Vec<_> = names
        .split(' ')
        .filter(|name| !ours.contains(name) && !["", "PWD", "OLDPWD", "SHLVL", "_"].contains(name))
        .collect();
    assert!(strangers.is_empty() && ours.iter().all(|name| names.contains(name)), "{names}");
    assert_eq!(message(&bench.work(SCRIPT, &job("limits", &[])).await), "64\n7\n1048576\n0");
    let large = shelf.root.path().join("large");
    let run = bench.work(SCRIPT, &job("large", &[large.to_str().unwrap()])).await;
    assert_eq!(run.state, RunState::Dead);
    assert_eq!(std::fs::metadata(large).unwrap().len(), 10 * 1_024);
    bench.stop().await;
}

#[tokio::test]
async fn a_flood_of_output_is_read_and_not_kept() {
    let shelf = Shelf::new();
    shelf.put("flood", "yes | head -c 20000000");
    let mut settings = shelf.settings();
    settings.script.output_bytes = 1_000;
    let bench = Bench::on(stage().await, settings);
    assert_eq!(message(&bench.work(SCRIPT, &job("flood", &[])).await), "y\n".repeat(500).trim_end());
    bench.stop().await;
}

/// Starts processes that start processes, tells their ids, and stays.
const FAMILY: &str = "(sleep 1000 & echo $! >> \"$1\"; sleep 1000) & echo $! >> \"$1\"; sleep 1000 & echo $! >> \"$1\"; touch \"$1.all\"";

fn family(told: &Path) -> Vec<String> {
    std::fs::read_to_string(told).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn over_time_it_is_killed_with_all_that_it_started() {
    let shelf = Shelf::new();
    shelf.put("stays", &format!("{FAMILY}; wait"));
    let (bench, told) = (shelf.bench().await, shelf.root.path().join("told"));
    let mut stays = job("stays", &[told.to_str().unwrap()]);
    stays["timeout_ms"] = json!(5_000);
    let run = bench.work(SCRIPT, &stays).await;
    assert_eq!((run.state, run.reason.as_deref()), (RunState::Dead, Some("exec time out")));
    assert_eq!(family(&told).len(), 3);
    until("all of them are gone", async || family(&told).iter().all(|pid| is_gone(pid))).await;
    bench.stop().await;
}

#[tokio::test]
async fn whom_it_leaves_behind_goes_with_it() {
    let shelf = Shelf::new();
    shelf.put("leaves", &format!("{FAMILY}; while [ $(wc -l < \"$1\") -lt 3 ]; do :; done; echo left"));
    let (bench, told) = (shelf.bench().await, shelf.root.path().join("told"));
    assert_eq!(message(&bench.work(SCRIPT, &job("leaves", &[told.to_str().unwrap()])).await), "left");
    assert_eq!(family(&told).len(), 3);
    until("all of them are gone", async || family(&told).iter().all(|pid| is_gone(pid))).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_shutdown_kills_what_outlasts_its_grace() {
    let shelf = Shelf::new();
    shelf.put("stays", &format!("{FAMILY}; wait"));
    let mut settings = shelf.settings();
    settings.workers.drain_ms = 0;
    let (bench, told) = (Bench::on(stage().await, settings), shelf.root.path().join("told"));
    let run = bench.fire(SCRIPT, &job("stays", &[told.to_str().unwrap()])).await;
    until("it has started", async || family(&told).len() == 3).await;
    let stage = bench.stop().await;
    until("all of them are gone", async || family(&told).iter().all(|pid| is_gone(pid))).await;
    let run = stage.run(&run).await;
    assert!(run.state == RunState::Retrying && run.reason.unwrap().contains("shut down"), "{:?}", run.state);
}

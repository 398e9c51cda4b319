//! Scripts: programs of one directory.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use taskcenter_server::core::RunState;
use taskcenter_server::core::run_log::LogLevel;
use taskcenter_server::workers::settings::Settings;
use tempfile::TempDir;

use super::{Bench, TRACE, message, settings, stage, until};
use crate::access::node::Node;

const SCRIPT: &str = "script";

/// A directory `bin` with programs. The tests assert that scripts write nothing outside it.
struct ScriptDir {
    root: TempDir,
}

impl ScriptDir {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("bin")).unwrap();
        Self { root }
    }

    fn bin(&self) -> PathBuf {
        self.root.path().join("bin")
    }

    /// Writes a program in another process: a child of this process that starts at the same time must not
    /// hold the file open.
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

/// Whether a process has ended. A zombie counts as ended.
fn has_ended(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
}

#[tokio::test]
async fn arguments_are_passed_unchanged_and_without_a_shell() {
    let dir = ScriptDir::new();
    dir.put("show", "for arg in \"$@\"; do printf '<%s>' \"$arg\"; done");
    let bench = dir.bench().await;
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
        std::fs::read_dir(dir.bin()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["show"]);
    assert!(!dir.root.path().join("canary").exists());
    bench.stop().await;
}

#[tokio::test]
async fn a_name_never_leaves_the_directory() {
    let dir = ScriptDir::new();
    std::fs::copy("/bin/true", dir.root.path().join("outside")).unwrap();
    symlink("/bin/true", dir.bin().join("link")).unwrap();
    symlink("../outside", dir.bin().join("relative")).unwrap();
    std::fs::create_dir(dir.bin().join("folder")).unwrap();
    symlink("/bin/true", dir.bin().join("folder/link")).unwrap();
    symlink("/bin", dir.bin().join("elsewhere")).unwrap();
    std::fs::write(dir.bin().join("text"), "#!/bin/sh\n").unwrap();
    let bench = dir.bench().await;
    for name in [
        "../outside",
        "folder/../../outside",
        "elsewhere/true",
        "folder/link",
        "folder//show",
        "/bin/true",
        "..",
        ".",
        "",
        "folder",
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
    let run = bench.work(SCRIPT, &json!({"bin_name": "folder/absent", "retry_after_ms": [1_000]})).await;
    assert_eq!((run.state, run.reason.as_deref()), (RunState::Retrying, Some("file not exist")));
    let run = bench.work(SCRIPT, &json!({"bin_name": "absent", "retry_after_ms": [1_000]})).await;
    assert_eq!((run.state, run.reason.as_deref()), (RunState::Retrying, Some("file not exist")));
    let run = bench.work(SCRIPT, &job("absent", &["a\0b"])).await;
    assert!(run.state == RunState::Dead && run.reason.unwrap().contains("args"));
    bench.stop().await;
}

#[tokio::test]
async fn a_program_in_a_subdirectory_runs() {
    let dir = ScriptDir::new();
    std::fs::create_dir_all(dir.bin().join("sub/deeper")).unwrap();
    dir.put("sub/ok.sh", "echo sub");
    dir.put("sub/deeper/ok.sh", "echo deeper");
    symlink("sub/ok.sh", dir.bin().join("link")).unwrap();
    let bench = dir.bench().await;
    for (name, text) in [("sub/ok.sh", "sub"), ("sub/deeper/ok.sh", "deeper"), ("link", "sub")] {
        assert_eq!(message(&bench.work(SCRIPT, &job(name, &[])).await), text, "{name}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_script_succeeds_with_exit_status_0_and_nothing_on_stderr() {
    let dir = ScriptDir::new();
    dir.put("good", "echo '46'; echo");
    dir.put("warns", "echo fine; echo careful >&2");
    dir.put("fails", "echo out; exit 3");
    dir.put("breaks", "kill -9 $$");
    let bench = dir.bench().await;
    assert_eq!(message(&bench.work(SCRIPT, &job("good", &[])).await), "46");
    for (name, reason) in [("warns", "careful"), ("fails", "exit status 3"), ("breaks", "signal 9 (SIGKILL)")]
    {
        let run = bench.work(SCRIPT, &job(name, &[])).await;
        assert_eq!((run.state, run.reason.as_deref()), (RunState::Dead, Some(reason)), "{name}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_script_has_an_environment_and_limits_of_its_own() {
    let dir = ScriptDir::new();
    dir.put("env", "env | cut -d= -f1 | sort | tr '\\n' ' '");
    dir.put("trace", "printf %s \"$TASKCENTER_HEADER_TRACEPARENT\"");
    dir.put("limits", "ulimit -n; ulimit -t; ulimit -v; ulimit -c");
    dir.put("large", "dd if=/dev/zero of=\"$1\" bs=1024 count=100 2>/dev/null");
    let mut settings = dir.settings();
    settings.script.open_files = 64;
    settings.script.cpu_sec = 7;
    settings.script.memory_bytes = 1_024 * 1_024 * 1_024;
    settings.script.file_bytes = 10 * 1_024;
    let bench = Bench::on(stage().await, settings);
    let names = message(&bench.work(SCRIPT, &job("env", &[])).await);
    let expected = [
        "LANG",
        "PATH",
        "TASKCENTER_ATTEMPT",
        "TASKCENTER_HEADER_TRACEPARENT",
        "TASKCENTER_HEADER_X_MINE",
        "TASKCENTER_RUN_ID",
        "TASKCENTER_TASK_ID",
    ];
    let unexpected: Vec<_> = names
        .split(' ')
        .filter(|name| !expected.contains(name) && !["", "PWD", "OLDPWD", "SHLVL", "_"].contains(name))
        .collect();
    assert!(unexpected.is_empty() && expected.iter().all(|name| names.contains(name)), "{names}");
    assert_eq!(message(&bench.work(SCRIPT, &job("trace", &[])).await), TRACE);
    assert_eq!(message(&bench.work(SCRIPT, &job("limits", &[])).await), "64\n7\n1048576\n0");
    let large = dir.root.path().join("large");
    let run = bench.work(SCRIPT, &job("large", &[large.to_str().unwrap()])).await;
    assert_eq!(run.state, RunState::Dead);
    assert_eq!(std::fs::metadata(large).unwrap().len(), 10 * 1_024);
    bench.stop().await;
}

#[tokio::test]
async fn output_beyond_the_limit_is_read_and_dropped() {
    let dir = ScriptDir::new();
    dir.put("flood", "yes | head -c 20000000");
    let mut settings = dir.settings();
    settings.script.output_bytes = 1_000;
    let bench = Bench::on(stage().await, settings);
    assert_eq!(message(&bench.work(SCRIPT, &job("flood", &[])).await), "y\n".repeat(500).trim_end());
    bench.stop().await;
}

#[tokio::test]
async fn the_log_of_a_run_has_the_output_while_the_script_runs() {
    let dir = ScriptDir::new();
    dir.put(
        "talks",
        "echo first; echo bad >&2; while [ ! -e \"$1\" ]; do sleep 0.01; done; printf 'no line end'",
    );
    let (bench, go) = (dir.bench().await, dir.root.path().join("go"));
    let run = bench.fire(SCRIPT, &job("talks", &[go.to_str().unwrap()])).await;
    let service = &bench.stage.service;
    let mut follower = service.follow_log(&run.id, 0).await.unwrap();
    let mut lines = Vec::new();
    while lines.len() < 2 {
        let page = follower.next(Duration::from_mins(1)).await.unwrap().expect("the script has written");
        lines.extend(page.lines.into_iter().map(|line| (line.line.level, line.line.text)));
    }
    assert_eq!(bench.stage.run(&run).await.state, RunState::Leased, "the script still runs");
    lines.sort();
    assert_eq!(lines, [(LogLevel::Info, "first".to_owned()), (LogLevel::Error, "bad".to_owned())]);
    std::fs::write(go, "").unwrap();
    let run = bench.outcome(&run).await;
    assert_eq!(run.reason.as_deref(), Some("bad"), "standard error is still the reason");
    let last = service.log(&run.id, 2).await.unwrap();
    assert_eq!((last.lines[0].line.text.as_str(), last.end), ("no line end", Some(RunState::Dead)));
    bench.stop().await;
}

#[tokio::test]
async fn the_log_of_a_script_that_floods_is_bounded() {
    let dir = ScriptDir::new();
    dir.put("flood", "yes | head -c 4000000; echo last");
    let bench = dir.bench().await;
    let run = bench.work(SCRIPT, &job("flood", &[])).await;
    assert_eq!(run.state, RunState::Succeeded, "{:?}", run.reason);
    let (mut from, mut bytes, mut last) = (0, 0, String::new());
    loop {
        let page = bench.stage.service.log(&run.id, from).await.unwrap();
        bytes += page.lines.iter().map(|line| line.line.text.len()).sum::<usize>();
        from = page.next;
        last = page.lines.last().map_or(last, |line| line.line.text.clone());
        if page.end.is_some() {
            break;
        }
    }
    assert!(bytes < 1_000_000 && last == "last", "{bytes} bytes, {last:?} is the last line");
    bench.stop().await;
}

/// Starts processes that start processes, and writes their ids to the file `$1`.
const START_TREE: &str = "(sleep 1000 & echo $! >> \"$1\"; sleep 1000) & echo $! >> \"$1\"; sleep 1000 & echo $! >> \"$1\"; touch \"$1.all\"";

fn process_tree(ids: &Path) -> Vec<String> {
    std::fs::read_to_string(ids).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_script_that_times_out_is_killed_with_its_descendants() {
    let dir = ScriptDir::new();
    dir.put("stays", &format!("{START_TREE}; wait"));
    let (bench, ids) = (dir.bench().await, dir.root.path().join("ids"));
    let mut stays = job("stays", &[ids.to_str().unwrap()]);
    stays["timeout_ms"] = json!(5_000);
    let run = bench.work(SCRIPT, &stays).await;
    assert_eq!((run.state, run.reason.as_deref()), (RunState::Dead, Some("exec time out")));
    assert_eq!(process_tree(&ids).len(), 3);
    until("all processes have ended", async || process_tree(&ids).iter().all(|pid| has_ended(pid))).await;
    bench.stop().await;
}

#[tokio::test]
async fn descendants_of_an_ended_script_are_killed() {
    let dir = ScriptDir::new();
    dir.put("leaves", &format!("{START_TREE}; while [ $(wc -l < \"$1\") -lt 3 ]; do :; done; echo left"));
    let (bench, ids) = (dir.bench().await, dir.root.path().join("ids"));
    assert_eq!(message(&bench.work(SCRIPT, &job("leaves", &[ids.to_str().unwrap()])).await), "left");
    assert_eq!(process_tree(&ids).len(), 3);
    until("all processes have ended", async || process_tree(&ids).iter().all(|pid| has_ended(pid))).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_shutdown_kills_scripts_that_exceed_the_grace_period() {
    let dir = ScriptDir::new();
    dir.put("stays", &format!("{START_TREE}; wait"));
    let mut settings = dir.settings();
    settings.workers.drain_ms = 0;
    let (bench, ids) = (Bench::on(stage().await, settings), dir.root.path().join("ids"));
    let run = bench.fire(SCRIPT, &job("stays", &[ids.to_str().unwrap()])).await;
    until("the script has started its processes", async || process_tree(&ids).len() == 3).await;
    let stage = bench.stop().await;
    until("all processes have ended", async || process_tree(&ids).iter().all(|pid| has_ended(pid))).await;
    let run = stage.run(&run).await;
    assert!(run.state == RunState::Retrying && run.reason.unwrap().contains("shut down"), "{:?}", run.state);
}

#[tokio::test]
async fn a_timeout_out_of_bounds_is_refused_with_field_and_bound() {
    let dir = ScriptDir::new();
    dir.put("ok", "echo ok");
    let bench = dir.bench().await;
    for timeout_ms in [0, 604_800_001, 1_000_000_000_000_000_u64] {
        let mut job = job("ok", &[]);
        job["timeout_ms"] = json!(timeout_ms);
        let run = bench.work(SCRIPT, &job).await;
        let reason = run.reason.unwrap_or_default();
        assert_eq!(run.state, RunState::Dead, "{reason}");
        assert!(reason.contains("timeout_ms") && reason.contains("between 1 and 604800000"), "{reason}");
    }
    bench.stop().await;
}

/// Starts a process that leaves the process group, and writes its id to the file `$1`.
const LEAVE_GROUP: &str = "setsid sh -c 'echo $$ >> \"$1\"; exec sleep 1000' sh \"$1\" & echo $$ >> \"$1\"";

#[tokio::test]
async fn the_script_of_a_cancelled_run_is_killed_with_all_descendants() {
    let dir = ScriptDir::new();
    dir.put("stays", &format!("{LEAVE_GROUP}; sleep 1000"));
    let mut settings = dir.settings();
    settings.workers.lease_ms = 1_000;
    let (bench, ids) = (Bench::on(stage().await, settings), dir.root.path().join("ids"));
    let run = bench.fire(SCRIPT, &job("stays", &[ids.to_str().unwrap()])).await;
    until("the script has started its processes", async || process_tree(&ids).len() == 2).await;
    bench.stage.service.cancel_run(&run.id).await.unwrap();
    until("all processes have ended", async || process_tree(&ids).iter().all(|pid| has_ended(pid))).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_killed_server_takes_its_scripts_with_it() {
    let dir = ScriptDir::new();
    dir.put("stays", &format!("{LEAVE_GROUP}; sleep 1000"));
    let (data, bin) = (dir.root.path().join("data"), dir.bin());
    let ids = dir.root.path().join("ids");
    let env = [
        ("TASKCENTER__EMBEDDED__DATA_DIR", data.to_str().unwrap()),
        ("TASKCENTER__SCRIPT__ENABLED", "true"),
        ("TASKCENTER__SCRIPT__BIN_PATH", bin.to_str().unwrap()),
    ];
    let node = Node::start(&env).await;
    let task =
        json!({"name": "n", "queue": SCRIPT, "data": job("stays", &[ids.to_str().unwrap()]).to_string()});
    let url = format!("http://{}/v1/tasks", node.address);
    let created = reqwest::Client::new().post(url).body(task.to_string()).send().await.unwrap();
    assert_eq!(created.status(), 201);
    until("the script has started its processes", async || process_tree(&ids).len() == 2).await;
    assert!(process_tree(&ids).iter().all(|pid| !has_ended(pid)));
    node.kill().await;
    until("all processes have ended", async || process_tree(&ids).iter().all(|pid| has_ended(pid))).await;
}

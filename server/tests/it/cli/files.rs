//! Definitions in files.

use std::path::PathBuf;

use super::program::{Dev, data_dir};
use crate::docs::pages::Page;

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self { dir: data_dir() }
    }

    /// Writes a file, and returns its path.
    fn write(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn the_files_of_the_page_are_read() {
    let (data, files) = (data_dir(), Files::new());
    let dev = Dev::start(data.path(), &[]).await;
    let page = Page::read("docs/cli.md");
    for text in page.code("yaml") {
        let name = text.lines().next().unwrap().trim_start_matches("# ").to_owned();
        files.write(&name, &text);
    }
    let dir = files.dir.path().to_str().unwrap();
    let commands = page.code("sh").concat();
    let lines = commands.lines().filter(|line| line.contains("--file "));
    let mut count = 0;
    for line in lines {
        let line = line.strip_prefix("taskcenter ").unwrap().replace("--file ", &format!("--file {dir}/"));
        let (code, out, err) = dev.run(&line.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(code, 0, "{line}: {out}{err}");
        count += 1;
    }
    assert_eq!(count, 3);
    let tasks = dev.json(&["task", "list"]).await["tasks"].clone();
    assert_eq!((&tasks[0]["name"], &tasks[0]["queue"]), (&"report.slow".into(), &"slow".into()));
    assert_eq!((&tasks[1]["name"], &tasks[1]["data"]), (&"report.daily".into(), &"{\"pages\":7}".into()));
    assert_eq!(tasks[1]["retry"]["max_backoff_ms"], 600_000);
    assert_eq!(dev.running.stop().await, 0);
}

#[tokio::test]
async fn an_edit_changes_the_fields_of_the_file() {
    let (data, files) = (data_dir(), Files::new());
    let dev = Dev::start(data.path(), &[]).await;
    let file =
        files.write("task.json", r#"{"name": "mail", "json": {"a": 1}, "delay_ms": 3600000, "queue": "q"}"#);
    let task = dev.json(&["task", "add", "--file", &file, "--data", "text"]).await;
    assert_eq!((&task["data"], &task["queue"]), (&"text".into(), &"q".into()), "the option replaces `json`");
    let id = task["id"].as_str().unwrap();
    let edit = files.write("edit.yaml", "queue: null\nlabels:\n  team: pay\n");
    let edited = dev.json(&["task", "edit", id, "--file", &edit, "--label", "tier=1"]).await["task"].clone();
    assert_eq!((&edited["data"], &edited["queue"]), (&"text".into(), &"mail".into()), "the default queue");
    assert_eq!(
        edited["labels"],
        serde_json::json!({"tier": "1"}),
        "an option replaces the field of the file"
    );
    assert_eq!(dev.running.stop().await, 0);
}

#[tokio::test]
async fn an_error_names_the_line_and_the_field() {
    let (data, files) = (data_dir(), Files::new());
    let dev = Dev::start(data.path(), &[]).await;
    for (text, exit, parts) in [
        ("name: mail\nlabels:\n  version: 1.0\n", 2, ["line 3", "labels.version"]),
        ("name: mail\nqueues: q\n", 2, ["line 2", "queues"]),
        ("name: mail\nschedule:\n  kind: every\n  period_ms: soon\n", 2, ["line 2", "schedule"]),
        ("name: mail\nname: other\n", 2, ["line 2", "set twice"]),
        ("name: [mail\n", 2, ["line ", "name"]),
        ("- mail\n", 2, ["line 1", "should have fields"]),
        (
            "name: mail\nschedule:\n  kind: cron\n  cron: 61 * * * *\n",
            4,
            ["task.yaml, line 4", "schedule.cron"],
        ),
        ("data: x\n", 2, ["missing field `name`", "task.yaml"]),
    ] {
        let file = files.write("task.yaml", text);
        let (code, _, err) = dev.run(&["task", "add", "--file", &file]).await;
        assert!(code == exit && parts.iter().all(|part| err.contains(part)), "{text}: {code} {err}");
    }
    let file = files.write("operation.yaml", "action: redrive\nselect: {filter: {tag: mail}}\ncanary: 101\n");
    let (code, _, err) = dev.run(&["operation", "create", "--file", &file]).await;
    assert!(code == 4 && err.contains("operation.yaml, line 3: ") && err.contains("canary"), "{err}");
    let (code, _, err) = dev.run(&["operation", "create", "pause", "--file", &file]).await;
    assert!(code == 2 && err.contains("--file"), "{err}");
    let (code, _, err) = dev.run(&["task", "add", "--file", "/nowhere/task.yaml"]).await;
    assert!(code == 2 && err.contains("/nowhere/task.yaml"), "{err}");
    assert_eq!(dev.running.stop().await, 0);
}

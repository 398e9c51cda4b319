//! `taskcenter worker`: the built-in workers in a process of their own.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use taskcenter_client::TaskCenter;
use taskcenter_client::resources::TaskSpec;

use super::program::{Dev, Running, data_dir, taskcenter};

/// Writes through a shell: a child that another test forks meanwhile would keep the file open, and
/// a program that is open for writing cannot be executed.
fn write_program(at: &std::path::Path, text: &str) {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(at).stdin(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
}

#[tokio::test]
async fn a_remote_worker_runs_scripts_of_the_server() {
    let (data, scripts) = (data_dir(), data_dir());
    let dev = Dev::start(data.path(), &[]).await;
    write_program(&scripts.path().join("sum"), "#!/bin/sh\necho $(($1 + $2))\n");
    let config = scripts.path().join("worker.toml");
    let bin_path = scripts.path().display();
    std::fs::write(
        &config,
        format!("[script]\nenabled = true\nbin_path = \"{bin_path}\"\n[log]\nformat = \"text\"\n"),
    )
    .unwrap();
    let config = config.to_str().unwrap();
    let worker = Running::start(&["worker", "--queues", "script", "--server", &dev.url, "--config", config]);
    let center = TaskCenter::new(&dev.url).unwrap();
    let data = json!({"bin_name": "sum", "args": ["12", "34"]}).to_string();
    let spec = TaskSpec { name: "sum".into(), queue: Some("script".into()), data, ..TaskSpec::default() };
    center.create_task(&spec).await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let ended = async {
        loop {
            ticks.tick().await;
            let runs = center.list_runs(&taskcenter_client::RunQuery::default()).await.unwrap().runs;
            if let Some(run) = runs.into_iter().find(|run| run.ended_at.is_some()) {
                return run;
            }
        }
    };
    let run = tokio::time::timeout(Duration::from_mins(1), ended).await.expect("the run ends in time");
    assert_eq!(
        (run.state.as_str(), run.result),
        ("succeeded", Some(json!({"message": "46"}))),
        "{:?}",
        run.reason
    );
    assert_eq!((worker.stop().await, dev.running.stop().await), (0, 0));
}

#[tokio::test]
async fn a_worker_that_cannot_start_says_why() {
    let (code, _, err) = taskcenter(&["worker", "--queues", "mail"]).await;
    assert!(code == 2 && err.contains("mail") && err.contains("callback"), "{err}");
    let (code, _, err) = taskcenter(&["worker", "--queues", "script"]).await;
    assert!(code == 2 && err.contains("script.enabled"), "{err}");
}

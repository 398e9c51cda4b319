//! `run log`: prints and follows the log of a run.

use std::time::Duration;

use serde_json::{Value, json};
use taskcenter_client::TaskCenter;
use taskcenter_client::resources::{LeasedRun, LogBatch};

use super::program::{Dev, Running, data_dir};

async fn write(center: &TaskCenter, run: &LeasedRun, texts: &[&str]) {
    let line = |text: &&str| json!({"at": "2033-05-18T03:33:20Z", "level": "warn", "text": text});
    let lines: Vec<_> = texts.iter().map(line).collect();
    let batch = json!({"attempt": run.attempt, "token": run.token, "batch_id": texts[0], "lines": lines});
    let batch: LogBatch = serde_json::from_value(batch).unwrap();
    assert!(center.append_run_log(&run.run_id, &batch).await.unwrap().stored);
}

async fn succeed(center: &TaskCenter, run: &LeasedRun) {
    let report = json!({"attempt": run.attempt, "token": run.token, "outcome": "succeeded"});
    center.report(&run.run_id, &serde_json::from_value(report).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_log_is_printed_and_followed_until_the_run_ends() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let center = TaskCenter::new(&dev.url).unwrap();
    assert_eq!(dev.run(&["task", "add", "mail"]).await.0, 0);
    let request = json!({"worker": "w", "queues": ["mail"], "wait_ms": 20_000});
    let run = center.lease(&serde_json::from_value(request).unwrap()).await.unwrap().runs.remove(0);
    write(&center, &run, &["one", "\u{1b}[31mtwo"]).await;

    let (code, out, _) = dev.run(&["run", "log", &run.run_id]).await;
    let lines: Vec<&str> = out.lines().collect();
    assert!(code == 0 && lines.len() == 2 && lines[0].ends_with("  warn   one"), "{out}");
    assert!(lines[1].ends_with("  \\u{1b}[31mtwo"), "a log cannot control the terminal: {out:?}");
    let (_, out, _) = dev.run(&["run", "log", &run.run_id, "--json"]).await;
    let line: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!((&line["line"], &line["text"]), (&json!(0), &json!("one")));
    let (code, _, err) = dev.run(&["run", "log", "unknown"]).await;
    assert!(code == 3 && err.contains("no run has the id \"unknown\""), "{err}");

    let mut follow = Running::start(&["run", "log", &run.run_id, "--follow", "--server", &dev.url]);
    follow.until("  one").await;
    write(&center, &run, &["live"]).await;
    follow.until("  live").await;
    succeed(&center, &run).await;
    follow.until_error("the run has ended: succeeded").await;
    assert_eq!(tokio::time::timeout(Duration::from_mins(1), follow.wait()).await.unwrap(), 0);
}

//! The command `task backfill`.

use super::program::{Dev, data_dir};

#[tokio::test]
async fn a_range_is_counted_and_backfilled_with_progress() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let add = ["task", "add", "report", "--cron", "0 * * * *", "--zone", "UTC", "--quiet"];
    let (code, id, err) = dev.run(&add).await;
    assert_eq!(code, 0, "{err}");
    let range = ["--from", "2025-11-01T00:00:00Z", "--to", "2025-11-02T00:00:00Z"];
    let backfill = [&["task", "backfill", id.trim()], &range[..]].concat();
    let (code, out, _) = dev.run(&[&backfill[..], &["--dry-run"]].concat()).await;
    assert_eq!((code, out.as_str()), (0, "backfill would create 24 runs\n"));
    let (code, out, err) = dev.run(&[&backfill[..], &["--watch", "--rate", "1000"]].concat()).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let operation = out.strip_prefix("created ").unwrap().split(' ').next().unwrap();
    assert_eq!(out.lines().next().unwrap(), format!("created {operation} backfill, 24 items"));
    assert_eq!(out.lines().last().unwrap(), "backfill completed 24: 24 done, 0 failed, 0 skipped");
    let runs = dev.json(&["run", "list", "--task", id.trim()]).await;
    let runs = runs["runs"].as_array().unwrap();
    assert!(runs.len() == 24 && runs.iter().all(|run| run["backfill"] == operation), "{runs:?}");
    let (_, out, _) = dev.run(&["operation", "show", operation]).await;
    assert!(out.contains("from 2025-11-01T00:00:00Z to 2025-11-02T00:00:00Z"), "{out}");
    let run = runs[0]["run_id"].as_str().unwrap();
    let (code, out, _) = dev.run(&["run", "get", run]).await;
    assert!(code == 0 && out.contains(operation), "{out}");
    assert_eq!(dev.running.stop().await, 0);
}

//! The command `operation`.

use serde_json::Value;

use super::program::{Dev, data_dir};
use crate::docs::pages::Page;

async fn add(dev: &Dev, name: &str) -> String {
    let task = dev.run(&["task", "add", name, "--in", "1h", "--quiet"]).await;
    assert_eq!(task.0, 0, "{task:?}");
    task.1.trim().to_owned()
}

#[tokio::test]
async fn an_operation_is_previewed_watched_and_listed() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    for _ in 0..3 {
        add(&dev, "mail").await;
    }
    let pause = ["operation", "create", "pause", "--name", "mail"];
    let (code, out, _) = dev.run(&[&pause[..], &["--dry-run"]].concat()).await;
    assert_eq!((code, out.as_str()), (0, "pause would act on 3 items now\n"));
    let (code, out, err) = dev.run(&[&pause[..], &["--watch", "--reason", "upgrade"]].concat()).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let id = out.strip_prefix("created ").unwrap().split(' ').next().unwrap();
    assert_eq!(out.lines().next().unwrap(), format!("created {id} pause, 3 items"));
    assert_eq!(out.lines().last().unwrap(), "pause completed 3: 3 done, 0 failed, 0 skipped");
    let paused = dev.json(&["task", "list", "--state", "paused"]).await;
    assert_eq!(paused["tasks"].as_array().unwrap().len(), 3);
    let list = dev.json(&["operation", "list"]).await;
    assert_eq!(list["operations"][0]["reason"], "upgrade");
    let shown: Value = dev.json(&["operation", "show", id]).await;
    assert_eq!((&shown["state"], &shown["done"]), (&Value::from("completed"), &Value::from(3)));
    let (code, out, _) = dev.run(&["operation", "show", &id[..14]]).await;
    assert!(code == 0 && out.contains("name mail") && out.contains("completed"), "{out}");
    assert_eq!(dev.running.stop().await, 0);
}

#[tokio::test]
async fn failures_are_shown_and_change_the_exit_code() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let (id, unknown) = (add(&dev, "mail").await, "0".repeat(32));
    let arguments = ["operation", "create", "trigger", "--id", &id, "--id", &unknown, "--watch"];
    let (code, out, _) = dev.run(&arguments).await;
    assert!(code == 1 && out.contains(&unknown) && out.contains("not found"), "{code} {out}");
    assert_eq!(dev.run(&["operation", "abort", &unknown]).await.0, 3);
    let (code, _, err) = dev.run(&["operation", "create", "pause"]).await;
    assert!(code == 2 && err.contains("--all"), "{err}");
    let edit = ["operation", "create", "edit", "--all", "--patch", "{\"queue\": 7}"];
    let (code, _, err) = dev.run(&edit).await;
    assert!(code == 4 && err.contains("patch.queue"), "{err}");
    let slow = ["operation", "create", "pause", "--all", "--rate", "1"];
    let slow = dev.json(&slow).await;
    let (code, out, _) = dev.run(&["operation", "abort", slow["id"].as_str().unwrap()]).await;
    assert!(code == 0 && out.contains("pause"), "{out}");
    assert_eq!(dev.running.stop().await, 0);
}

#[tokio::test]
async fn the_first_commands_of_the_page_work() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    add(&dev, "order.close").await;
    let commands = Page::read("docs/bulk.md").code("sh").concat();
    let lines: Vec<&str> = commands.lines().collect();
    assert_eq!(lines.len(), 5);
    for line in lines {
        let line = line.strip_prefix("taskcenter ").unwrap().replace("'broker upgrade'", "upgrade");
        let words: Vec<&str> = line.split(' ').collect();
        let (code, out, err) = dev.run(&words).await;
        assert_eq!(code, 0, "{line}: {out}{err}");
    }
    let paused = dev.json(&["task", "list", "--state", "paused"]).await;
    assert_eq!(paused["tasks"].as_array().unwrap().len(), 1);
    assert_eq!(dev.running.stop().await, 0);
}

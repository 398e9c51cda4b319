//! The examples do what they say, as a user would run them, whichever way their deliveries come.

use std::process::Stdio;

use tokio::process::Command;

use crate::cluster::{Cluster, Mode, in_both_modes, namesrv};

in_both_modes! { delayed_order_close cron_report loop_with_count consumer_with_retry }

async fn delayed_order_close(mode: Mode) {
    tells_its_story(mode, "delayed_order_close", &["is closed in 3 s", "closed, "]).await;
}

async fn cron_report(mode: Mode) {
    tells_its_story(mode, "cron_report", &["report on", "no more reports: 1 task deleted"]).await;
}

async fn loop_with_count(mode: Mode) {
    tells_its_story(mode, "loop_with_count", &["three reminders are due", "reminded, due at"]).await;
}

async fn consumer_with_retry(mode: Mode) {
    tells_its_story(mode, "consumer_with_retry", &["a charge is due in 3 s"]).await;
}

async fn tells_its_story(mode: Mode, example: &str, says: &[&str]) {
    let cluster = Cluster::on(mode, example);
    let node = cluster.start().await;
    let mut program = Command::new(env!("CARGO"));
    program.args(["run", "--quiet", "--locked", "--package", "taskcenter-examples"]);
    program.args(["--features", "rocketmq", "--bin", example]);
    program.env("TASKCENTER_SERVER", &node.url).env("TASKCENTER_TOPIC", &cluster.id);
    match mode {
        Mode::Cluster => program.env("ROCKETMQ_NAMESRV", namesrv()),
        Mode::Embedded => program.env_remove("ROCKETMQ_NAMESRV"),
    };
    let output = program.stdin(Stdio::null()).output().await.expect("cargo runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{example} failed\n{out}\n{err}");
    for words in says {
        assert!(out.contains(words), "{example} does not say {words:?}:\n{out}");
    }
}

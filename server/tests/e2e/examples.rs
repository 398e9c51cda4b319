//! The examples work as a user runs them, in both modes.

use std::process::Stdio;

use tokio::process::Command;

use crate::cluster::{Cluster, Mode, in_both_modes, namesrv};

in_both_modes! { delayed_order_close cron_report loop_with_count consumer_with_retry }

async fn delayed_order_close(mode: Mode) {
    assert_prints(mode, "delayed_order_close", &["will be closed in 3 s", "closed, "]).await;
}

async fn cron_report(mode: Mode) {
    assert_prints(mode, "cron_report", &["report on", "1 task deleted"]).await;
}

async fn loop_with_count(mode: Mode) {
    assert_prints(mode, "loop_with_count", &["the first of three reminders", "reminder to"]).await;
}

async fn consumer_with_retry(mode: Mode) {
    assert_prints(mode, "consumer_with_retry", &["the charge is due in 3 s"]).await;
}

async fn assert_prints(mode: Mode, example: &str, expected: &[&str]) {
    let cluster = Cluster::on(mode, example);
    let node = cluster.start().await;
    let mut program = Command::new(env!("CARGO"));
    // `cargo xtask test` sets the variable for libtest. Build scripts of dependencies would run again.
    program.env_remove("RUSTC_BOOTSTRAP");
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
    for words in expected {
        assert!(out.contains(words), "{example} does not print {words:?}:\n{out}");
    }
}

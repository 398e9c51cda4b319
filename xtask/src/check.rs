//! `cargo xtask check`: the part of the gate that needs no services.

use std::path::Path;

use anyhow::Result;

use crate::cargo::clippy;
use crate::catalog;
use crate::steps::Steps;

/// Nothing listens there: a test that needs a service fails here also where services run.
const NOWHERE: &str = "127.0.0.1:1";

/// Tests of the product without the `cluster` feature. No test that needs a service is compiled in.
/// Skips a load test, and the tests with cronsim and Chromium, which `services up` installs.
pub const TESTS_WITHOUT_CLUSTER: [&str; 26] = [
    "--package=taskcenter-server",
    "--package=taskcenter-client",
    "--package=taskcenter-rocketmq",
    "--package=xtask",
    "--no-default-features",
    "--locked",
    "--no-fail-fast",
    "--lib",
    "--bins",
    "--test=it",
    "--test=fuzz",
    "--test=hostile",
    "--test=connect",
    "--test=consumer",
    "--test=handlers",
    "--test=http_client",
    "--test=http_resources",
    "--test=outcomes",
    "--test=pull",
    "--",
    "--skip",
    "two_thousand_slow_clients",
    "--skip",
    "cron::oracle",
    "--skip",
    "hostile::browser",
];

/// The part of [`TESTS_WITHOUT_CLUSTER`] that takes seconds. It shows that the product builds and starts without the
/// feature.
pub const UNIT_TESTS_WITHOUT_CLUSTER: [&str; 6] =
    ["--package=taskcenter-server", "--no-default-features", "--locked", "--no-fail-fast", "--lib", "--bins"];

/// Runs the checks and prints the time of each step, also after a failure.
pub fn run(workspace: &Path) -> Result<()> {
    let mut steps = Steps::new(workspace);
    for variable in catalog::all(workspace).iter().filter_map(catalog::Service::variable) {
        steps.environment.insert(variable, NOWHERE.to_owned());
    }
    let result = run_steps(&mut steps);
    steps.print_summary();
    println!(
        "Not included: MongoDB, Redis, RocketMQ, crashes of real processes, simulator, failpoints, faults,"
    );
    println!("licences. They need services or more time: cargo xtask test");
    result
}

fn run_steps(steps: &mut Steps<'_>) -> Result<()> {
    steps.cargo("format", &["fmt", "--all", "--check"])?;
    steps.cargo("lint", &clippy(&["--workspace", "--all-targets"]))?;
    steps.tests("tests without services", &TESTS_WITHOUT_CLUSTER)
}

//! Asks a real Prometheus, which scrapes a real server, every query of the dashboard.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::table::PANELS;
use crate::net::free_port;

/// Maximum time until a query has data. A rate needs two scrapes, and the backlog a count.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts both programs, gives the server work of all kinds, and asks all queries.
pub fn check(dir: &Path, server: &Path, promtool: &Path) -> Result<()> {
    let dir = dir.join("live");
    if dir.is_dir() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let (of_server, of_prometheus) = (free_port()?, free_port()?);
    let _server = start_server(&dir, server, of_server)?;
    let _prometheus = start_prometheus(&dir, promtool, of_prometheus, of_server)?;
    work(server, of_server)?;
    let address = format!("http://127.0.0.1:{of_prometheus}");
    for panel in PANELS.iter().filter(|panel| panel.embedded) {
        for (expression, _) in panel.queries {
            let expression = expression.replace("{@}", "").replace("[@]", "[1m]");
            wait_for_data(promtool, &address, &expression, server, of_server)?;
        }
    }
    for panel in PANELS.iter().filter(|panel| !panel.embedded) {
        println!("  not asked: {:?}, which needs a cluster", panel.title);
    }
    Ok(())
}

fn spawn(dir: &Path, name: &str, command: &mut Command) -> Result<Running> {
    let log = File::create(dir.join(format!("{name}.log")))?;
    let command = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(Running(command.spawn().with_context(|| format!("cannot start {name}"))?))
}

/// The sample tasks of `dev --demo` have a consumer, so that runs end. A second fire of one tag raises an alert.
fn start_server(dir: &Path, server: &Path, port: u16) -> Result<Running> {
    let mut command = Command::new(server);
    command
        .args(["dev", "--demo", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"])
        .arg(dir.join("data"));
    command.env("TASKCENTER__TASK_CENTER__NAME_ALERT_COUNT", "1").env("TASKCENTER__ENGINE__BACKLOG_SEC", "1");
    spawn(dir, "server", &mut command)
}

fn start_prometheus(dir: &Path, promtool: &Path, port: u16, of_server: u16) -> Result<Running> {
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [../rules.yml]\nscrape_configs:\n  \
         - {{ job_name: taskcenter, static_configs: [{{ targets: ['127.0.0.1:{of_server}'] }}] }}\n"
    );
    fs::write(dir.join("prometheus.yml"), config)?;
    // The package has both programs.
    let mut command = Command::new(promtool.with_file_name("prometheus"));
    command.arg("--config.file=prometheus.yml").arg("--storage.tsdb.path=store").current_dir(dir);
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    spawn(dir, "prometheus", &mut command)
}

/// Makes what a quiet server does not have: a held run, and a refusal by a quota.
fn work(server: &Path, port: u16) -> Result<()> {
    let start = Instant::now();
    while client(server, port, &["stat"], None).is_err() {
        ensure!(start.elapsed() < TIMEOUT, "the server does not start");
        sleep(Duration::from_millis(100));
    }
    client(server, port, &["hold", "add", "tag", "held", "--reason", "check"], None)?;
    client(server, port, &["task", "add", "held"], None)?;
    let quota = ["token", "add", "limited", "--scope", "task:write", "--max-live-tasks", "1", "--json"];
    let token = client(server, port, &quota, None)?;
    let token: serde_json::Value = serde_json::from_str(&token).context("`token add --json` prints JSON")?;
    let token = token["token"].as_str().context("the answer has a token")?;
    let create = |name: &str| client(server, port, &["task", "add", name, "--in", "1h"], Some(token));
    create("first")?;
    ensure!(create("second").is_err(), "the quota of the token did not refuse the second task");
    Ok(())
}

fn client(server: &Path, port: u16, arguments: &[&str], token: Option<&str>) -> Result<String> {
    let mut command = Command::new(server);
    command.args(arguments).args(["--server", &format!("http://127.0.0.1:{port}")]);
    command.envs(token.map(|token| ("TASKCENTER_TOKEN", token)));
    let output = command.output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "taskcenter {}: {}", arguments.join(" "), error.trim());
    Ok(String::from_utf8(output.stdout)?)
}

fn wait_for_data(promtool: &Path, address: &str, expression: &str, server: &Path, port: u16) -> Result<()> {
    let start = Instant::now();
    loop {
        let query = ["query", "instant", address, expression];
        let output = Command::new(promtool).args(query).output().context("cannot run promtool")?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() && !printed.trim().is_empty() {
            return Ok(());
        }
        if start.elapsed() > TIMEOUT {
            bail!("no data: {expression}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        // A rate of a new series has data after the next event only. Both calls cause events.
        client(server, port, &["task", "add", "demo.once", "--data", &expression.len().to_string()], None)?;
        sleep(Duration::from_millis(500));
    }
}

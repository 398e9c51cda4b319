//! Capacity and speed of the embedded node: the release binary, called over HTTP.
//!
//! `cargo xtask bench embedded` or `cargo bench -p taskcenter-server --bench embedded -- --tasks 1000000`
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use taskcenter_client::TaskCenter;
use taskcenter_client::resources::{LeaseRequest, SettleRequest, Settlement, TaskSpec};
use taskcenter_client::wire::{OutcomeReport, ReportedOutcome};

const BATCH: usize = 1_000;
const BATCHES_AT_ONCE: usize = 4;
/// Number of runs to fire and settle.
const RUNS: usize = 20_000;

fn main() -> Result<()> {
    // Cargo itself adds `--bench`.
    let arguments: Vec<String> = std::env::args().collect();
    let tasks =
        arguments.iter().position(|argument| argument == "--tasks").map(|at| arguments[at + 1].parse());
    let tasks: usize = tasks.transpose().context("--tasks needs a number")?.unwrap_or(100_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(tasks))
}

async fn measure(tasks: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let raw = raw_inserts(&dir.path().join("raw.db"), tasks.min(200_000))?;
    println!("SQLite alone, rows of the same size in transactions of {BATCH}: {raw:.0} rows/s");

    let node = Node::start(dir.path()).await?;
    println!("empty: {} resident, {} to ready", node.resident()?, format_ms(node.start_time));
    let started = Instant::now();
    let later = Timestamp::now() + jiff::SignedDuration::from_hours(240);
    create(&node.client, tasks, Some(later)).await?;
    let rate = tasks as f64 / started.elapsed().as_secs_f64();
    println!(
        "{tasks} tasks created in batches of {BATCH}: {rate:.0} tasks/s, {:.2} times SQLite alone",
        rate / raw
    );
    println!("{tasks} pending tasks: {} resident", node.resident()?);
    drop(node);

    let node = Node::start(dir.path()).await?;
    println!(
        "restarted after kill -9: {} to ready, {} resident",
        format_ms(node.start_time),
        node.resident()?
    );
    let fired = fire_and_settle(&node.client).await?;
    println!("{RUNS} tasks due at once, created, fired, leased and settled: {fired:.0} runs/s");
    println!("afterwards: {} resident", node.resident()?);
    Ok(())
}

/// Measures SQLite alone on this disk: rows of the size of a task, in durable transactions.
fn raw_inserts(file: &Path, rows: usize) -> Result<f64> {
    let mut db = rusqlite::Connection::open(file)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.execute_batch("CREATE TABLE t (id TEXT PRIMARY KEY, due INTEGER, doc TEXT) WITHOUT ROWID; CREATE INDEX d ON t (due);")?;
    let doc = "x".repeat(500);
    let started = Instant::now();
    for batch in 0..rows.div_ceil(BATCH) {
        let transaction = db.transaction()?;
        for row in 0..BATCH {
            let id = format!("{:032x}", batch * BATCH + row);
            transaction.prepare_cached("INSERT INTO t VALUES (?, ?, ?)")?.execute((id, row as i64, &doc))?;
        }
        transaction.commit()?;
    }
    Ok(rows as f64 / started.elapsed().as_secs_f64())
}

fn format_ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

async fn create(client: &TaskCenter, tasks: usize, start_at: Option<Timestamp>) -> Result<()> {
    let batches = (0..tasks.div_ceil(BATCH)).map(|batch| {
        let task = |n| TaskSpec {
            name: "bench".to_owned(),
            data: format!("{{\"order\":{n},\"note\":\"{}\"}}", "x".repeat(60)),
            start_at,
            ..TaskSpec::default()
        };
        let batch: Vec<TaskSpec> = (batch * BATCH..(batch * BATCH + BATCH).min(tasks)).map(task).collect();
        async move {
            let created = client.create_tasks(&batch).await?;
            ensure!(created.results.iter().all(|result| result.status == 201), "a task was refused");
            Ok(())
        }
    });
    stream::iter(batches).buffer_unordered(BATCHES_AT_ONCE).try_collect().await
}

async fn fire_and_settle(client: &TaskCenter) -> Result<f64> {
    let started = Instant::now();
    let (created, settled) = tokio::join!(create(client, RUNS, None), settle_all(client));
    created?;
    settled?;
    Ok(RUNS as f64 / started.elapsed().as_secs_f64())
}

async fn settle_all(client: &TaskCenter) -> Result<()> {
    let request = LeaseRequest {
        worker: "bench".to_owned(),
        queues: vec!["bench".to_owned()],
        limit: BATCH as u32,
        lease_ms: 60_000,
        wait_ms: 5_000,
        request_id: None,
    };
    let mut settled = 0;
    while settled < RUNS {
        let runs = client.lease(&request).await?.runs;
        ensure!(!runs.is_empty(), "only {settled} of {RUNS} runs became ready");
        let outcomes = runs.into_iter().map(|run| Settlement {
            run_id: run.run_id,
            report: OutcomeReport {
                attempt: run.attempt,
                token: run.token,
                outcome: ReportedOutcome::Succeeded,
                message: None,
                retry_after_ms: None,
                result: None,
            },
        });
        let answers = client.settle(&SettleRequest { outcomes: outcomes.collect() }).await?.results;
        ensure!(answers.iter().all(|answer| answer.status == 200), "an outcome was refused");
        settled += answers.len();
    }
    Ok(())
}

struct Node {
    child: Child,
    client: TaskCenter,
    start_time: Duration,
}

impl Node {
    async fn start(dir: &Path) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let started = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_taskcenter"))
            .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
            .env("TASKCENTER__EMBEDDED__DATA_DIR", dir.join("data"))
            .env("TASKCENTER__LOG__LEVEL", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let url = format!("http://127.0.0.1:{port}");
        let client = TaskCenter::builder(&url).timeout(Duration::from_mins(2)).build()?;
        let mut node = Self { child, client, start_time: Duration::ZERO };
        let mut pause = tokio::time::interval(Duration::from_millis(5));
        while !reqwest::get(format!("{url}/readyz")).await.is_ok_and(|answer| answer.status().is_success()) {
            ensure!(started.elapsed() < Duration::from_mins(1), "the node is not ready after a minute");
            pause.tick().await;
        }
        node.start_time = started.elapsed();
        Ok(node)
    }

    /// Returns the resident memory of the process, from /proc.
    fn resident(&self) -> Result<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(format!("{} MB", kilobytes / 1024))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! Shutdown signals of a worker process, and what it prints without a log.
//!
//! The process is this test program: [`worker`] is its code.
#![cfg(unix)]

#[allow(dead_code, reason = "other tests use the rest")]
mod fake_server;

use std::future::pending;
use std::io::{BufRead as _, BufReader, Lines};
use std::pin::pin;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use fake_server::{FakeQueues, FakeServer};
use taskcenter_client::wire::ReportedOutcome;
use taskcenter_client::{Consumer, Context, HandlerError};

/// Environment variable with the connection string of the worker process.
const CONNECT: &str = "TASKCENTER_TEST_CONNECT";

/// Runs as the worker process; in the test run itself, it has nothing to do.
#[tokio::test]
async fn worker() -> Result<(), taskcenter_client::Error> {
    let Ok(connection) = std::env::var(CONNECT) else { return Ok(()) };
    let handler = |_: Context, data: String| async move {
        if data == "fail" {
            return Err(HandlerError::from("the till is closed"));
        }
        if data == "give up" {
            return Err(HandlerError::dead_letter("the order is gone"));
        }
        eprintln!("handler started");
        pending::<Result<(), HandlerError>>().await
    };
    let consumer = Consumer::builder().on_text("t", handler).connect(&connection)?.start()?;
    let mut running = pin!(consumer.run_until_signal());
    // The first poll installs the signal handlers.
    assert!(futures_util::poll!(&mut running).is_pending());
    eprintln!("listening");
    running.await?;
    eprintln!("stopped");
    Ok(())
}

struct Worker {
    process: Child,
    output: Lines<BufReader<ChildStderr>>,
}

impl Worker {
    fn start(connection: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "worker", "--nocapture"])
            .env(CONNECT, connection)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stderr.take().unwrap()).lines();
        Self { process, output }
    }

    /// Reads the output up to a line that contains `text`.
    fn wait_for(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        for line in self.output.by_ref().map(Result::unwrap) {
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
        panic!("{text:?} was not printed: {seen:?}")
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn wait(mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_signal_waits_for_the_handlers_and_the_second_interrupts_them() {
    for (first, second) in [("-TERM", "-INT"), ("-INT", "-TERM")] {
        let queues = FakeQueues::default();
        let server = FakeServer::start(&queues).await;
        let mut worker = Worker::start(&server.url("worker=me"));
        worker.wait_for("listening");
        queues.add("stuck", "t", "x");
        worker.wait_for("handler started");
        worker.signal(first);
        let line = worker.wait_for("shutting down");
        assert!(line.contains("for 1 running handlers"), "{line}");
        worker.signal(second);
        worker.wait_for("second signal");
        worker.wait_for("stopped");
        assert!(worker.wait().success());
        assert_eq!(queues.run("stuck").reports[0].outcome, ReportedOutcome::Failed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_log_prints_what_is_wrong() {
    let address = FakeServer::unused_address();
    let mut worker = Worker::start(&format!("http://{address}"));
    let line = worker.wait_for("lease request failed");
    assert!(line.contains("retrying") && line.contains("check that it is running"), "{line}");
    let queues = FakeQueues::default();
    queues.faults(|faults| faults.denied = true);
    let _server = FakeServer::start_at(address, &queues).await;
    worker.wait_for("Error: the pull transport failed: the server answered 401");
    assert!(!worker.wait().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_log_prints_failed_handlers() {
    let queues = FakeQueues::default();
    let server = FakeServer::start(&queues).await;
    let mut worker = Worker::start(&server.url("worker=me"));
    worker.wait_for("listening");
    queues.add("r1", "t", "fail");
    let line = worker.wait_for("handler failed: the till is closed");
    assert!(line.contains("tag t, run r1, attempt 1"), "{line}");
    queues.add("r2", "t", "give up");
    let line = worker.wait_for("run is dead: the order is gone");
    assert!(line.contains("tag t, run r2, attempt 1"), "{line}");
}

//! `taskcenter worker` as a process that is killed: another worker takes over its runs.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::cluster::{Cluster, Mode, Server, in_both_modes};
use crate::wait;

in_both_modes! {
    a_killed_worker_loses_no_run
}

/// A worker process. Dropping it kills the process.
struct Worker {
    child: Child,
    log: String,
}

impl Worker {
    fn start(server: &Server, directory: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let base = format!("{directory}/worker{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let (config, log) = (format!("{base}.toml"), format!("{base}.log"));
        let settings = format!(
            "[workers]\nlease_ms = 2000\n[callback]\nallow = [\"127.0.0.0/8\"]\n[script]\nenabled = true\nbin_path = \
             \"{directory}/bin\"\n[log]\nformat = \"json\"\n"
        );
        std::fs::write(&config, settings).expect("the configuration is written");
        let output = std::fs::File::create(&log).expect("the log is created");
        let child = Command::new(env!("CARGO_BIN_EXE_taskcenter"))
            .args(["worker", "--queues", "script,callback", "--server", &server.url, "--config", &config])
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("the log is shared"))
            .stderr(output)
            .spawn()
            .expect("the worker starts");
        Self { child, log }
    }

    /// Kills the process with SIGKILL.
    fn kill(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process has ended");
    }

    fn logged(&self, wanted: &str) -> bool {
        std::fs::read_to_string(&self.log).expect("the log exists").lines().any(|line| line.contains(wanted))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a script that the first time stores its process id and sleeps, and the next time ends at once.
/// Returns the directory.
fn script_dir(cluster: &Cluster) -> String {
    let directory = format!("{}/{}.scripts", env!("CARGO_TARGET_TMPDIR"), cluster.id);
    std::fs::create_dir_all(format!("{directory}/bin")).expect("the directory is created");
    let program = format!("{directory}/bin/stays");
    let text = format!(
        "#!/bin/sh\nif [ -e {directory}/pid ]; then echo done at last; else echo a line of the log; echo $$ > \
         {directory}/pid.new; mv {directory}/pid.new {directory}/pid; exec sleep 600; fi\n"
    );
    std::fs::write(&program, text).expect("the program is written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
        .expect("the script is executable");
    directory
}

/// A service that never answers the first callback. Returns its port and the number of calls.
async fn service() -> (u16, Arc<AtomicUsize>) {
    let called = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&called);
    let answer = move || async move {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            std::future::pending::<()>().await;
        }
        "done at last"
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let port = listener.local_addr().expect("the listener has an address").port();
    let routes = Router::new().route("/", post(answer));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (port, called)
}

async fn create(server: &Server, path: &str, body: Value) -> Value {
    let answer = server.http.post(format!("{}{path}", server.url)).body(body.to_string()).send();
    let answer = answer.await.expect("the node answers").bytes().await.expect("the body is complete");
    serde_json::from_slice(&answer).expect("the text is JSON")
}

/// Returns the ended runs, ordered by queue.
async fn ended(server: &Server) -> Vec<(String, String, Value, u64)> {
    let answer = server.http.get(format!("{}/v1/runs", server.url)).send().await.expect("the node answers");
    let list: Value = serde_json::from_slice(&answer.bytes().await.expect("the body is complete"))
        .expect("the text is JSON");
    let text = |run: &Value, name: &str| run[name].as_str().unwrap_or_default().to_owned();
    let mut ended: Vec<_> = list["runs"]
        .as_array()
        .expect("the value is a list")
        .iter()
        .filter(|run| !run["ended_at"].is_null())
        .map(|run| {
            let attempt = run["attempt"].as_u64().unwrap_or_default();
            (text(run, "queue"), text(run, "state"), run["result"]["message"].clone(), attempt)
        })
        .collect();
    ended.sort_by_key(|(queue, ..)| queue.clone());
    ended
}

async fn a_killed_worker_loses_no_run(mode: Mode) {
    let mut cluster = Cluster::on(mode, "worker");
    "[workers]\nqueues = []\n[engine]\nrescue_ms = 100\n".clone_into(&mut cluster.extra);
    let (directory, (port, called)) = (script_dir(&cluster), service().await);
    let server = cluster.start().await;
    let mut first = Worker::start(&server, &directory);
    let nodes = json!([{"url": format!("http://127.0.0.1:{port}")}]);
    create(&server, "/v1/services", json!({"name": "shop", "nodes": nodes})).await;
    let callback = json!({"service": "shop", "path": "/", "timeout_ms": 60_000}).to_string();
    create(&server, "/v1/tasks", json!({"name": "called", "queue": "callback", "data": callback})).await;
    let script = json!({"bin_name": "stays", "timeout_ms": 600_000}).to_string();
    create(&server, "/v1/tasks", json!({"name": "run", "queue": "script", "data": script})).await;
    let pid = format!("{directory}/pid");
    wait::until("both runs are in progress", async || {
        called.load(Ordering::SeqCst) == 1 && std::fs::exists(&pid).is_ok_and(|exists| exists)
    })
    .await;
    wait::until("the program's output is in the worker's log", async || first.logged("a line of the log"))
        .await;
    first.kill();
    assert_eq!(ended(&server).await, [], "no run has an outcome");

    let second = Worker::start(&server, &directory);
    let done = |queue: &str| (queue.to_owned(), "succeeded".to_owned(), json!("done at last"), 2);
    wait::until("the other worker has run both", async || {
        ended(&server).await == [done("callback"), done("script")]
    })
    .await;
    assert!(second.logged("done at last"), "the output of the script is in the log of the worker");
    assert_eq!(called.load(Ordering::SeqCst), 2);
    // A killed worker cannot kill its script.
    let pid = std::fs::read_to_string(pid).expect("the script has stored its process id");
    Command::new("kill").args(["-KILL", pid.trim()]).status().expect("kill runs");
}

//! The embedded node: killed at any time, with a full disk, started twice, with workers that die.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use taskcenter_client::resources::{LeaseRequest, SettleRequest, Settlement, TaskSpec};
use taskcenter_client::wire::{OutcomeReport, ReportedOutcome};
use taskcenter_client::{NewTask, TaskCenter};

use crate::cluster::{Cluster, Mode, Server};
use crate::{ledger, wait};

const KILLS: usize = 200;
/// Number of concurrent writers.
const WRITERS: usize = 4;

/// Acknowledged tasks, and whether their outcome was acknowledged too.
#[derive(Default)]
struct Acknowledged(std::sync::Mutex<BTreeMap<String, bool>>);

impl Acknowledged {
    fn task(&self, id: String) {
        self.0.lock().expect("no thread panicked with the lock").entry(id).or_default();
    }

    fn outcome(&self, id: String) {
        self.0.lock().expect("no thread panicked with the lock").insert(id, true);
    }
}

fn client_without_retries(url: &str) -> TaskCenter {
    TaskCenter::builder(url).retries(0, Duration::from_millis(1)).build().expect("the URL is valid")
}

/// Creates tasks one after the other, on any node that listens at this URL.
async fn write(url: String, acknowledged: Arc<Acknowledged>, over: Arc<AtomicBool>) {
    let client = client_without_retries(&url);
    let mut pause = tokio::time::interval(Duration::from_millis(2));
    while !over.load(Ordering::Relaxed) {
        pause.tick().await;
        let task = TaskSpec { name: "kill".to_owned(), data: "x".repeat(200), ..TaskSpec::default() };
        if let Ok(task) = client.create_task(&task).await {
            acknowledged.task(task.id);
        }
    }
}

/// Leases runs and reports them.
async fn work(url: String, acknowledged: Arc<Acknowledged>, over: Arc<AtomicBool>) {
    let client = client_without_retries(&url);
    let mut pause = tokio::time::interval(Duration::from_millis(2));
    while !over.load(Ordering::Relaxed) {
        pause.tick().await;
        let request = LeaseRequest {
            worker: "worker".to_owned(),
            queues: vec!["kill".to_owned()],
            limit: 20,
            lease_ms: 1_000,
            wait_ms: 50,
            request_id: None,
        };
        let Ok(leased) = client.lease(&request).await else { continue };
        let outcomes = leased.runs.iter().map(|run| Settlement {
            run_id: run.run_id.clone(),
            report: OutcomeReport {
                attempt: run.attempt,
                token: run.token.clone(),
                outcome: ReportedOutcome::Succeeded,
                message: None,
                retry_after_ms: None,
                result: None,
                started_at: None,
            },
        });
        let Ok(answers) = client.settle(&SettleRequest { outcomes: outcomes.collect() }).await else {
            continue;
        };
        for (run, answer) in leased.runs.into_iter().zip(answers.results) {
            if answer.status == 200 {
                acknowledged.outcome(run.task_id);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_in_two_hundred_kills() {
    let mut cluster = Cluster::on(Mode::Embedded, "kills");
    "[engine]\nrescue_ms = 50\n".clone_into(&mut cluster.extra);
    let (acknowledged, over) = (Arc::new(Acknowledged::default()), Arc::new(AtomicBool::new(false)));
    let mut threads = Vec::new();
    for _ in 0..WRITERS {
        threads.push(tokio::spawn(write(cluster.url(), Arc::clone(&acknowledged), Arc::clone(&over))));
    }
    threads.push(tokio::spawn(work(cluster.url(), Arc::clone(&acknowledged), Arc::clone(&over))));

    let longest_open = AtomicI64::new(0);
    let mut random = 0x9e37_79b9_u64;
    for _ in 0..KILLS {
        let begun = wait::now_ms();
        let mut node = cluster.start().await;
        longest_open.fetch_max(wait::now_ms() - begun, Ordering::Relaxed);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        wait::moment(wait::now_ms() + (random >> 33) as i64 % 100).await;
        node.kill();
    }
    over.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.await.expect("the writer does not panic");
    }
    let _node = cluster.start().await;
    let (tasks, outcomes) = check(&cluster, &acknowledged).await;
    let longest_open = longest_open.into_inner();
    let _ = writeln!(
        std::io::stderr(),
        "kills {KILLS} | tasks acknowledged {tasks}, lost 0 | outcomes acknowledged {outcomes}, lost 0 | longest start {longest_open} ms"
    );
    assert!(longest_open < 5_000, "a start took {longest_open} ms");
    assert!(
        tasks > KILLS && outcomes > KILLS / 10,
        "only {tasks} tasks and {outcomes} outcomes were acknowledged"
    );
}

/// Asserts that every acknowledged task has one run and every acknowledged outcome is stored.
async fn check(cluster: &Cluster, acknowledged: &Acknowledged) -> (usize, usize) {
    let acknowledged = acknowledged.0.lock().expect("no thread panicked with the lock").clone();
    let mut states: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut all_fired = false;
    wait::until("every acknowledged task has its run", async || {
        states.clear();
        for run in ledger::runs(cluster).await {
            states.entry(run.task_id).or_default().push(run.state);
        }
        all_fired = acknowledged.keys().all(|task| states.contains_key(task));
        all_fired
    })
    .await;
    let doubled: Vec<_> = states.iter().filter(|(_, runs)| runs.len() != 1).collect();
    assert!(doubled.is_empty(), "more than one run: {doubled:?}");
    let done: Vec<&String> = acknowledged.iter().filter(|(_, done)| **done).map(|(task, _)| task).collect();
    let lost: Vec<_> = done.iter().filter(|task| states[**task] != ["succeeded"]).collect();
    assert!(lost.is_empty(), "lost outcomes: {lost:?}");
    (acknowledged.len(), done.len())
}

/// A file system of this size in megabytes. Dropping it unmounts it.
struct SmallDisk(String);

impl SmallDisk {
    fn new(name: &str, megabytes: u32) -> Self {
        let at = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
        std::fs::create_dir_all(&at).expect("the mount point is created");
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs", &at]).status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "this test must mount a tmpfs: run it as root or within `unshare -Urm`"
        );
        Self(at)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_without_loss_and_recovers() {
    let mut cluster = Cluster::on(Mode::Embedded, "full");
    let disk = SmallDisk::new(&format!("{}.disk", cluster.id), 8);
    cluster.data_dir = format!("{}/data", disk.0);
    let ballast = format!("{}/ballast", disk.0);
    std::fs::write(&ballast, vec![1; 3_000_000]).expect("the disk has room");
    let mut node = cluster.start().await;
    let client = client_without_retries(&node.url);
    let far = (wait::now_ms() + 86_400_000) / 1000;
    let task = |n: usize| NewTask::once("full", format!("{n} {}", "x".repeat(50_000))).at(far);
    let mut accepted = Vec::new();
    let refused = loop {
        match client.add_task(task(accepted.len())).await {
            Ok(id) => accepted.push(id),
            Err(error) => break error,
        }
        assert!(accepted.len() < 1_000, "the disk does not become full");
    };
    assert!(matches!(refused.status(), Some(503 | 507)), "{refused:?}");
    assert!(!accepted.is_empty());
    assert_all_stored(&client, &accepted).await;

    std::fs::remove_file(&ballast).expect("the file exists");
    wait::until("the server accepts tasks again", async || client.add_task(task(5_000)).await.is_ok()).await;
    assert_eq!(node.stop().await, Some(0), "the node stops with exit status 0");
    let mut node = cluster.start().await;
    assert_all_stored(&node.client(), &accepted).await;
    assert_intact(&cluster);
    node.kill();
}

async fn assert_all_stored(client: &TaskCenter, ids: &[String]) {
    for id in ids {
        assert!(client.query_task(id).await.expect("the server answers").is_some(), "{id} is lost");
    }
}

fn assert_intact(cluster: &Cluster) {
    let ledger =
        rusqlite::Connection::open(format!("{}/taskcenter.db", cluster.data_dir)).expect("the file opens");
    let integrity: String =
        ledger.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("the check runs");
    assert_eq!(integrity, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_a_data_directory_ends_with_the_reason() {
    let mut cluster = Cluster::on(Mode::Embedded, "twice");
    let node = cluster.start().await;
    cluster.another_port();
    let mut second = cluster.spawn("");
    assert_eq!(second.died().await, Some(1));
    let log = std::fs::read_to_string(&second.log).expect("the log exists");
    assert!(log.contains("in use by another"), "{log}");
    assert_eq!(node.status().await.as_deref(), Some("ready"), "the first node is unaffected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_a_dead_worker_is_leased_again_after_its_lease() {
    let mut cluster = Cluster::on(Mode::Embedded, "worker");
    "[engine]\nrescue_ms = 50\n".clone_into(&mut cluster.extra);
    let node: Server = cluster.start().await;
    let client = node.client();
    client
        .create_task(&TaskSpec { name: "a".to_owned(), ..TaskSpec::default() })
        .await
        .expect("the server accepts the request");
    let request = |worker: &str| LeaseRequest {
        worker: worker.to_owned(),
        queues: vec!["a".to_owned()],
        limit: 1,
        lease_ms: 1_000,
        wait_ms: 10_000,
        request_id: None,
    };
    let first = client.lease(&request("dies")).await.expect("the server answers").runs.remove(0);
    // The first worker never reports.
    let second = client.lease(&request("next")).await.expect("the server answers").runs.remove(0);
    assert_eq!((&second.run_id, second.attempt), (&first.run_id, 2));
    assert!(
        wait::now_ms() >= first.lease_until.as_millisecond(),
        "the run is not leased again before the lease expires"
    );
    let late = OutcomeReport {
        attempt: first.attempt,
        token: first.token,
        outcome: ReportedOutcome::Succeeded,
        message: None,
        retry_after_ms: None,
        result: None,
        started_at: None,
    };
    let refused = client.report(&first.run_id, &late).await.expect_err("the lease is lost");
    assert_eq!(refused.status(), Some(409));
}

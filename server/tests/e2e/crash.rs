//! Crashes of the process at each write. Another node, or the same one after a restart, continues.

use std::time::Duration;

use taskcenter_client::resources::LeaseRequest;
use taskcenter_client::wire::{OutcomeReport, ReportedOutcome};
use taskcenter_client::{NewTask, TaskCenter};

use crate::cluster::{Cluster, Mode, Server, in_both_modes};
use crate::inbox::Inbox;
use crate::{ledger, wait};

const TASKS: usize = 20;

fn cluster_with_short_leases(mode: Mode, name: &str) -> Cluster {
    let mut cluster = Cluster::on(mode, name);
    // Short leases: the work of a dead node is taken over soon.
    "[engine]\nrun_lease_ms = 2000\nshard_lease_ms = 1500\nrescue_ms = 100\n".clone_into(&mut cluster.extra);
    cluster
}

/// Creates one-shots that are due together in two seconds. Returns their ids.
async fn one_shots(node: &Server) -> Vec<String> {
    let at = wait::now_ms() / 1000 + 2;
    let client = node.client();
    let mut ids = Vec::new();
    for i in 0..TASKS {
        ids.push(
            client
                .add_task(NewTask::once("crash", i.to_string()).at(at))
                .await
                .expect("the server accepts the request"),
        );
    }
    ids
}

/// Asserts that each task has one run, which is handed over and delivered at most `copies` times.
async fn all_fired_once(cluster: &Cluster, inbox: &Inbox, copies: usize) {
    inbox.until_runs(TASKS).await;
    wait::until("every run is handed over", async || {
        let rows = ledger::runs(cluster).await;
        rows.len() == TASKS && rows.iter().all(ledger::Row::is_handed_over)
    })
    .await;
    let times = inbox.by_run();
    assert_eq!(times.len(), TASKS);
    assert!(times.values().all(|times| *times <= copies), "copies: {times:?}");
}

async fn dies_while_it_fires(mode: Mode, failpoint: &str, copies: usize) {
    let cluster = cluster_with_short_leases(mode, &failpoint.replace("::", "_"));
    let mut node = cluster.start_to_die_at(failpoint).await;
    let inbox = Inbox::open(&cluster);
    one_shots(&node).await;
    assert_eq!(node.died().await, None, "a signal ended the node");
    let _next = cluster.start().await;
    all_fired_once(&cluster, &inbox, copies).await;
    inbox.close().await;
}

in_both_modes! {
    after_the_runs_are_inserted
    after_the_tasks_are_advanced
    before_the_runs_are_handed_over
    before_a_task_is_stored
    after_a_task_is_stored_and_before_the_acknowledgement
    after_a_task_is_deleted_and_before_the_acknowledgement
    a_node_that_stops_drains_and_loses_nothing
    a_batch_that_panics_is_fired_by_the_next_scan
    before_and_after_a_report_is_stored
}

/// On SQLite, the tasks have advanced in the same transaction, which is not committed.
async fn after_the_runs_are_inserted(mode: Mode) {
    let failpoint = if mode == Mode::Cluster { "fire::inserted" } else { "sqlite::fired" };
    dies_while_it_fires(mode, failpoint, 1).await;
}

async fn after_the_tasks_are_advanced(mode: Mode) {
    dies_while_it_fires(mode, "fire::advanced", 1).await;
}

async fn before_the_runs_are_handed_over(mode: Mode) {
    let failpoint = if mode == Mode::Cluster { "fire::before_publish" } else { "fire::before_insert" };
    dies_while_it_fires(mode, failpoint, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_messages_are_sent_where_duplicates_are_allowed() {
    dies_while_it_fires(Mode::Cluster, "fire::published", 2).await;
}

/// The embedded mode hands the runs over while it advances the tasks.
#[tokio::test(flavor = "multi_thread")]
async fn after_the_runs_are_marked() {
    dies_while_it_fires(Mode::Cluster, "fire::marked", 1).await;
}

/// The first node leaves rows behind. The second dies while it takes them over. A fire in one write leaves
/// no such rows.
async fn dies_while_it_rescues(failpoint: &str) {
    let cluster = cluster_with_short_leases(Mode::Cluster, &failpoint.replace("::", "_"));
    let mut first = cluster.start_to_die_at("fire::advanced").await;
    let inbox = Inbox::open(&cluster);
    one_shots(&first).await;
    first.died().await;
    let mut second = cluster.spawn(&format!("{failpoint}=return(abort)"));
    assert_eq!(second.died().await, None, "a signal ended the node");
    let _next = cluster.start().await;
    all_fired_once(&cluster, &inbox, 1).await;
    inbox.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_a_rescuer_claims() {
    dies_while_it_rescues("rescue::before_claim").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rescuer_has_claimed() {
    dies_while_it_rescues("rescue::claimed").await;
}

/// The request was not acknowledged. Repeated on another node, it creates the task once.
async fn dies_while_it_submits(mode: Mode, failpoint: &str) {
    let cluster = cluster_with_short_leases(mode, &failpoint.replace("::", "_"));
    let mut node = cluster.start_to_die_at(failpoint).await;
    let inbox = Inbox::open(&cluster);
    let no_retry = TaskCenter::builder(&node.url)
        .retries(0, Duration::from_millis(1))
        .build()
        .expect("the URL is valid");
    let at = wait::now_ms() / 1000 + 6;
    let task = || NewTask::once("crash", "once").at(at);
    no_retry.add_task(task()).await.expect_err("the node died during the request");
    node.died().await;
    let next = cluster.start().await;
    let id = next.client().add_task(task()).await.expect("the server accepts the request");
    // A later task proves that the moment of a duplicate has passed.
    next.client()
        .add_task(NewTask::once("crash", "later").at(at + 1))
        .await
        .expect("the server accepts the request");
    inbox.until_runs(2).await;
    let of_task: Vec<_> = inbox.all().into_iter().filter(|received| received.data == "once").collect();
    assert_eq!(of_task.len(), 1, "{of_task:?}");
    assert_eq!(of_task[0].task_id, id);
    inbox.close().await;
}

async fn before_a_task_is_stored(mode: Mode) {
    dies_while_it_submits(mode, "submit::before_insert").await;
}

async fn after_a_task_is_stored_and_before_the_acknowledgement(mode: Mode) {
    dies_while_it_submits(mode, "submit::inserted").await;
}

async fn after_a_task_is_deleted_and_before_the_acknowledgement(mode: Mode) {
    let cluster = cluster_with_short_leases(mode, "delete");
    let mut node = cluster.start_to_die_at("delete::cancelled").await;
    let inbox = Inbox::open(&cluster);
    let at = wait::now_ms() / 1000 + 4;
    let id = node
        .client()
        .add_task(NewTask::once("crash", "never").at(at))
        .await
        .expect("the server accepts the request");
    let no_retry = TaskCenter::builder(&node.url)
        .retries(0, Duration::from_millis(1))
        .build()
        .expect("the URL is valid");
    no_retry.delete_tasks([id.clone()]).await.expect_err("the node died during the request");
    node.died().await;
    let next = cluster.start().await;
    let again = next.client().delete_tasks([id.clone()]).await.expect("the server accepts the request");
    assert_eq!(again, std::slice::from_ref(&id), "the repeated request succeeds");
    // A later task proves that the moment of the deleted task has passed.
    next.client()
        .add_task(NewTask::once("crash", "later").at(at + 1))
        .await
        .expect("the server accepts the request");
    inbox.until_runs(1).await;
    assert!(inbox.all().iter().all(|received| received.data == "later"));
    assert_eq!(ledger::runs_of(&cluster, &id).await, []);
    inbox.close().await;
}

/// The node stops in the middle of a batch: the runs are stored and, in the cluster, not yet handed over.
async fn a_node_that_stops_drains_and_loses_nothing(mode: Mode) {
    let mut cluster = Cluster::on(mode, "drain");
    // Long leases: a slow node keeps its runs.
    "[engine]\nrun_lease_ms = 20000\nshard_lease_ms = 1500\n".clone_into(&mut cluster.extra);
    let slow = if mode == Mode::Cluster { "fire::inserted" } else { "fire::advanced" };
    let mut node = cluster.spawn(&format!("{slow}=sleep(3000)"));
    node.until_status("ready").await;
    let inbox = Inbox::open(&cluster);
    one_shots(&node).await;
    let firing = async || {
        let rows = ledger::runs(&cluster).await;
        rows.into_iter().filter(|row| row.state == "firing").map(|row| row.run_id).collect::<Vec<_>>()
    };
    wait::until("a batch is in progress", async || match mode {
        Mode::Cluster => !firing().await.is_empty(),
        Mode::Embedded => !ledger::runs(&cluster).await.is_empty(),
    })
    .await;
    assert_eq!(node.stop().await, Some(0), "the node stops with exit status 0");
    assert_eq!(firing().await, [""; 0], "runs in progress are handed over before the node ends");
    let handed_over = ledger::runs(&cluster).await.len();
    assert!(handed_over > 0);
    let _next = cluster.start().await;
    all_fired_once(&cluster, &inbox, 1).await;
    inbox.close().await;
}

/// Creates a run that waits for its outcome. Returns run id and attempt token.
async fn handed_over(cluster: &Cluster, node: &Server) -> (String, String) {
    let client = node.client();
    let task = NewTask::once("crash", "reported").ack(Duration::from_mins(1));
    let id = client.add_task(task).await.expect("the server accepts the request");
    if cluster.mode == Mode::Embedded {
        let (worker, queues) = ("worker".to_owned(), vec!["crash".to_owned()]);
        let request =
            LeaseRequest { worker, queues, limit: 1, lease_ms: 60_000, wait_ms: 20_000, request_id: None };
        let run = client.lease(&request).await.expect("the server answers").runs.remove(0);
        return (run.run_id, run.token);
    }
    let fired = async || ledger::runs_of(cluster, &id).await.into_iter().find(|row| row.state == "fired");
    wait::until("the run is fired", async || fired().await.is_some()).await;
    let run = fired().await.expect("the run is fired");
    (run.run_id, run.token)
}

async fn before_and_after_a_report_is_stored(mode: Mode) {
    for failpoint in ["report::before_update", "report::updated"] {
        let cluster = cluster_with_short_leases(mode, &failpoint.replace("::", "_"));
        let mut node = cluster.start_to_die_at(failpoint).await;
        let (run_id, token) = handed_over(&cluster, &node).await;
        let report = OutcomeReport {
            attempt: 1,
            token,
            outcome: ReportedOutcome::Succeeded,
            message: None,
            retry_after_ms: None,
            result: None,
            started_at: None,
        };
        let no_retry = TaskCenter::builder(&node.url)
            .retries(0, Duration::from_millis(1))
            .build()
            .expect("the URL is valid");
        no_retry.report(&run_id, &report).await.expect_err("the node died during the request");
        assert_eq!(node.died().await, None, "a signal ended the node");
        let next = cluster.start().await;
        let again = next.client().report(&run_id, &report).await.expect("the repeated request succeeds");
        assert_eq!(again.state, "succeeded");
        let stale = OutcomeReport { token: "another".to_owned(), ..report };
        let refused =
            next.client().report(&run_id, &stale).await.expect_err("the token is not that of the attempt");
        assert_eq!(refused.status(), Some(409));
    }
}

/// Only the batch fails. The same node fires its tasks.
async fn a_batch_that_panics_is_fired_by_the_next_scan(mode: Mode) {
    let cluster = cluster_with_short_leases(mode, "panic");
    let failpoint = if mode == Mode::Cluster { "fire::inserted" } else { "fire::advanced" };
    let node = cluster.spawn(&format!("{failpoint}=1*panic"));
    node.until_status("ready").await;
    let inbox = Inbox::open(&cluster);
    one_shots(&node).await;
    all_fired_once(&cluster, &inbox, 1).await;
    // On SQLite, the runs are in their queue before the panic is logged.
    wait::until("the panic of the batch is logged", async || {
        std::fs::read_to_string(&node.log).is_ok_and(|log| log.contains("batch panicked"))
    })
    .await;
    inbox.close().await;
}

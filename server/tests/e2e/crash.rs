//! The process dies right after each write. Each test names the place; another node, or the same one started again, carries on.

use std::time::Duration;

use taskcenter_client::resources::LeaseRequest;
use taskcenter_client::wire::{OutcomeReport, ReportedOutcome};
use taskcenter_client::{NewTask, TaskCenter};

use crate::cluster::{Cluster, Mode, Server, in_both_modes};
use crate::inbox::Inbox;
use crate::{ledger, wait};

const TASKS: usize = 20;

fn impatient(mode: Mode, name: &str) -> Cluster {
    let mut cluster = Cluster::on(mode, name);
    // Short leases: what a dead node had in its hands is taken over soon.
    "[engine]\nrun_lease_ms = 2000\nshard_lease_ms = 1500\nrescue_ms = 100\n".clone_into(&mut cluster.extra);
    cluster
}

/// One-shots that are due all at once in two seconds; their ids.
async fn one_shots(node: &Server) -> Vec<String> {
    let at = wait::now_ms() / 1000 + 2;
    let client = node.client();
    let mut ids = Vec::new();
    for i in 0..TASKS {
        ids.push(
            client.add_task(NewTask::once("crash", i.to_string()).at(at)).await.expect("it is accepted"),
        );
    }
    ids
}

/// Each task has one run, which is fired; each run was delivered, and none more than `copies` times.
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
    let cluster = impatient(mode, &failpoint.replace("::", "_"));
    let mut node = cluster.start_to_die_at(failpoint).await;
    let inbox = Inbox::open(&cluster);
    one_shots(&node).await;
    assert_eq!(node.died().await, None, "it ended by a signal");
    let _heir = cluster.start().await;
    all_fired_once(&cluster, &inbox, copies).await;
    inbox.close().await;
}

in_both_modes! {
    after_the_runs_are_inserted
    after_the_tasks_are_advanced
    before_the_runs_are_handed_over
    after_the_runs_are_marked
    before_a_rescuer_claims
    after_a_rescuer_has_claimed
    before_a_task_is_stored
    after_a_task_is_stored_and_before_it_is_acknowledged
    after_a_task_is_deleted_and_before_that_is_acknowledged
    a_node_that_is_asked_to_stop_drains_and_loses_nothing
    a_batch_that_panics_is_fired_by_the_next_scan
    before_a_report_is_stored_and_after_it_and_before_that_is_acknowledged
}

async fn after_the_runs_are_inserted(mode: Mode) {
    dies_while_it_fires(mode, "fire::inserted", 1).await;
}

async fn after_the_tasks_are_advanced(mode: Mode) {
    dies_while_it_fires(mode, "fire::advanced", 1).await;
}

async fn before_the_runs_are_handed_over(mode: Mode) {
    let failpoint = if mode == Mode::Cluster { "fire::before_publish" } else { "fire::before_queue" };
    dies_while_it_fires(mode, failpoint, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_messages_are_sent_which_alone_may_double_them() {
    dies_while_it_fires(Mode::Cluster, "fire::published", 2).await;
}

async fn after_the_runs_are_marked(mode: Mode) {
    dies_while_it_fires(mode, "fire::marked", 1).await;
}

/// The first node leaves rows behind, the second dies while it takes them over.
async fn dies_while_it_rescues(mode: Mode, left_by: &str, failpoint: &str) {
    let cluster = impatient(mode, &failpoint.replace("::", "_"));
    let mut first = cluster.start_to_die_at(left_by).await;
    let inbox = Inbox::open(&cluster);
    one_shots(&first).await;
    first.died().await;
    let mut second = cluster.spawn(&format!("{failpoint}=return(abort)"));
    assert_eq!(second.died().await, None, "it ended by a signal");
    let _heir = cluster.start().await;
    all_fired_once(&cluster, &inbox, 1).await;
    inbox.close().await;
}

async fn before_a_rescuer_claims(mode: Mode) {
    dies_while_it_rescues(mode, "fire::advanced", "rescue::before_claim").await;
}

async fn after_a_rescuer_has_claimed(mode: Mode) {
    dies_while_it_rescues(mode, "fire::advanced", "rescue::claimed").await;
}

/// Nothing was lost, or nothing was acknowledged: sent again to another node, the task stands once.
async fn dies_while_it_submits(mode: Mode, failpoint: &str) {
    let cluster = impatient(mode, &failpoint.replace("::", "_"));
    let mut node = cluster.start_to_die_at(failpoint).await;
    let inbox = Inbox::open(&cluster);
    let hasty =
        TaskCenter::builder(&node.url).retries(0, Duration::from_millis(1)).build().expect("it is sound");
    let at = wait::now_ms() / 1000 + 6;
    let task = || NewTask::once("crash", "once").at(at);
    hasty.add_task(task()).await.expect_err("the node died over it");
    node.died().await;
    let heir = cluster.start().await;
    let id = heir.client().add_task(task()).await.expect("it is accepted");
    // A later task proves that the moment of a second copy would have come.
    heir.client().add_task(NewTask::once("crash", "later").at(at + 1)).await.expect("it is accepted");
    inbox.until_runs(2).await;
    let of_task: Vec<_> = inbox.all().into_iter().filter(|received| received.data == "once").collect();
    assert_eq!(of_task.len(), 1, "{of_task:?}");
    assert_eq!(of_task[0].task_id, id);
    inbox.close().await;
}

async fn before_a_task_is_stored(mode: Mode) {
    dies_while_it_submits(mode, "submit::before_insert").await;
}

async fn after_a_task_is_stored_and_before_it_is_acknowledged(mode: Mode) {
    dies_while_it_submits(mode, "submit::inserted").await;
}

async fn after_a_task_is_deleted_and_before_that_is_acknowledged(mode: Mode) {
    let cluster = impatient(mode, "delete");
    let mut node = cluster.start_to_die_at("delete::cancelled").await;
    let inbox = Inbox::open(&cluster);
    let at = wait::now_ms() / 1000 + 4;
    let id = node.client().add_task(NewTask::once("crash", "never").at(at)).await.expect("it is accepted");
    let hasty =
        TaskCenter::builder(&node.url).retries(0, Duration::from_millis(1)).build().expect("it is sound");
    hasty.delete_tasks([id.clone()]).await.expect_err("the node died over it");
    node.died().await;
    let heir = cluster.start().await;
    let again = heir.client().delete_tasks([id.clone()]).await.expect("it is accepted");
    assert_eq!(again, std::slice::from_ref(&id), "the answer that was lost");
    // A later task proves that the moment of the deleted one has passed.
    heir.client().add_task(NewTask::once("crash", "later").at(at + 1)).await.expect("it is accepted");
    inbox.until_runs(1).await;
    assert!(inbox.all().iter().all(|received| received.data == "later"));
    assert_eq!(ledger::runs_of(&cluster, &id).await, []);
    inbox.close().await;
}

/// It is asked in the middle of a batch: the runs stand in the ledger, and none of them is handed over yet.
async fn a_node_that_is_asked_to_stop_drains_and_loses_nothing(mode: Mode) {
    let mut cluster = Cluster::on(mode, "drain");
    // Nobody takes over what is only slow.
    "[engine]\nrun_lease_ms = 20000\nshard_lease_ms = 1500\n".clone_into(&mut cluster.extra);
    let mut node = cluster.spawn("fire::inserted=sleep(3000)");
    node.until_status("ready").await;
    let inbox = Inbox::open(&cluster);
    one_shots(&node).await;
    let under_way = async || {
        let rows = ledger::runs(&cluster).await;
        rows.into_iter().filter(|row| row.state == "firing").map(|row| row.run_id).collect::<Vec<_>>()
    };
    wait::until("runs are under way", async || !under_way().await.is_empty()).await;
    assert_eq!(node.stop().await, Some(0), "it ends in order");
    assert_eq!(under_way().await, [""; 0], "what was under way was handed over before it ended");
    let handed_over = ledger::runs(&cluster).await.len();
    assert!(handed_over > 0);
    let _heir = cluster.start().await;
    all_fired_once(&cluster, &inbox, 1).await;
    inbox.close().await;
}

/// An attempt of a run that waits for its outcome: its id and its token.
async fn handed_over(cluster: &Cluster, node: &Server) -> (String, String) {
    let client = node.client();
    let ask = NewTask::once("crash", "reported").ack(Duration::from_mins(1));
    let id = client.add_task(ask).await.expect("it is accepted");
    if cluster.mode == Mode::Embedded {
        let (worker, queues) = ("worker".to_owned(), vec!["crash".to_owned()]);
        let ask = LeaseRequest { worker, queues, limit: 1, lease_ms: 60_000, wait_ms: 20_000 };
        let run = client.lease(&ask).await.expect("it answers").runs.remove(0);
        return (run.run_id, run.token);
    }
    let fired = async || ledger::runs_of(cluster, &id).await.into_iter().find(|row| row.state == "fired");
    wait::until("the run is fired", async || fired().await.is_some()).await;
    let run = fired().await.expect("it is fired");
    (run.run_id, run.token)
}

async fn before_a_report_is_stored_and_after_it_and_before_that_is_acknowledged(mode: Mode) {
    for failpoint in ["report::before_update", "report::updated"] {
        let cluster = impatient(mode, &failpoint.replace("::", "_"));
        let mut node = cluster.start_to_die_at(failpoint).await;
        let (run_id, token) = handed_over(&cluster, &node).await;
        let report = OutcomeReport {
            attempt: 1,
            token,
            outcome: ReportedOutcome::Succeeded,
            message: None,
            retry_after_ms: None,
            result: None,
        };
        let hasty =
            TaskCenter::builder(&node.url).retries(0, Duration::from_millis(1)).build().expect("it is sound");
        hasty.report(&run_id, &report).await.expect_err("the node died over it");
        assert_eq!(node.died().await, None, "it ended by a signal");
        let heir = cluster.start().await;
        let again = heir.client().report(&run_id, &report).await.expect("the answer that was lost");
        assert_eq!(again.state, "succeeded");
        let stale = OutcomeReport { token: "another".to_owned(), ..report };
        let refused =
            heir.client().report(&run_id, &stale).await.expect_err("it is not this attempt's token");
        assert_eq!(refused.status(), Some(409));
    }
}

/// Not the process, only one batch: its tasks are fired by the same node all the same.
async fn a_batch_that_panics_is_fired_by_the_next_scan(mode: Mode) {
    let cluster = impatient(mode, "panic");
    let node = cluster.spawn("fire::inserted=1*panic");
    node.until_status("ready").await;
    let inbox = Inbox::open(&cluster);
    one_shots(&node).await;
    all_fired_once(&cluster, &inbox, 1).await;
    let log = std::fs::read_to_string(&node.log).expect("the log is there");
    assert!(log.contains("a batch panicked"), "it did panic");
    inbox.close().await;
}

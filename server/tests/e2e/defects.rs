//! Known defects of the old server, each with a test that it does not exist here. Defects of a single request are
//! tested with the HTTP API, that of the hot loop with `engine::pace`, and "Redis down = silently no scheduling" in
//! `outage`.

use std::time::Duration;

use taskcenter_client::resources::LeaseRequest;
use taskcenter_client::wire::AddTask;
use taskcenter_client::{Consumer, NewTask};

use crate::cluster::{Cluster, Mode, Server, in_both_modes, namesrv};
use crate::inbox::{Inbox, transport};
use crate::proxy::Proxy;
use crate::{ledger, wait};

struct Stage {
    cluster: Cluster,
    node: Server,
    inbox: Inbox,
}

async fn stage(mode: Mode, name: &str, extra: &str) -> Stage {
    let mut cluster = Cluster::on(mode, name);
    cluster.extra = extra.to_owned();
    let node = cluster.start().await;
    let inbox = Inbox::open(&cluster);
    Stage { cluster, node, inbox }
}

impl Stage {
    async fn add(&self, task: impl Into<AddTask>) -> String {
        self.node.client().add_task(task).await.expect("the server accepts the request")
    }

    /// Waits until a task is finished with `count` runs. Returns the moments of the runs in seconds.
    async fn fired_at(&self, task_id: &str, count: usize) -> Vec<i64> {
        wait::until("the task is finished", async || {
            ledger::task_state(&self.cluster, task_id).await.as_deref() == Some("finished")
        })
        .await;
        wait::until("the runs are handed over", async || {
            let runs = ledger::runs_of(&self.cluster, task_id).await;
            runs.iter().filter(|row| row.is_handed_over()).count() >= count
        })
        .await;
        let mut moments: Vec<i64> =
            ledger::runs_of(&self.cluster, task_id).await.iter().map(|row| row.scheduled_at / 1000).collect();
        moments.sort_unstable();
        moments
    }
}

fn after(sec: i64) -> i64 {
    wait::now_ms() / 1000 + sec
}

in_both_modes! {
    a_crash_between_insert_and_publish_does_not_stop_the_ticker
    a_task_fires_although_its_first_publish_failed
    start_time_is_respected
    end_time_of_a_one_shot_is_respected
    loop_count_is_the_number_of_fires
    a_loop_does_not_drift
    ack_and_max_runtime_are_enforced
}

/// "A crash or failed publish between log insert and publish wedged the whole ticker for ever."
async fn a_crash_between_insert_and_publish_does_not_stop_the_ticker(mode: Mode) {
    let mut cluster = Cluster::on(mode, "wedged");
    cluster.extra = "[engine]\nrun_lease_ms = 2000\nshard_lease_ms = 1500\n".to_owned();
    let mut killed = cluster.start_to_die_at("fire::advanced").await;
    let inbox = Inbox::open(&cluster);
    let client = killed.client();
    client
        .add_task(NewTask::every("wedge", "loop", 1).times(5).start_at(after(2)))
        .await
        .expect("the server accepts the request");
    killed.died().await;
    let _next = cluster.start().await;
    inbox.until_runs(5).await;
    inbox.close().await;
}

/// "A failed publish in the add call left a task that never fired." Here the add call publishes nothing.
async fn a_task_fires_although_its_first_publish_failed(mode: Mode) {
    match mode {
        Mode::Cluster => an_unpublished_run_is_published_later().await,
        Mode::Embedded => an_interrupted_hand_over_is_repeated().await,
    }
}

/// The broker is unreachable when the run is due.
async fn an_unpublished_run_is_published_later() {
    let proxy = Proxy::to(&namesrv()).await;
    proxy.cut();
    let mut cluster = Cluster::new("add_publish");
    cluster.extra = "[engine]\nrun_lease_ms = 2000\nshard_lease_ms = 1500\n".to_owned();
    cluster.rocketmq.0.clone_from(&proxy.addr);
    let node = cluster.spawn("");
    node.until_status("degraded").await;
    let id = node
        .client()
        .add_task(NewTask::once("add", "at once"))
        .await
        .expect("the server acknowledges the task");
    wait::until("the moment has a run", async || !ledger::runs_of(&cluster, &id).await.is_empty()).await;
    let runs = ledger::runs_of(&cluster, &id).await;
    assert!(runs.len() == 1 && runs[0].state == "firing", "the run waits: {runs:?}");

    proxy.restore();
    node.until_status("ready").await;
    let inbox = Inbox::open(&cluster);
    inbox.until_runs(1).await;
    assert_eq!(inbox.by_run().keys().collect::<Vec<_>>(), [&runs[0].run_id], "the waiting run is published");
    inbox.close().await;
}

/// Without a bus: the node dies before it stores the run in its queue.
async fn an_interrupted_hand_over_is_repeated() {
    let mut cluster = Cluster::on(Mode::Embedded, "add_publish");
    cluster.extra = "[engine]\nrun_lease_ms = 2000\nshard_lease_ms = 1500\n".to_owned();
    let mut killed = cluster.start_to_die_at("sqlite::fired").await;
    let inbox = Inbox::open(&cluster);
    killed
        .client()
        .add_task(NewTask::once("add", "at once"))
        .await
        .expect("the server acknowledges the task");
    killed.died().await;
    let _next = cluster.start().await;
    inbox.until_runs(1).await;
    inbox.close().await;
}

/// "start_time ignored."
async fn start_time_is_respected(mode: Mode) {
    let stage = stage(mode, "start_time", "").await;
    let start = after(3);
    let once = stage.add(NewTask::once("start", "once").at(start)).await;
    let every = stage.add(NewTask::every("start", "every", 1).times(1).start_at(start)).await;
    let cron = stage.add(NewTask::cron("start", "cron", "* * * * * *").start_at(start).times(1)).await;
    for id in [once, every, cron] {
        assert_eq!(stage.fired_at(&id, 1).await, [start]);
    }
    stage.inbox.until_runs(3).await;
    assert!(
        stage.inbox.all().iter().all(|received| received.arrived_at >= start * 1000),
        "no delivery is early"
    );
    stage.inbox.close().await;
}

/// "One-shot end_time ignored." No schedule fires after its end, and a one-shot that can never fire is refused.
async fn end_time_of_a_one_shot_is_respected(mode: Mode) {
    let stage = stage(mode, "end_time", "").await;
    let start = after(2);
    let refused =
        stage.node.client().add_task(NewTask::once("end", "once").at(start).end_at(start - 1)).await;
    assert_eq!(refused.expect_err("the task can never fire").field(), Some("end_time"));
    let once = stage.add(NewTask::once("end", "once").at(start).end_at(start)).await;
    let every = stage.add(NewTask::every("end", "every", 1).start_at(start).end_at(start + 2)).await;
    assert_eq!(stage.fired_at(&once, 1).await, [start]);
    assert_eq!(stage.fired_at(&every, 3).await, [start, start + 1, start + 2]);
    stage.inbox.close().await;
}

/// "loop_count + 1 fires."
async fn loop_count_is_the_number_of_fires(mode: Mode) {
    let stage = stage(mode, "loop_count", "").await;
    let start = after(2);
    let id = stage.add(NewTask::every("count", "three", 1).times(3).start_at(start)).await;
    assert_eq!(stage.fired_at(&id, 3).await.len(), 3);
    stage.inbox.until_runs(3).await;
    stage.inbox.close().await;
}

/// "Loop drift." Moments stay on the grid of the start.
async fn a_loop_does_not_drift(mode: Mode) {
    let stage = stage(mode, "drift", "").await;
    let start = after(2);
    let id = stage.add(NewTask::every("drift", "grid", 2).times(4).start_at(start)).await;
    assert_eq!(stage.fired_at(&id, 4).await, [start, start + 2, start + 4, start + 6]);
    let runs = ledger::runs_of(&stage.cluster, &id).await;
    assert!(runs.iter().all(|row| row.scheduled_at % 1000 == 0));
    stage.inbox.close().await;
}

/// "A per-second SETNX lock that slow ticks outlive." Leases expire in every turn.
#[tokio::test(flavor = "multi_thread")]
async fn leases_shorter_than_a_turn_double_and_lose_nothing() {
    // The lease is much shorter than a turn, so both nodes believe that they hold every shard.
    let mut cluster = Cluster::new("setnx");
    cluster.extra = "[engine]\nshard_lease_ms = 500\n".to_owned();
    let slow = "fire::inserted=sleep(800)";
    let nodes = [cluster.spawn(slow), cluster.spawn(slow)];
    for node in &nodes {
        node.until_status("ready").await;
    }
    let inbox = Inbox::open(&cluster);
    let start = after(2);
    for i in 0..20 {
        let task = NewTask::every("slow", i.to_string(), 1).times(3).start_at(start);
        nodes[i % 2].client().add_task(task).await.expect("the server accepts the request");
    }
    inbox.until_runs(60).await;
    assert_eq!(ledger::runs(&cluster).await.len(), 60);
    assert!(
        inbox.by_run().values().all(|times| *times == 1),
        "only the node that holds the row sends the message"
    );
    inbox.close().await;
}

/// "ack and max_runtime unimplemented." A run without a report is handed over again as the next attempt, and a
/// reported run is not.
async fn ack_and_max_runtime_are_enforced(mode: Mode) {
    let mut cluster = Cluster::on(mode, "ack");
    cluster.extra =
        "[engine]\nrescue_ms = 100\n[engine.retry]\nmax_attempts = 2\nbackoff_ms = 1\n".to_owned();
    let node = cluster.start().await;
    let unreported = NewTask::once("ack", "unreported").ack(Duration::from_secs(1));
    let id = node.client().add_task(unreported).await.expect("the server accepts the request");
    let until_dead = async || {
        wait::until("the run is dead", async || {
            ledger::runs_of(&cluster, &id).await.iter().any(|row| row.state == "dead")
        })
        .await;
    };
    let mut attempts = match mode {
        Mode::Cluster => {
            let inbox = Inbox::open(&cluster);
            until_dead().await;
            wait::until("both attempts are delivered", async || inbox.all().len() >= 2).await;
            let attempts: Vec<u32> = inbox.all().iter().map(|received| received.attempt).collect();
            inbox.close().await;
            attempts
        }
        Mode::Embedded => {
            let attempts = vec![lease_without_report(&node).await, lease_without_report(&node).await];
            until_dead().await;
            attempts
        }
    };
    // Messages may arrive in another order.
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 2], "the run has two attempts");

    let reporting = Consumer::builder().on_text("*", async |ctx: taskcenter_client::Context, _: String| {
        ctx.info("handled");
        Ok::<(), std::io::Error>(())
    });
    let reporting = match mode {
        Mode::Cluster => reporting.report_to(node.client()).transport(transport(&cluster, "reporting")),
        Mode::Embedded => reporting.connect(&cluster.url()).expect("the URL is valid"),
    };
    let reporting = reporting.start().expect("the consumer starts");
    let reported = NewTask::once("ack", "reported").ack(Duration::from_secs(20));
    let id = node.client().add_task(reported).await.expect("the server accepts the request");
    wait::until("the success is stored", async || {
        ledger::runs_of(&cluster, &id).await.iter().any(|row| row.state == "succeeded" && row.attempt == 1)
    })
    .await;
    let run_id = &ledger::runs_of(&cluster, &id).await[0].run_id;
    let log = node.client().run_log(run_id, 0, Duration::ZERO).await.expect("the server answers");
    let lines: Vec<_> = log.lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(lines, ["handled"], "the log of the run is stored before its outcome");
    reporting.shutdown().await.expect("the consumer stops");
}

/// Leases a run and never reports it. Returns the attempt.
async fn lease_without_report(node: &Server) -> u32 {
    let (worker, queues) = ("silent".to_owned(), vec!["ack".to_owned()]);
    let request =
        LeaseRequest { worker, queues, limit: 1, lease_ms: 1_000, wait_ms: 20_000, request_id: None };
    node.client().lease(&request).await.expect("the server answers").runs.remove(0).attempt
}

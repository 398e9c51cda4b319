//! The whole promise: two nodes, one of them killed (or one node, killed and restarted), and every nominal
//! moment has a run and a delivery.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use futures_util::{StreamExt, TryStreamExt, stream};
use taskcenter_client::wire::AddTask;
use taskcenter_client::{NewTask, TaskCenter};

use crate::cluster::{Cluster, Mode, in_both_modes};
use crate::inbox::{Inbox, Received};
use crate::ledger::{self, Row};
use crate::wait;

const ONE_SHOTS: i64 = 1_000;
const LOOPS: i64 = 50;
const LOOP_FIRES: i64 = 4;
const CRONS: i64 = 20;
const CRON_SECONDS: i64 = 7;

/// A nominal moment: task id and milliseconds since the epoch.
type Moment = (String, i64);

in_both_modes! { every_nominal_moment_has_one_run_and_is_delivered_although_a_node_is_killed }

async fn every_nominal_moment_has_one_run_and_is_delivered_although_a_node_is_killed(mode: Mode) {
    let cluster = Cluster::on(mode, "everything");
    let mut killed = cluster.start().await;
    let survivor = cluster.another().await;
    let inbox = Inbox::open(&cluster);

    let start_sec = wait::now_ms() / 1000 + 8;
    let other = survivor.as_ref().unwrap_or(&killed).client();
    let expected = submit_all([killed.client(), other], start_sec).await;
    assert!(wait::now_ms() < start_sec * 1000, "submitting took longer than the head start");

    wait::moment(start_sec * 1000 + 2_500).await;
    killed.kill();
    let _next = cluster.next_node(survivor).await;

    inbox.until_runs(expected.len()).await;
    let rows = settled(&cluster, expected.len()).await;
    let received = inbox.all();
    check_ledger(&rows, &expected);
    check_deliveries(&rows, &received, mode);
    report(&rows, &received, mode);
    inbox.close().await;
}

/// Submits all tasks over both nodes. Returns the expected nominal moments.
async fn submit_all(nodes: [TaskCenter; 2], start_sec: i64) -> BTreeSet<Moment> {
    let one_shots = (0..ONE_SHOTS).map(|i| {
        let at = start_sec + i % 5;
        (NewTask::once("e2e.once", format!("once {i}")).at(at).into(), vec![at])
    });
    let loops = (0..LOOPS).map(|i| {
        let at = start_sec + i % 2;
        let task = NewTask::every("e2e.loop", format!("loop {i}"), 1).times(LOOP_FIRES as u32).start_at(at);
        (task.into(), (at..at + LOOP_FIRES).collect())
    });
    let crons = (0..CRONS).map(|i| {
        let end = start_sec + CRON_SECONDS - 1;
        let task =
            NewTask::cron("e2e.cron", format!("cron {i}"), "* * * * * *").start_at(start_sec).end_at(end);
        (task.into(), (start_sec..=end).collect())
    });
    let submissions = one_shots.chain(loops).chain(crons).zip([0, 1].into_iter().cycle());
    let moments: Vec<Vec<Moment>> = stream::iter(submissions)
        .map(|((task, seconds), node): ((AddTask, Vec<i64>), usize)| {
            let node = nodes[node].clone();
            async move {
                let id = node.add_task(task).await?;
                Ok::<_, taskcenter_client::Error>(
                    seconds.iter().map(|sec| (id.clone(), sec * 1000)).collect(),
                )
            }
        })
        .buffer_unordered(32)
        .try_collect()
        .await
        .expect("every task is accepted");
    moments.into_iter().flatten().collect()
}

async fn settled(cluster: &Cluster, runs: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    wait::until("every run has ended", async || {
        rows = ledger::runs(cluster).await;
        rows.len() >= runs && rows.iter().all(Row::is_handed_over)
    })
    .await;
    rows
}

fn check_ledger(rows: &[Row], expected: &BTreeSet<Moment>) {
    let recorded: Vec<Moment> = rows.iter().map(|row| (row.task_id.clone(), row.scheduled_at)).collect();
    let distinct: BTreeSet<Moment> = recorded.iter().cloned().collect();
    assert_eq!(recorded.len(), distinct.len(), "a moment has more than one run");
    assert_eq!(&distinct, expected, "the moments recorded are not the nominal ones");
}

/// Whether more than one node claimed the run. The lease of a worker counts as a claim.
fn was_taken_over(row: &Row, mode: Mode) -> bool {
    row.claim > if mode == Mode::Cluster { 1 } else { 2 }
}

fn check_deliveries(rows: &[Row], received: &[Received], mode: Mode) {
    let early: Vec<_> = received.iter().filter(|r| r.arrived_at < r.scheduled_at).collect();
    assert!(early.is_empty(), "early: {early:?}");
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for delivery in received {
        *times.entry(&delivery.run_id).or_default() += 1;
    }
    for row in rows {
        let times = times.remove(row.run_id.as_str()).unwrap_or_default();
        assert!(times > 0, "never delivered: {row:?}");
        // A duplicate is allowed only if a node took over the run from the killed one.
        assert!(times == 1 || was_taken_over(row, mode), "delivered {times} times without a rescue: {row:?}");
    }
    assert!(times.is_empty(), "delivered without a run: {times:?}");
}

fn report(rows: &[Row], received: &[Received], mode: Mode) {
    let mut first: BTreeMap<&str, i64> = BTreeMap::new();
    for r in received {
        let lateness = r.arrived_at - r.scheduled_at;
        first.entry(&r.run_id).and_modify(|least| *least = lateness.min(*least)).or_insert(lateness);
    }
    let mut lateness: Vec<i64> = first.into_values().collect();
    lateness.sort_unstable();
    let percentile = |p: usize| lateness[(lateness.len() - 1) * p / 100];
    // Written past the output capture of passing tests: the figures are the purpose of the test.
    let _ = writeln!(
        std::io::stderr(),
        "{mode:?}: moments {} | runs {} | deliveries {} | copies {} | rescued {} | early 0 | lateness p50 {} ms, p99 {} ms, max {} ms",
        lateness.len(),
        rows.len(),
        received.len(),
        received.len() - lateness.len(),
        rows.iter().filter(|row| was_taken_over(row, mode)).count(),
        percentile(50),
        percentile(99),
        percentile(100),
    );
}

//! Brokers that crash and return.

use std::sync::Arc;
use std::time::Duration;

use taskcenter_rocketmq::ClientConfig;
use taskcenter_rocketmq::consumer::{ConsumerConfig, Disposition, Received};
use tokio::sync::{Mutex, Semaphore};

use crate::harness::{Log, Member, Setup};
use crate::support::cluster::Cluster;
use crate::support::{Version, until};

/// Clusters need memory and processors: one at a time.
static ONE_CLUSTER: Mutex<()> = Mutex::const_new(());

/// Starts a member whose handlers wait for the gate. They retry the first delivery of "retry".
fn start(setup: &Setup, config: ConsumerConfig) -> (Member, Log, Arc<Semaphore>) {
    let (gate, log) = (Arc::new(Semaphore::new(0)), Log::default());
    let (open, records) = (Arc::clone(&gate), log.clone());
    let member = setup.start(config, "*", move |message, _| {
        records.add(&message);
        let (open, retry) = (Arc::clone(&open), message.body == "retry" && message.reconsume_times == 0);
        async move {
            open.acquire().await.unwrap().forget();
            if retry { Disposition::Retry { after: Some(Duration::from_secs(1)) } } else { Disposition::Ack }
        }
    });
    (member, log, gate)
}

async fn cluster() -> (Cluster, Setup) {
    let cluster = Cluster::start(Version::Five).await;
    let setup = Setup::new(ClientConfig::new(cluster.address()), 1).await;
    (cluster, setup)
}

/// Kills the broker that has the message.
fn kill(cluster: &mut Cluster, message: &Received) {
    if message.queue.broker_name == "b" {
        cluster.b.kill();
    } else {
        cluster.a.kill();
    }
}

async fn restart(cluster: &mut Cluster) {
    cluster.a.restart();
    cluster.b.restart();
    cluster.listens(cluster.ports().a).await;
    cluster.listens(cluster.ports().b).await;
}

async fn fails(member: &Member, operation: &str) {
    until(&format!("{operation} is a problem"), async || {
        member.health().problems.iter().any(|problem| problem.operation.starts_with(operation))
    })
    .await;
}

#[tokio::test]
async fn a_send_back_is_repeated_until_the_broker_returns() {
    let _one = ONE_CLUSTER.lock().await;
    let (mut cluster, setup) = cluster().await;
    let (member, log, gate) = start(&setup, setup.member());
    setup.send("a", "retry").await;
    kill(&mut cluster, &log.reaches(1).await[0]);
    gate.add_permits(10);
    fails(&member, "send back").await;
    restart(&mut cluster).await;
    assert_eq!(log.reaches(2).await[1].reconsume_times, 1);
    until("no problem is left", async || member.health().problems.is_empty()).await;
    member.leave().await;
    assert_eq!(log.all().len(), 2);
}

/// What was not sent back before the end of the shutdown is delivered again, without an attempt.
#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_broker_that_is_away() {
    let _one = ONE_CLUSTER.lock().await;
    let (mut cluster, setup) = cluster().await;
    let config = ConsumerConfig { settle_timeout: Duration::from_millis(500), ..setup.member() };
    let (member, log, gate) = start(&setup, config);
    setup.send("a", "retry").await;
    kill(&mut cluster, &log.reaches(1).await[0]);
    gate.add_permits(1);
    fails(&member, "send back").await;
    // The broker stays away until the end of the run.
    member.leave().await;
    restart(&mut cluster).await;
    let (next, next_log, gate) = start(&setup, setup.member());
    assert_eq!(next_log.reaches(1).await[0].reconsume_times, 0);
    gate.add_permits(10);
    assert_eq!(next_log.reaches(2).await[1].reconsume_times, 1);
    next.leave().await;
}

/// A broker that restarts knows no members at first. Nobody takes the queues of others, and no
/// message starts twice.
#[tokio::test]
async fn members_keep_their_queues_while_brokers_restart() {
    let _one = ONE_CLUSTER.lock().await;
    let (mut cluster, setup) = cluster().await;
    let (first, first_log, first_gate) = start(&setup, setup.member());
    let (second, second_log, second_gate) = start(&setup, setup.member());
    first.reads(1).await;
    second.reads(1).await;
    for key in 0..8 {
        setup.send("a", &key.to_string()).await;
    }
    let total = || first_log.all().len() + second_log.all().len();
    until("all handlers run", async || total() == 8).await;
    cluster.a.kill();
    cluster.b.kill();
    fails(&first, "pull").await;
    fails(&second, "pull").await;
    restart(&mut cluster).await;
    until("no problem is left", async || {
        first.health().problems.is_empty() && second.health().problems.is_empty()
    })
    .await;
    first_gate.add_permits(100);
    second_gate.add_permits(100);
    for key in 8..16 {
        // The first sends may still meet the old connections.
        until("the message is stored", async || setup.try_send(&key.to_string()).await).await;
    }
    until("all messages arrive", async || total() >= 16).await;
    first.leave().await;
    second.leave().await;
    let mut keys: Vec<usize> =
        [first_log.bodies(), second_log.bodies()].concat().iter().map(|key| key.parse().unwrap()).collect();
    keys.sort_unstable();
    keys.retain(|key| *key < 8);
    assert_eq!(keys, (0..8).collect::<Vec<_>>(), "no running message starts twice");
}

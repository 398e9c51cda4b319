//! Outages of back ends.

use std::io::Write as _;
use std::time::Duration;

use taskcenter_client::{NewTask, TaskCenter};

use crate::cluster::{Cluster, guarded_namesrv, mongodb_uri, redis_addr};
use crate::inbox::Inbox;
use crate::proxy::Proxy;
use crate::{ledger, wait};

fn after(sec: i64) -> i64 {
    wait::now_ms() / 1000 + sec
}

/// Known defect of the old server: "Redis down = silently no scheduling".
#[tokio::test(flavor = "multi_thread")]
async fn without_redis_tasks_still_fire_once() {
    let proxy = Proxy::to(&redis_addr()).await;
    let mut cluster = Cluster::new("redis_down");
    cluster.redis.clone_from(&proxy.addr);
    let nodes = [cluster.start().await, cluster.start().await];
    let inbox = Inbox::open(&cluster);

    proxy.cut();
    nodes[0].until_status("degraded").await;
    nodes[1].until_status("degraded").await;
    let start = after(2);
    for i in 0..20 {
        let task = NewTask::every("down", i.to_string(), 1).times(3).start_at(start);
        nodes[i % 2].client().add_task(task).await.expect("tasks are accepted without Redis");
    }
    inbox.until_runs(60).await;

    proxy.restore();
    nodes[0].until_status("ready").await;
    assert!(
        inbox.by_run().values().all(|times| *times == 1),
        "two nodes without locks send one message for each run"
    );
    assert_eq!(ledger::runs(&cluster).await.len(), 60);
    inbox.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_mongodb_requests_get_503_and_no_acknowledged_task_is_lost() {
    let hosts = mongodb_uri().replace("mongodb://", "");
    let proxy = Proxy::to(hosts.split('/').next().expect("the address has a host")).await;
    let mut cluster = Cluster::new("mongodb_down");
    // A replica set tells the driver the addresses of its members. A direct connection stays on the proxy.
    cluster.mongodb =
        format!("mongodb://{}/?directConnection=true&serverSelectionTimeoutMS=1000", proxy.addr);
    let node = cluster.start().await;
    let inbox = Inbox::open(&cluster);
    let no_retry = TaskCenter::builder(&node.url)
        .retries(0, Duration::from_millis(1))
        .build()
        .expect("the URL is valid");
    no_retry
        .add_task(NewTask::once("down", "acknowledged").at(after(3)))
        .await
        .expect("the server accepts the request");

    proxy.cut();
    node.until_status("unready").await;
    let refused =
        no_retry.add_task(NewTask::once("down", "refused")).await.expect_err("the store is unavailable");
    assert_eq!(refused.status(), Some(503));
    let refused =
        no_retry.query_tasks_by_name("down", None, None).await.expect_err("the store is unavailable");
    assert_eq!(refused.status(), Some(503));
    wait::moment(after(3) * 1000).await;

    proxy.restore();
    node.until_status("ready").await;
    inbox.until_runs(1).await;
    assert!(
        inbox.all().iter().any(|received| received.data == "acknowledged"),
        "the acknowledged task is delivered late"
    );
    inbox.close().await;
}

/// Runs `cargo xtask services` with these arguments.
async fn services(args: &[&str]) {
    let command = ["run", "--quiet", "--locked", "--package", "xtask", "--", "services"];
    let mut cargo = tokio::process::Command::new(env!("CARGO"));
    // `cargo xtask test` sets the variable for libtest. Build scripts of dependencies would run again.
    let status = cargo.args(command).args(args).env_remove("RUSTC_BOOTSTRAP").status().await;
    assert!(status.expect("cargo runs").success(), "services {args:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rocketmq_runs_wait_until_it_is_back() {
    let mut cluster = Cluster::new("rocketmq_down");
    cluster.rocketmq = (guarded_namesrv(), Some(("tcadmin", "tcsecret12345")));
    cluster.extra = "[engine]\nrun_lease_ms = 2000\n".to_owned();
    let node = cluster.start().await;
    let inbox = Inbox::open(&cluster);
    let client = node.client();
    client.add_task(NewTask::once("down", "before")).await.expect("the server accepts the request");
    inbox.until_runs(1).await;

    services(&["stop", "acl-broker", "--kill"]).await;
    node.until_status("degraded").await;
    let start = after(1);
    for i in 0..10 {
        let task = NewTask::every("down", i.to_string(), 1).times(3).start_at(start);
        client.add_task(task).await.expect("tasks are accepted without a broker");
    }
    wait::until("every moment has its run", async || ledger::runs(&cluster).await.len() == 31).await;
    let waiting = ledger::runs(&cluster).await.iter().filter(|row| row.state == "firing").count();
    assert_eq!(waiting, 30, "no run is `fired` before the broker confirms");

    services(&["start", "acl-broker"]).await;
    let back_at = wait::now_ms();
    inbox.until_runs(31).await;
    let took = wait::now_ms() - back_at;
    let _ = writeln!(std::io::stderr(), "30 waiting runs were delivered {took} ms after the broker was back");
    node.until_status("ready").await;
    wait::until("every run is fired", async || {
        ledger::runs(&cluster).await.iter().all(|row| row.state == "fired")
    })
    .await;
    inbox.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_without_back_ends_and_is_unready() {
    let absent = Proxy::to("127.0.0.1:9").await;
    absent.cut();
    let mut cluster = Cluster::new("absent");
    cluster.mongodb =
        format!("mongodb://{}/?directConnection=true&serverSelectionTimeoutMS=1000", absent.addr);
    cluster.redis.clone_from(&absent.addr);
    cluster.rocketmq.0.clone_from(&absent.addr);
    let mut node = cluster.spawn("");
    node.until_status("unready").await;
    let no_retry = TaskCenter::builder(&node.url)
        .retries(0, Duration::from_millis(1))
        .build()
        .expect("the URL is valid");
    let refused =
        no_retry.add_task(NewTask::once("down", "refused")).await.expect_err("the store is unavailable");
    assert_eq!(refused.status(), Some(503));
    assert_eq!(node.stop().await, Some(0), "the node stops with exit status 0");
}
